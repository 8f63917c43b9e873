"""Panels, variables and dashboards in tokenbeat's style, with Grafana's foundation SDK.

What all have in common is decided here: the data source is a variable, every panel says what it means, nothing is
hard-coded to a job, and each dashboard links to the others with time and variables kept.
"""

import json
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

TAG = "tokenbeat"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

SECONDS, SHARE, COUNT, REQUESTS, TOKENS, JOURNEYS = "s", "percentunit", "short", "reqps", "suffix: tok/s", "suffix: journeys/s"
AGO = "dateTimeFromNow"

RED, AMBER, GREEN, BLUE = "red", "orange", "green", "blue"


@dataclass
class Line:
    """A query with its legend."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    instant: bool = False
    format: PromQueryFormat | None = None

    def build(self, ref: str) -> prometheus.Dataquery:
        query = prometheus.Dataquery().expr(self.expr).ref_id(ref).datasource(SOURCE).legend_format(self.legend)
        query = query.instant() if self.instant else query.range()
        if self.exemplars:
            query = query.exemplar(True)
        return query.format(self.format) if self.format else query


def steps(*pairs: tuple[float | None, str]) -> build.ThresholdsConfig:
    marks = [model.Threshold(value=value, color=color) for value, color in pairs]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(marks)


# Thresholds of availability and similar shares; of budgets.
GOOD_SHARE = ((None, RED), (0.95, AMBER), (0.99, GREEN))
SPENT_SHARE = ((None, GREEN), (0.8, AMBER), (1.0, RED))
NONE_IS_GOOD = ((None, GREEN), (1, RED))


def _base(panel, title: str, says: str, unit: str, lines: list[Line], width: int, height: int, none: str | None = None):
    """`none` is the text of the panel if the queries return nothing."""
    panel = panel.title(title).description(says).datasource(SOURCE).unit(unit).span(width).height(height)
    panel = panel if none is None else panel.no_value(none)
    for index, line in enumerate(lines):
        panel = panel.with_target(line.build(chr(ord("A") + index)))
    return panel


def lines(title: str, says: str, unit: str, *queries: Line, width: int = 8, height: int = 8, stack: bool = False,
          top: float | None = None, marks=None, log: bool = False, percent: bool = False, none: str | None = None):  # fmt: skip
    """Time series."""
    panel = _base(timeseries.Panel(), title, says, unit, list(queries), width, height, none)
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.TABLE).placement(kinds.LegendPlacement.BOTTOM)
    panel = (
        panel.legend(legend.show_legend(True).calcs(["lastNotNull", "max"]))
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
        .fill_opacity(30 if stack else 5).line_width(1).show_points(kinds.VisibilityMode.AUTO).span_nulls(False)
        .min(0).interval("30s")
    )  # fmt: skip
    if stack:
        mode = kinds.StackingMode.PERCENT if percent else kinds.StackingMode.NORMAL
        panel = panel.stacking(common.StackingConfig().mode(mode).group("A"))
    if top is not None:
        panel = panel.max(top)
    if log:
        panel = panel.scale_distribution(common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LOG).log(2))
    if marks:
        panel = panel.thresholds(steps(*marks)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(kinds.GraphTresholdsStyleMode.DASHED)
        )
    return panel


def number(title: str, says: str, unit: str, expr: str, width: int = 4, height: int = 4, marks=None, decimals=None, none="–",
           legend: str = ""):  # fmt: skip
    """The current value, as a number; with a legend, one for each of several series."""
    panel = _base(stat.Panel(), title, says, unit, [Line(expr, legend, instant=True)], width, height, none)
    panel = panel.graph_mode(kinds.BigValueGraphMode.NONE).reduce_options(last())
    panel = panel.color_mode(kinds.BigValueColorMode.VALUE).thresholds(steps(*(marks or ((None, BLUE),))))
    return panel if decimals is None else panel.decimals(decimals)


def last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def bars(title: str, says: str, unit: str, *queries: Line, width: int = 8, height: int = 8, marks=None, top=None):
    """The current value of each series as a bar."""
    panel = _base(bargauge.Panel(), title, says, unit, list(queries), width, height)
    panel = panel.orientation(kinds.VizOrientation.HORIZONTAL).reduce_options(last()).min(0)
    panel = panel.display_mode(kinds.BarGaugeDisplayMode.BASIC).thresholds(steps(*(marks or ((None, BLUE),))))
    return panel if top is None else panel.max(top)


def heat(title: str, says: str, unit: str, expr: str, width: int = 8, height: int = 8, none: str | None = None):
    """A distribution over time, from classic or native histograms."""
    query = Line(expr, "{{le}}", format=PromQueryFormat.HEATMAP)
    panel = _base(heatmap.Panel(), title, says, unit, [query], width, height, none)
    axis = heatmap.YAxisConfig().unit(unit).axis_placement(kinds.AxisPlacement.LEFT)
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5).fill("dark-orange")
    return (
        panel.calculate(False).cell_gap(1).y_axis(axis).color(colour).show_legend()
        .filter_values(heatmap.FilterValueRange().le(1e-9)).interval("1m")
    )  # fmt: skip


def states(title: str, says: str, *queries: Line, width: int = 24, height: int = 7, mapping: dict[str, tuple[str, str]]):
    """States over time; the mapping gives a value its text and colour."""
    options = {value: model.ValueMappingResult(text=word, color=colour) for value, (word, colour) in mapping.items()}
    panel = _base(statetimeline.Panel(), title, says, COUNT, list(queries), width, height)
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST).placement(kinds.LegendPlacement.BOTTOM)
    return panel.mappings([model.ValueMap(options=options)]).legend(legend.show_legend(True)).interval("30s")


@dataclass
class Column:
    """A column of a table: its name, its query, and how its values are shown."""

    name: str
    expr: str
    unit: str = COUNT
    marks: tuple = ()
    decimals: int | None = None
    width: int | None = None


def grid(title: str, says: str, keys: dict[str, str], columns: list[Column], width: int = 24, height: int = 10, link=None,
         none: str | None = None):  # fmt: skip
    """A table with one row per combination of the labels `keys` (label: heading), one column per query."""
    queries = [Line(column.expr, instant=True, format=PromQueryFormat.TABLE) for column in columns]
    panel = _base(table.Panel(), title, says, COUNT, queries, width, height, none).show_header(True)
    refs = [chr(ord("A") + index) for index in range(len(columns))]
    # The value of a single query is named `Value`, those of several `Value #A` and so on.
    values = [f"Value #{ref}" for ref in refs] if len(refs) > 1 else ["Value"]
    renamed = {**keys, **dict(zip(values, (column.name for column in columns), strict=True))}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: index for index, name in enumerate(renamed)},
                "renameByName": renamed,
            },
        )
    )
    for column in columns:
        # The long text for missing data does not fit into a single cell.
        gaps = [model.DynamicConfigValue(id_val="noValue", value="–")] if none else []
        panel = panel.override_by_name(column.name, _looks(column) + gaps)
    if link:
        panel = panel.override_by_name(link[0], [model.DynamicConfigValue(id_val="links", value=[link[1]])])
    return panel


def _looks(column: Column) -> list[model.DynamicConfigValue]:
    looks = [model.DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.decimals is not None:
        looks.append(model.DynamicConfigValue(id_val="decimals", value=column.decimals))
    if column.width:
        looks.append(model.DynamicConfigValue(id_val="custom.width", value=column.width))
    if column.marks:
        looks.append(model.DynamicConfigValue(id_val="thresholds", value=steps(*column.marks).build()))
        looks.append(model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}))
    return looks


def prose(title: str, says: str, content: str, width: int = 24, height: int = 3):
    return text.Panel().title(title).description(says).content(content).span(width).height(height)


def chosen(name: str, label: str, query: str, says: str, every: str | None = ".*", multi: bool = True):
    """A variable with the values of a label; `every` is the value of All, and None disables All."""
    variable = (
        build.QueryVariable(name).label(label).description(says).query(query).datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC).multi(multi)
    )  # fmt: skip
    if every is None:
        return variable.include_all(False)
    option = model.VariableOption(selected=True, text="All", value="$__all")
    return variable.include_all(True).all_value(every).current(option)


def source():
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


@dataclass
class Note:
    """An annotation: each result of the query is a mark, or a region for as long as it lasts."""

    name: str
    expr: str
    colour: str
    title: str
    text: str = ""
    shown: bool = True
    value_is_time: bool = False

    def build(self) -> model.AnnotationQuery:
        note = build.AnnotationQuery().name(self.name).datasource(SOURCE).enable(self.shown).icon_color(self.colour).expr(self.expr)
        return Annotated(note.build(), self)


class Annotated(model.AnnotationQuery):
    """The SDK lacks the fields in which the Prometheus data source stores the text of an annotation."""

    def __init__(self, inner: model.AnnotationQuery, note: Note):
        self.inner, self.note = inner, note

    def to_json(self) -> dict[str, object]:
        said = {"titleFormat": self.note.title, "textFormat": self.note.text, "useValueForTime": self.note.value_is_time}
        return {**self.inner.to_json(), **said, "step": "30s"}


@dataclass
class Row:
    title: str
    panels: list = field(default_factory=list)
    closed: bool = False


def dashboard(name: str, title: str, says: str, variables: list, rows: list[Row], notes: list[Note], span: str = "now-6h"):
    """The whole dashboard. Panels are numbered and placed in their order in the list."""
    board = (
        build.Dashboard(f"tokenbeat / {title}").uid(f"tokenbeat-{name}").description(says).tags([TAG]).readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR).time(span, "now").refresh("1m").timezone("browser").version(1)
        .variables([source(), *variables])
        .link(build.DashboardLink("tokenbeat").type(model.DashboardLinkType.DASHBOARDS).tags([TAG]).icon("external link")
              .tooltip("The other dashboards, with this time and these variables").as_dropdown(True).include_vars(True).keep_time(True))
    )  # fmt: skip
    for note in notes:
        board = board.annotation(note)
    number = 0
    for row in rows:
        number += 1
        head = build.Row(row.title).id(number)
        for panel in row.panels:
            number += 1
            panel = panel.id(number)
            if row.closed:
                head = head.with_panel(panel)
        board = board.with_row(head)
        if not row.closed:
            for panel in row.panels:
                board = board.with_panel(panel)
    return encoded(board.build())


# Keys that the SDK writes but current versions of Grafana no longer have.
GONE = ("id", "auto", "auto_min", "auto_count")


def encoded(board: model.Dashboard) -> dict:
    """The text of the file."""
    made = json.loads(JSONEncoder().encode(board))
    made.pop("style", None)
    for variable in made["templating"]["list"]:
        for key in GONE:
            variable.pop(key, None)
    return made

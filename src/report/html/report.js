"use strict";
// Draws the plots of the embedded data. The report is complete without it.
(() => {
  const pairs = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const HEIGHT = 220;
  const drawn = [];

  const seconds = (value) => {
    if (value == null) return "-";
    if (value === 0) return "0";
    if (value >= 1) return `${+value.toPrecision(3)} s`;
    if (value >= 1e-3) return `${+(value * 1e3).toPrecision(3)} ms`;
    return `${+(value * 1e6).toPrecision(3)} µs`;
  };
  const number = (value) => (value == null ? "-" : `${+value.toPrecision(4)}`);
  const share = (value) => (value == null ? "-" : `${+(value * 100).toPrecision(4)}%`);
  const clock = (value) => (value == null ? "-" : new Date(value * 1e3).toISOString().replace("T", " ").slice(0, 19));
  // Of a long time, the day matters more than the second.
  const hour = (ticks) => (ticks.at(-1) - ticks[0] > 86400 ? (at) => clock(at).slice(5, 16) : (at) => clock(at).slice(11));
  const show = { seconds, number, share, time: clock };

  const margin = (low, high) => {
    const part = (high - low || Math.abs(high) || 1) * 0.03;
    return [low - part, high + part];
  };

  const axis = (it, right) => ({
    // A key that is there and undefined would replace uPlot's default.
    ...(it.label ? { label: it.label, labelSize: 18 } : {}),
    ...(right ? { side: 1, scale: "right" } : {}),
    size: right === undefined ? 34 : 58,
    stroke: () => colour("--soft"),
    grid: { show: !right, stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: "11px system-ui, sans-serif",
    labelFont: "11px system-ui, sans-serif",
    values: (_, ticks) => ticks.map(it.unit === "time" ? hour(ticks) : (tick) => (tick == null ? "" : show[it.unit](tick))),
  });

  const options = (plot, width) => {
    const palette = ["--plot-1", "--plot-2", "--plot-3", "--plot-4"];
    const series = plot.series.map((it, at) => {
      const name = it.bad ? "--plot-bad" : palette[at % palette.length];
      return {
        label: it.label,
        scale: it.right ? "right" : "y",
        stroke: () => colour(name),
        width: 1.5,
        ...(it.dots ? { paths: () => null } : {}),
        spanGaps: true,
        points: { show: it.dots || it.x.length < 40, size: it.dots ? 4 : 5, fill: () => colour(name), width: 0 },
        value: (_, value) => (it.right ? show[plot.right.unit] : show[plot.y.unit])(value),
      };
    });
    return {
      width,
      height: HEIGHT,
      scales: {
        x: {
          time: plot.x.unit === "time",
          distr: plot.x.logarithmic ? 3 : 1,
          // Dots at the edges are seen whole.
          ...(plot.x.unit === "number" ? { range: (_, low, high) => margin(low, high) } : {}),
        },
        y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.05] },
        right: { range: (_, low, high) => [0, (high || 1) * 1.05] },
      },
      axes: [axis(plot.x), axis(plot.y, false), ...(plot.right ? [axis(plot.right, true)] : [])],
      series: [{ label: plot.x.label || (plot.x.unit === "time" ? "time (UTC)" : "at most"), value: (_, value) => show[plot.x.unit](value) }, ...series],
      cursor: { points: { size: 7 } },
      // Times are shown as in the tables.
      tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
      ms: 1e-3,
    };
  };

  // A row for each dot, because several may have the same x.
  const rows = (series) => {
    const all = series.flatMap((it, at) => it.x.map((x, n) => [x, at, it.y[n]])).sort((a, b) => a[0] - b[0]);
    return [all.map((it) => it[0]), ...series.map((_, at) => all.map((it) => (it[1] === at ? it[2] : null)))];
  };

  const draw = (plot) => {
    const place = document.getElementById(plot.id);
    place.parentElement.hidden = false;
    const dots = plot.series.some((it) => it.dots);
    const data = dots ? rows(plot.series) : uPlot.join(plot.series.map((it) => [it.x, it.y]));
    const chart = new uPlot(options(plot, place.clientWidth), data, place);
    drawn.push(chart);
    new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
  };
  for (const pair of pairs) pair.plots.forEach(draw);

  const redraw = () => drawn.forEach((chart) => chart.redraw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // Paper is white.
  const printing = (on) => { root.classList.toggle("print", on); redraw(); };
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
})();

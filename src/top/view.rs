//! Draws the state. Pure: the same state gives the same screen.

use super::columns::{TopRow, fitting};
use super::detail;
use super::snapshot::TopSnapshot;
use super::state::TopState;
use crate::report::rate;
use crate::vocabulary::money;
use jiff::SignedDuration;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState};

/// Age from which an answer is said to be old.
const OLD: SignedDuration = SignedDuration::from_secs(10);
/// Least height for the detail pane.
const DETAIL_HEIGHT: u16 = 12;

const HELP: [&str; 9] = [
    "j, k, arrows      select a pair; PgUp, PgDn, g, G",
    "Enter             its details, or back",
    "f                 only what is not well",
    "s                 sort: name, bad first, TTFT, failures",
    "/                 find a profile, target or model; Esc ends it",
    "?                 this help",
    "q, Ctrl-C         leave",
    "",
    "Numbers are those of the last minute.",
];

/// Draws everything.
pub fn view(state: &TopState, frame: &mut Frame<'_>) {
    let area = frame.area();
    let lines = header(state);
    let detail = if state.shows_detail { (area.height / 2).max(DETAIL_HEIGHT.min(area.height)) } else { 0 };
    let height = u16::try_from(lines.len()).unwrap_or(1);
    let [top, body, below, bottom] = Layout::vertical([
        Constraint::Length(height),
        Constraint::Min(3),
        Constraint::Length(detail),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(lines), top);
    let rows = state.rows();
    table(state, &rows, frame, body);
    if let Some(row) = state.selected_row(&rows).and_then(|number| rows.get(number)).filter(|_| detail > 0) {
        detail::view(state, *row, frame, below);
    }
    frame.render_widget(Paragraph::new(footer(state, rows.len())), bottom);
    if state.shows_help {
        help(frame, area);
    }
}

/// A colour, where colours are wanted.
pub(super) fn colored(state: &TopState, color: Color) -> Style {
    if state.color { Style::new().fg(color) } else { Style::new() }
}

fn header(state: &TopState) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = vec![Span::styled("tokenbeat", bold), Span::raw(format!("  {}", state.address))];
    let mut lines = Vec::new();
    if let Some((snapshot, _)) = &state.snapshot {
        let agent = &snapshot.agent;
        let location =
            if agent.location.is_empty() { String::new() } else { format!(" in {}", agent.location) };
        first.push(Span::raw(format!("  {}{location}, {}, {}", agent.id, agent.version, snapshot.phase)));
        lines.extend(config(state, snapshot));
        lines.extend(budgets(state, snapshot));
    } else if state.trouble.is_none() {
        lines.push(Line::raw("waiting for the first answer"));
    }
    lines.insert(0, Line::from(first));
    if let Some(trouble) = trouble(state) {
        lines.push(Line::styled(trouble, colored(state, Color::Red).add_modifier(Modifier::BOLD)));
    }
    lines
}

/// Why there is no answer, and how old the last one is.
fn trouble(state: &TopState) -> Option<String> {
    let age = state.age();
    match (&state.trouble, age) {
        (Some(why), Some(age)) => {
            Some(format!("no answer: {why}; this is {} s old; trying again", age.as_secs()))
        }
        (Some(why), None) => Some(format!("no answer: {why}; trying again")),
        (None, Some(age)) if age >= OLD => {
            Some(format!("this is {} s old; waiting for an answer", age.as_secs()))
        }
        (None, _) => None,
    }
}

fn config(state: &TopState, snapshot: &TopSnapshot) -> Option<Line<'static>> {
    if snapshot.config.ok {
        return None;
    }
    let first = snapshot.config.errors.first().map_or_else(String::new, |error| format!(": {error}"));
    let text = format!("the config could not be reloaded, and the one before is active{first}");
    Some(Line::styled(text.lines().next().unwrap_or_default().to_owned(), colored(state, Color::Red)))
}

/// The unit of budgets of money.
const COST: &str = "cost";

/// The budgets of which the most is spent.
fn budgets(state: &TopState, snapshot: &TopSnapshot) -> Option<Line<'static>> {
    let used = |it: &super::snapshot::TopBudget| if it.limit > 0.0 { it.spent / it.limit } else { 1.0 };
    let mut budgets: Vec<_> = snapshot.budgets.iter().collect();
    budgets.sort_by(|a, b| used(b).total_cmp(&used(a)));
    if budgets.is_empty() {
        return None;
    }
    let mut spans = vec![Span::raw("budget")];
    for budget in budgets.into_iter().take(3) {
        let used = used(budget);
        let style = if used >= 0.9 { colored(state, Color::Yellow) } else { Style::new() };
        let limit = if budget.unit == COST { money(budget.limit) } else { rate(budget.limit) };
        let text = format!("  {} {}: {:.0}% of {limit}", budget.scope, budget.unit, used * 100.0);
        spans.push(Span::styled(text, style));
    }
    Some(Line::from(spans))
}

fn table(state: &TopState, rows: &[TopRow<'_>], frame: &mut Frame<'_>, area: Rect) {
    let columns = fitting(area.width);
    let widths = columns.iter().map(|column| match column.rank {
        0 if column.is_text && column.width > 10 => Constraint::Min(8),
        _ => Constraint::Length(column.width),
    });
    let header = columns.iter().map(|column| cell(column.header.to_owned(), column.is_text));
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::BOLD));
    let lines = rows.iter().map(|row| {
        let cells = columns.iter().map(|column| {
            let text = (column.cell)(*row);
            let style = tone(state, column.header, &text);
            cell(text, column.is_text).style(style)
        });
        Row::new(cells)
    });
    let table = Table::new(lines, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::new().with_selected(state.selected_row(rows));
    frame.render_stateful_widget(table, area, &mut selection);
    if rows.is_empty() && state.snapshot.is_some() && area.height > 2 {
        let [_, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let nothing = if state.only_bad { "everything is well" } else { "no pair is shown" };
        frame.render_widget(Paragraph::new(nothing), below);
    }
}

fn cell(text: String, is_text: bool) -> Cell<'static> {
    let alignment = if is_text { Alignment::Left } else { Alignment::Right };
    Cell::new(Line::from(text).alignment(alignment))
}

fn tone(state: &TopState, header: &str, text: &str) -> Style {
    let color = match (header, text) {
        ("state", "ok") => Color::Green,
        ("state", "slow") | ("run", "held") => Color::Yellow,
        ("state", "failing" | "hung") => Color::Red,
        ("failed", text) if text != "0" && text != "-" => Color::Red,
        ("last run", text) if text.starts_with("failed") => Color::Red,
        ("regression", text) if !text.is_empty() => Color::Yellow,
        ("run", "running") => Color::Cyan,
        _ => return Style::new(),
    };
    colored(state, color)
}

fn footer(state: &TopState, shown: usize) -> Line<'static> {
    if state.is_typing {
        return Line::raw(format!("/{}_", state.text));
    }
    let all = state.snapshot.as_ref().map_or(0, |(snapshot, _)| snapshot.pairs.len());
    let mut parts = vec![format!("{shown} of {all} pairs"), format!("by {}", state.sort.name())];
    if state.only_bad {
        parts.push("not well only".to_owned());
    }
    if !state.text.is_empty() {
        parts.push(format!("with \"{}\"", state.text));
    }
    let style = Style::new().add_modifier(Modifier::DIM);
    Line::styled(
        format!("{}  ? help  Enter details  f filter  s sort  / find  q quit", parts.join(", ")),
        style,
    )
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(HELP.len() + 2).unwrap_or(area.height).min(area.height);
    let width = 66.min(area.width);
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    let popup = Rect::new(area.x + x, area.y + y, width, height);
    frame.render_widget(Clear, popup);
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(*line)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), popup);
}

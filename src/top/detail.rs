//! The selected pair: what its history says, and its last failures.

use super::columns::{TopRow, ago};
use super::snapshot::{TopHistory, TopPair, TopPercentiles, TopSlot};
use super::state::TopState;
use super::view::colored;
use crate::report::seconds;
use crate::vocabulary::{exact_percent, judged_percent};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

/// Draws the pair.
pub(super) fn view(state: &TopState, row: TopRow<'_>, frame: &mut Frame<'_>, area: Rect) {
    let TopPair { profile, target, model, .. } = row.pair;
    let block = Block::new().borders(Borders::TOP).title(format!(" {profile} on {target} ({model}) "));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let charts: Vec<SlotChart> = row.pair.history.as_ref().map_or_else(Vec::new, charts);
    let height = u16::try_from(charts.len()).unwrap_or_default();
    let lines = facts(state, row);
    let facts_height = u16::try_from(lines.len()).unwrap_or_default();
    let [facts_area, charts_area, failures_area] =
        Layout::vertical([Constraint::Length(facts_height), Constraint::Length(height), Constraint::Min(0)])
            .areas(inner);
    frame.render_widget(Paragraph::new(lines), facts_area);
    for (chart, at) in charts.iter().zip(charts_area.rows()) {
        chart.draw(state, frame, at);
    }
    frame.render_widget(Paragraph::new(failures(state, row.pair)), failures_area);
}

/// A quantity of the slots, in one line.
struct SlotChart {
    name: &'static str,
    color: Color,
    values: Vec<Option<u64>>,
    now: String,
}

impl SlotChart {
    fn draw(&self, state: &TopState, frame: &mut Frame<'_>, area: Rect) {
        let [name, chart, now] =
            Layout::horizontal([Constraint::Length(14), Constraint::Min(10), Constraint::Length(18)])
                .areas(area);
        frame.render_widget(Paragraph::new(self.name), name);
        // What does not fit is the oldest.
        let skipped = self.values.len().saturating_sub(chart.width.into());
        let values = self.values.get(skipped..).unwrap_or_default().to_vec();
        frame.render_widget(Sparkline::default().data(values).style(colored(state, self.color)), chart);
        frame.render_widget(Paragraph::new(self.now.clone()), now);
    }
}

fn charts(history: &TopHistory) -> Vec<SlotChart> {
    let microseconds = |it: TopPercentiles| whole(it.p50 * 1e6);
    let first_token = |slot: &TopSlot| slot.time_to_first_token_seconds.map(microseconds);
    let duration = |slot: &TopSlot| slot.request_duration_seconds.map(microseconds);
    let chart = |name, color, now: String, value: &dyn Fn(&TopSlot) -> Option<u64>| SlotChart {
        name,
        color,
        values: history.slots.iter().map(value).collect(),
        now,
    };
    let median = |of: Option<TopPercentiles>| {
        of.map_or_else(|| " -".to_owned(), |it| format!(" {} p50", seconds(it.p50)))
    };
    let minute = &history.minute;
    let mut charts = vec![
        chart("requests", Color::Cyan, format!(" {} in a min", minute.ok + minute.failed), &|slot| {
            Some(slot.ok + slot.failed)
        }),
        chart("failed", Color::Red, format!(" {} in a min", minute.failed), &|slot| Some(slot.failed)),
        chart("duration", Color::Blue, median(minute.request_duration_seconds), &duration),
    ];
    if history.slots.iter().any(|slot| slot.time_to_first_token_seconds.is_some()) {
        charts
            .insert(0, chart("TTFT", Color::Green, median(minute.time_to_first_token_seconds), &first_token));
    }
    charts
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is only drawn")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn facts(state: &TopState, row: TopRow<'_>) -> Vec<Line<'static>> {
    let pair = row.pair;
    let bad = colored(state, Color::Red);
    let warn = colored(state, Color::Yellow);
    let mut lines = Vec::new();
    if let Some(history) = &pair.history {
        lines.push(Line::raw(history.load.clone()));
        let objectives = history.window.objectives.iter().map(|it| {
            let wanted = it.objective_ratio;
            let good = it.good_ratio.map_or_else(|| "-".to_owned(), |ratio| judged_percent(ratio, wanted));
            format!("{} {good} of {}", it.slo, exact_percent(wanted))
        });
        let objectives: Vec<String> = objectives.collect();
        if !objectives.is_empty() {
            let is_missed = history.window.objectives.iter().any(|it| it.met == Some(false));
            let style = if is_missed { bad } else { Style::new() };
            lines.push(Line::styled(format!("objectives in 10 min: {}", objectives.join(", ")), style));
        }
    }
    if let Some(target) = row.target.filter(|it| it.state != "ok" && !it.why.is_empty()) {
        lines.push(Line::styled(format!("{}: {}", target.state, target.why), warn));
    }
    if let Some(held) = &pair.held_back {
        lines.push(Line::styled(held.message.clone(), warn));
    }
    if let Some(reason) = pair.last_run.as_ref().and_then(|run| run.reason.as_ref()) {
        lines.push(Line::styled(format!("last run: {reason}"), warn));
    }
    for regression in &pair.regressions {
        let since = regression.since.map(|at| format!(", {}", ago(row.now.duration_since(at))));
        let change = (regression.ratio - 1.0) * 100.0;
        let text = format!("regression: {} {change:+.1}%{}", regression.quantity, since.unwrap_or_default());
        lines.push(Line::styled(text, warn));
    }
    lines
}

/// The last failures of the pair, newest first.
fn failures(state: &TopState, pair: &TopPair) -> Vec<Line<'static>> {
    let Some((snapshot, _)) = &state.snapshot else { return Vec::new() };
    let of_pair =
        snapshot.failures.iter().filter(|it| it.profile == pair.profile && it.target == pair.target);
    let lines = of_pair.map(|failure| {
        let ago = failure.ended.map_or_else(String::new, |at| ago(state.now.duration_since(at)));
        let detail = failure.detail.lines().next().unwrap_or_default();
        Line::raw(format!("{ago:>11}  {}  {detail}", failure.outcome))
    });
    let mut lines: Vec<Line<'static>> = lines.collect();
    if lines.is_empty() {
        lines.push(Line::raw("none is remembered"));
    }
    lines.insert(0, Line::styled("last failures", Style::new().add_modifier(Modifier::BOLD)));
    lines
}

//! One request to each target, now, with its timing: `tokenbeat check --probe`.

use super::assembly::{self, Callers};
use crate::client::{Answer, Context, How};
use crate::event::{Outcome, TraceIds};
use crate::plan::{PairPlan, Plan};
use crate::workload::{Number, Workload};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Sends one request to each target that a profile uses, as the first such profile would, and tables what came
/// of it. True if every answer was complete.
pub(super) async fn probe(plan: &Plan) -> anyhow::Result<(String, bool)> {
    let callers = assembly::callers(plan)?;
    let mut seen = BTreeSet::new();
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "target",
        "outcome",
        "dns",
        "connect",
        "tls",
        "first byte",
        "first token",
        "end",
        "in",
        "out",
        "detail",
    ]);
    for column in table.column_iter_mut().skip(2).take(8) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut all_well = true;
    for pair in plan.pairs.iter().filter(|pair| seen.insert(Arc::clone(&pair.target.name))) {
        if let Some(answer) = once(pair, &callers).await {
            all_well &= answer.outcome == Outcome::Ok;
            table.add_row(row(&pair.target.name, &answer));
        }
    }
    Ok((table.to_string(), all_well))
}

async fn once(pair: &Arc<PairPlan>, callers: &Callers) -> Option<Answer> {
    let caller = callers.get(&pair.target.name)?;
    let ask = Workload::new(Arc::clone(pair))?.ask(rand::random(), Number { stage: 0, user: None, n: 0 });
    let random: [[u8; 8]; 3] = rand::random();
    let mut ids = [0; 24];
    for (to, from) in ids.iter_mut().zip(random.iter().flatten()) {
        *to = *from;
    }
    let context = Context {
        due: Instant::now(),
        ids: TraceIds::from_random(ids, true),
        cancel: CancellationToken::new(),
        how: How::default(),
    };
    Some(caller.call(caller.prepare(&ask), context).await)
}

fn row(target: &str, answer: &Answer) -> Vec<String> {
    let phases = answer.connection.phases.unwrap_or_default();
    let marks = &answer.marks;
    let tokens = |count: Option<crate::event::Count>| {
        count.map_or_else(|| "-".to_owned(), |count| count.n.to_string())
    };
    vec![
        target.to_owned(),
        answer.outcome.label().to_owned(),
        millis(phases.dns),
        millis(phases.connect),
        millis(phases.tls),
        millis(marks.time_to_first_byte()),
        millis(marks.time_to_first_token()),
        millis(marks.sent.map(|_| marks.duration())),
        tokens(answer.tokens.input),
        tokens(answer.tokens.output),
        answer.detail.clone().unwrap_or_default(),
    ]
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_and_absent_ones_a_dash() {
        assert_eq!(millis(Some(Duration::from_micros(1234))), "1.2 ms");
        assert_eq!(millis(None), "-");
    }
}

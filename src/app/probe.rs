//! `tokenbeat check --probe`: sends one request to each target now, or plays one journey, and shows its timing.

mod reasoning;

use super::assembly;
use crate::client::{Answer, Caller, Context};
use crate::engine::{self, OVERRUN, Probed};
use crate::event::{Count, Outcome, Request, TraceIds};
use crate::exchange::{Ask, Call};
use crate::fact::Fanout;
use crate::plan::{PairPlan, Plan};
use crate::schedule::off_grid;
use crate::words::WordList;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Time limit of a probe: practically none, because the target's timeouts end each of its requests.
const WITHIN: Duration = Duration::from_hours(24);

const HEADER: [&str; 12] = [
    "target",
    "step",
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
];

/// Sends one request to each target in use, with the first profile that uses it (for a scenario, one journey of one
/// user without think time), and tabulates the results, one row per request. With `show`, the table is followed by the
/// beginnings of the answers.
pub(super) async fn probe(plan: &Arc<Plan>, traffic: Handle, show: bool) -> anyhow::Result<Probes> {
    let cpu_pool = assembly::cpu_pool()?;
    let mut callers = assembly::callers(plan, &cpu_pool)?;
    let excerpts = Arc::new(Excerpts::default());
    if show {
        for caller in callers.values_mut() {
            let (inner, excerpts) = (Arc::clone(caller), Arc::clone(&excerpts));
            *caller = Arc::new(Showing { inner, excerpts });
        }
    }
    let nobody = Arc::new(Fanout::new(Vec::new()));
    let engine = assembly::engine(
        Arc::clone(plan),
        nobody,
        assembly::ledger(plan),
        callers,
        cpu_pool,
        traffic,
        OVERRUN,
    )?;
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let (mut answers, mut warnings) = (String::new(), Vec::new());
    let mut all_well = true;
    // The same for all, so that all targets get the same requests.
    let nominal = off_grid((engine::system())());
    for pair in plan.pairs.iter().filter(|pair| seen.insert(Arc::clone(&pair.target.name))) {
        for probed in engine.probe_all(&pair.pair, nominal, WITHIN).await? {
            all_well &= is_well(pair, &probed);
            rows.push(row(&probed));
            if let Probed::Ended(request) = &probed {
                answers.push_str(&excerpts.of(request));
                warnings.extend(reasoning::warning(pair, &plan.agent.currency, request));
            }
        }
    }
    Ok(Probes { table: table(rows) + &answers, warnings, all_well })
}

/// The results of all probes.
pub(super) struct Probes {
    /// A row for each request, and the answers, if they are shown.
    pub(super) table: String,
    /// What may be wrong, though it was answered.
    pub(super) warnings: Vec<String>,
    /// Every answer was complete, and every journey came to its end.
    pub(super) all_well: bool,
}

/// Keeps excerpts of the answers to its calls.
struct Showing {
    inner: Arc<dyn Caller>,
    excerpts: Arc<Excerpts>,
}

/// Excerpts of answers, with the ids of their requests. Their number is limited by the requests of a probe.
#[derive(Default)]
struct Excerpts(Mutex<Vec<(TraceIds, Option<String>)>>);

impl Excerpts {
    fn lock(&self) -> MutexGuard<'_, Vec<(TraceIds, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line about the answer to a request, if it was sent.
    fn of(&self, request: &Request) -> String {
        let kept = self.lock();
        let Some((_, excerpt)) = kept.iter().find(|(ids, _)| *ids == request.ids) else {
            return String::new();
        };
        let (target, step) = (&request.place.pair.target, &request.place.step);
        let name = if step.is_empty() { target.to_string() } else { format!("{target}, {step}") };
        match excerpt.as_deref() {
            None => format!("\n{name}: no answer to show"),
            Some("") => format!("\n{name}: an answer without text"),
            Some(text) => format!("\n{name}: {text}"),
        }
    }
}

impl Caller for Showing {
    fn prepare(&self, ask: &Ask) -> Call {
        self.inner.prepare(ask)
    }

    fn words(&self) -> Arc<WordList> {
        self.inner.words()
    }

    fn call(&self, call: Call, mut context: Context) -> BoxFuture<'_, Answer> {
        let ids = context.ids;
        context.options.excerpt = true;
        async move {
            let answer = self.inner.call(call, context).await;
            self.excerpts.lock().push((ids, answer.excerpt.clone()));
            answer
        }
        .boxed()
    }
}

/// A failed check ends a journey, but a single request was still answered.
fn is_well(pair: &PairPlan, probed: &Probed) -> bool {
    match probed {
        Probed::Ended(request) if !pair.profile.scenario.journeys => request.outcome.is_answered(),
        Probed::Ended(request) => request.outcome == Outcome::Ok,
        Probed::Refused { .. } => false,
    }
}

/// Formats the table. The column of steps is omitted if there are none.
fn table(mut rows: Vec<Vec<String>>) -> String {
    let mut header = HEADER.map(str::to_owned).to_vec();
    if rows.iter().all(|row| row.get(1).is_none_or(String::is_empty)) {
        rows.iter_mut().chain([&mut header]).for_each(|row| drop(row.remove(1)));
    }
    let mut table = Table::new();
    let first = header.iter().position(|name| name == "dns").unwrap_or_default();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(first).take(8) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn row(probed: &Probed) -> Vec<String> {
    match probed {
        Probed::Ended(request) => answered(request),
        Probed::Refused { place, reason } => {
            let mut row = vec![String::new(); HEADER.len()];
            let cells = [(0, &*place.pair.target), (1, &*place.step), (2, "skipped"), (11, reason.label())];
            for (at, text) in cells {
                if let Some(cell) = row.get_mut(at) {
                    text.clone_into(cell);
                }
            }
            row
        }
    }
}

fn answered(request: &Request) -> Vec<String> {
    let phases = request.observed.connection.phases.unwrap_or_default();
    let marks = &request.observed.marks;
    let tokens = |count: Option<Count>| count.map_or_else(|| "-".to_owned(), |count| count.n.to_string());
    vec![
        request.place.pair.target.to_string(),
        request.place.step.to_string(),
        request.outcome.label().to_owned(),
        millis(phases.dns),
        millis(phases.connect),
        millis(phases.tls),
        millis(marks.time_to_first_byte()),
        millis(marks.time_to_first_token()),
        millis(marks.sent.map(|_| marks.duration())),
        tokens(request.observed.tokens.input),
        tokens(request.observed.tokens.output),
        request.detail.clone().unwrap_or_default(),
    ]
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Pair, SeriesKey, SkipReason};

    #[test]
    fn times_are_milliseconds_and_absent_ones_a_dash() {
        assert_eq!(millis(Some(Duration::from_micros(1234))), "1.2 ms");
        assert_eq!(millis(None), "-");
    }

    #[test]
    fn steps_have_a_column_where_there_are_any() {
        let refused = |step: &str| Probed::Refused {
            place: Arc::new(SeriesKey {
                pair: Pair { profile: "p".into(), target: "t".into() },
                model: "m".into(),
                stage: "".into(),
                step: step.into(),
                turn: "".into(),
            }),
            reason: SkipReason::Budget,
        };
        let (bare, steps) = (table(vec![row(&refused(""))]), table(vec![row(&refused("login"))]));
        assert!(!bare.contains("step") && bare.contains("skipped") && bare.contains("budget"), "{bare}");
        assert!(steps.contains("step") && steps.contains(" login "), "{steps}");
    }
}

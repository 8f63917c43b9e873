//! `tokenbeat run`: runs profiles once, now, one after the other, so that they do not affect each other's measurements.

mod backends;
mod verdict;

pub(super) use verdict::reasons;

use super::assembly::{self, Memory};
use super::baseline::{self, BaselineGate};
use super::progress::RunProgress;
use super::replay::Replay;
use super::report_files::ReportFiles;
use super::runtimes::Runtimes;
use super::signals::{ProcessSignals, Signals};
use super::{print, replicas, sources, terminal};
use crate::cli::{Exit, RunOptions};
use crate::comparison::Comparisons;
use crate::engine::{self, Engine, OVERRUN, Once};
use crate::event::{ComparisonSource as _, Pair, RunSummary, split_replica};
use crate::fact::{Fanout, Sink};
use crate::model_changes::{ModelChanges, ModelView};
use crate::plan::{PairPlan, Plan, Profile};
use crate::report::{ResultComparison, Summary, comparison_tables};
use crate::schedule::off_grid;
use crate::state::{StateError, StateKeeper};
use backends::Backends;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use verdict::{RunRequest, RunVerdict};

/// What is said of a model if nothing is kept from run to run.
const NO_REFERENCE: &str = "nothing to compare with: without `agent.state` each run begins a reference";

/// Grace period for open requests after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);

/// Runs profiles once and prints the results.
pub(super) fn run(options: &RunOptions) -> anyhow::Result<Exit> {
    let loaded = match sources::load(&options.config) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let runtimes = Runtimes::start(loaded.plan.agent.traffic_priority)?;
    let (plan, _) = runtimes.first(replicas::found(loaded.plan, |pair| may_be_selected(pair, options)))?;
    let plan = Arc::new(plan);
    let replay = Replay::new(options, &loaded.config, plan.agent.shard, off_grid((engine::system())()));
    let selected = select(&plan, options);
    let selected = selected.and_then(|pairs| {
        let gate = BaselineGate::open(options, &pairs)?;
        let taken = [
            ("--baseline", options.baseline.as_deref()),
            ("--save-baseline", options.save_baseline.as_deref()),
        ];
        Ok((gate, ReportFiles::open(&options.report, None, &taken)?, pairs))
    });
    let (gate, files, pairs) = match selected {
        Ok(selected) => selected,
        Err(problems) => {
            for problem in problems {
                say!("error: {problem}");
            }
            return Ok(Exit::Usage);
        }
    };
    let summary = Summary::new(&plan);
    let progress = RunProgress::new();
    let mut sinks: Vec<Arc<dyn Sink>> =
        vec![Arc::<Summary>::clone(&summary), Arc::<RunProgress>::clone(&progress)];
    let Memory { ledger, keeper, models, .. } = memory(&plan)?;
    sinks.extend(keeper.iter().map(|keeper| -> Arc<dyn Sink> { Arc::<StateKeeper>::clone(keeper) }));
    let remembers = keeper.is_some();
    let models = ModelChanges::new(&plan, &models, Arc::new(Fanout::new(sinks)));
    let comparisons = Comparisons::new(&plan, Arc::<ModelChanges>::clone(&models));
    let backends = Backends::new(&plan, Arc::<Comparisons>::clone(&comparisons));
    let traffic = runtimes.traffic();
    let ended = runtimes.block_on(async {
        let cpu_pool = assembly::cpu_pool()?;
        let callers = assembly::callers(&plan, &cpu_pool)?;
        let sink = backends.sink();
        let engine = assembly::engine(Arc::clone(&plan), sink, ledger, callers, cpu_pool, traffic, OVERRUN)?;
        let stop = ProcessSignals::default();
        let signals = Signals::install()?.watch(stop.clone());
        let played = async {
            let reading = backends.start(&stop.drain).await;
            let ended = play(&engine, &pairs, (options.time, &replay), &progress, &stop).await;
            reading.finish(&stop.now).await;
            ended
        };
        tokio::select! {
            ended = played => ended,
            never = signals => match never {},
        }
    })?;
    if let Some(keeper) = keeper
        && !keeper.stop(GRACE)
    {
        say!("warning: the state file could not be written to its end");
    }
    let mut report = summary.report();
    report.pairs.retain(|pair| !pair.runs.is_empty());
    let place = |profile: &str, target: &str| {
        pairs.iter().position(|it| &*it.pair.profile == profile && &*it.pair.target == target)
    };
    report.pairs.sort_by_key(|pair| place(&pair.profile, &pair.target));
    let mut compared = comparisons.comparisons();
    compared.retain(|comparison| ended.iter().any(|run| run.run.pair.profile == comparison.profile));
    let (said, replayed) = (said_of_models(&models, &ended, remembers), again(&replay, &plan, &ended));
    let asked = RunRequest { pairs: &pairs, time: options.time, shard: plan.agent.shard };
    let verdict = RunVerdict::of(&report, &ended, &compared, &asked);
    let mut result = baseline::result(&summary, &plan);
    result.pairs.sort_by_key(|pair| place(&pair.profile, &pair.target));
    result.comparisons = compared.iter().map(ResultComparison::from).collect();
    result.models = said.lines().map(str::to_owned).collect();
    result.replay =
        replayed.lines().filter_map(|line| line.strip_prefix("replay: ")).map(str::to_owned).collect();
    result.config = Some(loaded.config.to_yaml());
    result.explain(&verdict.reasons);
    let shows_tables = !files.takes_stdout();
    let details = if options.details { report.tables() } else { String::new() };
    let tables = [report.summary(terminal::stdout()), details, comparison_tables(&compared), said, replayed];
    let printed = if shows_tables { print(&tables.concat()) } else { Ok(Exit::Ok) };
    verdict.tell();
    let exit = gate.close(&mut result, verdict.exit, shows_tables);
    // What was paid for is saved even if nothing can be printed.
    files.write(&result)?;
    printed?;
    exit
}

/// Opens the state. A daemon that uses the state file does not prevent a run next to it.
fn memory(plan: &Plan) -> anyhow::Result<Memory> {
    match assembly::memory(plan, |_| {}) {
        Err(error) if matches!(error.downcast_ref(), Some(StateError::InUse(_))) => {
            say!(
                "warning: {error}; this run is not recorded there, and its budgets begin with nothing spent"
            );
            Ok(Memory::none(assembly::ledger(plan)))
        }
        memory => memory,
    }
}

/// The pairs selected on the command line, in its order; an error for every unknown name.
fn select(plan: &Plan, options: &RunOptions) -> Result<Vec<Arc<PairPlan>>, Vec<String>> {
    let profiles: BTreeSet<&str> = plan.profiles.iter().map(|profile| &*profile.name).collect();
    // The name of a target whose replicas are discovered stands for all of them.
    let names = plan.pairs.iter().map(|pair| &*pair.target.name);
    let targets: BTreeSet<&str> = names.flat_map(|name| [name, split_replica(name).0]).collect();
    let unknown = |kind: &str, wanted: &[String], known: &BTreeSet<&str>| -> Vec<String> {
        let list = known.iter().copied().collect::<Vec<_>>().join(", ");
        let missing = wanted.iter().filter(|name| !known.contains(name.as_str()));
        missing.map(|name| format!("there is no {kind} `{name}`; there are: {list}")).collect()
    };
    let mut problems = unknown("profile", &options.profiles, &profiles);
    problems.extend(unknown("target with a profile", &options.target, &targets));
    let is = |wanted: &str, name: &str| wanted == name || wanted == split_replica(name).0;
    let wanted =
        |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| is(wanted, name));
    let mut pairs: Vec<_> = plan
        .pairs
        .iter()
        .filter(|pair| {
            wanted(&options.profiles, &pair.pair.profile) && wanted(&options.target, &pair.pair.target)
        })
        .map(Arc::clone)
        .collect();
    for pair in &pairs {
        let Some(compared) = &pair.compared else { continue };
        if !wanted(&options.target, &compared.other.name) {
            problems.push(format!(
                "the profile `{}` compares its targets; name both of them or none",
                pair.pair.profile
            ));
        }
    }
    // In the order of the command line, with the targets of a profile side by side.
    let place = |names: &[String], name: &str| names.iter().position(|it| is(it, name));
    pairs.sort_by_key(|pair| {
        let profile = place(&options.profiles, &pair.pair.profile);
        (profile, Arc::clone(&pair.pair.profile), place(&options.target, &pair.pair.target))
    });
    if problems.is_empty() && pairs.is_empty() {
        problems.push("nothing to run: no profile is played against these targets".to_owned());
    }
    if problems.is_empty() { Ok(pairs) } else { Err(problems) }
}

/// Whether a pair, or one of its replicas once they are known, can be among those that are selected.
fn may_be_selected(pair: &PairPlan, options: &RunOptions) -> bool {
    let wanted = |names: &[String], name: &str| {
        names.is_empty() || names.iter().any(|wanted| split_replica(wanted).0 == name)
    };
    wanted(&options.profiles, &pair.pair.profile) && wanted(&options.target, &pair.pair.target)
}

/// Plays the pairs one after the other, until it is stopped.
async fn play(
    engine: &Engine,
    pairs: &[Arc<PairPlan>],
    (time, replay): (Option<Duration>, &Replay<'_>),
    progress: &Arc<RunProgress>,
    stop: &ProcessSignals,
) -> anyhow::Result<Vec<RunSummary>> {
    let mut ended = Vec::new();
    // Both sides of a comparison are played together.
    let is_played = |pair: &&Arc<PairPlan>| pair.compared.as_ref().is_none_or(|it| !it.is_treatment);
    for pair in pairs.iter().filter(is_played) {
        if stop.drain.is_cancelled() {
            break;
        }
        let shown = progress.show(pair, time);
        let draws = replay.draws(&pair.profile);
        let running = engine.run_together(&pair.pair, Once { draws, time });
        tokio::pin!(running);
        let summaries = tokio::select! {
            summaries = &mut running => summaries?,
            () = stop.drain.cancelled() => {
                engine.shutdown(GRACE, &stop.now).await;
                running.await?
            }
        };
        shown.finish(&summaries);
        ended.extend(summaries);
    }
    Ok(ended)
}

/// What the runs say about models, one line for each fingerprint. Without a state file there is nothing to compare with.
fn said_of_models(models: &ModelChanges, ended: &[RunSummary], remembers: bool) -> String {
    let views = models.view();
    let played = |(pair, _): &(&Pair, &ModelView)| ended.iter().any(|run| run.run.pair == **pair);
    let line = |(pair, view): (&Pair, &ModelView)| {
        let said = if remembers { view.sentence() } else { NO_REFERENCE.to_owned() };
        format!("model of {} by {}: {said}\n", pair.target, pair.profile)
    };
    views.iter().filter(played).map(line).collect()
}

/// The commands that repeat the runs, one line per profile.
fn again(replay: &Replay<'_>, plan: &Plan, ended: &[RunSummary]) -> String {
    let mut played: Vec<&Arc<str>> = ended.iter().map(|run| &run.run.pair.profile).collect();
    played.dedup();
    let profile = |name: &Arc<str>| plan.profiles.iter().find(|profile| profile.name == *name);
    let line = |profile: &Arc<Profile>| format!("replay: {}\n", replay.command(profile));
    played.into_iter().filter_map(profile).map(line).collect()
}

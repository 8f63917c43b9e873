//! Results of `tokenbeat run` that are saved, and compared with saved ones.

use super::{output_file, print, terminal};
use crate::build;
use crate::cli::{Exit, RunOptions};
use crate::detect::change::ChangeVerdict;
use crate::event::Pair;
use crate::files::Files;
use crate::plan::{PairPlan, Plan};
use crate::report::{
    BaselineChanges, LeftOut, ResultDiff, ResultEnvironment, ResultPair, SavedResult, Summary,
};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum size of a saved result, in bytes: hundreds of stages with every histogram full.
const LARGEST: u64 = 64 << 20;

/// What happens with the result of a run.
#[derive(Debug)]
pub(super) struct BaselineGate {
    compared: Option<(PathBuf, SavedResult)>,
    save: Option<PathBuf>,
}

impl BaselineGate {
    /// Reads the baseline. Everything that would make the comparison, or saving the result, impossible is an error, before
    /// anything is sent: a gate that compares nothing must not pass.
    pub(super) fn open(options: &RunOptions, pairs: &[Arc<PairPlan>]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        if let Some(path) = &options.save_baseline
            && let Err(why) = output_file::check(path)
        {
            problems.push(format!("--save-baseline: {why}"));
        }
        let mut compared = None;
        if let Some(path) = &options.baseline {
            match read(path) {
                Ok(saved) => {
                    let refusals = pairs.iter().filter_map(|pair| refusal(path, &saved, pair));
                    problems.extend(refusals);
                    compared = Some((path.clone(), saved));
                }
                Err(why) => problems.push(format!("--baseline: {why}")),
            }
        }
        if problems.is_empty() {
            Ok(Self { compared, save: options.save_baseline.clone() })
        } else {
            Err(problems)
        }
    }

    /// Compares and saves the result, and returns the exit code: `exit`, or that of a missed objective if anything is
    /// worse. What was stopped early is neither compared nor saved.
    pub(super) fn close(&self, result: &mut SavedResult, exit: Exit, show: bool) -> anyhow::Result<Exit> {
        if self.compared.is_none() && self.save.is_none() {
            return Ok(exit);
        }
        if exit == Exit::Failed {
            say!("warning: the result of a run that was stopped is neither compared nor saved");
            return Ok(exit);
        }
        let mut worse = false;
        if let Some((path, before)) = &self.compared {
            warn_of_differences(before, result);
            worse = compare(result, path, before, show)?;
        }
        if let Some(path) = &self.save {
            if result.says_something() {
                self.save(path, result, worse)?;
            } else {
                let shown = path.display();
                say!("warning: {shown} is not written, because no request says anything about a target");
            }
        }
        Ok(if worse { Exit::Missed } else { exit })
    }

    fn save(&self, path: &Path, result: &SavedResult, worse: bool) -> anyhow::Result<()> {
        let shown = path.display();
        // A baseline that is renewed by every run must not take in what it was there to find.
        if worse && self.compared.as_ref().is_some_and(|(compared, _)| output_file::is_same(compared, path)) {
            say!("warning: {shown} keeps the baseline, because the result is worse");
            return Ok(());
        }
        let text = result.as_baseline().to_json()?;
        output_file::replace(path, &text).with_context(|| format!("cannot write {shown}"))?;
        say!("saved the result as {shown}");
        Ok(())
    }
}

/// Adds to a result what changed since the baseline, and returns whether anything is worse.
pub(super) fn compare(
    result: &mut SavedResult,
    path: &Path,
    before: &SavedResult,
    show: bool,
) -> anyhow::Result<bool> {
    let diff = ResultDiff::of(before, result);
    // The baseline may have more than was run now.
    let played = |it: &&LeftOut| result.pairs.iter().any(|pair| it.what.starts_with(&pair.name()));
    warn_of_left_out(diff.left_out.iter().filter(played));
    let tables = || print(&format!("Compared with {}:\n\n{}", path.display(), diff.tables()));
    let printed = if show { tables() } else { Ok(Exit::Ok) };
    // A share of failures has an interval as soon as each side has one request that says something.
    if diff.changes.iter().all(|it| it.change.is_none()) {
        bail!("{} has nothing that could be compared with this result", path.display());
    }
    let worse = diff.is_worse();
    for it in diff.changes.iter().filter(|it| it.verdict == ChangeVerdict::Worse) {
        terminal::tell(&format!("failed: {} on {}: {}", it.profile, it.target, it.reason()));
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    result.baseline = Some(BaselineChanges { file, environment: before.environment.clone(), diff });
    printed?;
    Ok(worse)
}

/// What a summary has, with what measured it.
pub(super) fn result(summary: &Summary, plan: &Plan) -> SavedResult {
    SavedResult::of(summary, environment(plan))
}

/// Reads a saved result.
pub(super) fn read(path: &Path) -> Result<SavedResult, String> {
    let shown = path.display();
    let text = Files::default().read_text_at_most(path, LARGEST);
    let text = text.map_err(|error| format!("cannot read {shown}: {error}"))?;
    SavedResult::from_json(&text).map_err(|error| format!("{shown} {error}"))
}

/// Why a pair cannot be compared with a saved result.
fn refusal(path: &Path, saved: &SavedResult, pair: &PairPlan) -> Option<String> {
    let profile = &pair.pair.profile;
    if pair.profile.search.is_some() {
        return Some(format!(
            "{profile} is a capacity search, whose many loads are not compared; name the profiles to run without it"
        ));
    }
    let again = "save a new result with --save-baseline";
    incomparable(path, saved, &pair.pair, &pair.revision, again)
}

/// Why pairs of a sum cannot be compared with a saved result: a gate that leaves one of them out must not pass.
pub(super) fn refusals(path: &Path, saved: &SavedResult, sum: &SavedResult) -> Vec<String> {
    let again = "save a new sum with --out";
    let refusal = |it: &ResultPair| {
        let pair = Pair { profile: Arc::clone(&it.profile), target: Arc::clone(&it.target) };
        incomparable(path, saved, &pair, &it.revision, again)
    };
    sum.pairs.iter().filter_map(refusal).collect()
}

/// Why a pair with this revision cannot be compared with a saved result, and what to do `again`.
fn incomparable(
    path: &Path,
    saved: &SavedResult,
    Pair { profile, target }: &Pair,
    revision: &str,
    again: &str,
) -> Option<String> {
    let path = path.display();
    let Some(before) = saved.pair(profile, target) else {
        let known: Vec<String> =
            saved.pairs.iter().map(|it| format!("{} on {}", it.profile, it.target)).collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        return Some(format!("{path} has no result of {profile} on {target}, only {known}; {again}"));
    };
    (&*before.revision != revision).then(|| {
        format!(
            "{path} has a result of {profile} on {target} with another workload, load or model (revision {}, now {}), so \
             that a difference would say nothing; {again}",
            before.revision, revision
        )
    })
}

fn environment(plan: &Plan) -> ResultEnvironment {
    ResultEnvironment {
        tokenbeat: build::VERSION.to_owned(),
        saved: Timestamp::now().to_string(),
        agent: plan.agent.id.to_string(),
        location: plan.agent.location.to_string(),
        shard: plan.agent.shard.name(),
        processors: std::thread::available_parallelism().ok().map(usize::from),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        currency: plan.agent.currency.to_string(),
    }
}

/// Warns of what was not compared.
pub(super) fn warn_of_left_out<'a>(left_out: impl Iterator<Item = &'a LeftOut>) {
    for it in left_out {
        say!("warning: {} is not compared: {}", it.what, it.why);
    }
}

/// Warns of what may be the cause of a difference other than the target.
pub(super) fn warn_of_differences(before: &SavedResult, after: &SavedResult) {
    let (old, new) = (&before.environment, &after.environment);
    for (what, old, new) in [
        ("tokenbeat", &old.tokenbeat, &new.tokenbeat),
        ("the location", &old.location, &new.location),
        ("the shard", &old.shard, &new.shard),
        ("the platform", &old.platform, &new.platform),
    ] {
        if old != new {
            say!("warning: {what} was `{old}` for the first result and is `{new}` for the second");
        }
    }
    warn_of_late(before, "first");
}

/// Warns of runs in which the prober was late.
pub(super) fn warn_of_late(result: &SavedResult, which: &str) {
    for run in result.pairs.iter().flat_map(|pair| &pair.runs) {
        if let Some(why) = &run.degraded {
            say!("warning: {}: the prober was late, take the {which} result with care: {why}", run.id);
        }
    }
}

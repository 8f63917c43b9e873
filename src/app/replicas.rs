//! Finds out the replicas of targets once, for commands that end by themselves.

use crate::discover::Discoverer;
use crate::plan::{PairPlan, Plan};
use anyhow::bail;
use std::collections::BTreeSet;

/// The plan with the replicas that are found now; those of targets that are not played are not asked for. Fails if a
/// source fails; warns, on stderr and with the plan, of targets without replicas, and of replicas that are left out.
pub(super) async fn found(
    plan: Plan,
    is_played: impl Fn(&PairPlan) -> bool,
) -> anyhow::Result<(Plan, Vec<String>)> {
    let mut warnings = Vec::new();
    if plan.targets.iter().all(|target| target.discovery.is_none()) {
        return Ok((plan, warnings));
    }
    let pairs = plan.pairs.iter().filter(|pair| is_played(pair));
    let played: BTreeSet<&str> = pairs.map(|pair| &*pair.target.name).collect();
    let mut asked = plan.clone();
    asked.targets.retain(|target| played.contains(&*target.name));
    let mut discoverer = Discoverer::default();
    for (look, error) in discoverer.first(&asked, None).await {
        let target = look.target;
        if let Some(error) = error {
            bail!("cannot find out the replicas of the target {target}: {error}");
        }
        if look.replicas == 0 {
            warnings.push(format!("the target {target} has no replicas now"));
        }
        if look.left_out > 0 {
            let left_out = look.left_out;
            warnings
                .push(format!("{left_out} replicas of the target {target} are left out: see `discover.max`"));
        }
    }
    for warning in &warnings {
        say!("warning: {warning}");
    }
    Ok((plan.with_replicas(&discoverer.known(&plan)), warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    #[tokio::test]
    async fn a_target_without_replicas_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("replicas.json");
        let yaml = format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://llm', discover: {{ file_sd: ['{}'] }} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}",
            file.display()
        );
        for (list, warnings) in [("[]", 1), ("[{\"targets\": [\"127.0.0.1:1\"]}]", 0)] {
            std::fs::write(&file, list).unwrap();
            let (_, said) = found(from_yaml(&yaml).unwrap(), |_| true).await.unwrap();
            assert_eq!(said.len(), warnings, "{list}: {said:?}");
        }
    }
}

//! Finds out the replicas of targets once, for commands that end by themselves.

use crate::discover::Discoverer;
use crate::plan::{PairPlan, Plan};
use anstream::eprintln;
use anyhow::bail;
use std::collections::BTreeSet;

/// The plan with the replicas that are found now; those of targets that are not played are not asked for. Fails if a
/// source fails; warns of targets without replicas, and of replicas that are left out.
pub(super) async fn found(plan: Plan, is_played: impl Fn(&PairPlan) -> bool) -> anyhow::Result<Plan> {
    if plan.targets.iter().all(|target| target.discovery.is_none()) {
        return Ok(plan);
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
            eprintln!("warning: the target {target} has no replicas now");
        }
        if look.left_out > 0 {
            eprintln!(
                "warning: {} replicas of the target {target} are left out: see `discover.max`",
                look.left_out
            );
        }
    }
    Ok(plan.with_replicas(&discoverer.known(&plan)))
}

//! Finds out the replicas of targets once, for commands that end by themselves.

use crate::discover::Discoverer;
use crate::plan::Plan;
use anstream::eprintln;
use anyhow::bail;

/// The plan with the replicas that are found now. Fails if a source fails; warns of targets without replicas, and of
/// replicas that are left out.
pub(super) async fn found(plan: Plan) -> anyhow::Result<Plan> {
    if plan.targets.iter().all(|target| target.discovery.is_none()) {
        return Ok(plan);
    }
    let mut discoverer = Discoverer::default();
    for (look, error) in discoverer.first(&plan).await {
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

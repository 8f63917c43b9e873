//! When a failed request is sent again.

use super::Findings;
use crate::config::{self, KeyPath};
use crate::event::{Failure, Outcome};
use crate::plan::{Retry, Think};

/// Compiles the retry policy. Errors are added to the findings.
pub(super) fn compile(written: &config::Retry, path: &KeyPath, findings: &mut Findings) -> Retry {
    let at = path.key("on");
    let mut on = Vec::with_capacity(written.on.len());
    for name in &written.on {
        match Outcome::by_label(name) {
            Some(Outcome::Failed(failure)) if may_pass(failure) => on.push(failure),
            Some(_) => findings.error(&at, format!("`{name}` would be the same at the next attempt")),
            None => {
                let known: Vec<_> = Failure::ALL.iter().copied().filter(|it| may_pass(*it)).collect();
                let known = known.iter().map(|it| it.label()).collect::<Vec<_>>().join(", ");
                findings.error(&at, format!("has `{name}`, which is not one of {known}"));
            }
        }
    }
    if written.on.is_empty() {
        findings.error(&at, "must name at least one outcome");
    }
    if written.backoff.min.is_zero() {
        findings
            .error(&path.key("backoff"), "must not begin with 0s: a target that is overloaded needs a pause");
    }
    let backoff = Think { min: written.backoff.min, max: written.backoff.max };
    Retry { attempts: written.attempts, on, backoff }
}

/// Whether another attempt may have a different outcome: the failure lies with the target or the network, and is not an
/// answer.
fn may_pass(failure: Failure) -> bool {
    Outcome::Failed(failure).judges_target()
        && !Outcome::Failed(failure).is_answered()
        && !matches!(failure, Failure::Auth | Failure::Redirect | Failure::Http4xx | Failure::Extract)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again() {
        let may: Vec<_> = Failure::ALL.iter().filter(|it| may_pass(**it)).map(|it| it.label()).collect();
        let expected = "dns connect tls proxy connect_timeout first_token_timeout stall_timeout total_timeout \
                        rate_limited overloaded http_5xx reset truncated stream_error protocol empty";
        assert_eq!(may.join(" "), expected);
    }
}

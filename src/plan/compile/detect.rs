//! How changes between runs are found.

use super::Findings;
use crate::config::{self, Detect, DetectSettings, KeyPath};
use crate::plan::Detection;
use std::time::Duration;

/// The longest history that can be asked for.
const MAX_HISTORY: Duration = Duration::from_hours(30 * 24);

/// Compiles how changes are found; `None` if they are not. Without the key, they are found where runs are due by
/// themselves and alike.
pub(super) fn compile(
    profile: &config::Profile,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Detection> {
    let unlike = if profile.search.is_some() {
        Some("the runs of a search are not alike, so that there is nothing to compare")
    } else if profile.schedule.manual.is_some() {
        Some("how often a manual profile runs is not known, so that no rate of false alarms can be kept")
    } else {
        None
    };
    let settings = match (&profile.detect, unlike) {
        (Some(Detect::Word(_)), _) | (None, Some(_)) => return None,
        (Some(Detect::Settings(_)), Some(why)) => {
            findings.error(path, why);
            return None;
        }
        (Some(Detect::Settings(settings)), None) => *settings,
        (None, None) => DetectSettings::default(),
    };
    let history = settings.history.0;
    if history.is_zero() || history > MAX_HISTORY {
        findings.error(&path.key("history"), "must be more than 0s and at most 30d");
    }
    let rate = settings.false_alarms;
    Some(Detection {
        per_false_alarm: rate.period.div_f64(f64::from(rate.number)),
        min_change: settings.min_change.0,
        history,
    })
}

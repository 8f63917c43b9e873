//! Which of the remembered requests are wanted.

use super::view::RequestView;
use crate::event::{Failure, Outcome};

/// A selection of requests; an absent part admits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// The profile.
    pub profile: Option<String>,
    /// The target.
    pub target: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The run.
    pub run: Option<String>,
    /// Only failures. Those that were stopped with the agent or with their run do not count.
    pub failed: bool,
}

impl RequestFilter {
    pub(super) fn admits(&self, view: &RequestView) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let unfailed = [Outcome::Ok, Outcome::Failed(Failure::Cancelled)].map(Outcome::label);
        is(&self.profile, &view.profile)
            && is(&self.target, &view.target)
            && is(&self.run, &view.run)
            && self.outcome.is_none_or(|wanted| wanted.label() == view.outcome)
            && !(self.failed && unfailed.contains(&view.outcome))
    }
}

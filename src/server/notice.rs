//! What whoever runs this process wants to say on the status page: an introduction, things to try, and what is
//! being done to the targets on purpose, so that a reader can connect cause and effect. The demo uses it.

use crate::state::Time;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// Events that are kept.
const EVENTS: usize = 32;

/// What is said; empty at first, shared by those who say it and the page.
#[derive(Clone, Debug, Default)]
pub struct Notice(Arc<RwLock<Said>>);

/// What has been said.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Said {
    /// What this is.
    pub(super) introduction: Option<Introduction>,
    /// The newest first.
    pub(super) events: VecDeque<Event>,
}

/// What this process is, for a reader who knows nothing of it.
#[derive(Clone, Debug, Serialize)]
pub struct Introduction {
    /// A paragraph.
    pub text: String,
    /// What is said while nothing happens on purpose.
    pub calm: String,
    /// What a reader may try next.
    pub suggestions: Vec<Suggestion>,
}

/// Something to try.
#[derive(Clone, Debug, Serialize)]
pub struct Suggestion {
    /// What one sees by it.
    pub purpose: String,
    /// A line for a shell.
    pub command: Option<String>,
    /// An address to open.
    pub link: Option<String>,
}

/// Something that is done on purpose for a while.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// What is done.
    pub what: String,
    /// Where its effect is to be seen.
    pub effect: String,
    /// When it begins.
    pub from: Time,
    /// When it is over.
    pub until: Time,
}

impl Notice {
    /// Says what this is and what to try.
    pub fn introduce(&self, introduction: Introduction) {
        self.change(|said| said.introduction = Some(introduction));
    }

    /// Something begins now and lasts for this long. The last 32 are kept.
    pub fn happens(&self, what: &str, effect: &str, lasts: Duration) {
        let from = SystemTime::now();
        let until = from.checked_add(lasts).unwrap_or(from);
        let event =
            Event { what: what.to_owned(), effect: effect.to_owned(), from: Time(from), until: Time(until) };
        self.change(|said| {
            said.events.truncate(EVENTS - 1);
            said.events.push_front(event);
        });
    }

    /// All that has been said.
    pub(super) fn said(&self) -> Said {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Serialize for Notice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.said().serialize(serializer)
    }
}

impl Event {
    /// It is going on at `now`.
    pub(super) fn lasts_at(&self, now: SystemTime) -> bool {
        self.from.0 <= now && now < self.until.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_bounded_and_the_newest_first() {
        let notice = Notice::default();
        let other = notice.clone();
        for n in 0..100 {
            notice.happens(&n.to_string(), "", Duration::from_secs(8));
        }
        let said = other.said();
        assert_eq!((said.events.len(), &*said.events[0].what), (32, "99"));
        let event = &said.events[0];
        assert!(event.lasts_at(event.from.0) && !event.lasts_at(event.until.0));
        assert_eq!(event.from.0 + Duration::from_secs(8), event.until.0);
    }

    #[test]
    fn it_is_json() {
        let notice = Notice::default();
        let (text, calm) = ("This is a demo.".to_owned(), "All is quiet.".to_owned());
        notice.introduce(Introduction { text, calm, suggestions: Vec::new() });
        let json = serde_json::to_value(&notice).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "introduction": { "text": "This is a demo.", "calm": "All is quiet.", "suggestions": [] },
                "events": [],
            })
        );
    }
}

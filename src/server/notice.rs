//! A notice on the status page from whoever runs this process: an introduction, things to try, and what is being done
//! to the targets on purpose, so that a reader can connect cause and effect. The demo uses it.

use crate::state::Time;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// Maximum number of events that are kept.
const EVENTS: usize = 32;

/// The current notice; initially empty, shared by those who set it and the page.
#[derive(Clone, Debug, Default)]
pub struct Notice(Arc<RwLock<NoticeContent>>);

/// The content of the notice.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct NoticeContent {
    /// The introduction, if one was set.
    pub(super) introduction: Option<Introduction>,
    /// The events, newest first.
    pub(super) events: VecDeque<NoticeEvent>,
}

/// An introduction for a reader who knows nothing about this process.
#[derive(Clone, Debug, Serialize)]
pub struct Introduction {
    /// A paragraph.
    pub text: String,
    /// Shown while no event is going on.
    pub calm: String,
    /// Things that a reader may try next.
    pub suggestions: Vec<Suggestion>,
}

/// Something to try.
#[derive(Clone, Debug, Serialize)]
pub struct Suggestion {
    /// What it shows.
    pub purpose: String,
    /// A shell command.
    pub command: Option<String>,
    /// A URL to open.
    pub link: Option<String>,
}

/// Something that is done on purpose for a limited time.
#[derive(Clone, Debug, Serialize)]
pub struct NoticeEvent {
    /// What is done.
    pub what: String,
    /// Where its effect is visible.
    pub effect: String,
    /// Start of the event.
    pub from: Time,
    /// End of the event.
    pub until: Time,
}

impl Notice {
    /// Sets the introduction.
    pub fn introduce(&self, introduction: Introduction) {
        self.change(|said| said.introduction = Some(introduction));
    }

    /// Adds an event that starts now and lasts for this long. The last 32 are kept.
    pub fn happens(&self, what: &str, effect: &str, lasts: Duration) {
        let from = SystemTime::now();
        let until = from.checked_add(lasts).unwrap_or(from);
        let event = NoticeEvent {
            what: what.to_owned(),
            effect: effect.to_owned(),
            from: Time(from),
            until: Time(until),
        };
        self.change(|said| {
            said.events.truncate(EVENTS - 1);
            said.events.push_front(event);
        });
    }

    /// A copy of the notice.
    pub(super) fn said(&self) -> NoticeContent {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut NoticeContent)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Serialize for Notice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.said().serialize(serializer)
    }
}

impl NoticeEvent {
    /// Whether the event is going on at `now`.
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

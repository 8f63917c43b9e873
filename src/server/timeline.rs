//! `GET /api/v1/timeline`: what happened when, over restarts where there is a state file.

use super::time_range::TimeRange;
use super::{Views, read_only};
use crate::state::{MAX_EVENTS, TimelineEvent, TimelineKind, WantedEvents};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use std::time::SystemTime;

/// Hours to go back if the query does not say.
const HOURS: f64 = 24.0;

/// Query parameters of `/api/v1/timeline`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    /// What ended before this instant is left out: RFC 3339, or seconds since the epoch.
    from: Option<String>,
    /// What began after this instant is left out; now if absent.
    to: Option<String>,
    /// Number of hours to go back, in place of `from`; 24 if absent.
    hours: Option<f64>,
    /// Of this profile, or of no profile in particular.
    profile: Option<String>,
    /// Of this target, or of no target in particular.
    target: Option<String>,
    /// Of these kinds, separated by commas.
    kind: Option<String>,
}

impl TimelineQuery {
    fn read(self, now: SystemTime) -> Result<WantedEvents, String> {
        let ends = (self.from.as_deref(), self.to.as_deref());
        let TimeRange { from, to } = TimeRange::read(ends, self.hours, (now, HOURS))?;
        let kind = |name: &str| {
            TimelineKind::of_name(name).ok_or_else(|| {
                let all: Vec<_> = TimelineKind::ALL.iter().map(|kind| kind.name()).collect();
                format!("kind: there is no `{name}`; there are {}", all.join(", "))
            })
        };
        let kinds = self.kind.map(|kinds| kinds.split(',').map(kind).collect()).transpose()?;
        Ok(WantedEvents { from, to, profile: self.profile, target: self.target, kinds })
    }
}

/// `GET /api/v1/timeline`: runs and other events, oldest first.
pub(super) async fn timeline(
    State(views): State<Views>,
    headers: HeaderMap,
    Query(query): Query<TimelineQuery>,
) -> Response {
    let wanted = match query.read(SystemTime::now()) {
        Ok(wanted) => wanted,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let notice = views.about.notice.said();
    let faults = notice
        .events
        .into_iter()
        .map(|event| TimelineEvent::of_fault(event.from, event.until, &event.what, &event.effect));
    let faults: Vec<_> = faults.filter(|fault| wanted.has(fault)).collect();
    let mut events = views.timeline.events(wanted).await;
    let is_run = |event: &&TimelineEvent| event.kind == TimelineKind::Run;
    let runs = events.iter().filter(is_run).count();
    let truncated = runs >= MAX_EVENTS || events.len() - runs >= MAX_EVENTS;
    events.extend(faults);
    events.sort_by_key(|event| event.start);
    let read_only = views.read_only();
    let show =
        move || read_only::answer(serde_json::json!({ "events": events, "truncated": truncated }), read_only);
    views.pages.make(&headers, show).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{TargetState, TargetStateChange};
    use crate::fact::{Fact, Sink as _};
    use crate::server::tests::views::{body, views};
    use axum::http::Uri;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn read(query: &str) -> Result<(u64, u64), String> {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let Query(query) = Query::<TimelineQuery>::try_from_uri(&uri).map_err(|error| error.to_string())?;
        let wanted = query.read(at(1_000_000))?;
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_secs();
        Ok((seconds(wanted.from), seconds(wanted.to)))
    }

    #[test]
    fn a_range_is_hours_or_instants() {
        assert_eq!(read(""), Ok((1_000_000 - 86_400, 1_000_000)));
        assert_eq!(read("hours=0.5"), Ok((1_000_000 - 1_800, 1_000_000)));
        assert_eq!(read("hours=1e9"), Ok((0, 1_000_000)), "as far as time goes");
        assert_eq!(read("from=100&to=200.5"), Ok((100, 200)));
        assert_eq!(read("from=1970-01-01T00:01:40Z"), Ok((100, 1_000_000)));
        assert_eq!(read("to=7200&hours=1"), Ok((3_600, 7_200)));
        assert_eq!(read("kind=run,reload"), read(""));
        for (query, why) in [
            ("from=1&hours=1", "exclude each other"),
            ("from=yesterday", "from: `yesterday` is neither"),
            ("to=-5", "to: `-5` is neither"),
            ("hours=-1", "hours: "),
            ("hours=NaN", "hours: "),
            ("kind=run,x", "there is no `x`; there are target_state, regression"),
            ("since=1", "since"),
        ] {
            let error = read(query).unwrap_err();
            assert!(error.contains(why), "{query}: {error}");
        }
    }

    #[tokio::test]
    async fn incidents_and_faults_are_told_and_details_are_not_for_everybody() {
        let (views, parts) = views();
        let (from, to, why) = (TargetState::Ok, TargetState::Hung, "10.1.2.3 timed out".to_owned());
        let change = TargetStateChange { target: "llama".into(), from, to, at: at(10), why };
        views.timeline.record(&Fact::TargetStateChanged(Arc::new(change)));
        views.about.notice.happens("it is slowed down", "TTFT rises", Duration::from_secs(9));
        let events = async |query: &str| -> Vec<Value> {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            let query = Query::try_from_uri(&uri).unwrap();
            let answer = timeline(State(views.clone()), HeaderMap::new(), query).await;
            // It is compressed for callers that accept it.
            assert_eq!(answer.headers()[http::header::VARY], "accept-encoding");
            let mut answer: Value = serde_json::from_str(&body(answer).await.1).unwrap();
            assert_eq!(answer["truncated"], false);
            serde_json::from_value(answer["events"].take()).unwrap()
        };
        let all = events("from=0").await;
        let kinds: Vec<_> = all.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["target_state", "restart", "fault"], "oldest first");
        let hung = json!({
            "kind": "target_state", "start": "1970-01-01T00:00:10.000Z", "end": null, "profile": null,
            "target": "llama", "quantity": null, "state": "hung", "title": "target llama is hung",
            "detail": "10.1.2.3 timed out",
        });
        assert_eq!(all[0], hung);
        assert_eq!((&all[2]["title"], &all[2]["state"]), (&json!("it is slowed down"), &json!("on_purpose")));
        assert_eq!(events("from=0&kind=fault").await.len(), 1);
        assert_eq!(events("from=0&target=other&kind=target_state").await, [Value::Null; 0]);
        assert_eq!(events("from=20&to=30").await.len(), 1, "it goes on");
        let bad = TimelineQuery { hours: Some(-1.0), ..TimelineQuery::default() };
        let (status, why) = body(timeline(State(views.clone()), HeaderMap::new(), Query(bad)).await).await;
        assert_eq!((status, why.starts_with("hours: ")), (StatusCode::BAD_REQUEST, true), "{why}");
        parts.current.send_modify(|current| {
            let mut plan = crate::testing::small_plan();
            plan.server.read_only = true;
            current.plan = Arc::new(plan);
        });
        assert_eq!(events("from=0").await[0]["detail"], Value::Null);
    }
}

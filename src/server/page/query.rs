//! Which view a link to the page asks for. Everything is in the query, so that a view and its filters can be linked, and
//! the links are relative. It must not know what a view shows.

use super::requests::ListFilter;
use crate::event::Pair;
use serde::Deserialize;

/// Rows of the overview if the link does not say.
const ROWS: usize = 100;
/// Rows of the overview at most.
const MAX_ROWS: usize = 1000;

/// The query of a link. What no view knows is passed over, and what is empty is absent, because a form sends all of its
/// fields.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::server) struct PageQuery {
    profile: Option<String>,
    target: Option<String>,
    state: Option<String>,
    bad: Option<String>,
    q: Option<String>,
    rows: Option<String>,
    request: Option<String>,
    requests: Option<String>,
    outcome: Option<String>,
    run: Option<String>,
    failed: Option<String>,
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WantedView {
    /// Every pair that passes the filter.
    Overview(PairFilter),
    /// One pair.
    Pair(Pair),
    /// The remembered requests that pass the filter.
    Requests(ListFilter),
    /// One remembered request, by its id.
    Request(String),
}

/// Which pairs the overview shows. All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct PairFilter {
    pub(super) profile: Option<String>,
    pub(super) target: Option<String>,
    /// The state of the target.
    pub(super) state: Option<String>,
    /// Only what is bad.
    pub(super) bad: bool,
    /// Part of the name of the profile, of the target or of the model, in any case.
    pub(super) text: Option<String>,
    /// Number of rows.
    pub(super) rows: usize,
}

impl PageQuery {
    /// The view that this asks for.
    pub(super) fn view(self) -> WantedView {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        if let Some(id) = given(self.request) {
            return WantedView::Request(id);
        }
        let (profile, target) = (given(self.profile), given(self.target));
        if self.requests.is_some() {
            let (outcome, run) = (given(self.outcome), given(self.run));
            return WantedView::Requests(ListFilter {
                profile: profile.unwrap_or_default(),
                target: target.unwrap_or_default(),
                outcome: outcome.unwrap_or_default(),
                run: run.unwrap_or_default(),
                failed: given(self.failed).is_some_and(|failed| failed != "false"),
            });
        }
        if let (Some(profile), Some(target)) = (&profile, &target) {
            return WantedView::Pair(Pair {
                profile: profile.as_str().into(),
                target: target.as_str().into(),
            });
        }
        let rows = self.rows.and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
        WantedView::Overview(PairFilter {
            profile,
            target,
            state: given(self.state),
            bad: given(self.bad).is_some(),
            text: given(self.q),
            rows: rows.clamp(1, MAX_ROWS),
        })
    }
}

impl PairFilter {
    /// Whether anything is filtered out.
    pub(super) fn is_active(&self) -> bool {
        let names = [&self.profile, &self.target, &self.state, &self.text];
        self.bad || names.into_iter().any(Option::is_some)
    }

    /// Whether a text is, or is in, one of these.
    pub(super) fn has_text(&self, among: &[&str]) -> bool {
        let Some(text) = &self.text else { return true };
        let text = text.to_lowercase();
        among.iter().any(|name| name.to_lowercase().contains(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(query: &str) -> WantedView {
        let uri: http::Uri = format!("/?{query}").parse().unwrap();
        axum::extract::Query::<PageQuery>::try_from_uri(&uri).unwrap().0.view()
    }

    #[test]
    fn a_link_names_its_view() {
        let all = PairFilter { rows: ROWS, ..PairFilter::default() };
        assert_eq!(view(""), WantedView::Overview(all.clone()));
        assert_eq!(view("profile=&target=&state=&q=&utm_source=x"), WantedView::Overview(all.clone()));
        assert!(!all.is_active());
        let pair = Pair { profile: "a b".into(), target: "c&d".into() };
        assert_eq!(view("profile=a%20b&target=c%26d&range=1h"), WantedView::Pair(pair));
        let filter = PairFilter { target: Some("x".to_owned()), bad: true, rows: MAX_ROWS, ..all };
        assert!(filter.is_active());
        assert_eq!(view("target=x&bad=1&rows=99999"), WantedView::Overview(filter));
        for rows in ["rows=many", "rows=-1"] {
            assert_eq!(view(rows), view(""), "{rows}");
        }
    }

    #[test]
    fn a_link_names_a_request_or_the_list() {
        assert_eq!(view("request=0a&profile=x&target=y"), WantedView::Request("0a".to_owned()));
        let all = ListFilter::default();
        assert_eq!(view("requests"), WantedView::Requests(all.clone()));
        assert_eq!(view("requests=&profile=&failed=false"), WantedView::Requests(all.clone()));
        let filter = ListFilter { profile: "a b".to_owned(), run: "p/t".to_owned(), failed: true, ..all };
        let link = "requests=1&profile=a+b&run=p%2Ft&failed=true&other=1";
        assert_eq!(view(link), WantedView::Requests(filter));
    }

    #[test]
    fn a_text_is_found_in_any_case() {
        let filter = PairFilter { text: Some("LLaMa".to_owned()), ..PairFilter::default() };
        assert!(filter.has_text(&["chat", "my-llama-8b"]) && !filter.has_text(&["chat", "gpt"]));
        assert!(PairFilter::default().has_text(&[]));
    }
}

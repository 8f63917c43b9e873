//! `GET /badge/{target}.svg`: the state of a target as a picture, for the pages of others.

use super::Views;
use crate::event::TargetState;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::{AutoEscape, Environment, context};

const TEMPLATE: &str = include_str!("badge.svg");
/// Width of a letter of the badge's font, and of the space beside a text, in pixels.
const LETTER: usize = 7;
const SPACE: usize = 12;
/// Longer names are cut, in characters.
const MAX_NAME: usize = 60;

/// The state of a target. Unlike a page it says 200 in every state, because a browser shows no picture that fails.
pub(super) async fn badge(State(views): State<Views>, Path(file): Path<String>) -> Response {
    let view = file.strip_suffix(".svg").and_then(|name| views.states.view().remove_entry(name));
    let Some((name, view)) = view else {
        return (StatusCode::NOT_FOUND, "there is no target of this name\n").into_response();
    };
    match render(&name, view.state) {
        Ok(picture) => {
            let headers =
                [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-cache, max-age=0")];
            (headers, picture).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot render a badge");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn render(name: &str, state: TargetState) -> Result<String, minijinja::Error> {
    let name: String = name.chars().take(MAX_NAME).collect();
    let width = |text: &str| text.chars().count() * LETTER + SPACE;
    let (left, right) = (width(&name), width(state.label()));
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let values = context! {
        name, state => state.label(), left, right, color => color(state),
        left_text => left - SPACE, right_text => right - SPACE,
    };
    environment.render_str(TEMPLATE, values)
}

/// White text on each of them has a contrast of at least 4.5.
const fn color(state: TargetState) -> &'static str {
    match state {
        TargetState::Ok => "#1a7f37",
        TargetState::Slow => "#9a6700",
        TargetState::Failing | TargetState::Hung => "#cf222e",
        TargetState::Unknown => "#57606a",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::views::{body, views};
    use super::*;

    #[tokio::test]
    async fn a_badge_shows_the_state_of_a_target() {
        let (views, _parts) = views();
        let file = |name: &str| badge(State(views.clone()), Path(name.to_owned()));
        let answer = file("llama.svg").await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "image/svg+xml");
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-cache, max-age=0");
        let (status, picture) = body(answer).await;
        assert_eq!(status, StatusCode::OK);
        assert!(picture.contains("<title>llama: unknown</title>"), "{picture}");
        for name in ["llama", "nobody.svg", ".svg"] {
            assert_eq!(file(name).await.status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn names_are_escaped_and_cut_and_states_differ() {
        let picture = render("<script>&\"", TargetState::Hung).unwrap();
        assert!(
            picture.contains("&lt;script&gt;&amp;&quot;: hung") && !picture.contains("<script"),
            "{picture}"
        );
        let long = render(&"x".repeat(500), TargetState::Ok).unwrap();
        assert!(long.contains(&"x".repeat(MAX_NAME)) && !long.contains(&"x".repeat(MAX_NAME + 1)));
        assert_ne!(color(TargetState::Ok), color(TargetState::Slow));
        assert_ne!(color(TargetState::Ok), color(TargetState::Failing));
    }
}

//! `/api/chat/sessions`: conversations. The model gets the earlier turns with each message, so that tokens and latency
//! grow as in a real conversation.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{Reply, To};
use super::{AppPath, document, framing, read, user};
use crate::sim::answer::generate;
use crate::sim::dialect::{ParsedRequest, Refusal, Service};
use crate::sim::exchange;
use crate::sim::generation::{Ask, Turn};
use crate::sim::shared::SimShared;
use crate::sim::text;
use crate::sim::wire::Framing;

static NEW_SESSION: AppPath = AppPath(Service::NewSession);
static SESSION: AppPath = AppPath(Service::Session);
static MESSAGE: AppPath = AppPath(Service::Message);

const NO_SESSION: Refusal = Refusal::NotFound("There is no such session.");

/// The body of a request; unknown fields are accepted.
#[derive(Debug, Deserialize)]
struct ChatRequest {
    content: String,
    #[serde(default = "yes")]
    include_history: bool,
    #[serde(default)]
    stream: Value,
    #[serde(default)]
    max_tokens: Option<usize>,
}

/// Creates a session.
pub(super) async fn create(State(shared): State<Arc<SimShared>>, request: Request) -> Response {
    exchange::receive(shared, &NEW_SESSION, request, async move |exchange, _, _| {
        let effects = match exchange.begin(None).await {
            Ok(effects) => effects,
            Err(response) => return *response,
        };
        let id = match user(&exchange, &effects) {
            Ok(user) => exchange.shared.app.sessions.create(user),
            Err(refusal) => return exchange.refuse(&refusal),
        };
        let status = if effects.wrong_status { StatusCode::OK } else { StatusCode::CREATED };
        document(&exchange, status, &json!({"id": id, "messages": []}), effects).await
    })
    .await
}

/// Shows a session.
pub(super) async fn show(
    State(shared): State<Arc<SimShared>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    exchange::receive(shared, &SESSION, request, async move |exchange, _, _| {
        let effects = match exchange.begin(None).await {
            Ok(effects) => effects,
            Err(response) => return *response,
        };
        let turns = user(&exchange, &effects)
            .and_then(|user| exchange.shared.app.sessions.turns(&id, user).ok_or(NO_SESSION));
        let turns = match turns {
            Ok(turns) => turns,
            Err(refusal) => return exchange.refuse(&refusal),
        };
        let message = |turn: &Turn| json!({"role": turn.role, "content": turn.text});
        let messages: Vec<Value> = turns.iter().map(message).collect();
        document(&exchange, StatusCode::OK, &json!({"id": id, "messages": messages}), effects).await
    })
    .await
}

/// Answers a message of a session.
pub(super) async fn message(
    State(shared): State<Arc<SimShared>>,
    Path(session): Path<String>,
    request: Request,
) -> Response {
    exchange::receive(shared, &MESSAGE, request, async move |exchange, _, body| {
        let effects = match exchange.begin(exchange.shared.options.models.first().cloned()).await {
            Ok(effects) => effects,
            Err(response) => return *response,
        };
        let asked = user(&exchange, &effects).and_then(|user| {
            let turns = exchange.shared.app.sessions.turns(&session, user).ok_or(NO_SESSION)?;
            let message: ChatRequest = read(body)?;
            let framing = framing(&message.stream, &exchange.headers)?;
            message.asked(&exchange.shared, &exchange.id, (session, turns), framing)
        });
        match asked {
            Ok(asked) => generate(exchange, asked, effects).await,
            Err(refusal) => exchange.refuse(&refusal),
        }
    })
    .await
}

impl ChatRequest {
    /// The prompt: the system message, the earlier turns, and the message.
    fn asked(
        self,
        shared: &SimShared,
        id: &str,
        (session, said): (String, Vec<Turn>),
        framing: Option<Framing>,
    ) -> Result<ParsedRequest, Refusal> {
        if self.content.trim().is_empty() {
            return Err(Refusal::Invalid("content must not be empty".to_owned()));
        }
        if self.max_tokens == Some(0) {
            return Err(Refusal::Invalid("max_tokens must be at least 1".to_owned()));
        }
        // As in many applications, the prompt begins with something that changes in each turn, so the engine finds no
        // prefix of it in its cache.
        let number = said.len() / 2 + 1;
        let system =
            format!("Message {number} of a conversation. Answer it in the light of what was said before.");
        let longest = shared.options.longest();
        let room = longest.saturating_sub(self.max_tokens.unwrap_or(longest / 4));
        let (system, content) = (turn("system", &system), turn("user", &self.content));
        let mut turns = vec![system];
        if self.include_history {
            let taken = size(&content) + turns.iter().map(size).sum::<usize>() + 1;
            turns.extend(newest(said, room.saturating_sub(taken)));
        }
        turns.push(content);
        let ask = Ask {
            model: shared.options.models.first().cloned().unwrap_or_default(),
            turns,
            max_tokens: self.max_tokens,
            stream: framing.is_some(),
            ..Ask::default()
        };
        let to = To::Message { app: Arc::clone(&shared.app), session, content: self.content };
        Ok(ParsedRequest {
            ask,
            answer: Box::new(Reply { id: format!("msg_{id}"), to }),
            framing: framing.unwrap_or(Framing::Sse),
            retrieval: None,
        })
    }
}

/// The most recent turns that fit into this many tokens.
fn newest(turns: Vec<Turn>, mut room: usize) -> Vec<Turn> {
    let fit = |turn: &&Turn| match room.checked_sub(size(turn)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let kept = turns.iter().rev().take_while(fit).count();
    turns.into_iter().rev().take(kept).rev().collect()
}

/// Tokens of a turn in the chat template.
fn size(turn: &Turn) -> usize {
    text::pieces(&turn.text).count() + 2
}

fn turn(role: &str, text: &str) -> Turn {
    Turn { role: role.to_owned(), text: text.to_owned() }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_turns_that_fit_are_sent_along() {
        let turns = || vec![turn("user", "one two three"), turn("assistant", "four"), turn("user", "five")];
        let texts =
            |room| -> Vec<String> { newest(turns(), room).into_iter().map(|turn| turn.text).collect() };
        assert_eq!(texts(11), ["one two three", "four", "five"]);
        assert_eq!(texts(10), ["four", "five"]);
        assert_eq!(texts(3), ["five"]);
        assert_eq!(texts(2), [""; 0]);
    }
}

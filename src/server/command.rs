//! What the server asks of the daemon. It knows who may ask and how an answer is told, and nothing of how it is done.

use super::Views;
use super::ask::Probe;
use crate::event::Pair;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait; more are refused.
pub const WAITING: usize = 16;

/// Something that changes what the daemon does.
#[derive(Debug)]
pub enum Command {
    /// Load the config again.
    Reload {
        /// Told what came of it.
        reply: oneshot::Sender<Reloaded>,
    },
    /// Run a profile against each of its targets now.
    Run {
        /// Which profile.
        profile: String,
        /// Told what came of it.
        reply: oneshot::Sender<Result<Vec<Asked>, Refusal>>,
    },
    /// Send one request now.
    Probe {
        /// Which profile to which target.
        pair: Pair,
        /// How long it may take.
        within: Duration,
        /// Told what came of it.
        reply: oneshot::Sender<Result<Probe, Refusal>>,
    },
}

/// A run that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which profile against which target.
    pub pair: Pair,
    /// `started`, `queued`, `skipped` or `failed`.
    pub state: &'static str,
    /// The run's id, once it has started.
    pub id: Option<String>,
}

/// A command that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What it names is not in the plan.
    #[error("{0}")]
    Unknown(String),
    /// Not now.
    #[error("{0}")]
    Busy(String),
    /// Not any more.
    #[error("the agent is stopping")]
    Stopping,
}

impl Views {
    /// Hands a command on, or says why it cannot be taken.
    pub(super) fn ask(&self, command: Command) -> Result<(), Box<Response>> {
        self.commands
            .try_send(command)
            .map_err(|refused| Box::new(unavailable(matches!(refused, mpsc::error::TrySendError::Full(_)))))
    }
}

/// What came of a reload: what changed, or every error, one a line and without secrets.
pub type Reloaded = Result<Changes, Vec<String>>;

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Profiles that are now played against a target.
    pub added: Vec<Pair>,
    /// Profiles that are no longer played against a target.
    pub removed: Vec<Pair>,
    /// Profiles that began anew.
    pub changed: Vec<Pair>,
    /// How many went on.
    pub unchanged: usize,
    /// What looks wrong, or needs a restart.
    pub warnings: Vec<String>,
}

impl Changes {
    /// The numbers in a line, then each change and each warning in one of its own.
    fn lines(&self) -> String {
        let Self { added, removed, changed, unchanged, warnings } = self;
        let (new, gone, other) = (added.len(), removed.len(), changed.len());
        let mut text =
            format!("reloaded: {new} added, {gone} removed, {other} changed, {unchanged} unchanged\n");
        for (what, pairs) in [("added", added), ("removed", removed), ("changed", changed)] {
            for pair in pairs {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{what}: {} against {}", pair.profile, pair.target);
            }
        }
        for warning in warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

/// `POST /-/reload`: 200 when the new config is in force, 500 with the errors when the old one stays.
pub(super) async fn reload(State(views): State<Views>) -> Response {
    let (reply, replied) = oneshot::channel();
    if let Err(refused) = views.ask(Command::Reload { reply }) {
        return *refused;
    }
    match replied.await {
        Ok(Ok(changes)) => changes.lines().into_response(),
        Ok(Err(errors)) => {
            let text = format!("the config was not reloaded, the old one stays:\n{}\n", errors.join("\n"));
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        Err(_) => unavailable(false),
    }
}

fn unavailable(busy: bool) -> Response {
    let text = if busy { "too many commands wait already\n" } else { "the agent is stopping\n" };
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::tests::views::{body, views};
    use super::*;
    use futures_util::FutureExt as _;

    fn pair(profile: &str) -> Pair {
        Pair { profile: profile.into(), target: "llama".into() }
    }

    /// Calls the handler and answers the command that it sends.
    async fn answered(with: Reloaded) -> (StatusCode, String) {
        let (views, mut parts) = views();
        let asking = tokio::spawn(reload(State(views)));
        let Some(Command::Reload { reply }) = parts.commands.recv().await else { panic!("no reload") };
        reply.send(with).unwrap();
        body(asking.await.unwrap()).await
    }

    #[tokio::test]
    async fn what_changed_is_told() {
        let changes = Changes {
            added: vec![pair("rag")],
            removed: vec![],
            changed: vec![pair("chat"), pair("docs")],
            unchanged: 4,
            warnings: vec!["server.listen needs a restart".to_owned()],
        };
        let text = "reloaded: 1 added, 0 removed, 2 changed, 4 unchanged\nadded: rag against llama\n\
                    changed: chat against llama\nchanged: docs against llama\nwarning: server.listen needs a restart\n";
        assert_eq!(answered(Ok(changes)).await, (StatusCode::OK, text.to_owned()));
    }

    #[tokio::test]
    async fn errors_are_told_one_a_line() {
        let (status, text) = answered(Err(vec!["a.yaml:1:1: x".to_owned(), "b.yaml: y".to_owned()])).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text, "the config was not reloaded, the old one stays:\na.yaml:1:1: x\nb.yaml: y\n");
    }

    #[tokio::test]
    async fn who_cannot_be_served_is_told_why() {
        let (views, mut parts) = views();
        let waiting: Vec<_> = (0..WAITING).map(|_| tokio::spawn(reload(State(views.clone())))).collect();
        while parts.commands.len() < WAITING {
            tokio::task::yield_now().await;
        }
        let refused = body(reload(State(views.clone())).now_or_never().unwrap()).await;
        assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, "too many commands wait already\n".to_owned()));
        // The daemon goes away with the commands that it did not come to.
        parts.commands.close();
        while parts.commands.recv().await.is_some() {}
        let stopping = (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n".to_owned());
        for asked in waiting {
            assert_eq!(body(asked.await.unwrap()).await, stopping);
        }
        assert_eq!(body(reload(State(views)).await).await, stopping);
    }
}

//! Commands from the server to the daemon. This module knows their form and how results are reported, and nothing about
//! how they are executed.

use super::Views;
use super::ask::ProbeResult;
use crate::event::{Pair, SkippedRun};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of pending commands; more are rejected.
pub const WAITING: usize = 16;

/// A request to change what the daemon does.
#[derive(Debug)]
pub enum ControlCommand {
    /// Reload the config.
    Reload {
        /// Receives the result.
        reply: oneshot::Sender<Reloaded>,
    },
    /// Run a profile against each of its targets now.
    Run {
        /// Name of the profile.
        profile: String,
        /// Receives the result.
        reply: oneshot::Sender<Result<Vec<RequestedRun>, CommandRefusal>>,
    },
    /// Send one request now.
    Probe {
        /// The pair of profile and target.
        pair: Pair,
        /// Timeout of the request.
        within: Duration,
        /// Receives the result.
        reply: oneshot::Sender<Result<ProbeResult, CommandRefusal>>,
    },
}

/// The result of a requested run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedRun {
    /// The pair of profile and target.
    pub pair: Pair,
    /// `started`, `queued`, `skipped` or `failed`.
    pub state: &'static str,
    /// Id of the run, if it has started.
    pub id: Option<String>,
    /// Why it was skipped, if it was.
    pub reason: Option<SkippedRun>,
}

/// A command that was not executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// The profile or target is not in the plan.
    #[error("{0}")]
    Unknown(String),
    /// The command cannot be executed at present.
    #[error("{0}")]
    Busy(String),
    /// The agent is shutting down.
    #[error("the agent is stopping")]
    Stopping,
}

impl Views {
    /// Sends a command to the daemon, or returns why it was rejected.
    pub(super) fn ask(&self, command: ControlCommand) -> Result<(), Box<Response>> {
        self.commands
            .try_send(command)
            .map_err(|refused| Box::new(unavailable(matches!(refused, mpsc::error::TrySendError::Full(_)))))
    }
}

/// The result of a reload: what changed, or every error, one per line and without secrets.
pub type Reloaded = Result<ReloadChanges, Vec<String>>;

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadChanges {
    /// Pairs of profile and target that were added.
    pub added: Vec<Pair>,
    /// Pairs of profile and target that were removed.
    pub removed: Vec<Pair>,
    /// Pairs that were restarted because their plan changed.
    pub changed: Vec<Pair>,
    /// Number of pairs that continued unchanged.
    pub unchanged: usize,
    /// Warnings: what looks wrong, or requires a restart.
    pub warnings: Vec<String>,
}

impl ReloadChanges {
    /// The numbers on one line, then each change and each warning on a line of its own.
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

/// `POST /-/reload`: 200 when the new config is active, 500 with the errors when the old one stays active.
pub(super) async fn reload(State(views): State<Views>) -> Response {
    let (reply, replied) = oneshot::channel();
    if let Err(refused) = views.ask(ControlCommand::Reload { reply }) {
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
        let Some(ControlCommand::Reload { reply }) = parts.commands.recv().await else { panic!("no reload") };
        reply.send(with).unwrap();
        body(asking.await.unwrap()).await
    }

    #[tokio::test]
    async fn what_changed_is_told() {
        let changes = ReloadChanges {
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
        // The daemon exits with unprocessed commands in the queue.
        parts.commands.close();
        while parts.commands.recv().await.is_some() {}
        let stopping = (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n".to_owned());
        for asked in waiting {
            assert_eq!(body(asked.await.unwrap()).await, stopping);
        }
        assert_eq!(body(reload(State(views)).await).await, stopping);
    }
}

//! Does what the server asks for: each command goes to whoever can do it, and none waits for another.

use super::reload::Reply;
use crate::server::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Hands commands on until told to stop, or the server is gone.
pub(super) async fn serve(
    mut commands: mpsc::Receiver<Command>,
    reloads: mpsc::Sender<Reply>,
    stop: CancellationToken,
) {
    while let Some(Some(command)) = stop.run_until_cancelled(commands.recv()).await {
        match command {
            Command::Reload { reply } => reload(reply, &reloads),
        }
    }
}

/// Once reloads are over, the reply is dropped, which says that the agent is stopping.
fn reload(reply: Reply, reloads: &mpsc::Sender<Reply>) {
    if let Err(mpsc::error::TrySendError::Full(reply)) = reloads.try_send(reply) {
        // Whoever asked may have gone.
        let _ = reply.send(Err(vec!["too many reloads wait already".to_owned()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn each_reload_is_handed_on_or_answered() {
        let (ask, commands) = mpsc::channel(8);
        let (reloads, mut asked) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(commands, reloads, stop.clone()));
        let mut pending = Vec::new();
        for _ in 0..2 {
            let (reply, replied) = oneshot::channel();
            ask.send(Command::Reload { reply }).await.unwrap();
            pending.push(replied);
        }
        let second = pending.pop().unwrap().await.unwrap();
        assert_eq!(second, Err(vec!["too many reloads wait already".to_owned()]));
        let waiting = asked.recv().await.unwrap();
        waiting.send(Ok(crate::server::Changes::default())).unwrap();
        assert!(pending.pop().unwrap().await.unwrap().is_ok());
        drop(asked);
        let (reply, replied) = oneshot::channel();
        ask.send(Command::Reload { reply }).await.unwrap();
        assert!(replied.await.is_err(), "nobody is left to answer it");
        stop.cancel();
        serving.await.unwrap();
    }
}

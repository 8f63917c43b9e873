//! `tokenbeat top`: a running daemon, live in the terminal.

use super::print;
use super::signals::{ProcessSignals, Signals};
use super::terminal;
use crate::cli::{Exit, TopOptions};
use crate::error_chain::error_chain;
use crate::files::Files;
use crate::secret::trimmed;
use crate::tls::Trust;
use crate::top::{TopAddress, TopClient, TopError, TopLogin, TopSnapshot, TopState, plain, view};
use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, interval, sleep};

/// How often ages are drawn anew.
const TICK: Duration = Duration::from_secs(1);
/// How often the thread that reads keys looks whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(200);
/// A daemon with many pairs is asked less often, so that it is busy with its answers for at most this part of the time.
const IDLE_FACTOR: u32 = 4;
/// Longest password or token in a file, in bytes.
const LONGEST_SECRET: u64 = 64 << 10;

/// Shows a daemon until the user leaves, or once.
pub(super) fn top(options: &TopOptions) -> anyhow::Result<Exit> {
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !options.once && !is_terminal {
        say!("error: top needs a terminal; --once prints one table without it");
        return Ok(Exit::Usage);
    }
    let login = match login(options) {
        Ok(login) => login,
        Err(error) => {
            say!("error: {}", error_chain(error.as_ref()));
            return Ok(Exit::Usage);
        }
    };
    let address = match TopAddress::parse(&options.url, login) {
        Err(error @ TopError::Address(_)) => {
            say!("error: {error}");
            return Ok(Exit::Usage);
        }
        address => address?,
    };
    let shown = address.shown().to_owned();
    let trust = match &options.ca_file {
        _ if options.insecure => Trust::Everyone,
        Some(file) => Trust::File(file),
        None if shown.starts_with("https:") => Trust::System,
        None => Trust::Nobody,
    };
    let client = TopClient::new(address, trust)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if options.once {
            let snapshot = client.fetch().await.map_err(|error| anyhow!("{shown}: {error}"))?;
            return print(&plain(&snapshot, Timestamp::now()));
        }
        let state = TopState::new(shown, terminal::stdout().color, Timestamp::now());
        // A panic restores the terminal, too.
        let mut screen = ratatui::try_init().context("cannot draw on this terminal")?;
        let ended = live(&mut screen, state, client, options.interval).await;
        ratatui::restore();
        ended
    })
}

fn login(options: &TopOptions) -> anyhow::Result<Option<TopLogin>> {
    if let Some(file) = &options.bearer_file {
        return Ok(Some(TopLogin::Bearer(secret(file)?)));
    }
    let Some(user) = &options.user else { return Ok(None) };
    Ok(Some(match (&options.password_file, user.split_once(':')) {
        (Some(file), _) => TopLogin::Basic(user.clone(), secret(file)?),
        (None, Some((name, password))) => TopLogin::Basic(name.to_owned(), password.to_owned()),
        (None, None) => TopLogin::Basic(user.clone(), String::new()),
    }))
}

fn secret(file: &Path) -> anyhow::Result<String> {
    let text = Files::default().read_text_at_most(file, LONGEST_SECRET);
    Ok(trimmed(&text.with_context(|| format!("cannot read {}", file.display()))?).to_owned())
}

/// Draws, until the user leaves or the process is to end.
async fn live(
    screen: &mut DefaultTerminal,
    mut state: TopState,
    client: TopClient,
    every: Duration,
) -> anyhow::Result<Exit> {
    let stop = ProcessSignals::default();
    let signals = Signals::install()?.watch(stop.clone());
    tokio::pin!(signals);
    let (mut keys, mut answers) = (keys()?, answers(client, every));
    let mut ticks = interval(TICK);
    while !state.quits() {
        screen.draw(|frame| view(&state, frame))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Event::Key(key)) if key.is_press() => state.key(key),
                // The size changed.
                Some(_) => {}
                // The terminal is gone.
                None => break,
            },
            Some(answer) = answers.recv() => state.answered(answer, Timestamp::now()),
            _ = ticks.tick() => state.tick(Timestamp::now()),
            () = stop.drain.cancelled() => break,
            never = &mut signals => match never {},
        }
    }
    Ok(Exit::Ok)
}

/// The keys and changes of size. Reading them blocks, so it has a thread of its own, which ends with the receiver.
fn keys() -> anyhow::Result<Receiver<Event>> {
    let (sender, keys) = mpsc::channel(16);
    let read = move || {
        while !sender.is_closed() {
            match event::poll(LOOK_UP).and_then(|is_there| is_there.then(event::read).transpose()) {
                Ok(None) => {}
                Ok(Some(event)) if sender.blocking_send(event.clone()).is_ok() => {}
                _ => return,
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(keys)
}

/// Asks the daemon again and again.
fn answers(client: TopClient, every: Duration) -> Receiver<Result<TopSnapshot, String>> {
    let (sender, answers) = mpsc::channel(1);
    tokio::spawn(ask(client, every, sender));
    answers
}

async fn ask(client: TopClient, every: Duration, sender: Sender<Result<TopSnapshot, String>>) {
    loop {
        let asked = Instant::now();
        let answer = client.fetch().await.map_err(|error| error.to_string());
        let took = asked.elapsed();
        if sender.send(answer).await.is_err() {
            return;
        }
        sleep(every.max(took * IDLE_FACTOR)).await;
    }
}

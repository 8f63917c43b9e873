//! The real binary as a child process: its output, line by line, and its exit.

use crate::harness::{PATIENCE, until};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A running process, in an empty folder of its own and without the environment of the tests. It is killed when it is
/// dropped.
pub(crate) struct Process {
    child: Child,
    out: Stream,
    err: Stream,
    folder: TempDir,
}

/// The output so far.
struct Stream {
    lines: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Stream {
    fn read(from: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&lines);
        let reading = tokio::spawn(async move {
            let mut from = BufReader::new(from).lines();
            while let Ok(Some(line)) = from.next_line().await {
                let mut lines = into.lock().unwrap();
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        Self { lines, reading }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().clone()
    }
}

/// A folder to run in, with a config in it.
pub(crate) fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenbeat.yaml"), config).unwrap();
    folder
}

impl Process {
    /// Starts it in a folder.
    pub(crate) fn start(folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_tokenbeat"), Stdio::null(), folder, arguments, environment)
    }

    /// Starts it in a folder, with something to read on stdin.
    pub(crate) fn start_with(stdin: Stdio, folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_tokenbeat"), stdin, folder, arguments, &[])
    }

    pub(crate) fn start_program(
        program: &str,
        stdin: Stdio,
        folder: TempDir,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = Stream::read(child.stdout.take().unwrap());
        let err = Stream::read(child.stderr.take().unwrap());
        Self { child, out, err, folder }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Waits for a text in its output on either stream; returns what follows it, up to white space.
    pub(crate) async fn says(&self, text: &str) -> String {
        until(&format!("{text:?} in the output"), async || {
            let said = format!("{}\n{}", self.out.text(), self.err.text());
            let (_, after) = said.split_once(text)?;
            // The line may be incomplete.
            let (word, _) = after.split_once(char::is_whitespace)?;
            Some(word.to_owned())
        })
        .await
    }

    /// Its process id.
    pub(crate) fn id(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    /// Sends it a signal: `TERM`, `INT`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Its peak memory in bytes, if the system reports it.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().unwrap() << 10)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let waited = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = waited.unwrap_or_else(|_| panic!("it does not end: {}", self.err.text())).unwrap();
        self.out.reading.await.unwrap();
        self.err.reading.await.unwrap();
        let [out, err] = [&self.out.lines, &self.err.lines].map(|lines| lines.lock().unwrap().clone());
        let code = status.code().unwrap_or_else(|| panic!("it was killed: {status}: {err}"));
        Ended { code, out, err }
    }
}

/// Runs it to its end with a config.
pub(crate) async fn run(config: &str, arguments: &[&str]) -> Ended {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--config.file", "tokenbeat.yaml"]);
    Process::start(folder(config), &arguments, &[]).ended().await
}

/// Runs it to its end with a config, with a limit on open files.
pub(crate) async fn run_with_open_files(most: u32, config: &str, arguments: &[&str]) -> Ended {
    let script = format!("ulimit -n {most} && exec \"$0\" \"$@\" --config.file tokenbeat.yaml");
    let mut all = vec!["-c", &script, env!("CARGO_BIN_EXE_tokenbeat")];
    all.extend(arguments);
    Process::start_program("/bin/sh", Stdio::null(), folder(config), &all, &[]).ended().await
}

/// Runs it to its end without a config.
pub(crate) async fn bare(arguments: &[&str]) -> Ended {
    Process::start(tempfile::tempdir().unwrap(), arguments, &[]).ended().await
}

//! `tokenbeat top` against a daemon.

use crate::harness::{ONCE, Running, Simulator, one, until};
use crate::http::get;
use crate::process::bare;
use std::path::Path;

fn config(server: &str) -> String {
    let profile = format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 4 }}");
    one("", &profile).replace("server: { ", &format!("server: {{ {server}"))
}

async fn has_run(daemon: &Running) {
    let ended = async || {
        let runs = get(daemon.address, "/api/v1/runs").await.json();
        (!runs["runs"].as_array()?.is_empty()).then_some(())
    };
    until("the run to end", ended).await;
}

/// The row of the only pair, without what depends on time.
async fn row(url: &str) -> Vec<String> {
    let ended = bare(&["top", "--once", url]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert!(ended.out.starts_with("profile") && !ended.out.contains('\u{1b}'), "{ended:?}");
    ended.out.lines().nth(2).unwrap().split_whitespace().take(3).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_of_a_daemon_is_printed_also_of_a_read_only_one() {
    let simulator = Simulator::start();
    for server in ["", "read_only: true, "] {
        let daemon = Running::start(&config(server), &simulator).await;
        has_run(&daemon).await;
        assert_eq!(row(&format!("http://{}", daemon.address)).await, ["p", "t", "ok"]);
        daemon.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_with_a_password_wants_it() {
    let (simulator, folder) = (Simulator::start(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let hash = bcrypt::hash("right", 4).unwrap();
    std::fs::write(Path::new(&path("web.yaml")), format!("basic_auth_users: {{ ann: '{hash}' }}\n")).unwrap();
    std::fs::write(Path::new(&path("password")), "right\n").unwrap();
    let daemon = Running::start(&config(&format!("web_config: {}, ", path("web.yaml"))), &simulator).await;
    let url = format!("http://{}", daemon.address);
    for arguments in [&["--user", "ann", "--password-file", &path("password")][..], &["--user", "ann:right"]]
    {
        let ended = bare(&[&["top", "--once", &url], arguments].concat()).await;
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    }
    let in_address = format!("http://ann:right@{}", daemon.address);
    assert_eq!(bare(&["top", "--once", &in_address]).await.code, 0);
    for wrong in [&["top", "--once", &url][..], &["top", "--once", &url, "--user", "ann:wrong"]] {
        let ended = bare(wrong).await;
        assert!(ended.code == 1 && ended.err.contains("it wants a password (status 401)"), "{ended:?}");
    }
    daemon.drain().await;
}

#[tokio::test]
async fn what_is_no_daemon_is_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = bare(&["top", "--once", &format!("http://me:secret@{nobody}")]).await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    assert!(
        ended.err.starts_with(&format!("error: http://{nobody}: ")) && !ended.err.contains("secret"),
        "{ended:?}"
    );
    let simulator = Simulator::start();
    let other = bare(&["top", "--once", &format!("http://{}", simulator.address)]).await;
    assert!(other.code == 1 && other.err.contains("status 404"), "{other:?}");
    let usage = [
        (&["top", "--once", "ftp://x"][..], "is no address of a daemon"),
        (&["top"], "top needs a terminal; --once prints one table"),
        (&["top", "--once", "--user", "a", "--password-file", "absent"], "cannot read absent"),
        (&["top", "--once", "--insecure", "--ca-file", "x"], "cannot be used with"),
    ];
    for (arguments, said) in usage {
        let ended = bare(arguments).await;
        assert!(ended.code == 64 && ended.err.contains(said), "{arguments:?}: {ended:?}");
    }
}

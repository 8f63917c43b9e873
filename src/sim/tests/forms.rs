//! Streams in every unusual form that the standards allow, and some that they do not.

use serde_json::Value;

use super::client::{options, start, streamed, whole};

async fn body(fault: &str) -> String {
    start(options()).faulty(fault, &streamed()).await.body()
}

#[tokio::test]
async fn lines_end_as_asked() {
    let crlf = body("crlf").await;
    assert_eq!(crlf.matches("\r\n\r\n").count(), 12);
    assert_eq!(crlf.replace("\r\n", "").matches(['\r', '\n']).count(), 0);
    let cr = body("lone_cr").await;
    assert_eq!(cr.matches("\r\r").count(), 12);
    assert!(!cr.contains('\n'));
}

#[tokio::test]
async fn fields_look_as_asked() {
    let bare = body("no_space").await;
    assert!(bare.starts_with("data:{") && !bare.contains("data: "));
    assert!(body("bom").await.starts_with("\u{feff}data: {"));
    assert_eq!(body("comments").await.matches(": keep-alive\n\n").count(), 12);
    let spread = body("multi_line_data").await;
    assert!(spread.starts_with("data: {\ndata: \""));
    let first = spread.split("\n\n").next().unwrap().replace("\ndata: ", "\n").replacen("data: ", "", 1);
    assert!(serde_json::from_str::<Value>(&first).is_ok(), "{first}");
    assert!(body("no_final_blank_line").await.ends_with("\n\ndata: [DONE]"));
}

#[tokio::test]
async fn a_huge_line_is_one_event() {
    let server = start(options());
    let reply = server.faulty("huge_line;bytes=3000000", &streamed()).await;
    let longest = reply.events().into_iter().max_by_key(String::len).unwrap();
    assert!(longest.len() > 3_000_000);
    assert!(serde_json::from_str::<Value>(&longest).is_ok());
    assert_eq!(reply.deltas("content").len(), 8);
}

#[tokio::test]
async fn split_writes_cut_events_and_characters() {
    let server = start(options());
    let reply = server.faulty("split_writes;bytes=3", &streamed()).await;
    let chunks = reply.chunks();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 3));
    assert!(chunks.iter().any(|chunk| std::str::from_utf8(chunk).is_err()), "no character is cut");
    assert!(reply.reads.len() > 3, "the writes came as one: {:?}", reply.reads);
    assert_eq!(reply.deltas("content").len(), 8);
    let answer = server.faulty("split_writes;bytes=3", &whole()).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"].as_str().unwrap(), reply.content());
}

#[tokio::test]
async fn many_events_come_in_one_write() {
    let server = start(options());
    let reply = server.faulty("many_events_per_write;n=4", &streamed()).await;
    assert_eq!(reply.events().len(), 12);
    let counts: Vec<usize> =
        reply.chunks().iter().map(|chunk| String::from_utf8_lossy(chunk).matches("data: ").count()).collect();
    assert_eq!(counts, [4, 4, 4]);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert_eq!(truth.chunks[0], truth.chunks[2]);
}

#[tokio::test]
async fn several_faults_add_up() {
    let both = body("crlf, no_done").await;
    assert!(both.contains("\r\n\r\n") && !both.contains("[DONE]"));
}

//! Token counts of an answer from each of their sources, end to end.

use super::server::*;
use crate::event::{Count, CountSource, Outcome, Tokens};
use crate::plan::Tokenizer;

async fn tokens(stream: &str, tokenizer: Option<Tokenizer>) -> Tokens {
    let text = whole("200 OK", "content-type: text/event-stream\r\n", stream);
    let server = Server::always(text).await;
    let mut target = server.target();
    target.tokenizer = tokenizer;
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    answer.observed.tokens
}

fn said(count: Option<Count>) -> Option<(u64, CountSource)> {
    count.map(|count| (count.n, count.source))
}

/// "hello world" in three pieces, without usage.
fn without_usage() -> String {
    let pieces: String = ["hel", "lo wor", "ld"].map(piece).concat();
    format!(
        "{pieces}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n"
    )
}

#[tokio::test]
async fn usage_comes_first_and_is_checked() {
    let stream = include_str!("../../../tests/streams/openai.sse");
    let counted = tokens(stream, Some(Tokenizer::O200kBase)).await;
    assert_eq!(said(counted.input), Some((19, CountSource::Usage)));
    assert_eq!(said(counted.output), Some((4, CountSource::Usage)));
    assert_eq!(counted.tokenizer_output, Some(4));
    let alone = tokens(stream, None).await;
    assert_eq!((said(alone.output), alone.tokenizer_output), (Some((4, CountSource::Usage)), None));
}

#[tokio::test]
async fn trap_05_the_tokenizer_counts_the_whole_text() {
    let counted = tokens(&without_usage(), Some(Tokenizer::Cl100kBase)).await;
    assert_eq!(said(counted.output), Some((2, CountSource::Tokenizer)));
    // The text of the prompt, without the template that the server adds.
    assert_eq!(said(counted.input), Some((2, CountSource::Tokenizer)));
    assert_eq!(counted.tokenizer_output, None);
}

#[tokio::test]
async fn trap_04_without_a_tokenizer_chunks_are_an_estimate_and_called_one() {
    let counted = tokens(&without_usage(), None).await;
    assert_eq!((said(counted.input), said(counted.output)), (None, Some((3, CountSource::Chunks))));
    assert_eq!(counted.streamed(), None);
}

//! Measures what an event of a streamed answer costs to decode, from its bytes to the counts and marks of the answer: for
//! each dialect, with an event in each read and with 16 of them. Nothing is sent. Prints nanoseconds per event, of the
//! fastest of several rounds, which other processes disturb the least.
//!
//! `cargo bench --bench decode [-- ROUNDS]`

use anyhow::{Context as _, ensure};
use std::time::Duration;
use tokenbeat::client;
use tokenbeat::plan::Api;
use tokio::time::Instant;

/// Events with content per answer.
const EVENTS: usize = 4096;

/// An event with content, and what ends an answer.
struct Wire {
    api: Api,
    event: &'static str,
    end: &'static str,
}

const WIRES: [Wire; 5] = [
    Wire {
        api: Api::OpenAiChat,
        event: "data: {\"id\":\"chatcmpl-7f3a9c\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
                \"model\":\"llama-3.1-8b\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\
                \"logprobs\":null,\"finish_reason\":null}]}\n\n",
        end: "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    },
    Wire {
        api: Api::OpenAiResponses,
        event: "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\
                \"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\" token\"}\n\n",
        end: "event: response.completed\ndata: {\"type\":\"response.completed\",\
              \"response\":{\"id\":\"resp_1\",\"status\":\"completed\"}}\n\n",
    },
    Wire {
        api: Api::Anthropic,
        event: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
                \"delta\":{\"type\":\"text_delta\",\"text\":\" token\"}}\n\n",
        end: "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
              event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    },
    Wire {
        api: Api::OllamaChat,
        event: "{\"model\":\"llama3.1\",\"created_at\":\"2024-08-04T08:52:19.385406455Z\",\
                \"message\":{\"role\":\"assistant\",\"content\":\" token\"},\"done\":false}\n",
        end: "{\"model\":\"llama3.1\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\
              \"done_reason\":\"stop\"}\n",
    },
    Wire {
        api: Api::Tgi,
        event: "data:{\"index\":3,\"token\":{\"id\":4037,\"text\":\" token\",\"logprob\":-0.5,\"special\":false},\
                \"generated_text\":null,\"details\":null}\n\n",
        end: "data:{\"index\":4,\"token\":{\"id\":2,\"text\":\"</s>\",\"logprob\":-0.1,\"special\":true},\
              \"generated_text\":\" token\",\"details\":{\"finish_reason\":\"eos_token\",\"generated_tokens\":4096}}\n\n",
    },
];

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let rounds: usize = numbers.next().map_or(Ok(20), |arg| arg.parse()).context("ROUNDS")?;
    for wire in &WIRES {
        let of = |events| measure(wire, events, rounds);
        println!(
            "{:>17}: {:5.0} ns per event alone, {:5.0} ns in reads of 16",
            wire.api.name(),
            of(1)?,
            of(16)?
        );
    }
    Ok(())
}

/// Nanoseconds per event, with `together` events in each read.
fn measure(wire: &Wire, together: usize, rounds: usize) -> anyhow::Result<f64> {
    let read = wire.event.repeat(together);
    let reads = || std::iter::repeat_n(read.as_bytes(), EVENTS / together).chain([wire.end.as_bytes()]);
    let mut fastest = Duration::MAX;
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        let events = client::decode_reads(wire.api, reads()).context("the answer is not complete")?;
        fastest = fastest.min(began.elapsed());
        ensure!(events == EVENTS, "{events} events with content");
    }
    Ok(fastest.as_nanos() as f64 / EVENTS as f64)
}

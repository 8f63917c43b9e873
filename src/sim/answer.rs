//! Generates an answer in any dialect: checks the model and the limits, retrieves, queues, then answers.
//!
//! Every generating endpoint goes through [`generate`]. It knows the order of these steps and leaves each one to its
//! module.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

use super::dialect::{Delta, Dialect, ParsedRequest, Refusal, Service};
use super::effects::Effects;
use super::exchange::{self, Exchange, Whole};
use super::generation::{Generation, Planned};
use super::shared::SimShared;
use super::steady::{Pace, SteadyBody};
use super::stream::StreamWriter;

/// Answers a request in a dialect.
pub(crate) async fn answer(
    shared: Arc<SimShared>,
    dialect: &'static dyn Dialect,
    request: Request,
) -> Response {
    exchange::receive(shared, dialect, request, async move |exchange, parts, body| {
        let created = Timestamp::now().as_second();
        let read = body.and_then(|body| dialect.read(parts, &body, &exchange.id, created));
        let read = read.and_then(|mut read| {
            name_model(&exchange.shared, &mut read);
            recall(&exchange.shared, &mut read)?;
            Ok(read)
        });
        let model = read.as_ref().ok().map(|read| read.ask.model.clone());
        let effects = match exchange.begin(model).await {
            Ok(effects) => effects,
            Err(response) => return *response,
        };
        if !exchange.shared.key_fits(&exchange.headers) {
            return exchange.refuse(&Refusal::Unauthorized);
        }
        match read {
            Ok(read) => generate(exchange, read, effects).await,
            Err(refusal) => exchange.refuse(&refusal),
        }
    })
    .await
}

/// A server of one model has requests that do not name it.
fn name_model(shared: &SimShared, read: &mut ParsedRequest) {
    if read.ask.model.is_empty()
        && let Some(model) = shared.options.models.first()
    {
        read.ask.model.clone_from(model);
    }
}

/// Puts the conversation that a request goes on before its own turns.
fn recall(shared: &SimShared, read: &mut ParsedRequest) -> Result<(), Refusal> {
    let Some(stored) = &read.ask.stored else { return Ok(()) };
    let Some(previous) = &stored.previous else { return Ok(()) };
    let earlier = shared.stored.turns(previous).ok_or_else(|| Refusal::UnknownAnswer(previous.clone()))?;
    let at = stored.instructions.min(read.ask.turns.len());
    read.ask.turns.splice(at..at, earlier);
    Ok(())
}

/// Has the model answer a request that was read.
pub(crate) async fn generate(exchange: Exchange, read: ParsedRequest, effects: Effects) -> Response {
    if let Some(pace) = pace(&exchange, &read, &effects) {
        return steady(exchange, read, effects, pace).await;
    }
    match submit(&exchange, &read, &effects).await {
        Ok(generation) if read.ask.stream => stream(exchange, read, effects, generation),
        Ok(generation) => whole(&exchange, read, effects, generation).await,
        Err(refusal) => exchange.refuse(&refusal),
    }
}

/// The schedule of an answer that does not come from the engine.
fn pace(exchange: &Exchange, read: &ParsedRequest, effects: &Effects) -> Option<Pace> {
    let options = &exchange.shared.options;
    let plain = effects.plain
        && read.retrieval.is_none()
        && read.ask.stored.is_none()
        && exchange.endpoint.service() == Service::Model;
    options.pace.filter(|_| plain).map(|next| Pace { first: options.first_token, next })
}

/// Answers on this schedule.
async fn steady(exchange: Exchange, read: ParsedRequest, effects: Effects, pace: Pace) -> Response {
    let (planned, likely) = match plan(&exchange, &read, &effects) {
        Ok(planned) => planned,
        Err(refusal) => return exchange.refuse(&refusal),
    };
    if !read.ask.stream {
        let time = pace.whole(planned.usage.output);
        if !time.is_zero() {
            tokio::time::sleep_until(exchange.record.arrival() + time).await;
        }
        let mut generation = planned.at_once();
        generation.likely = likely;
        return whole(&exchange, read, effects, generation).await;
    }
    let parts = (Arc::clone(&exchange.shared), exchange.control(), Arc::clone(&exchange.record));
    let body = SteadyBody::new(parts, (read.answer, read.framing), effects, (pace, planned, likely));
    let mut response = exchange::head(body, read.framing.content_type(), false);
    exchange.standard_headers(&mut response, StatusCode::OK);
    response
}

/// Checks the request, and plans its answer; with the most likely first tokens, if it asked for them.
fn plan(
    exchange: &Exchange,
    read: &ParsedRequest,
    effects: &Effects,
) -> Result<(Planned, Vec<(String, f64)>), Refusal> {
    let shared = &exchange.shared;
    exchange.record.set(|truth| truth.streamed = read.ask.stream);
    if !shared.options.models.contains(&read.ask.model) {
        return Err(Refusal::UnknownModel(read.ask.model.clone()));
    }
    let planned = Planned::new(&read.ask, effects, &shared.options)?;
    shared.take(planned.billed).map_err(|retry_after| Refusal::RateLimited { retry_after })?;
    let likely = planned.likely(shared.next_answer());
    let usage = planned.usage;
    exchange.record.set(|truth| {
        truth.input_tokens = usage.input;
        truth.output_tokens = usage.output;
        truth.reasoning_tokens = usage.reasoning;
    });
    Ok((planned, likely))
}

/// Checks the request, retrieves what it needs, and puts it in the queue.
async fn submit(exchange: &Exchange, read: &ParsedRequest, effects: &Effects) -> Result<Generation, Refusal> {
    let shared = &exchange.shared;
    let (planned, likely) = plan(exchange, read, effects)?;
    let mut retrieval = None;
    if let Some(time) = read.retrieval {
        let begun = Instant::now();
        tokio::time::sleep(time + effects.slow_retrieval).await;
        retrieval = Some(begun.elapsed());
        exchange.record.set(|truth| truth.retrieval_seconds = retrieval.map(|time| time.as_secs_f64()));
    }
    let mut generation = planned.submit(&shared.driver)?;
    generation.retrieval = retrieval;
    generation.likely = likely;
    generation.storing = read.ask.stored.as_ref().and_then(|it| it.storing(&shared.stored, &read.ask.turns));
    Ok(generation)
}

fn stream(exchange: Exchange, read: ParsedRequest, effects: Effects, generation: Generation) -> Response {
    let (outlet, channel) = exchange.body();
    let content_type = read.framing.content_type();
    let mut response = exchange::head(channel, content_type, effects.wrong_content_type);
    exchange.standard_headers(&mut response, StatusCode::OK);
    let writer = StreamWriter::new(outlet, read.framing, read.answer, effects, exchange.record);
    exchange.shared.spawn(writer.run(generation));
    response
}

async fn whole(
    exchange: &Exchange,
    read: ParsedRequest,
    effects: Effects,
    mut generation: Generation,
) -> Response {
    let mut parts: Vec<Delta> = Vec::new();
    while let Some(piece) = generation.next().await {
        if let Some(part) = parts.last_mut().filter(|part| part.kind == piece.kind) {
            part.text.push_str(&piece.text);
            part.tokens += 1;
        } else {
            let logprobs = generation.logprobs;
            let likely = generation.likely_of(piece.kind);
            parts.push(Delta { text: piece.text, tokens: 1, logprobs, likely, ..Delta::of(piece.kind) });
        }
    }
    exchange.record.set(|truth| generation.report(truth));
    if !generation.complete() {
        return exchange.refuse(&Refusal::Stopped);
    }
    let mut body = read.answer.whole(&parts, &generation.ending(&effects), &effects);
    effects.rename(&mut body);
    let json = body.to_string();
    read.answer.completed(&generation.text);
    generation.store();
    let generated = Some((generation.usage.output, generation.finish.name()));
    exchange.document(StatusCode::OK, Whole { json, generated }, effects).await
}

//! OpenTelemetry's GenAI client metrics, recorded from the same facts as ours. It must not know how they are
//! exported.
//!
//! Warm-up adds to the usage counters and to nothing else, as in our own metrics. What the provider did not say
//! counts as 0 tokens, as the conventions want it. `time_to_first_chunk` and `time_per_output_chunk` hold answers
//! that completed.

mod table;

use super::collect::distribution;
use super::metric::{Attribute, Family, Kind, Series, Value};
use super::targets::{Endpoint, Targets};
use crate::event::{Count, Outcome, Request, Source, TokenType};
use crate::plan::otlp::{GenAi, Histograms};
use crate::telemetry::value::{Counter, Histogram, Trace, epoch_seconds};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;
use table::{DURATION, Instrument, Quantity, TABLE, TOKENS};

/// Records the metrics of one set, or both.
pub(super) struct Recorder {
    set: GenAi,
    form: Histograms,
    targets: Arc<Targets>,
    cells: RwLock<HashMap<Key, Arc<Cells>>>,
}

/// The attributes that every metric has: an endpoint and the model that it was asked for.
type Key = (Arc<Endpoint>, Arc<str>);

/// Values of one endpoint and model.
struct Cells {
    /// By outcome, because these have `error.type`. At most as many as there are outcomes.
    operations: Mutex<BTreeMap<Outcome, Arc<Operation>>>,
    first_chunk: Histogram,
    output_chunk: Histogram,
    usage: [Counter; 2],
    cache_read: Counter,
    reasoning: Counter,
    /// The old set's token histogram, by type.
    tokens: [Histogram; 2],
    created: SystemTime,
}

struct Operation {
    created: SystemTime,
    duration: Histogram,
    tokens: [Histogram; 2],
}

impl Recorder {
    /// Nothing is recorded where `set` is `None`.
    pub(super) fn new(set: GenAi, form: Histograms, targets: Arc<Targets>) -> Self {
        Self { set, form, targets, cells: RwLock::default() }
    }

    /// Takes a request that has ended. Requests to targets that the plan no longer has are left out, and so are HTTP
    /// steps of a scenario: they are no operations of a model.
    pub(super) fn record(&self, request: &Request) {
        if self.set == GenAi::None || request.route.is_some() {
            return;
        }
        let Some(endpoint) = self.targets.get(&request.place.pair.target) else { return };
        if let Some(cells) = self.cells(endpoint, Arc::clone(&request.place.model)) {
            cells.spend(request);
            if !request.warm_up {
                self.measure(&cells, request);
            }
        }
    }

    /// The plan changed: series of endpoints that it has no more go.
    pub(super) fn prune(&self) {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|(endpoint, _), _| self.targets.has(endpoint));
    }

    fn cells(&self, endpoint: Arc<Endpoint>, model: Arc<str>) -> Option<Arc<Cells>> {
        let key = (endpoint, model);
        if let Some(cells) = self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(cells));
        }
        self.targets.has(&key.0).then(|| {
            let mut all = self.cells.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(key).or_insert_with(|| Arc::new(Cells::new(self.form))))
        })
    }

    fn measure(&self, cells: &Cells, request: &Request) {
        let trace = request.ids.sampled.then(|| Trace {
            id: request.ids.trace_id,
            span_id: request.ids.span_id,
            time: epoch_seconds(SystemTime::now()),
        });
        let trace = trace.as_ref();
        let operation = cells.operation(request.outcome, self.form);
        operation.duration.observe(request.marks.duration().as_secs_f64(), trace);
        for (count, (now, before)) in
            said(request).into_iter().zip(operation.tokens.iter().zip(&cells.tokens))
        {
            now.observe(count.unwrap_or(0) as f64, trace);
            if let Some(n) = count {
                before.observe(n as f64, trace);
            }
        }
        if request.streamed && request.outcome.is_answered() {
            if let Some(time) = request.marks.time_to_first_chunk() {
                cells.first_chunk.observe(time.as_secs_f64(), trace);
            }
            cells.output_chunk.observe_all(request.gaps.as_slice(), trace);
        }
    }

    /// Every family of the set that has a series.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut cells: Vec<(Key, Arc<Cells>)> = {
            let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
            cells.iter().map(|(key, cells)| (key.clone(), Arc::clone(cells))).collect()
        };
        cells.sort_by(|(a, _), (b, _)| a.cmp(b));
        let shown = TABLE.iter().filter(|it| it.is_in(self.set));
        let families = shown.map(|instrument| Family {
            name: instrument.name,
            unit: instrument.unit,
            description: instrument.description,
            kind: instrument.quantity.kind(),
            series: cells.iter().flat_map(|(key, cells)| self.series(instrument, key, cells)).collect(),
        });
        families.filter(|family| !family.series.is_empty()).collect()
    }

    fn series(&self, instrument: &Instrument, key: &Key, cells: &Cells) -> Vec<Series> {
        let of = |created, value: Option<Value>, more: Vec<(Cow<'static, str>, Attribute)>| {
            let attributes = common(key).into_iter().chain(more).collect();
            value.map(|value| Series { attributes, value, created })
        };
        let histogram = |it: &Histogram| {
            let (classic, native) = it.snapshot();
            distribution(&classic, native.as_ref(), self.form)
        };
        let since = cells.created;
        let modality = || vec![text("gen_ai.token.modality", "unknown")];
        let counter = |it: &Counter| of(since, Some(Value::Int(it.whole())), modality());
        let by_outcome = |pick: fn(&Operation) -> &Histogram| -> Vec<Series> {
            let operations = cells.operations.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let each = operations.into_iter();
            each.filter_map(|(outcome, it)| of(it.created, histogram(pick(&it)), error_type(outcome)))
                .collect()
        };
        let [usage_input, usage_output] = &cells.usage;
        let one = match instrument.quantity {
            Quantity::Duration => return by_outcome(|it| &it.duration),
            Quantity::InputTokens => return by_outcome(|it| &it.tokens[0]),
            Quantity::OutputTokens => return by_outcome(|it| &it.tokens[1]),
            Quantity::Tokens => {
                let both = TokenType::ALL.into_iter().zip(&cells.tokens);
                let typed = |it: TokenType| vec![text("gen_ai.token.type", it.label())];
                return both.filter_map(|(it, tokens)| of(since, histogram(tokens), typed(it))).collect();
            }
            Quantity::FirstChunk => of(since, histogram(&cells.first_chunk), vec![]),
            Quantity::OutputChunk => of(since, histogram(&cells.output_chunk), vec![]),
            Quantity::UsageInput => counter(usage_input),
            Quantity::UsageOutput => counter(usage_output),
            Quantity::UsageCacheRead => counter(&cells.cache_read),
            Quantity::UsageReasoning => counter(&cells.reasoning),
        };
        one.into_iter().collect()
    }
}

impl Cells {
    fn new(form: Histograms) -> Self {
        Self {
            operations: Mutex::default(),
            first_chunk: histogram(&DURATION, form),
            output_chunk: histogram(&DURATION, form),
            usage: Default::default(),
            cache_read: Counter::default(),
            reasoning: Counter::default(),
            tokens: [histogram(&TOKENS, form), histogram(&TOKENS, form)],
            created: SystemTime::now(),
        }
    }

    fn operation(&self, outcome: Outcome, form: Histograms) -> Arc<Operation> {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = operations.entry(outcome).or_insert_with(|| {
            Arc::new(Operation {
                created: SystemTime::now(),
                duration: histogram(&DURATION, form),
                tokens: [histogram(&TOKENS, form), histogram(&TOKENS, form)],
            })
        });
        Arc::clone(operation)
    }

    fn spend(&self, request: &Request) {
        for (counter, count) in self.usage.iter().zip(said(request)) {
            counter.add(count.unwrap_or(0));
        }
        self.cache_read.add(request.tokens.cached_input.unwrap_or(0));
        self.reasoning.add(request.tokens.reasoning.unwrap_or(0));
    }
}

fn histogram(buckets: &'static crate::catalogue::buckets::Buckets, form: Histograms) -> Histogram {
    let histogram = Histogram::new(buckets);
    if form == Histograms::Exponential {
        histogram.record_native();
    }
    histogram
}

/// Input and output tokens as the provider counted them.
fn said(request: &Request) -> [Option<u64>; 2] {
    let usage = |count: Option<Count>| count.filter(|it| it.source == Source::Usage).map(|it| it.n);
    [usage(request.tokens.input), usage(request.tokens.output)]
}

fn common((endpoint, model): &Key) -> Vec<(Cow<'static, str>, Attribute)> {
    let mut all = vec![
        text("gen_ai.operation.name", endpoint.operation),
        text("gen_ai.provider.name", endpoint.provider),
        text("server.address", &endpoint.address),
        ("server.port".into(), Attribute::Int(u64::from(endpoint.port))),
    ];
    if !model.is_empty() {
        all.push(text("gen_ai.request.model", model));
    }
    all
}

fn error_type(outcome: Outcome) -> Vec<(Cow<'static, str>, Attribute)> {
    match outcome {
        Outcome::Ok => vec![],
        Outcome::Failed(failure) => vec![text("error.type", failure.label())],
    }
}

fn text(key: &'static str, value: &str) -> (Cow<'static, str>, Attribute) {
    (key.into(), Attribute::Text(value.to_owned()))
}

impl Quantity {
    fn kind(self) -> Kind {
        match self {
            Self::UsageInput | Self::UsageOutput | Self::UsageCacheRead | Self::UsageReasoning => {
                Kind::Counter
            }
            _ => Kind::Histogram,
        }
    }
}

#[cfg(test)]
mod tests;

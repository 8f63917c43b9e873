//! A scenario: what a user does, step by step.

mod of_workload;

use super::{
    AnswerMapping, Comparison, ConversationPlan, ConversationTexts, Dataset, Expect, LengthDistribution,
    ModelFingerprint, PromptLengths, SyntheticPrompts, Think, TraceReplay, serialize,
};
use crate::secret::Secret;
use crate::template::{Template, Templates, Vars};
use crate::vocabulary::{Api, Cache, Reserve, RowOrder};
use http::{HeaderName, HeaderValue, Method};
use regex::Regex;
use serde::Serialize;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a user does: the set-up once, then the steps, again and again. The debug output omits variables, which may be
/// secret.
#[derive(Serialize)]
pub struct Scenario {
    /// Whether iterations are recorded as journeys, with facts, spans and metrics of their own. Those of a workload are
    /// not, because they are single requests.
    pub journeys: bool,
    /// Played once per user.
    pub setup: Vec<Arc<Step>>,
    /// Played in each iteration; at least one.
    pub steps: Vec<Arc<Step>>,
    /// Played after a turn of a conversation that has become too long, if a model writes the summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Arc<Step>>,
    /// The templates of all steps.
    // Each template is serialized where it is used.
    #[serde(skip)]
    pub templates: Templates,
    /// Variables and the contents of data files, by name.
    // `variables` identifies them: a data file may be large.
    #[serde(skip)]
    pub vars: Vars,
    /// What is known about each of `vars`.
    pub variables: BTreeMap<String, Variable>,
    /// Secrets, by name; templates see them as `secret.NAME`.
    pub secrets: Vec<(Arc<str>, Arc<Secret>)>,
    /// Whether cookies are kept, per user.
    pub cookies: bool,
}

/// Properties of a variable or a data file, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// SHA-256 of the value, in hexadecimal.
    pub digest: String,
    /// Number of bytes if the whole value is rendered into a text; `None` for a data file, of which only items are
    /// used.
    #[serde(skip)] // Follows from the value.
    pub printed: Option<u64>,
    /// Number of bytes of its longest item, if it is a list.
    #[serde(skip)] // Follows from the value.
    pub longest_item: Option<u64>,
}

/// One request of a user.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its name, a label value, unique in the scenario; empty for a workload.
    pub name: Arc<str>,
    /// Its number in [`Scenario::all`], from 0.
    pub number: usize,
    /// What is sent.
    pub action: StepAction,
    /// Think time before it. Does not apply to the first step of an iteration, where the stage's think time counts.
    pub think: Think,
    /// How often it is played in a row, at least once.
    pub repeat: u32,
    /// Whether each time it is played is a turn of a conversation. Turns count from 1: within the iteration if `repeat`
    /// is more than 1, otherwise from the user's set-up on.
    pub turns: bool,
    /// Timeout from the send to the end; `None` means the target's.
    pub timeout: Option<Duration>,
    /// What is expected of the answer.
    pub expect: Expect,
    /// What is extracted from the answer for later steps.
    pub take: Vec<Take>,
    /// The comparison for which the step sends the request of a workload again, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What a step sends.
#[derive(Debug, Serialize)]
pub enum StepAction {
    /// An HTTP request.
    Http(Box<HttpStep>),
    /// A call of the model in the target's dialect.
    Ask(Box<AskStep>),
}

/// An HTTP request. Its debug output omits its headers and body, which may be secret.
#[derive(Serialize)]
pub struct HttpStep {
    /// The method.
    #[serde(serialize_with = "serialize::text")]
    pub method: Method,
    /// Path and query, appended to the target's base URL. The author of the config is responsible for escaping values
    /// in templates; only characters that cannot appear in a URL are escaped.
    pub path: Template,
    /// Headers in addition to the target's.
    #[serde(serialize_with = "serialize::templates")]
    pub headers: Vec<(HeaderName, Template)>,
    /// The body.
    pub body: BodyTemplate,
    /// How the answer is read; `None` means that any answer is complete at its end.
    pub reading: Option<Arc<AnswerMapping>>,
    /// The maximum number of tokens that it may cost.
    pub reserve: Reserve,
    /// Method and path as configured: the name of its spans.
    pub route: Arc<str>,
}

/// The body of an HTTP request.
#[derive(Debug, Serialize)]
pub enum BodyTemplate {
    /// No body.
    None,
    /// `application/json`.
    Json(JsonTemplate),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, Template)>),
    /// Text of any type.
    Raw {
        /// Its type.
        #[serde(serialize_with = "serialize::header_value")]
        content_type: HeaderValue,
        /// The text.
        text: Template,
    },
}

/// A JSON value with templates in it.
#[derive(Debug, Serialize)]
pub enum JsonTemplate {
    /// A value without a template.
    Literal(Value),
    /// A string with a template; see [`Templates::value`].
    Template(Template),
    /// An array with templates in it.
    Array(Vec<Self>),
    /// An object with templates in its values. Keys are used literally, and sent in this order.
    // Serialized in the order of the alphabet, so that the revisions of older configs stay the same.
    Object(#[serde(serialize_with = "serialize::sorted_fields")] Vec<(String, Self)>),
}

impl JsonTemplate {
    /// The keys of its objects with templates, in order.
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Self::Literal(_) | Self::Template(_) => Vec::new(),
            Self::Array(items) => items.iter().flat_map(Self::keys).collect(),
            Self::Object(fields) => {
                fields.iter().flat_map(|(key, field)| std::iter::once(&**key).chain(field.keys())).collect()
            }
        }
    }
}

/// A call of the model in the target's dialect.
#[derive(Debug, Serialize)]
pub struct AskStep {
    /// System prompt and prompt.
    pub text: AskText,
    /// Maximum number of output tokens of any request of the step.
    pub output_tokens: Option<u64>,
    /// Further settings for the length of the answer.
    #[serde(skip_serializing_if = "OutputLength::is_default")]
    pub output: OutputLength,
    /// How prefix caches are treated.
    pub cache: Cache,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Merged into the body over the target's parameters; see [`super::PairPlan::params`].
    // The merged form is what is sent, and it is serialized there.
    #[serde(skip)]
    pub params: Map<String, Value>,
    /// Maximum number of earlier turns (question and answer) that are sent along; the oldest are dropped.
    pub history: u32,
    /// Whether the server keeps the conversation. Each request then contains only the new messages, and a conversation
    /// with more than `history` earlier turns starts over.
    // Not serialized if false, so that the revisions of older configs stay the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stateful: bool,
    /// How the answers to its prompts are compared from run to run, if they are. The prompts are then sent in order.
    // Not serialized if absent, so that the revisions of older configs stay the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<ModelFingerprint>,
}

/// Settings for the length of an answer, in addition to a fixed maximum.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OutputLength {
    /// The distribution that the maximum of each request is drawn from.
    pub lengths: Option<LengthDistribution>,
    /// Minimum number of output tokens.
    pub min_tokens: Option<u64>,
    /// Whether the model continues until the maximum is reached.
    pub ignore_eos: bool,
}

impl OutputLength {
    /// Whether nothing is set.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The texts of a model call.
#[derive(Debug, Serialize)]
pub enum AskText {
    /// Fixed texts. Nothing is rendered, so the request needs no work in the CPU pool, and its answer is not kept.
    Fixed {
        /// System prompt.
        system: Option<Arc<str>>,
        /// User prompts, one for each request; at least one.
        prompts: Vec<Arc<str>>,
    },
    /// Texts that are generated for each request, in the CPU pool.
    Synthetic(SyntheticPrompts),
    /// Texts that are read from a dataset for each request, in the CPU pool.
    Dataset {
        /// The prompts.
        dataset: Arc<Dataset>,
        /// The order in which they are used.
        order: RowOrder,
        /// System prompt for prompts that have none.
        system: Option<Arc<str>>,
    },
    /// A turn of a conversation: generated or read for each request, in the CPU pool, with the turns before it.
    Conversation(Arc<ConversationPlan>),
    /// Asks for a summary of the older turns of a conversation.
    Summary(Arc<ConversationPlan>),
    /// Texts with the lengths and shared prefixes of recorded requests, or recorded texts; generated or read for each
    /// request, in the CPU pool.
    Trace {
        /// The replay of the recorded requests.
        replay: Arc<TraceReplay>,
        /// System prompt for recorded texts that have none.
        system: Option<Arc<str>>,
    },
    /// Texts that are rendered for each request.
    Template {
        /// System prompt.
        system: Option<Template>,
        /// The user prompt.
        prompt: Template,
    },
}

/// A value that is extracted from an answer.
#[derive(Debug, Serialize)]
pub struct Take {
    /// The variable that it is stored in.
    pub name: Arc<str>,
    /// Where it is found.
    pub from: AnswerPart,
    /// The value to use if it is missing; without one, a missing value is a failure.
    // A default of null is not the same as no default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// A part of an answer.
#[derive(Debug, Serialize)]
pub enum AnswerPart {
    /// The first node of a path in the JSON answer (or in the text, parsed as JSON).
    Json(JsonPath),
    /// A header.
    Header(#[serde(serialize_with = "serialize::text")] HeaderName),
    /// The first group of the first match, or the whole match, in the visible text, or in the body if no text is read.
    Regex(#[serde(serialize_with = "serialize::pattern")] Regex),
    /// A cookie that the answer sets.
    Cookie(String),
    /// The visible text, or the body if no text is read.
    Text,
}

/// Names available in templates besides the scenario's own: which user plays which step, where, and in which iteration
/// and turn.
pub(super) const ENVIRONMENT: [&str; 9] =
    ["user", "iteration", "turn", "profile", "target", "model", "stage", "step", "run"];

impl JsonTemplate {
    /// The value that it makes; `value` makes the one of each template.
    pub fn render<E>(&self, value: &mut impl FnMut(&Template) -> Result<Value, E>) -> Result<Value, E> {
        match self {
            Self::Literal(literal) => Ok(literal.clone()),
            Self::Template(template) => value(template),
            Self::Array(items) => items.iter().map(|item| item.render(value)).collect(),
            Self::Object(fields) => {
                let fields = fields.iter().map(|(key, field)| Ok((key.clone(), field.render(value)?)));
                fields.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
        }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { journeys, setup, steps, summary, templates: _, vars: _, secrets, cookies, variables: _ } =
            self;
        let mut shown = f.debug_struct("Scenario");
        shown.field("journeys", journeys);
        shown
            .field("setup", setup)
            .field("steps", steps)
            .field("summary", summary)
            .field("secrets", secrets)
            .field("cookies", cookies);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method: _, path: _, headers: _, body: _, reading, reserve, route } = self;
        let mut shown = f.debug_struct("HttpStep");
        shown
            .field("route", route)
            .field("reading", reading)
            .field("reserve", reserve)
            .finish_non_exhaustive()
    }
}

impl Scenario {
    /// The shortest pause after a failed request: a user must not spin on a target that is down.
    pub const FAILED_PAUSE: Duration = Duration::from_millis(100);
    /// The shortest pause after a set-up that failed or whose login was refused later. It doubles with each further
    /// failure, so as not to overload a broken login.
    pub const SET_UP_PAUSE: Duration = Duration::from_secs(1);

    /// See [`Step::rows`].
    pub fn rows(&self) -> Option<u64> {
        self.steps.iter().find_map(|step| step.rows())
    }

    /// Whether what a journey sends depends on its number alone, and not on the user that plays it or on answers to
    /// other requests: it sends the texts of a workload.
    pub fn is_told_by_number(&self) -> bool {
        self.all().all(|step| match &step.action {
            StepAction::Ask(ask) => !matches!(ask.text, AskText::Template { .. }),
            StepAction::Http(_) => false,
        })
    }

    /// Whether any step sends a request once more, to compare the answers.
    pub fn compares(&self) -> bool {
        self.steps.iter().any(|step| step.comparison.is_some())
    }

    /// Whether any step requests a stream.
    pub fn streams(&self) -> bool {
        self.all().any(|step| step.streams())
    }

    /// Whether any answer of a target with this API may be a stream.
    pub fn streams_from(&self, api: Api) -> bool {
        self.all().any(|step| step.streams_from(api))
    }

    /// The trace that its requests come from, if there is one.
    pub fn replay(&self) -> Option<&Arc<TraceReplay>> {
        self.all().find_map(|step| match &step.action {
            StepAction::Ask(ask) => match &ask.text {
                AskText::Trace { replay, .. } => Some(replay),
                _ => None,
            },
            StepAction::Http(_) => None,
        })
    }

    /// Every step, those of the set-up first and the summary last, in the order of [`Step::number`].
    pub fn all(&self) -> impl Iterator<Item = &Arc<Step>> {
        self.setup.iter().chain(&self.steps).chain(&self.summary)
    }

    /// Whether texts are written of words, one for each token.
    pub fn has_words(&self) -> bool {
        self.all().any(|step| match &step.action {
            StepAction::Ask(ask) => match &ask.text {
                AskText::Synthetic(_) => true,
                AskText::Trace { replay, .. } => replay.has_generated_texts(),
                AskText::Conversation(plan) | AskText::Summary(plan) => plan.has_words(),
                AskText::Fixed { .. } | AskText::Dataset { .. } | AskText::Template { .. } => false,
            },
            StepAction::Http(_) => false,
        })
    }
}

impl AskStep {
    /// Whether requests of the step ask for different output lengths.
    pub fn draws_output_tokens(&self) -> bool {
        let by_text = match &self.text {
            AskText::Synthetic(prompts) => matches!(prompts.lengths, PromptLengths::Joint(_)),
            AskText::Dataset { dataset, order, .. } => dataset.size(*order).max_output_tokens.is_some(),
            AskText::Trace { .. } => true,
            AskText::Fixed { .. }
            | AskText::Template { .. }
            | AskText::Conversation(_)
            | AskText::Summary(_) => false,
        };
        by_text || self.output.lengths.as_ref().is_some_and(|lengths| lengths.only().is_none())
    }
}

impl Step {
    /// Whether its request does not depend on the user that sends it, and nothing is kept of its answer.
    pub fn is_fixed(&self) -> bool {
        let StepAction::Ask(ask) = &self.action else { return false };
        match ask.text {
            AskText::Fixed { .. }
            | AskText::Synthetic(_)
            | AskText::Dataset { .. }
            | AskText::Trace { .. } => true,
            AskText::Template { .. } | AskText::Conversation(_) | AskText::Summary(_) => false,
        }
    }

    /// The number of rows of its dataset, after which their order begins again, if it asks them in an order; or of
    /// requests of its trace.
    pub fn rows(&self) -> Option<u64> {
        let StepAction::Ask(ask) = &self.action else { return None };
        let (dataset, order) = match &ask.text {
            AskText::Trace { replay, .. } => return Some(replay.trace.requests()),
            AskText::Dataset { dataset, order, .. } => (dataset, *order),
            AskText::Conversation(plan) => match &plan.texts {
                ConversationTexts::Dataset { dataset, order } => (dataset, *order),
                ConversationTexts::Given(_) | ConversationTexts::Synthetic(_) => return None,
            },
            _ => return None,
        };
        (order != RowOrder::Weighted).then(|| dataset.rows())
    }

    /// The JSON that it sends, if it is an HTTP request with such a body.
    pub fn json_body(&self) -> Option<&JsonTemplate> {
        match &self.action {
            StepAction::Http(http) => match &http.body {
                BodyTemplate::Json(json) => Some(json),
                BodyTemplate::None | BodyTemplate::Form(_) | BodyTemplate::Raw { .. } => None,
            },
            StepAction::Ask(_) => None,
        }
    }

    /// Its conversations, if it is a turn of one.
    pub fn conversation(&self) -> Option<&Arc<ConversationPlan>> {
        match &self.action {
            StepAction::Ask(ask) => match &ask.text {
                AskText::Conversation(plan) => Some(plan),
                _ => None,
            },
            StepAction::Http(_) => None,
        }
    }

    /// Whether it is part of a conversation: a turn, or a summary.
    pub fn is_of_conversation(&self) -> bool {
        let of_conversation =
            |ask: &AskStep| matches!(ask.text, AskText::Conversation(_) | AskText::Summary(_));
        matches!(&self.action, StepAction::Ask(ask) if of_conversation(ask))
    }

    /// How often it is played at least in a complete journey.
    pub fn least_plays(&self) -> u64 {
        match &self.action {
            StepAction::Ask(ask) => match &ask.text {
                AskText::Conversation(plan) => plan.turns().min,
                AskText::Summary(_) => 0,
                _ => self.repeat.into(),
            },
            StepAction::Http(_) => self.repeat.into(),
        }
    }

    /// Whether its request is ready to use: no text has to be generated, read or rendered for it.
    pub fn is_at_hand(&self) -> bool {
        matches!(&self.action, StepAction::Ask(ask) if matches!(ask.text, AskText::Fixed { .. }))
    }

    /// Whether it requests a stream.
    pub fn streams(&self) -> bool {
        match &self.action {
            StepAction::Http(http) => http.reading.as_ref().is_some_and(|reading| reading.is_stream()),
            StepAction::Ask(ask) => ask.stream,
        }
    }

    /// Whether the answer of a target with this API may be a stream: where nothing is generated, nothing is streamed.
    pub fn streams_from(&self, api: Api) -> bool {
        self.streams() && (api.generates() || matches!(self.action, StepAction::Http(_)))
    }
}

//! The section `profiles`, as written.

use super::agent::Budget;
use super::arrivals::ArrivalsText;
use super::baseline::BaselineThresholds;
use super::compare::Compare;
use super::detect::Detect;
use super::expect::Expect;
use super::load_curve::Moving;
use super::path::KeyPath;
use super::rate::{Rate, Users};
use super::scenario::Scenario;
use super::schedule::Schedule;
use super::search::CapacitySearch;
use super::text::{Length, Percentage, ThinkTime, TimeLimit};
use super::workload::Workload;
use crate::vocabulary::{AtLimit, ReasoningEffort, RecordMode, SloMetric};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};

/// Defines what is sent (exactly one of `workload` and `scenario`), when, to which targets, and what is expected of the
/// answers. Each target gets the full load, with the same seed and prompts, so that the targets can be compared.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Names of the targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
    /// A comparison of two targets, in place of `targets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// When runs are due.
    pub schedule: Schedule,
    /// Load of a run: a list of stages that run one after the other. Default: `[{ requests: 1 }]`, one request; with a
    /// `trace`, all of it; with a `fingerprint`, one request for each prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 100))]
    pub load: Vec<Stage>,
    /// A search for the highest load that still meets the objectives, instead of `load`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<CapacitySearch>,
    /// Workload: independent prompts, each sent as a separate request, or conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Steps that simulated users perform. In a stage, `requests` then counts journeys, and with `rate` each arrival is
    /// a new user who performs the set-up and one journey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
    /// How much the models should reason. This takes precedence over the setting of the targets. With `default`, no
    /// setting is sent. Default: the target's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningEffort>,
    /// Seed for all random choices. Each run of the daemon derives its own seed from this one and the scheduled time of
    /// the run, which is the same for all targets of the profile. If a seed is set, `tokenbeat run` makes the same
    /// choices every time. Default: a hash of the profile's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What is expected of each answer of the workload. An answer that does not meet it fails as `check`. In a
    /// scenario, each step has its own `expect`.
    #[serde(default, skip_serializing_if = "Expect::is_empty")]
    pub expect: Expect,
    /// Service level objectives.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub slo: Vec<Slo>,
    /// Retries of failed requests. Each attempt is a separate request with its own outcome. Default: no retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How fast readers read: deadlines for the tokens of streamed answers. Default: none, and nothing is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fluidity: Option<Fluidity>,
    /// Which changes matter when two results of the profile are compared. Default: 5% of each median, and two
    /// percentage points of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineThresholds>,
    /// How the daemon finds that runs have become worse: settings, or `off`. Default: with the defaults of the settings,
    /// except for manual schedules and for searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect: Option<Detect>,
    /// Of which requests it is recorded what was sent and what came back, for `/?request=ID` and `/api/v1/requests/ID`:
    /// method, path, headers and body, and status, headers and body or generated text. Secrets are masked, each text is
    /// cut off after 16 KiB, and nothing is stored on disk. Prompts and answers are then visible to everyone who may see
    /// the status page.
    #[serde(default, skip_serializing_if = "RecordMode::is_off")]
    pub record: RecordMode,
    /// Budget for all targets of the profile together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl Profile {
    /// The names of its targets, each with the key that names it, for a profile at `path`.
    pub fn played<'a>(&'a self, path: &KeyPath) -> Vec<(&'a String, KeyPath)> {
        let listed = self.targets.iter().enumerate();
        let listed = listed.map(|(index, name)| (name, path.key("targets").index(index)));
        let compared =
            self.compare.iter().flat_map(|it| [(&it.control, "control"), (&it.treatment, "treatment")]);
        listed.chain(compared.map(|(name, key)| (name, path.key("compare").key(key)))).collect()
    }

    /// The names of its targets.
    pub fn target_names(&self) -> impl Iterator<Item = &String> {
        self.targets.iter().chain(self.compare.iter().flat_map(|it| [&it.control, &it.treatment]))
    }

    /// Its stages, or the default.
    pub fn stages(&self) -> Cow<'_, [Stage]> {
        if !self.load.is_empty() {
            return Cow::Borrowed(&self.load);
        }
        if let Some(fingerprint) = self.workload.as_ref().and_then(|workload| workload.fingerprint.as_ref()) {
            let requests = Some(fingerprint.requests());
            return Cow::Owned(vec![Stage { requests, ..Stage::default() }]);
        }
        let has_trace = self.workload.as_ref().is_some_and(|workload| workload.trace.is_some());
        let requests = (!has_trace).then_some(NonZeroU64::MIN);
        Cow::Owned(vec![Stage { requests, ..Stage::default() }])
    }
}

/// When each token of a streamed answer is due for somebody who reads along. Tokens that are early leave slack for
/// later ones; a late one restarts the deadlines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fluidity {
    /// Deadline of the first token, from the send, such as `1s`.
    pub first: Length,
    /// Time from each deadline to the next one: how long a reader takes for a token, such as `50ms`.
    pub next: Length,
}

/// When a failed request is sent again, as an application would do. There are no more attempts after the end of the
/// stage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Maximum number of attempts at the same request, including the first one.
    #[schemars(range(min = 2, max = 10))]
    pub attempts: u32,
    /// Outcomes after which a request is sent again.
    pub on: Vec<String>,
    /// Wait before the second attempt, and maximum wait. The wait doubles before each further attempt. If the target
    /// sends a longer `Retry-After`, that is used instead.
    pub backoff: ThinkTime,
}

impl Profile {
    /// Whether users play journeys of several requests.
    pub fn has_journeys(&self) -> bool {
        let of_workload =
            self.workload.as_ref().is_some_and(|it| it.conversation.is_some() || it.cache_pair.is_some());
        self.scenario.is_some() || of_workload
    }
}

impl Default for Retry {
    fn default() -> Self {
        let [min, max] = [1, 30].map(std::time::Duration::from_secs);
        let on = ["rate_limited", "overloaded"].map(str::to_owned).to_vec();
        Self { attempts: 2, on, backoff: ThinkTime { min, max } }
    }
}

/// One stage of load. With `rate`, requests are due whether or not earlier ones have ended (open loop). With `users`,
/// each user waits for the answer, thinks, and sends the next request (closed loop). With neither, there is one user;
/// with a `trace`, requests are due as recorded, up to the end of the trace. The stage ends after a time (`for` or `warm_up`), after a number of `requests`, or at whichever comes first if both
/// are set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Stage {
    /// Name of the stage, a label on its series. Default: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Duration of the stage, such as `20s`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<Length>,
    /// Duration of the stage, instead of `for`, if the stage is warm-up. Warm-up requests count only in tokens, cost
    /// and budgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Length>,
    /// Number of requests after which the stage ends. With a scenario, the number of journeys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroU64>,
    /// Requests per second: a number, text such as `2/s`, `30/m` or `1/h`, or a shape such as `{ from: 2/s, to: 10/s }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Moving<Rate>>,
    /// How the requests of `rate` are spread: `constant`, `poisson`, `{ gamma: { cv: 2 } }`, `{ weibull: { cv: 2 } }` or
    /// `{ clients: [...] }`. Default: constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<ArrivalsText>,
    /// Number of simulated users: a number, or a shape such as `{ from: 1, to: 8 }`, whose values are rounded down, but not
    /// below one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Moving<Users>>,
    /// Time between an answer and a user's next question (with a scenario, between a user's journeys): `2s`, or a
    /// random time within a range, `1s..3s`. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
    /// Time over which the initial users start, evenly spread, such as `10s`. Default: 1ms per user, with a scenario
    /// 10ms, but at most half of the duration of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn: Option<Length>,
    /// Maximum number of requests of the stage in flight at the same time. The limits of the agent apply as well.
    /// Default: only those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<NonZeroU32>,
    /// What happens to a request that is due while `in_flight` requests are in flight. Default: skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_limit: Option<AtLimit>,
}

/// A service level objective.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Name of the objective, used as a label. The name `all` is reserved for goodput.
    pub name: String,
    /// Metric of the objective.
    pub metric: SloMetric,
    /// Step of the `scenario` whose requests are judged, by its name. Not used with the metrics of journeys. Default:
    /// the requests of all steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// A request (or journey) is good if its value is below this time, such as `800ms`. The time may grow with the
    /// number of input tokens of the request: `300ms + 0.2ms/token`. Used with all metrics except `availability`,
    /// `journey_availability` and `output_pace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<TimeLimit>,
    /// A request is good if its value is above this number of tokens per second. Used with `output_pace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub above: Option<f64>,
    /// Share of the requests (or journeys) that must be good, such as `99.5%`.
    pub objective: Percentage,
}

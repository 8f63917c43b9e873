//! Finds out what an endpoint is, and writes what it found as a config. The questions that cost nothing are asked here;
//! requests to a model are for the caller, who hands in what came of them. It knows neither plan nor engine.

mod address;
mod candidates;
mod evidence;
mod findings;
mod judge;
mod models;
mod objectives;
mod render;
mod server;
mod yaml;

pub use address::{AddressCredential, AddressError, EndpointAddress};
pub use candidates::{AuthScheme, DialectCandidate, auth_schemes, candidates};
pub use evidence::{EndpointEvidence, FetchFailure, FetchFailureKind, FetchedAnswer, Inquirer, Inquiry};
pub use findings::{EndpointFindings, KeySource, OpenPoint, OutputLimit, TargetAuth};
pub use judge::{Adjustment, TrialJudgement, TrialOutcome, judge};
pub use models::{MAX_MODELS_TRIED, model_picks};
pub use objectives::{Measurement, percentile};
pub use render::{ProbeSettings, precise, prompts, render};
pub use server::{BackendAccount, ServerFinding, ServerSoftware, backend_account, identify_server};

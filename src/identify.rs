//! Identifies an endpoint and writes the result as a config. This module sends only the queries that cost nothing. The
//! caller sends the requests to a model and passes in their results. The module does not depend on the plan or the
//! engine.

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

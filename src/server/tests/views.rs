//! Views of a small plan, for tests of the pages that show them.

use crate::comparison::Comparisons;
use crate::event::Ledger;
use crate::fact::Fanout;
use crate::model_changes::ModelChanges;
use crate::report::DiagnosisRecorder;
use crate::server::{
    AgentIdentity, AnswerLimiter, ConfigStatus, ControlCommand, Current, LastProbes, Notice, Readiness,
    Views, WAITING,
};
use crate::state::{BudgetLedger, EarlierEvents, HistoryRecorder, Recent, Time, Timeline};
use crate::target_state::TargetStates;
use crate::telemetry::{Exposition, Store};
use crate::testing::small_plan;
use axum::http::StatusCode;
use axum::response::Response;
use http_body_util::BodyExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::sync::{mpsc, watch};

/// The other ends of the channels in the views.
pub(in crate::server) struct Parts {
    pub(in crate::server) current: watch::Sender<Current>,
    pub(in crate::server) commands: mpsc::Receiver<ControlCommand>,
}

/// The views, and the handles that update them.
pub(in crate::server) fn views() -> (Views, Parts) {
    let plan = Arc::new(small_plan());
    let status = ConfigStatus {
        last_reload: Time(UNIX_EPOCH),
        last_success: Time(UNIX_EPOCH),
        ok: true,
        errors: Vec::new(),
        warnings: Vec::new(),
        files: vec!["tokenbeat.yaml".to_owned()],
    };
    let exposition = Arc::new(Exposition::new(Store::new(&plan), &plan).unwrap());
    let (current, shown) = watch::channel(Current {
        plan: Arc::clone(&plan),
        exposition,
        config: "agent: {}\n".into(),
        status: Arc::new(status),
    });
    let (sender, commands) = mpsc::channel(WAITING);
    let ledger: Arc<dyn Ledger> = Arc::new(BudgetLedger::new(&plan, Arc::new(jiff::Timestamp::now)));
    let about = AgentIdentity {
        id: "probe-1".to_owned(),
        location: String::new(),
        shard: String::new(),
        version: "0",
        currency: "usd".to_owned(),
        notice: Notice::default(),
    };
    let views = Views {
        current: shown,
        commands: sender,
        recent: Recent::new(&plan),
        history: HistoryRecorder::new(&plan),
        diagnosis: DiagnosisRecorder::of_daemon(&plan),
        comparisons: Comparisons::new(&plan, Arc::new(Fanout::new(Vec::new()))),
        states: TargetStates::new(&plan, Arc::new(Fanout::new(Vec::new()))),
        models: ModelChanges::new(&plan, &BTreeMap::new(), Arc::new(Fanout::new(Vec::new()))),
        keeper: None,
        timeline: Timeline::new(&plan, EarlierEvents::default(), None, Arc::new(jiff::Timestamp::now)),
        ledger,
        access: Arc::default(),
        scrapes: AnswerLimiter::default(),
        pages: AnswerLimiter::default(),
        probes: LastProbes::default(),
        events: Arc::default(),
        readiness: Readiness::default(),
        about: Arc::new(about),
    };
    (views, Parts { current, commands })
}

/// Status and text of an answer.
pub(in crate::server) async fn body(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

//! Helpers of this part's tests.

use crate::plan::{Api, Auth, ConnectionMode, HttpVersion, Target, Timeouts, TlsOptions};
use serde_json::Map;
use std::time::Duration;

/// A target with generous timeouts and nothing special.
pub(crate) fn target(base_url: &str) -> Target {
    Target {
        name: "t".into(),
        api: Api::OpenAiChat,
        base_url: base_url.parse().unwrap(),
        model: "m".into(),
        auth: Auth::None,
        headers: Vec::new(),
        tls: TlsOptions::default(),
        http: HttpVersion::Http1,
        connection: ConnectionMode::Warm,
        proxy: None,
        propagate: false,
        timeouts: Timeouts {
            connect: Duration::from_secs(20),
            first_token: Duration::from_secs(20),
            stall: Duration::from_secs(20),
            total: Duration::from_secs(40),
        },
        stall_threshold: None,
        price: None,
        tokenizer: None,
        params: Map::new(),
    }
}

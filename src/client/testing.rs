//! Helpers for the tests of the client.

use crate::plan::{Target, Timeouts};
use serde_json_path::JsonPath;
use std::time::Duration;

/// A target with generous timeouts and nothing special.
pub(crate) fn target(base_url: &str) -> Target {
    Target {
        base_url: base_url.parse().unwrap(),
        propagate: crate::plan::Propagate::None,
        timeouts: Timeouts {
            connect: Duration::from_secs(20),
            first_token: Duration::from_secs(20),
            stall: Duration::from_secs(20),
            total: Duration::from_secs(40),
        },
        ..crate::testing::target("t")
    }
}

/// A path of a response mapping.
pub(crate) fn path(text: &str) -> Option<JsonPath> {
    JsonPath::parse(text).map(Some).unwrap()
}

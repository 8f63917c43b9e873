//! Helpers for the tests of the client.

use crate::exchange::{Ask, Call, Message, Role};
use crate::plan::{Target, Timeouts};
use serde_json::Value;
use serde_json_path::JsonPath;
use std::sync::Arc;
use std::time::Duration;

/// A target with generous timeouts and default settings.
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

/// A system prompt and a question, with these parameters.
pub(crate) fn ask(stream: bool, output_tokens: Option<u64>, params: Value) -> Ask {
    let Value::Object(params) = params else { panic!("{params} is not an object") };
    let message = |role, text: &str| Message { role, text: text.into() };
    let messages = vec![message(Role::System, "Be brief."), message(Role::User, "h\u{e9}llo \"x\"\n")];
    Ask { messages, stream, output_tokens, params: Arc::new(params), conversation: None, cache_system: false }
}

/// The body of a request.
pub(crate) fn body(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

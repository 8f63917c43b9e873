//! Checks that requests ask for what is expected of their answers. For example, a tool that is not sent is never
//! called, and a dialect without a seed cannot honour one.

use super::Findings;
use crate::config::{Expect, KeyPath, Target};
use crate::plan::asked_params::{
    asks_logprobs, has_seed, has_tools, is_greedy, logprobs_path, seed_path, stop_path, stop_sequences,
    streams_changes, temperature_path, tool_names, written,
};
use crate::plan::{Api, HonouredParam, compose_patches, output_cap};
use serde_json::{Map, Value};

/// A model call of a profile to one of its targets.
pub(super) struct CallToTarget<'a> {
    name: &'a str,
    api: Api,
    params: Map<String, Value>,
    output_tokens: Option<u64>,
}

impl<'a> CallToTarget<'a> {
    /// Creates a call with these parameters and this maximum number of output tokens.
    pub(super) fn new(
        (name, target): (&'a str, &Target),
        params: &Map<String, Value>,
        output_tokens: Option<u64>,
    ) -> Self {
        let params = compose_patches(&target.params, params);
        Self { name, api: target.api, params, output_tokens }
    }

    /// Checks that the call requests what `expect`, at `path`, verifies.
    pub(super) fn check(&self, expect: &Expect, path: &KeyPath, findings: &mut Findings) {
        let at = path.key("tool_call");
        if let Some(wrong) = expect.tool_call.as_ref().and_then(|check| self.lacks_tool(&check.name)) {
            findings.error(&at, wrong);
        }
        for (index, param) in expect.honours.iter().enumerate() {
            if let Some(wrong) = self.lacks(*param) {
                findings.error(&path.key("honours").index(index), wrong);
            }
        }
        if expect.same_as_unary
            && let Some(wrong) = self.lacks(HonouredParam::Seed).or_else(|| self.samples())
        {
            findings.error(&path.key("same_as_unary"), wrong);
        }
    }

    fn lacks_tool(&self, tool: &str) -> Option<String> {
        if !has_tools(self.api) {
            return Some(self.has_no("tools"));
        }
        if streams_changes(self.api, &self.params) {
            let why = "has no arguments to look at where `streamFunctionCallArguments` is set";
            return Some(format!("the answer of the target `{}` {why}", self.name));
        }
        let sent = tool_names(&self.params).contains(tool);
        (!sent).then(|| self.asks_not(&format!("there is no tool `{tool}` in `params: {{ tools: [...] }}`")))
    }

    /// Returns the problem if the effect of a parameter cannot be verified.
    fn lacks(&self, param: HonouredParam) -> Option<String> {
        let missing = |path, value| self.asks_not(&format!("write {}", written(path, value)));
        match param {
            HonouredParam::MaxTokens if !self.api.generates() => Some(self.has_no("output tokens")),
            HonouredParam::MaxTokens => {
                let cap = output_cap(&self.params, self.output_tokens);
                cap.is_none().then(|| self.asks_not("write `output_tokens`"))
            }
            HonouredParam::Stop => match stop_path(self.api) {
                None => Some(self.has_no("stop sequences")),
                Some(path) => {
                    let none = stop_sequences(self.api, &self.params).sequences.is_empty();
                    none.then(|| missing(path, "[...]"))
                }
            },
            HonouredParam::Logprobs => match logprobs_path(self.api) {
                None => Some(self.has_no("log probabilities")),
                Some((path, value)) => (!asks_logprobs(self.api, &self.params)).then(|| missing(path, value)),
            },
            HonouredParam::Seed => match seed_path(self.api) {
                None => Some(self.has_no("seed")),
                Some(path) => (!has_seed(self.api, &self.params)).then(|| missing(path, "1")),
            },
        }
    }

    /// Returns the problem if two answers may differ by chance.
    fn samples(&self) -> Option<String> {
        let path = temperature_path(self.api);
        let greedy = is_greedy(self.api, &self.params);
        (!greedy).then(|| match self.api {
            Api::Tgi => self
                .asks_not(&format!("leave out {}", written(&["parameters"], "{ temperature, do_sample }"))),
            _ => self.asks_not(&format!("write {}", written(path, "0"))),
        })
    }

    fn has_no(&self, what: &str) -> String {
        format!("the target `{}` speaks `{}`, which has no {what}", self.name, self.api.name())
    }

    fn asks_not(&self, hint: &str) -> String {
        format!("the request to the target `{}` does not ask for it: {hint}", self.name)
    }
}

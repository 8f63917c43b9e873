//! What makes one plan's pair or target another than that of the next plan: everything that decides what is sent,
//! when, where to, and how it is judged. Fingerprints are compared within a process and mean nothing outside of it.
//!
//! Every field is named here, so that a new one cannot be forgotten. Left out are a profile's budget, which the
//! ledger changes without disturbing a run, and the contents of a target's files, which only its client needs anew.

use super::compile::{load_json, scenario_json};
use super::{
    Auth, Bound, ConnectionMode, HttpVersion, Identity, Objective, Overlap, PairPlan, Profile, Proxy,
    Schedule, Target, Timeouts, TlsOptions, TokenizerSpec, Trigger, Window, canonical,
};
use crate::secret::{Origin, Secret};
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Equal as long as nothing changed. It is not shown, because secrets written into the config are hashed in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl PairPlan {
    /// Changes with whatever a run of this pair depends on. CPU-bound where there are many prompts.
    pub fn fingerprint(&self) -> Fingerprint {
        let Self { pair, profile, target, revision: _, places: _, steps: _, params: _ } = self;
        let names = [&*pair.profile, &*pair.target];
        Fingerprint(canonical::sha256(
            &json!({ "pair": names, "profile": of_profile(profile), "target": of_target(target) }),
        ))
    }
}

impl Target {
    /// Changes with whatever its client depends on, but for the contents of [`Self::files`].
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(canonical::sha256(&of_target(self)))
    }

    /// The files that its client reads when it is made. Those of secrets are not among them: they are read again
    /// when they change.
    pub fn files(&self) -> Vec<&Path> {
        let identity = self.tls.identity.iter().flat_map(|it| [&it.cert_file, &it.key_file]);
        let tokenizer = self.tokenizer.iter().filter_map(|tokenizer| match tokenizer {
            TokenizerSpec::File(path) => Some(path),
            TokenizerSpec::O200kBase | TokenizerSpec::Cl100kBase => None,
        });
        self.tls.ca_file.iter().chain(identity).chain(tokenizer).map(|path| &**path).collect()
    }
}

fn of_profile(profile: &Profile) -> Value {
    let Profile { name, schedule, stages, scenario, seed, slos, budget: _, revision: _ } = profile;
    let expect: Vec<&Value> = scenario.all().map(|step| &step.expect.written).collect();
    json!({
        "name": &**name,
        "schedule": of_schedule(schedule),
        "load": load_json(stages),
        "workload": scenario_json(scenario, &Map::new()),
        "seed": seed,
        "expect": expect,
        "secrets": of_secrets(&scenario.secrets),
        "slos": slos.iter().map(of_slo).collect::<Vec<_>>(),
    })
}

fn of_schedule(schedule: &Schedule) -> Value {
    let Schedule { trigger, timezone, windows, overlap, jitter } = schedule;
    let trigger = match trigger {
        Trigger::Every { period, at_start } => json!({ "every": nanos(*period), "at_start": at_start }),
        Trigger::Cron(cron) => json!({ "cron": cron.pattern.to_string() }),
        Trigger::Continuous => json!("continuous"),
        Trigger::Manual => json!("manual"),
    };
    let window = |window: &Window| {
        let Window { days, from, to } = window;
        json!([format!("{days:?}"), from.to_string(), to.to_string()])
    };
    json!({
        "trigger": trigger,
        "timezone": timezone.iana_name(),
        "windows": windows.iter().map(window).collect::<Vec<_>>(),
        "overlap": match overlap { Overlap::Skip => "skip", Overlap::Queue => "queue" },
        "jitter": nanos(*jitter),
    })
}

fn of_slo(slo: &Objective) -> Value {
    let Objective { name, metric, bound, objective } = slo;
    let bound = bound.map(|bound| match bound {
        Bound::Below(most) => json!({ "below": most }),
        Bound::Above(least) => json!({ "above": least }),
    });
    json!([&**name, metric.name(), bound, objective])
}

fn of_target(target: &Target) -> Value {
    let Target {
        name,
        api,
        base_url,
        model,
        auth,
        headers,
        tls,
        http,
        connection,
        proxy,
        propagate,
        timeouts,
        stall_threshold,
        price,
        tokenizer,
        params,
    } = target;
    let headers: Vec<Value> =
        headers.iter().map(|(name, value)| json!([name.as_str(), of_secret(value)])).collect();
    let tokenizer = tokenizer.as_ref().map(|tokenizer| match tokenizer {
        TokenizerSpec::O200kBase => json!("o200k_base"),
        TokenizerSpec::Cl100kBase => json!("cl100k_base"),
        TokenizerSpec::File(path) => json!({ "file": path.to_string_lossy() }),
    });
    json!({
        "name": &**name,
        "api": api.name(),
        "base_url": base_url.as_str(),
        "model": &**model,
        "auth": of_auth(auth),
        "headers": headers,
        "tls": of_tls(tls),
        "http": match http { HttpVersion::Http1 => 1, HttpVersion::Http2 => 2 },
        "warm": *connection == ConnectionMode::Warm,
        "proxy": proxy.as_ref().map(of_proxy),
        "propagate": propagate,
        "timeouts": of_timeouts(timeouts),
        "stall_threshold": stall_threshold.map(nanos),
        "price": price.map(|price| [price.input, price.cached_input(), price.output]),
        "tokenizer": tokenizer,
        "params": params,
    })
}

fn of_auth(auth: &Auth) -> Value {
    match auth {
        Auth::None => Value::Null,
        Auth::Bearer(secret) => json!({ "bearer": of_secret(secret) }),
        Auth::Header { name, value } => json!({ "header": name.as_str(), "value": of_secret(value) }),
        Auth::Basic { username, password } => {
            json!({ "username": username, "password": of_secret(password) })
        }
    }
}

fn of_secrets(secrets: &[(Arc<str>, Arc<Secret>)]) -> Value {
    secrets.iter().map(|(name, secret)| json!([&**name, of_secret(secret)])).collect()
}

/// By where it comes from: a secret that is rotated in its file is read again by whoever uses it.
fn of_secret(secret: &Secret) -> Value {
    match secret.origin() {
        Origin::Env(name) => json!({ "env": name }),
        Origin::File(path) => json!({ "file": path.to_string_lossy() }),
        Origin::Literal(value) => json!({ "value": value.expose() }),
    }
}

fn of_tls(tls: &TlsOptions) -> Value {
    let TlsOptions { ca_file, identity, server_name, insecure_skip_verify } = tls;
    let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
    let identity =
        identity.as_ref().map(|Identity { cert_file, key_file }| [shown(cert_file), shown(key_file)]);
    json!([ca_file.as_ref().map(shown), identity, server_name, insecure_skip_verify])
}

fn of_proxy(proxy: &Proxy) -> Value {
    let Proxy { url, auth } = proxy;
    let auth = auth.as_ref().map(|(username, password)| json!([username, of_secret(password)]));
    json!([url.as_str(), auth])
}

fn of_timeouts(timeouts: &Timeouts) -> Value {
    let Timeouts { connect, first_token, stall, total } = timeouts;
    json!([nanos(*connect), nanos(*first_token), nanos(*stall), nanos(*total)])
}

/// As text: JSON's numbers end at 64 bits.
fn nanos(time: Duration) -> String {
    time.as_nanos().to_string()
}

#[cfg(test)]
mod tests;

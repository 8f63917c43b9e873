//! The environment of a template while it is rendered: its variables, and functions that draw from the seed of the
//! rendering.

use super::{Counters, RenderScope, Vars};
use crate::seed;
use jiff::Timestamp;
use minijinja::value::{Object, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The root of the names in a rendering.
#[derive(Debug)]
pub(super) struct Frame {
    layers: Vec<Vars>,
    seed: u64,
    user: u32,
    now: Timestamp,
    counters: Counters,
    /// Number of draws so far.
    draws: AtomicU64,
}

impl Frame {
    /// The root object of a rendering. The template engine requires an owned value, so everything in it is shared.
    pub(super) fn value(scope: &RenderScope<'_>) -> Value {
        Value::from_object(Self {
            layers: scope.layers.iter().map(|layer| (*layer).clone()).collect(),
            seed: scope.seed,
            user: scope.user,
            now: scope.now,
            counters: scope.counters.clone(),
            draws: AtomicU64::new(0),
        })
    }

    /// The generator of the next draw, which does not depend on how many numbers earlier draws consumed.
    fn rng(&self) -> ChaCha8Rng {
        seed::rng("template", &[self.seed, self.draws.fetch_add(1, Ordering::Relaxed)])
    }

    fn function(self: &Arc<Self>, name: &str) -> Option<Value> {
        let frame = Arc::clone(self);
        Some(match name {
            "pick" => Value::from_function(move |list: Value| frame.pick(&list)),
            "cycle" => Value::from_function(move |list: Value| frame.cycle(&list)),
            "uuid" => Value::from_function(move || frame.uuid()),
            "now" => Value::from_function(move |form: Option<String>| now(frame.now, form.as_deref())),
            "counter" => Value::from_function(move |name: String| frame.counters.next(&name)),
            "random" => Value::from_function(move |from: i64, to: i64| frame.random(from, to)),
            _ => return None,
        })
    }

    fn pick(&self, list: &Value) -> Result<Value, Error> {
        let len = length("pick", list)?;
        list.get_item_by_index(self.rng().random_range(0..len))
    }

    fn cycle(&self, list: &Value) -> Result<Value, Error> {
        let len = length("cycle", list)?;
        list.get_item_by_index(usize::try_from(self.user).unwrap_or(usize::MAX) % len)
    }

    fn random(&self, from: i64, to: i64) -> Result<i64, Error> {
        if from > to {
            return Err(refused(format!("random({from}, {to}) has nothing to draw from")));
        }
        Ok(self.rng().random_range(from..=to))
    }

    /// Version 4, variant 1 (RFC 9562, section 5.4), with 122 random bits.
    fn uuid(&self) -> String {
        let bits = self.rng().random::<u128>();
        let bits = bits & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        parts.map(|part| hex.get(part).unwrap_or_default()).join("-")
    }
}

/// The length of a list; an error if it is not a list or is empty.
fn length(function: &str, list: &Value) -> Result<usize, Error> {
    if list.kind() != ValueKind::Seq {
        return Err(refused(format!("{function} takes a list, and this is a {}", list.kind())));
    }
    match list.len() {
        None | Some(0) => Err(refused(format!("{function} was given an empty list"))),
        Some(len) => Ok(len),
    }
}

fn now(now: Timestamp, form: Option<&str>) -> Result<Value, Error> {
    match form {
        None => Ok(format!("{now:.3}").into()),
        Some("unix") => Ok(now.as_second().into()),
        Some("unix_ms") => Ok(now.as_millisecond().into()),
        Some(_) => Err(refused("now takes \"unix\", \"unix_ms\" or nothing".to_owned())),
    }
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

impl Object for Frame {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.function(key).or_else(|| self.layers.iter().rev().find_map(|layer| layer.get(key)))
    }
}

//! Rates such as `2/s` and `30/m`, and numbers of users.

use super::text::{Text, text};
use crate::limits;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::num::NonZeroU32;

/// Requests per second, written as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerSecond(pub f64);

impl Text for PerSecond {
    const FORMAT: &'static str = "request-rate";
    const EXAMPLES: &'static [&'static str] = &["2/s", "30/m", "1/h"];

    fn parse(text: &str) -> Result<Self, String> {
        let says =
            || "must be a rate, such as 2/s, 30/m or 1/h, or a number of requests per second".to_owned();
        let (number, unit) = text.split_once('/').ok_or_else(says)?;
        let per = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(says()),
        };
        let number = number.trim();
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(says());
        }
        let number: f64 = number.parse().map_err(|_| says())?;
        if number / per > f64::from(limits::RATE) {
            return Err(format!("must not be more than {}/s", limits::RATE));
        }
        Ok(Self(number / per))
    }

    fn show(&self) -> String {
        format!("{}/s", self.0)
    }
}
text!(PerSecond);

/// A rate: a number of requests per second, or text with a unit: `2/s`, `30/m`, `1/h`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Rate(pub PerSecond);

impl Rate {
    /// Requests per second.
    pub const fn per_second(self) -> f64 {
        self.0.0
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum RateForm {
            Number(f64),
            Text(PerSecond),
        }
        Ok(Self(match RateForm::deserialize(deserializer)? {
            RateForm::Number(number) => PerSecond(number),
            RateForm::Text(rate) => rate,
        }))
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A rate: a number of requests per second, or text with a unit: 2/s, 30/m, 1/h.",
            "type": ["string", "number"],
            "format": PerSecond::FORMAT,
            "minimum": 0,
            "maximum": limits::RATE,
            "examples": PerSecond::EXAMPLES,
        })
    }
}

/// The number of users of a stage. Each user has its own connection, and a process has at most 65,536 ports for
/// connections to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Users(#[schemars(range(min = 1, max = 65_536))] pub NonZeroU32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit_or_are_per_second() {
        let rate = |text: &str| serde_json::from_str::<Rate>(text).unwrap();
        assert_eq!(rate("2"), Rate(PerSecond(2.0)));
        assert_eq!(rate("\"30/m\""), Rate(PerSecond(0.5)));
        assert_eq!(rate("\"1/h\""), Rate(PerSecond(1.0 / 3600.0)));
        for bad in ["\"2\"", "\"2/d\"", "\"-2/s\"", "\"/s\"", "\"inf/s\"", "\"1e3/s\"", "true"] {
            assert!(serde_json::from_str::<Rate>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        let rate: Rate = serde_json::from_str("\"7/h\"").unwrap();
        let text = serde_json::to_string(&rate).unwrap();
        assert_eq!(serde_json::from_str::<Rate>(&text).unwrap(), rate);
    }
}

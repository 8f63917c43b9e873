//! Splits a fault specification into its name and its parameters.
//!
//! It knows the syntax of values, and not which fault has which parameters.

use std::time::Duration;

use super::{CloseWhen, ReasoningField};
use crate::sim::units;
use strum::VariantNames as _;

/// A fault specification is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A fault of this name does not exist.
    #[error("there is no fault `{0}`; there are: {all}", all = super::Fault::VARIANTS.join(", "))]
    UnknownFault(String),
    /// The fault has no such parameter.
    #[error("fault `{fault}` has no parameter `{name}`")]
    UnknownParameter {
        /// The name of the fault.
        fault: String,
        /// The parameter.
        name: String,
    },
    /// The value of a parameter is invalid.
    #[error("parameter `{name}` of fault `{fault}`: {reason}")]
    BadValue {
        /// The name of the fault.
        fault: String,
        /// The parameter.
        name: String,
        /// What is wrong with the value.
        reason: String,
    },
}

/// A parsed `name;param=value`; reading a parameter removes it, so that [`Spec::finish`] finds unknown ones.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(super) name: String,
    params: Vec<(String, String)>,
}

impl Spec {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = split(text, ';').into_iter();
        let name = parts.next().unwrap_or_default().trim().to_owned();
        let params = parts
            .map(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())
            })
            .filter(|(key, _)| !key.is_empty())
            .collect();
        Self { name, params }
    }

    /// Fails if a parameter was not read.
    pub(crate) fn finish(self) -> Result<(), SpecError> {
        match self.params.into_iter().next() {
            Some((name, _)) => Err(SpecError::UnknownParameter { fault: self.name, name }),
            None => Ok(()),
        }
    }

    /// Reads and removes a parameter, parsed by `read`.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SpecError> {
        let Some(at) = self.params.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (name, value) = self.params.remove(at);
        read(&value).map(Some).map_err(|reason| SpecError::BadValue {
            fault: self.name.clone(),
            name,
            reason,
        })
    }

    pub(super) fn number(&mut self, name: &str, default: usize) -> Result<usize, SpecError> {
        let read = |value: &str| value.parse().map_err(|_| format!("`{value}` is not a whole number"));
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    pub(super) fn positive(&mut self, name: &str, default: usize) -> Result<usize, SpecError> {
        Ok(self.number(name, default)?.max(1))
    }

    /// A line length in bytes, capped so that a fault cannot exhaust the simulator's memory.
    pub(super) fn huge(&mut self, name: &str, default: usize) -> Result<usize, SpecError> {
        Ok(self.number(name, default)?.min(64 << 20))
    }

    pub(super) fn factor(&mut self, name: &str, default: f64) -> Result<f64, SpecError> {
        let read = |value: &str| match value.parse::<f64>() {
            Ok(factor) if (1.0..=1e6).contains(&factor) => Ok(factor),
            _ => Err(format!("`{value}` is not a number from 1 to 1000000")),
        };
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    pub(super) fn strength(&mut self, name: &str, default: f64) -> Result<f64, SpecError> {
        let read = |value: &str| match value.parse::<f64>() {
            Ok(strength) if (0.0..=10.0).contains(&strength) => Ok(strength),
            _ => Err(format!("`{value}` is not a number from 0 to 10")),
        };
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    pub(super) fn status(&mut self, name: &str, default: u16) -> Result<u16, SpecError> {
        let read = |value: &str| match value.parse::<u16>() {
            Ok(code) if (200..=999).contains(&code) => Ok(code),
            _ => Err(format!("`{value}` is not a status from 200 to 999")),
        };
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    pub(super) fn time(&mut self, name: &str, default: Duration) -> Result<Duration, SpecError> {
        Ok(self.read(name, units::duration)?.unwrap_or(default))
    }

    pub(super) fn text(&mut self, name: &str, default: &str) -> String {
        let read = self.read(name, |value| Ok(value.to_owned()));
        read.ok().flatten().unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn reasoning_field(&mut self) -> Result<ReasoningField, SpecError> {
        let read = |value: &str| match value {
            "reasoning_content" => Ok(ReasoningField::ReasoningContent),
            "reasoning" => Ok(ReasoningField::Reasoning),
            other => Err(format!("`{other}` is neither reasoning_content nor reasoning")),
        };
        Ok(self.read("field", read)?.unwrap_or_default())
    }

    pub(super) fn close_when(&mut self) -> Result<CloseWhen, SpecError> {
        let read = |value: &str| match value {
            "now" => Ok(CloseWhen::Now),
            "reuse" => Ok(CloseWhen::Reuse),
            other => Err(format!("`{other}` is neither now nor reuse")),
        };
        Ok(self.read("when", read)?.unwrap_or_default())
    }
}

/// Splits at `separator`, but not inside double quotes.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

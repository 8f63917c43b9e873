//! How the requests of an open loop are spread.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How open-loop requests are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ArrivalsForm", into = "ArrivalsForm")]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Constant,
    /// Exponential gaps, as of independent users.
    Poisson,
    /// Gamma-distributed gaps.
    Gamma {
        /// Coefficient of variation of the gaps: 1 is Poisson, more is burstier, less is more even.
        cv: f64,
    },
}

/// How open-loop requests are spread.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Arrivals")]
enum ArrivalsForm {
    /// A word.
    Word(ArrivalsWord),
    /// A gamma process.
    Gamma(GammaArrivals),
}

/// Arrival processes without a parameter.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ArrivalsWord {
    /// Evenly.
    Constant,
    /// Independent users: exponential gaps.
    Poisson,
}

/// An arrival process with gamma-distributed gaps.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GammaArrivals {
    /// Its parameter.
    gamma: Gamma,
}

/// The parameter of a gamma process.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Gamma {
    /// Coefficient of variation of the gaps, over 0 and up to 10: 1 is poisson, more is burstier, less is more
    /// even.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 10))]
    cv: f64,
}

impl From<ArrivalsForm> for Arrivals {
    fn from(form: ArrivalsForm) -> Self {
        match form {
            ArrivalsForm::Word(ArrivalsWord::Constant) => Self::Constant,
            ArrivalsForm::Word(ArrivalsWord::Poisson) => Self::Poisson,
            ArrivalsForm::Gamma(GammaArrivals { gamma: Gamma { cv } }) => Self::Gamma { cv },
        }
    }
}

impl From<Arrivals> for ArrivalsForm {
    fn from(arrivals: Arrivals) -> Self {
        match arrivals {
            Arrivals::Constant => Self::Word(ArrivalsWord::Constant),
            Arrivals::Poisson => Self::Word(ArrivalsWord::Poisson),
            Arrivals::Gamma { cv } => Self::Gamma(GammaArrivals { gamma: Gamma { cv } }),
        }
    }
}

super::schema_of!(Arrivals, ArrivalsForm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_a_word_or_a_map() {
        for (arrivals, text) in [
            (Arrivals::Constant, r#""constant""#),
            (Arrivals::Poisson, r#""poisson""#),
            (Arrivals::Gamma { cv: 2.5 }, r#"{"gamma":{"cv":2.5}}"#),
        ] {
            assert_eq!(serde_json::to_string(&arrivals).unwrap(), text);
            assert_eq!(serde_json::from_str::<Arrivals>(text).unwrap(), arrivals);
        }
    }
}

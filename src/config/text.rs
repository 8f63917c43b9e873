//! Values that are written as text in a specific format, such as `30s`, `99.5%`, `1s..3s` or a cron expression. Each
//! type has a JSON Schema format, so that schema validation reports invalid values together with all other errors.

mod addresses;
mod durations;
mod ratios;
mod times;

pub use addresses::{Address, HostName, ListenAddress};
pub(crate) use durations::show_duration;
pub use durations::{Length, ThinkTime, TimeLimit};
pub use ratios::{Percentage, Share};
pub use times::{Clock, CronExpression, Zone};

use crate::limits;

/// A value with a text format.
pub(crate) trait Text: Sized {
    /// Name of the JSON Schema format.
    const FORMAT: &'static str;
    /// Examples for the schema.
    const EXAMPLES: &'static [&'static str];

    /// Parses a value. The error is a clause that describes valid values and never quotes the text.
    fn parse(text: &str) -> Result<Self, String>;

    /// Formats the value. `parse` returns the same value for the result.
    fn show(&self) -> String;
}

/// Implements serde and the JSON Schema for a [`Text`].
macro_rules! text {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&crate::config::text::Text::show(self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                crate::config::text::read(&text).map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": <$type as crate::config::text::Text>::FORMAT,
                    "examples": <$type as crate::config::text::Text>::EXAMPLES,
                })
            }
        }
    };
}
pub(crate) use text;

/// Returns the error clause for a text in this format, or `None` if the text is valid or the format is not one of ours.
pub(crate) fn complaint(format: &str, text: &str) -> Option<String> {
    FORMATS.iter().find(|(name, _)| *name == format).and_then(|(_, check)| check(text).err())
}

/// Parses a text, unless it exceeds the length limit for all formats.
pub(crate) fn read<T: Text>(text: &str) -> Result<T, String> {
    if text.len() > limits::SHORT_TEXT_BYTES {
        return Err(format!("must not be longer than {} bytes", limits::SHORT_TEXT_BYTES));
    }
    T::parse(text)
}

type FormatCheck = fn(&str) -> Result<(), String>;

/// All formats that the schema uses.
pub(crate) const FORMATS: &[(&str, FormatCheck)] = &[
    checked::<Length>(),
    checked::<ThinkTime>(),
    checked::<TimeLimit>(),
    checked::<Percentage>(),
    checked::<Share>(),
    checked::<CronExpression>(),
    checked::<Zone>(),
    checked::<Clock>(),
    checked::<ListenAddress>(),
    checked::<HostName>(),
    checked::<Address>(),
    checked::<super::currency::Currency>(),
    checked::<super::detect::AlarmRate>(),
    checked::<super::expect::Status>(),
    checked::<super::rate::PerSecond>(),
    checked::<super::schedule::Days>(),
    checked::<super::sensitive::VariableName>(),
];

const fn checked<T: Text>() -> (&'static str, FormatCheck) {
    (T::FORMAT, |text| read::<T>(text).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn format_names_are_unique_and_not_those_of_the_standard() {
        // An editor that supports the standard format `duration` (ISO 8601) would reject `30s`.
        let standard = ["duration", "time", "date", "uri", "regex", "hostname", "ipv4", "ipv6", "email"];
        for (index, (name, _)) in FORMATS.iter().enumerate() {
            assert!(!standard.contains(name), "{name}");
            assert!(FORMATS[index + 1..].iter().all(|(other, _)| other != name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,20}") {
            for (_, check) in FORMATS {
                let _ = check(&text);
            }
        }
    }
}

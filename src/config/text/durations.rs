//! Lengths of time, ranges of them, and limits that grow with the prompt.

use super::{Text, text};
use crate::limits;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use std::fmt::Write as _;
use std::time::Duration;

/// Start of the message for a duration that exceeds the limit. The limit follows.
const TOO_LONG: &str = "must not be longer than";

/// The message for a negative duration.
const NEGATIVE: &str = "must not be negative";

/// A duration: one or more whole numbers or decimals, each with a unit (`us`, `ms`, `s`, `m`, `h`, `d`, `w`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(pub Duration);

impl Text for Length {
    const FORMAT: &'static str = "length-of-time";
    const EXAMPLES: &'static [&'static str] = &["500ms", "30s", "5m", "1h30m"];

    fn parse(text: &str) -> Result<Self, String> {
        let says = || "must be a length of time with its unit, such as 500ms, 30s, 5m or 1h30m".to_owned();
        let span: Span = text.trim().parse().map_err(|_| says())?;
        // Days and weeks have a fixed length here. Months and years do not, so they are rejected.
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| says())?;
        let length = Duration::try_from(length).map_err(|_| NEGATIVE.to_owned())?;
        if length > limits::LONGEST {
            return Err(format!("{TOO_LONG} {}", show_duration(limits::LONGEST)));
        }
        Ok(Self(length))
    }

    fn show(&self) -> String {
        show_duration(self.0)
    }
}
text!(Length);

/// Formats a duration in the syntax of the config.
pub(crate) fn show_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(
        |_| format!("{}s", duration.as_secs()),
        |signed| {
            let mut out = String::new();
            // Writing to a String cannot fail.
            let _ = write!(out, "{signed:#}");
            out.replace(' ', "")
        },
    )
}

/// Think time: a duration such as `2s`, or a range such as `1s..3s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinkTime {
    /// The minimum.
    pub min: Duration,
    /// The maximum.
    pub max: Duration,
}

impl Text for ThinkTime {
    const FORMAT: &'static str = "think-time";
    const EXAMPLES: &'static [&'static str] = &["2s", "1s..3s"];

    fn parse(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let part = |text: &str| {
            let length = Length::parse(text).map_err(|said| {
                let form = "must be a length of time or a range of them, such as 2s or 500ms..3s";
                if said.starts_with(TOO_LONG) { said } else { form.to_owned() }
            });
            length.map(|length| length.0)
        };
        let (min, max) = (part(min)?, part(max)?);
        if min > max {
            return Err("must not end before it begins: the shorter time comes first".to_owned());
        }
        Ok(Self { min, max })
    }

    fn show(&self) -> String {
        if self.min == self.max {
            show_duration(self.min)
        } else {
            format!("{}..{}", show_duration(self.min), show_duration(self.max))
        }
    }
}
text!(ThinkTime);

/// A limit of a time, such as `800ms`, that may grow with the prompt, such as `300ms + 0.2ms/token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// The constant part.
    pub time: Duration,
    /// What each input token adds; `None` if the limit is constant.
    pub per_token: Option<Duration>,
}

impl Text for TimeLimit {
    const FORMAT: &'static str = "time-limit";
    const EXAMPLES: &'static [&'static str] = &["800ms", "300ms + 0.2ms/token"];

    fn parse(text: &str) -> Result<Self, String> {
        let form = "must be a length of time, such as 800ms, or one that grows with the prompt, such as 300ms + 0.2ms/token";
        let part = |text: &str| {
            let length = Length::parse(text).map_err(|said| {
                let useful = said.starts_with(TOO_LONG) || said.starts_with(NEGATIVE);
                if useful { said } else { form.to_owned() }
            });
            length.map(|length| length.0)
        };
        let Some((time, growth)) = text.split_once('+') else {
            return Ok(Self { time: part(text)?, per_token: None });
        };
        let (growth, unit) = growth.split_once('/').map_or((growth, None), |(time, unit)| (time, Some(unit)));
        let (time, per_token) = (part(time)?, part(growth)?);
        match unit.map(str::trim) {
            Some("token") => {}
            Some(_) => return Err("must grow by input token: 300ms + 0.2ms/token".to_owned()),
            None => return Err("must say what the second time is for: 300ms + 0.2ms/token".to_owned()),
        }
        if per_token.is_zero() {
            return Err("must not grow by nothing: a constant limit has one time, such as 300ms".to_owned());
        }
        Ok(Self { time, per_token: Some(per_token) })
    }

    fn show(&self) -> String {
        let growth = self.per_token.map(|time| format!(" + {}/token", show_duration(time)));
        format!("{}{}", show_duration(self.time), growth.unwrap_or_default())
    }
}
text!(TimeLimit);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(text: &str) -> Option<Duration> {
        Length::parse(text).ok().map(|length| length.0)
    }

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(length("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(length("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(length("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(length("1d"), Some(Duration::from_hours(24)));
        assert_eq!(length("1w"), Some(Duration::from_hours(168)));
        for bad in ["", "5", "-5s", "5 parsecs", "1mo", "1y", "s"] {
            assert_eq!(length(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_may_grow_with_the_prompt() {
        let limit = |text: &str| {
            TimeLimit::parse(text)
                .map(|limit| (limit.time.as_micros(), limit.per_token.map(|it| it.as_nanos())))
        };
        assert_eq!(limit("800ms"), Ok((800_000, None)));
        for text in ["300ms + 0.2ms/token", "300ms+200us/token", " 0.3s  +  0.2ms / token "] {
            assert_eq!(limit(text), Ok((300_000, Some(200_000))), "{text}");
        }
        assert_eq!(limit("0s + 0.5us/token"), Ok((0, Some(500))));
        for (bad, said) in [
            ("300ms + 0.2ms", "must say what the second time is for"),
            ("300ms + 0.2ms/word", "must grow by input token"),
            ("300ms + 0.2ms/", "must grow by input token"),
            ("300ms + 0.2ms/token/s", "must grow by input token"),
            ("300ms + 0.2/token", "must be a length of time, such as 800ms, or one that grows"),
            ("0.2ms/token", "must be a length of time, such as 800ms, or one that grows"),
            ("300ms + ", "must be a length of time, such as 800ms, or one that grows"),
            ("300ms + 1ms/token + 1s", "must grow by input token"),
            ("300ms - 0.2ms/token", "must be a length of time, such as 800ms, or one that grows"),
            ("300ms + -0.2ms/token", "must not be negative"),
            ("-300ms + 0.2ms/token", "must not be negative"),
            ("300ms + 0ms/token", "must not grow by nothing"),
            ("300ms + 10000w/token", "must not be longer than"),
            ("", "must be a length of time, such as 800ms, or one that grows"),
        ] {
            let error = limit(bad).unwrap_err();
            assert!(error.starts_with(said), "{bad}: {error}");
        }
    }

    #[test]
    fn think_time_is_a_length_or_a_range() {
        let range = ThinkTime::parse("500ms..3s").unwrap();
        assert_eq!((range.min, range.max), (Duration::from_millis(500), Duration::from_secs(3)));
        assert_eq!(ThinkTime::parse("2s").unwrap().show(), "2s");
        assert!(ThinkTime::parse("3s..1s").unwrap_err().contains("shorter time comes first"));
        assert!(ThinkTime::parse("1..3s").is_err());
    }

    proptest! {
        #[test]
        fn a_length_is_read_as_it_is_written(nanos in 0_u64..10_000_000_000_000_000) {
            let length = Length(Duration::from_nanos(nanos));
            prop_assert_eq!(Length::parse(&length.show()).unwrap(), length);
        }

        #[test]
        fn a_limit_is_read_as_it_is_written(time in 0_u64..10_000_000_000_000, growth in 0_u64..10_000_000_000) {
            let per_token = (growth > 0).then(|| Duration::from_nanos(growth));
            let limit = TimeLimit { time: Duration::from_nanos(time), per_token };
            prop_assert_eq!(TimeLimit::parse(&limit.show()).unwrap(), limit);
        }
    }
}

//! Values that are written as text in a specific format, such as `30s`, `99.5%`, `1s..3s` or a cron expression. Each
//! type has a JSON Schema format, so that schema validation reports invalid values together with all other errors.

use crate::limits;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

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

/// A percentage greater than 0 and less than 100, with the percent sign: `99.5%`. Stored as a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentage(pub f64);

impl Text for Percentage {
    const FORMAT: &'static str = "percentage";
    const EXAMPLES: &'static [&'static str] = &["99%", "99.5%"];

    fn parse(text: &str) -> Result<Self, String> {
        let says = || "must be a percentage over 0% and under 100%, such as 99.5%".to_owned();
        let number = text.trim().strip_suffix('%').ok_or_else(says)?.trim_end();
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(says());
        }
        // The decimal point is moved in the text, because 99.9 / 100 is not the double nearest to 0.999.
        let ratio: f64 = format!("{number}e-2").parse().map_err(|_| says())?;
        if ratio > 0.0 && ratio < 1.0 { Ok(Self(ratio)) } else { Err(says()) }
    }

    fn show(&self) -> String {
        // Ten decimals are enough for any practical value and hide the rounding error of the product.
        let percent = format!("{:.10}", self.0 * 100.0);
        format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
    }
}
text!(Percentage);

/// A percentage from 0 to 100, both included, with the percent sign: `10%`. Stored as a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl Text for Share {
    const FORMAT: &'static str = "share";
    const EXAMPLES: &'static [&'static str] = &["10%", "100%"];

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').map(str::trim_end);
        match number.and_then(|number| number.parse::<f64>().ok()) {
            Some(zero) if zero.to_bits() == 0 => Ok(Self(0.0)),
            Some(hundred) if (hundred - 100.0).abs() < f64::EPSILON => Ok(Self(1.0)),
            _ => match Percentage::parse(text) {
                Ok(Percentage(ratio)) => Ok(Self(ratio)),
                Err(_) => Err("must be a percentage from 0% to 100%, such as 10%".to_owned()),
            },
        }
    }

    fn show(&self) -> String {
        Percentage(self.0).show()
    }
}
text!(Share);

/// A cron expression in croner's syntax: five fields, or six with seconds first.
#[derive(Clone, Debug)]
pub struct CronExpression {
    text: String,
    cron: croner::Cron,
}

impl CronExpression {
    /// The parsed expression.
    pub fn cron(&self) -> &croner::Cron {
        &self.cron
    }
}

impl Text for CronExpression {
    const FORMAT: &'static str = "cron";
    const EXAMPLES: &'static [&'static str] = &["*/5 * * * *", "0 8-18 * * mon-fri"];

    fn parse(text: &str) -> Result<Self, String> {
        let parser = croner::parser::CronParser::builder().year(croner::parser::Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|_| {
            "must be a cron expression of five fields (minute, hour, day of month, month, day of week), \
             or six with seconds first, such as */5 * * * *"
                .to_owned()
        })?;
        Ok(Self { text: text.to_owned(), cron })
    }

    fn show(&self) -> String {
        self.text.clone()
    }
}
text!(CronExpression);

/// A time zone from the IANA database, such as `UTC` or `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The zone.
    pub fn zone(&self) -> TimeZone {
        self.zone.clone()
    }
}

impl Text for Zone {
    const FORMAT: &'static str = "timezone";
    const EXAMPLES: &'static [&'static str] = &["UTC", "Europe/Berlin"];

    fn parse(text: &str) -> Result<Self, String> {
        let zone = TimeZone::get(text).map_err(|_| {
            "must be a time zone of the IANA database, such as UTC or Europe/Berlin".to_owned()
        })?;
        Ok(Self { name: text.to_owned(), zone })
    }

    fn show(&self) -> String {
        self.name.clone()
    }
}
text!(Zone);

/// A time of day in the schedule's time zone, such as `08:30`. `24:00` is midnight at the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub Time);

impl Text for Clock {
    const FORMAT: &'static str = "time-of-day";
    const EXAMPLES: &'static [&'static str] = &["08:00", "18:30"];

    fn parse(text: &str) -> Result<Self, String> {
        if text == "24:00" {
            return Ok(Self(Time::midnight()));
        }
        let says = || "must be a time of day, such as 08:30".to_owned();
        let two = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<i8>().map_err(|_| says()) } else { Err(says()) }
        };
        let (hour, minute) = text.split_once(':').ok_or_else(says)?;
        Time::new(two(hour)?, two(minute)?, 0, 0).map(Self).map_err(|_| says())
    }

    fn show(&self) -> String {
        format!("{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}
text!(Clock);

/// An address to listen on, such as `127.0.0.1:9464`, `0.0.0.0:9464` or `[::]:9464`. With port 0, the system chooses a
/// port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Text for ListenAddress {
    const FORMAT: &'static str = "listen-address";
    const EXAMPLES: &'static [&'static str] = &["127.0.0.1:9464", "0.0.0.0:9464", "[::]:9464"];

    fn parse(text: &str) -> Result<Self, String> {
        // As in Prometheus, `:9464` means all addresses.
        let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
        whole
            .parse()
            .map(Self)
            .map_err(|_| "must be an IP address with a port, such as 127.0.0.1:9464 or [::]:9464".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
text!(ListenAddress);

/// A host name without scheme and port, such as `probe.example.net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

impl Text for HostName {
    const FORMAT: &'static str = "host-name";
    const EXAMPLES: &'static [&'static str] = &["tokenbeat.monitoring.svc", "probe.example.net"];

    fn parse(text: &str) -> Result<Self, String> {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if text.strip_suffix('.').unwrap_or(text).split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err("must be the name of a host without scheme and port, such as probe.example.net".to_owned())
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
text!(HostName);

/// An IP address, such as `127.0.0.1` or `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl Text for Address {
    const FORMAT: &'static str = "ip-address";
    const EXAMPLES: &'static [&'static str] = &["127.0.0.1", "::1"];

    fn parse(text: &str) -> Result<Self, String> {
        let address = text.parse().map(Self);
        address.map_err(|_| "must be an IP address, such as 127.0.0.1 or ::1".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
text!(Address);

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
    fn percentages_are_the_nearest_ratio() {
        assert_eq!(Percentage::parse("99.9%").unwrap(), Percentage(0.999));
        assert_eq!(Percentage::parse("99%").unwrap(), Percentage(0.99));
        assert_eq!(Percentage(0.999).show(), "99.9%");
        assert_eq!((Share::parse("0%").unwrap(), Share::parse("100%").unwrap()), (Share(0.0), Share(1.0)));
        assert_eq!(
            (Share(0.0).show(), Share(1.0).show(), Share(0.1).show()),
            ("0%".into(), "100%".into(), "10%".into())
        );
        for bad in ["-0%", "101%", "0.5", "NaN%", "%"] {
            assert!(Share::parse(bad).is_err(), "{bad}");
        }
        for bad in ["99", "0%", "100%", "-1%", "1e1%", "%", "99,5%"] {
            assert!(Percentage::parse(bad).is_err(), "{bad}");
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

    #[test]
    fn cron_has_five_or_six_fields() {
        assert!(CronExpression::parse("*/5 * * * *").is_ok());
        assert!(CronExpression::parse("30 */5 * * * *").is_ok());
        assert!(CronExpression::parse("0 8 * * mon-fri").is_ok());
        for bad in ["", "* * * *", "61 * * * *", "0 0 0 1 1 * 2030"] {
            assert!(CronExpression::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_zones_and_addresses() {
        assert_eq!(Clock::parse("08:30").unwrap().show(), "08:30");
        assert_eq!(Clock::parse("24:00").unwrap().0, Time::midnight());
        assert!(Clock::parse("8:30").is_err() && Clock::parse("25:00").is_err());
        assert!(Zone::parse("Europe/Berlin").is_ok() && Zone::parse("Mars/Olympus").is_err());
        assert_eq!(ListenAddress::parse(":9464").unwrap().show(), "0.0.0.0:9464");
        assert!(ListenAddress::parse("localhost:9464").is_err());
        for bad in ["", ".", "a..b", "a:80", "http://a", "a/b", "u@a", "*.a", "a b"] {
            assert!(HostName::parse(bad).is_err(), "{bad}");
        }
        assert!(HostName::parse("tokenbeat").is_ok() && HostName::parse("a.example.").is_ok());
        assert!(Address::parse("::1").is_ok() && Address::parse("127.0.0.1:80").is_err());
    }

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

        #[test]
        fn a_percentage_is_read_as_it_is_written(thousandths in 1_u32..100_000) {
            let text = format!("{}.{:03}%", thousandths / 1000, thousandths % 1000);
            let percentage = Percentage::parse(&text).unwrap();
            prop_assert_eq!(Percentage::parse(&percentage.show()).unwrap(), percentage);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,20}") {
            for (_, check) in FORMATS {
                let _ = check(&text);
            }
        }
    }
}

//! Building blocks of the wire formats. Parsing is strict about broken JSON, and lenient about the types of fields that
//! no measurement depends on, because servers disagree about them. Every dialect uses these types for counts, texts and
//! optional parts of an answer, and none of its own.

use super::dialect::Malformed;
use crate::answer_json;
use crate::json_size;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::marker::PhantomData;

/// Maximum length in bytes of JSON quoted in an error. It is not truncated here, because a part of a secret cannot be
/// redacted.
const MAX_QUOTED: usize = 16 << 10;

/// Parses an event or a document.
pub(super) fn parse<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, Malformed> {
    answer_json::parse(json)
        .or_else(|source| with_repeated_keys(json).ok_or_else(|| malformed(what, json, source)))
}

/// Parses an event or a document that is known to be text: like [`parse`], for less.
pub(super) fn parse_text<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T, Malformed> {
    let bytes = json.as_bytes();
    answer_json::parse_text(json)
        .or_else(|source| with_repeated_keys(bytes).ok_or_else(|| malformed(what, bytes, source)))
}

/// Parses what has a key twice in an object, of which the last one counts, as in most parsers. What is no JSON, or of
/// another type, fails here once more. Values take more memory than their text, so a document may be too large.
#[cold]
fn with_repeated_keys<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let value: Value = json_size::fits(json).then(|| answer_json::parse(json).ok())??;
    T::deserialize(value).ok()
}

#[cold]
fn malformed(what: &'static str, json: &[u8], source: serde_json::Error) -> Malformed {
    let json = answer_json::without_bom(json);
    let cut = source.is_eof() || ends_in_number(json, &source);
    Malformed::Json { what: what.into(), source, cut, came: quoted(json) }
}

/// Whether a text ends within a number. Where the parser skips a value, it says of one that ends so that it is invalid, and
/// not that more is missing.
fn ends_in_number(json: &[u8], error: &serde_json::Error) -> bool {
    let is_of_number = |it: &u8| it.is_ascii_digit() || matches!(it, b'+' | b'-' | b'.' | b'e' | b'E');
    let number = json.rsplit(|it| !is_of_number(it)).next().unwrap_or_default();
    let is_open = number.first().is_some_and(|it| it.is_ascii_digit() || *it == b'-')
        && number.last().is_some_and(|it| !it.is_ascii_digit());
    let last_line = json.rsplit(|it| *it == b'\n').next().unwrap_or_default();
    let is_at_end =
        || error.line() == memchr::memchr_iter(b'\n', json).count() + 1 && error.column() >= last_line.len();
    is_open && is_at_end()
}

/// The error that a document has not what its dialect requires.
#[cold]
pub(super) fn missing(what: &'static str, json: &[u8]) -> Malformed {
    Malformed::Missing { what, came: quoted(answer_json::without_bom(json)) }
}

/// Parses into values of unknown structure, which take much more memory than their text.
pub(super) fn parse_value(what: &'static str, json: &[u8]) -> Result<Value, Malformed> {
    if !json_size::fits(json) {
        return Err(Malformed::TooLarge { what });
    }
    parse(what, json)
}

/// Quotes what was received, for a message. Secrets are redacted later, and then it is truncated.
pub(super) fn quoted(came: &[u8]) -> String {
    match std::str::from_utf8(came) {
        Ok(text) if text.trim().is_empty() => "it is empty".into(),
        Ok(text) if text.len() <= MAX_QUOTED => format!("it is `{}`", text.trim()),
        _ => format!("it has {} bytes", came.len()),
    }
}

/// A count of tokens, possibly written as a float or as a string; `None` if it is not a non-negative whole number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) Option<u64>);

/// A string, or a number as text; `None` if it is empty or of another type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Option<String>);

/// Whether a field is present and neither null, false, zero nor empty, nor contains nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told(pub(super) bool);

/// An object; `None` if it is of another type. Boxed, because most of the many optional objects of an answer are absent,
/// and room for them would be moved around with each event.
#[derive(Clone, Debug)]
pub(super) struct Object<T>(pub(super) Option<Box<T>>);

/// The items of an array, or a single object as the only item; empty if it is of another type.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> List<Object<T>> {
    /// The items that are objects.
    pub(super) fn objects(self) -> impl Iterator<Item = T> {
        self.0.into_iter().filter_map(|item| item.0).map(|item| *item)
    }
}

/// A non-negative whole number written as a float.
pub(super) fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: whole and within 2^53"
    )]
    (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
}

/// A count written as text.
pub(super) fn count_of(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| whole(text.parse().ok()?))
}

/// Reads values of these types as absent.
macro_rules! reads_as_nothing {
    ($nothing:expr; $($type:ident),*) => { $($crate::client::wire::reads_as_nothing!(@ $nothing; $type);)* };
    (@ $nothing:expr; bool) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok($nothing) }
    };
    (@ $nothing:expr; number) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok($nothing) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok($nothing) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok($nothing) }
    };
    (@ $nothing:expr; string) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok($nothing) }
    };
    (@ $nothing:expr; null) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($nothing) }
    };
    (@ $nothing:expr; array) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            Ok($nothing)
        }
    };
    (@ $nothing:expr; object) => {
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
            Ok($nothing)
        }
    };
}
pub(super) use reads_as_nothing;

pub(super) fn any_value(f: &mut fmt::Formatter) -> fmt::Result {
    f.write_str("a JSON value")
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = Count;

            reads_as_nothing!(Count(None); bool, null, array, object);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
                Ok(Count(Some(number)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
                Ok(Count(number.try_into().ok()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
                Ok(Count(whole(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Count, E> {
                Ok(Count(count_of(text)))
            }
        }
        deserializer.deserialize_any(Counts)
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tells;
        impl<'de> Visitor<'de> for Tells {
            type Value = Told;

            reads_as_nothing!(Told(false); null);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_bool<E>(self, it: bool) -> Result<Told, E> {
                Ok(Told(it))
            }

            fn visit_u64<E>(self, it: u64) -> Result<Told, E> {
                Ok(Told(it != 0))
            }

            fn visit_i64<E>(self, it: i64) -> Result<Told, E> {
                Ok(Told(it != 0))
            }

            fn visit_f64<E>(self, it: f64) -> Result<Told, E> {
                Ok(Told(it != 0.0))
            }

            fn visit_str<E>(self, it: &str) -> Result<Told, E> {
                Ok(Told(!it.is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Told, A::Error> {
                let mut told = Told(false);
                while let Some(Told(item)) = seq.next_element()? {
                    told.0 |= item;
                }
                Ok(told)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Told, A::Error> {
                let mut told = Told(false);
                while let Some((_, Told(value))) = map.next_entry::<IgnoredAny, Told>()? {
                    told.0 |= value;
                }
                Ok(told)
            }
        }
        deserializer.deserialize_any(Tells)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text;

            reads_as_nothing!(Text(None); bool, null, array, object);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text).filter(|text| !text.is_empty()).map(str::to_owned)))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(Some(text).filter(|text| !text.is_empty())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(Some(number.to_string())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(Some(number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Text, E> {
                Ok(Text(Some(number.to_string())))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Objects<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
            type Value = Object<T>;

            reads_as_nothing!(Object(None); bool, number, string, null, array);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|object| Object(Some(Box::new(object))))
            }
        }
        deserializer.deserialize_any(Objects(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lists<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Lists<T> {
            type Value = List<T>;

            reads_as_nothing!(List(Vec::new()); bool, number, string, null);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<List<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|item| List(vec![item]))
            }
        }
        deserializer.deserialize_any(Lists(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::error_body;

    fn read<T: DeserializeOwned>(json: &str) -> T {
        parse("it", json.as_bytes()).unwrap()
    }

    #[test]
    fn trap_25_a_count_is_read_however_it_is_written_or_is_unknown() {
        for json in ["12", "12.0", "\"12\"", "\" 12.0 \"", "1.2e1"] {
            assert_eq!(read::<Count>(json), Count(Some(12)), "{json}");
        }
        for json in ["-1", "1.5", "\"many\"", "[]", "[12]", "{}", "null", "true", "\"\"", "1e300"] {
            assert_eq!(read::<Count>(json), Count(None), "{json}");
        }
    }

    #[test]
    fn what_is_of_another_type_reads_as_nothing() {
        assert_eq!(read::<Text>("\"a\"").0.as_deref(), Some("a"));
        assert_eq!(read::<Text>("6").0.as_deref(), Some("6"));
        for json in ["\"\"", "null", "{\"a\":1}", "[\"a\"]", "false"] {
            assert_eq!(read::<Text>(json), Text(None), "{json}");
        }
        for json in ["1", "\"a\"", "null", "[{}]", "false"] {
            assert!(read::<Object<IgnoredAny>>(json).0.is_none(), "{json}");
        }
        assert!(read::<Object<IgnoredAny>>("{\"a\":[1]}").0.is_some());
        assert_eq!(read::<List<Text>>("[1,null,\"a\"]").0.len(), 3);
        assert_eq!(read::<List<Object<IgnoredAny>>>("{\"a\":1}").objects().count(), 1);
        assert!(read::<List<Text>>("7").0.is_empty());
    }

    /// Both ways to read a field agree.
    #[test]
    fn what_contains_nothing_is_nothing() {
        let nothing = |json: &str| (!read::<Told>(json).0, error_body::is_nothing(&read(json)));
        for json in [
            "{}",
            "[]",
            "0",
            "0.0",
            "null",
            "\"\"",
            "false",
            "[0]",
            r#"{"message":"","code":null,"in":[{"a":0}]}"#,
        ] {
            assert_eq!(nothing(json), (true, true), "{json}");
        }
        for json in ["{\"a\":1}", "[0,1]", "-1", "0.5", "true", "\"a\"", r#"{"message":"","code":500}"#] {
            assert_eq!(nothing(json), (false, false), "{json}");
        }
    }

    #[test]
    fn broken_json_is_an_error_that_quotes_it() {
        let error = parse::<Count>("an event", b"oops [").unwrap_err().to_string();
        assert!(error.starts_with("an event does not follow the dialect: "), "{error}");
        assert!(error.ends_with("; it is `oops [`"), "{error}");
        let long = format!("\"{}", "x".repeat(20_000));
        let error = parse::<Count>("an event", long.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("; it has 20001 bytes"), "{error}");
    }

    #[test]
    fn what_ends_within_a_value_is_cut() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct It {
            a: Count,
        }
        let is_cut = |json: &str| parse::<It>("it", json.as_bytes()).err().map(|error| error.is_cut());
        let whole = "{\"b\":[-1.5E+7,0.1,\n2e-3],\"a\":-2.5e+3}";
        assert_eq!(is_cut(whole), None);
        for end in 1..whole.len() {
            let begin = &whole[..end];
            assert_eq!(is_cut(begin), Some(true), "{begin}");
        }
        for broken in ["{\"b\":[1.,2]}", "{\"b\":-}", "{\"b\":1e,\n\"a\":2", "oops", "e", "{\"b\":tre"] {
            assert_eq!(is_cut(broken), Some(false), "{broken}");
        }
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct It {
            a: Text,
            of: List<Object<It>>,
        }
        for json in [
            r#"{"a":"x","a":"y","of":[]}"#,
            r#"{"of":[{"a":"y","a":"y"}],"a":"x","a":"y"}"#,
            r#"{"b":NaN,"a":"x","a":"y"}"#,
            "\u{feff}{\"a\":null,\"a\":\"y\"}",
        ] {
            assert_eq!(read::<It>(json).a.0.as_deref(), Some("y"), "{json}");
            assert_eq!(parse_text::<It>("it", json).unwrap().a.0.as_deref(), Some("y"), "{json}");
        }
        let nested = read::<It>(r#"{"of":[{"a":"x","a":"y"}]}"#).of.objects().next();
        assert_eq!(nested.unwrap().a.0.as_deref(), Some("y"));
        for json in [r#"{"a":"x","a":"#, r#"{"a":"x","a":}"#, r#""a""#] {
            assert!(parse::<It>("it", json.as_bytes()).is_err(), "{json}");
        }
        let large = format!(r#"{{"a":"x","a":"y","of":[{}{{}}]}}"#, "{},".repeat(200_000));
        assert!(parse::<It>("it", large.as_bytes()).is_err());
    }

    #[test]
    fn half_a_surrogate_pair_is_no_error() {
        let half = read::<Text>(r#""a\ud83d""#).0.unwrap();
        assert_eq!(half.chars().count(), 2);
        assert!(parse::<Text>("it", br#""a\ud83"#).is_err());
    }
}

//! JSONPaths, measured before they are parsed: the parser recurses into brackets and reads nested filters repeatedly.
//! Paths whose evaluation would take more than linear time in the document are refused, too.

use crate::limits;
use regex::RegexBuilder;
use serde_json_path::JsonPath;

/// Parses a JSONPath within limits. An error is a clause whose subject is the config key.
pub(super) fn parse(text: &str) -> Result<JsonPath, String> {
    if !text.starts_with('$') {
        return Err("is not a JSONPath: it begins with `$`, as in `$.answer`".to_owned());
    }
    measure(text)?;
    JsonPath::parse(text).map_err(|error| format!("is not a JSONPath: {error}"))
}

/// An open bracket.
#[derive(Clone, Copy, Debug)]
struct OpenBracket {
    sign: char,
    /// Whether the parser may read its contents twice, as for a filter or a call.
    twice: bool,
    /// The number of commas directly inside it.
    commas: usize,
    /// Whether it is the call of a function whose second argument is a pattern.
    takes_pattern: bool,
}

/// Measures of the part of a path read so far.
#[derive(Debug, Default)]
struct PathComplexity {
    open: Vec<OpenBracket>,
    copies: usize,
    descents: usize,
}

/// Checks a text that may be a JSONPath against the limits. If the brackets do not match, the parser stops there as
/// well.
fn measure(text: &str) -> Result<(), String> {
    if text.len() > limits::JSON_PATH_BYTES {
        return Err(format!("is longer than {} bytes, the limit of a JSONPath", limits::JSON_PATH_BYTES));
    }
    let mut measure = PathComplexity { copies: 1, ..PathComplexity::default() };
    let mut rest = text;
    let mut before = ' ';
    while let Some(sign) = rest.chars().next() {
        let after = rest.get(sign.len_utf8()..).unwrap_or_default();
        match sign {
            '"' | '\'' => {
                let (_, behind) = literal(after, sign);
                (rest, before) = (behind, sign);
                continue;
            }
            '[' | '(' => measure.open(sign, before, text, after)?,
            ']' | ')' if !measure.close(sign)? => return Ok(()),
            ',' => measure.comma(after)?,
            '.' if after.starts_with('.') => measure.descend()?,
            '$' if !measure.open.is_empty() => singular(after)?,
            _ => {}
        }
        if !sign.is_whitespace() {
            before = sign;
        }
        rest = after;
    }
    Ok(())
}

impl PathComplexity {
    fn open(&mut self, sign: char, before: char, text: &str, after: &str) -> Result<(), String> {
        let called = text.get(..text.len() - after.len() - 1).unwrap_or_default();
        let call = sign == '(' && (before.is_ascii_alphanumeric() || before == '_');
        let filter = sign == '[' && has_filter(after);
        let takes_pattern = call && (called.ends_with("match") || called.ends_with("search"));
        self.open.push(OpenBracket { sign, twice: call || filter, commas: 0, takes_pattern });
        if self.open.len() > limits::JSON_PATH_DEPTH {
            return Err(format!("nests brackets more than {} deep", limits::JSON_PATH_DEPTH));
        }
        let twice = self.open.iter().filter(|open| open.twice).count();
        if twice > limits::JSON_PATH_FILTERS {
            return Err(format!("nests filters and calls more than {} deep", limits::JSON_PATH_FILTERS));
        }
        Ok(())
    }

    /// Closes a bracket. Returns whether it matches the open one.
    fn close(&mut self, sign: char) -> Result<bool, String> {
        let Some(open) = self.open.pop() else { return Ok(false) };
        if (open.sign == '[') != (sign == ']') {
            return Ok(false);
        }
        if open.sign == '[' {
            self.copies = self.copies.saturating_mul(open.commas + 1);
        }
        if self.copies > limits::JSON_PATH_COPIES {
            return Err(format!(
                "has selectors that together may name the same value {} times, and at most {} are allowed",
                self.copies,
                limits::JSON_PATH_COPIES
            ));
        }
        Ok(true)
    }

    fn comma(&mut self, after: &str) -> Result<(), String> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        open.commas += 1;
        if !open.takes_pattern {
            return Ok(());
        }
        let pattern = after.trim_start();
        match pattern.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                inner_pattern(literal(pattern.get(1..).unwrap_or_default(), quote).0)
            }
            _ => Err("must have the pattern of match() and search() written into it, in quotes".to_owned()),
        }
    }

    fn descend(&mut self) -> Result<(), String> {
        self.descents += 1;
        if self.descents > limits::JSON_PATH_DESCENTS {
            return Err(format!("has `..` more than {} times", limits::JSON_PATH_DESCENTS));
        }
        Ok(())
    }
}

/// The contents of a literal whose opening quote was just read, and the text after it.
fn literal(text: &str, quote: char) -> (&str, &str) {
    let mut escaped = false;
    for (at, sign) in text.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => {
                return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (text, "")
}

/// Whether one of the selectors of this bracket is a filter; filters in nested brackets do not count.
fn has_filter(inside: &str) -> bool {
    let mut rest = inside;
    let mut depth = 0_usize;
    while let Some(sign) = rest.chars().next() {
        rest = rest.get(sign.len_utf8()..).unwrap_or_default();
        match sign {
            '"' | '\'' => rest = literal(rest, sign).1,
            '?' if depth == 0 => return true,
            '[' | '(' => depth += 1,
            ']' | ')' if depth == 0 => return false,
            ']' | ')' => depth -= 1,
            _ => {}
        }
    }
    false
}

/// Checks that a query from the root inside a filter leads to a single value, because it runs again for each value.
fn singular(query: &str) -> Result<(), String> {
    let many = || {
        Err("has a query from `$` inside a filter that may find several values; it would run for each value of the answer"
            .to_owned())
    };
    let mut rest = query;
    loop {
        rest = rest.trim_start();
        if rest.starts_with("..") || rest.starts_with(".*") {
            return many();
        }
        if let Some(name) = rest.strip_prefix('.') {
            rest = name.trim_start_matches(|sign: char| sign.is_alphanumeric() || sign == '_');
            continue;
        }
        let Some(inside) = rest.strip_prefix('[') else { return Ok(()) };
        let inside = inside.trim_start();
        let behind = match inside.chars().next() {
            Some(quote @ ('"' | '\'')) => literal(inside.get(1..).unwrap_or_default(), quote).1,
            _ => inside.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == '-'),
        };
        match behind.trim_start().strip_prefix(']') {
            Some(behind) => rest = behind,
            None => return many(),
        }
    }
}

/// Checks a pattern inside a path. It must be small, because it is compiled again for each value.
fn inner_pattern(literal: &str) -> Result<(), String> {
    let pattern = literal.replace("\\\\", "\\").replace("\\'", "'").replace("\\\"", "\"");
    match RegexBuilder::new(&pattern).size_limit(limits::INNER_PATTERN_MEMORY).build() {
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("has a pattern in match() or search() that is too large: it is compiled again for each value"
                .to_owned())
        }
        // An invalid pattern matches nothing. Not all escapes of a JSONPath are handled here.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        parse(text).err().unwrap_or_else(|| panic!("{text} is fine"))
    }

    #[test]
    fn paths_of_every_day_are_fine() {
        for text in [
            "$",
            "$.usage.prompt_tokens",
            "$['choices'][0]['delta']['content']",
            "$..content",
            "$.choices[*].message.tool_calls[*].function.name",
            "$.a[?(@.b[?(@.c == 1 && (@.d || @.e))])].f",
            "$.items[?length(@.name) > 3 && match(@.name, 'a.*\\\\.b')]",
            "$.items[?search(@.name, \"(x|y)+\")][0, 1, 2].id",
            "$.a[?@.id == $.wanted.id && @.x == $['k'][0]].v",
            "$.text[?@ == '((((((((((((((((((((((((((((([[[[[[[[[[[[[[[[[[[[[['].x",
            "$..a..b",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn nesting_is_bounded_before_the_parser_recurses() {
        let parens = |n: usize| format!("$[?{}@.a{}]", "(".repeat(n), ")".repeat(n));
        assert!(parse(&parens(10)).is_ok());
        assert_eq!(refused(&parens(100)), "nests brackets more than 16 deep");
        assert_eq!(refused(&parens(600)), "is longer than 1024 bytes, the limit of a JSONPath");
        assert_eq!(refused(&parens(100_000)), "is longer than 1024 bytes, the limit of a JSONPath");
        // The parser also recurses into unclosed ones.
        assert_eq!(refused(&format!("$[?{}", "(".repeat(500))), "nests brackets more than 16 deep");
        assert_eq!(refused(&format!("$[?{}", "!(".repeat(500))), "nests brackets more than 16 deep");
        assert_eq!(refused(&format!("$[?{}", "f(".repeat(500))), "nests filters and calls more than 4 deep");
    }

    #[test]
    fn what_is_read_twice_for_each_level_is_bounded() {
        let filters = |n: usize| format!("${}.a{}", "[?@".repeat(n), "]".repeat(n));
        assert!(parse(&filters(4)).is_ok());
        assert_eq!(refused(&filters(5)), "nests filters and calls more than 4 deep");
        assert_eq!(refused(&filters(22)), "nests filters and calls more than 4 deep");
        let hidden = |n: usize| format!("${}.a{}", "[0, ?@".repeat(n), "]".repeat(n));
        assert_eq!(refused(&hidden(22)), "nests filters and calls more than 4 deep");
        let calls = format!("$[?{}@.a{} == 1]", "count(".repeat(22), ")".repeat(22));
        assert_eq!(refused(&calls), "nests filters and calls more than 4 deep");
    }

    #[test]
    fn what_grows_faster_than_the_answer_is_refused() {
        assert!(refused(&format!("${}", "[*,*]".repeat(20))).contains("name the same value"));
        assert!(refused(&format!("$[{}]", ["0"; 65].join(","))).contains("65 times"));
        assert_eq!(refused("$..*..*..*"), "has `..` more than 2 times");
        for text in
            ["$[?$..a]", "$[?@.a == $.b[*]]", "$[?$[?@.x]]", "$[?count($.*) > 1]", "$[?$[0:9]]", "$[?$[0,1]]"]
        {
            assert!(refused(text).contains("from `$` inside a filter"), "{text}");
        }
        for text in ["$[?match(@.a, @.b)]", "$[?search(@.a, $.b)]"] {
            assert!(refused(text).contains("written into it"), "{text}");
        }
        assert!(refused("$[?match(@.a, '(\\\\w{50}){50}')]").contains("too large"));
    }

    proptest! {
        /// A path that passes the check never nests deeper than allowed, however its brackets are arranged.
        #[test]
        fn no_text_gets_the_parser_too_deep(text in "\\$[\\[\\]()?@!&|.,*'\" a-c0-2$=]{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn nested_parts_of_any_kind_are_read(kinds in prop::collection::vec(0_usize..6, 1..40)) {
            let parts = ["[?@", "[?(", "[?count(@", "[?!@", "[0,?@.a", "[?value(@"];
            let text = format!("${}", kinds.iter().map(|kind| parts[*kind]).collect::<String>());
            let deep = kinds.len() > limits::JSON_PATH_FILTERS;
            let result = parse(&text);
            prop_assert!(result.is_err());
            prop_assert!(!deep || result.unwrap_err().contains("nests"));
        }
    }
}

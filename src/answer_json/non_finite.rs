//! Numbers that JSON does not have: `NaN`, `Infinity` and `-Infinity`. Python's `json` module writes them by default, for
//! example as a log probability, and no measurement depends on one.

/// The literals; the longer one that contains another comes first.
const LITERALS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// JSON with each of the literals outside of strings replaced by `null`; `None` if there is none.
pub fn replaced(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut rest, mut in_string, mut found) = (json, false, false);
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'-' | b'I' | b'N')) {
        let (before, special) = rest.split_at_checked(at)?;
        out.extend_from_slice(before);
        let literal = LITERALS.into_iter().find(|literal| !in_string && special.starts_with(literal));
        let length = match (literal, special.first()) {
            (Some(literal), _) => literal.len(),
            // The escaped character may be a quotation mark.
            (None, Some(b'\\')) => 2.min(special.len()),
            (None, _) => 1,
        };
        let (special, after) = special.split_at_checked(length)?;
        if literal.is_some() {
            found = true;
            out.extend_from_slice(b"null");
        } else {
            in_string ^= special == b"\"";
            out.extend_from_slice(special);
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_outside_of_strings_are_replaced() {
        let replaced = |json: &str| replaced(json.as_bytes()).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(
            replaced(r#"{"a":NaN,"b":[-Infinity,Infinity]}"#).unwrap(),
            r#"{"a":null,"b":[null,null]}"#
        );
        assert_eq!(replaced(r#"{"NaN \" NaN":"\\","b":NaN}"#).unwrap(), r#"{"NaN \" NaN":"\\","b":null}"#);
        for untouched in
            [r#"{"a":"NaN, Infinity and \"-Infinity"}"#, r#"{"a":-1,"b":1e-3}"#, "", "\\", "I", "-", "\""]
        {
            assert_eq!(replaced(untouched), None, "{untouched}");
        }
    }
}

//! What a profile expects of each answer.

use crate::plan::Expect;
use std::sync::Arc;

/// Names of the checks that a complete answer fails: `finish_reason`, `min_chars`, `max_chars`. An answer without
/// a finish reason fails where some are expected. Characters are Unicode scalar values of visible text.
pub fn failed_checks(expect: &Expect, finish_reason: Option<&str>, text_chars: u64) -> Vec<Arc<str>> {
    let finish = !expect.finish_reason.is_empty()
        && !finish_reason.is_some_and(|reason| expect.finish_reason.iter().any(|fine| fine == reason));
    let short = expect.min_chars.is_some_and(|least| text_chars < least);
    let long = expect.max_chars.is_some_and(|most| text_chars > most);
    [(finish, "finish_reason"), (short, "min_chars"), (long, "max_chars")]
        .into_iter()
        .filter(|(failed, _)| *failed)
        .map(|(_, name)| name.into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(expect: &Expect, finish: Option<&str>, chars: u64) -> Vec<String> {
        failed_checks(expect, finish, chars).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_expected_is_nothing_failed() {
        assert_eq!(names(&Expect::default(), None, 0), [""; 0]);
    }

    #[test]
    fn each_check_has_its_name_and_edge() {
        let expect = Expect {
            finish_reason: vec!["stop".into(), "length".into()],
            min_chars: Some(10),
            max_chars: Some(20),
        };
        assert_eq!(names(&expect, Some("length"), 10), [""; 0]);
        assert_eq!(names(&expect, Some("stop"), 20), [""; 0]);
        assert_eq!(names(&expect, Some("tool_calls"), 9), ["finish_reason", "min_chars"]);
        assert_eq!(names(&expect, None, 21), ["finish_reason", "max_chars"]);
    }
}

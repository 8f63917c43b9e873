//! The text of an error with its causes.

use std::error::Error;

/// An error and its causes on one line, without causes whose text stands there already, as where an error quotes its cause.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !line.contains(&said) {
            line.push_str(": ");
            line.push_str(&said);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: {source}")]
    struct Quoting {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let quoting = Quoting { source: std::io::Error::other("gone") };
        assert_eq!(error_chain(&quoting), "cannot read it: gone");
        let context = anyhow::Error::new(quoting).context("top");
        assert_eq!(error_chain(context.as_ref()), "top: cannot read it: gone");
    }
}

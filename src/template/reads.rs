//! Finds the variables that a template reads from its scope. The template engine tells most of them; it overlooks those in
//! the arguments of filter blocks, in what is sliced (`x[:9]`), and in an assignment to the same name. It only reads
//! templates that compile, and rather overlooks a variable than takes a local one for it.

use super::scan::Token;
use std::collections::{BTreeSet, HashSet};

/// Words that are no variables.
const WORDS: [&str; 18] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "true",
    "True",
    "false",
    "False",
    "none",
    "None",
    "loop",
    "self",
    "super",
    "caller",
    "recursive",
];

/// The variables that are read before the template itself sets them.
#[derive(Debug, Default)]
pub(super) struct Reads<'a> {
    /// Their names.
    pub(super) names: BTreeSet<&'a str>,
    /// The same names with their attributes.
    pub(super) attributes: BTreeSet<String>,
    /// The names that were set so far.
    set: HashSet<&'a str>,
}

impl<'a> Reads<'a> {
    /// Reads the tokens of an expression or a block.
    pub(super) fn tag(&mut self, is_block: bool, tokens: &[Token<'a>]) {
        let (statement, rest) = match tokens {
            [Token::Name(statement), rest @ ..] if is_block => (*statement, rest),
            _ => ("", tokens),
        };
        match statement {
            "for" => {
                let before = rest.iter().position(|token| *token == Token::Name("in")).unwrap_or(rest.len());
                let (targets, list) = rest.split_at(before);
                self.set(targets);
                self.read(list);
            }
            "set" => self.assign(rest),
            "with" => parts(rest).for_each(|part| self.assign(part)),
            // With the parameters. Those of a list among their defaults are taken for some, too.
            "macro" => {
                let name = |pair: &[Token<'a>]| matches!(pair, [Token::Mark('(' | ','), Token::Name(_)]);
                self.set(rest.get(..1).unwrap_or_default());
                rest.windows(2).filter(|pair| name(pair)).for_each(|pair| self.set(pair));
                self.read(rest);
            }
            "call" => {
                let has_parameters = rest.first() == Some(&Token::Mark('('));
                let end = rest.iter().position(|token| has_parameters && *token == Token::Mark(')'));
                let (parameters, call) = rest.split_at(end.unwrap_or(0));
                self.set(parameters);
                self.read(call);
            }
            _ => self.read(rest),
        }
    }

    /// Reads `a = value`, `a, b = values`, `a.b = value`, or the beginning of a block that sets `a`.
    fn assign(&mut self, tokens: &[Token<'a>]) {
        let mut depth = 0_usize;
        let at = (0..tokens.len()).find(|at| {
            depth = depth_after(depth, tokens.get(*at));
            depth == 0 && is_assignment(tokens, *at)
        });
        let (targets, value) = tokens.split_at(at.unwrap_or_else(|| tokens.len().min(1)));
        self.read(value);
        if targets.contains(&Token::Mark('.')) {
            self.read(targets);
        } else {
            self.set(targets);
        }
    }

    fn set(&mut self, targets: &[Token<'a>]) {
        self.set.extend(targets.iter().filter_map(|token| match token {
            Token::Name(name) => Some(*name),
            _ => None,
        }));
    }

    fn read(&mut self, tokens: &[Token<'a>]) {
        let mut depth = 0_usize;
        for (at, token) in tokens.iter().enumerate() {
            depth = depth_after(depth, Some(token));
            let Token::Name(name) = token else { continue };
            let is_keyword_argument = depth > 0 && is_assignment(tokens, at + 1);
            if is_keyword_argument || WORDS.contains(name) || self.set.contains(name) {
                continue;
            }
            let mut path = (*name).to_owned();
            let mut rest = tokens.get(at + 1..).unwrap_or_default();
            while let [Token::Mark('.'), Token::Attribute(attribute), after @ ..] = rest {
                path.push('.');
                path.push_str(attribute);
                rest = after;
            }
            self.names.insert(name);
            self.attributes.insert(path);
        }
    }
}

/// The parts between commas that are in no brackets.
fn parts<'t, 'a>(tokens: &'t [Token<'a>]) -> impl Iterator<Item = &'t [Token<'a>]> {
    let mut depth = 0_usize;
    tokens.split(move |token| {
        depth = depth_after(depth, Some(token));
        depth == 0 && *token == Token::Mark(',')
    })
}

fn depth_after(depth: usize, token: Option<&Token<'_>>) -> usize {
    match token {
        Some(Token::Mark('(' | '[' | '{')) => depth + 1,
        Some(Token::Mark(')' | ']' | '}')) => depth.saturating_sub(1),
        _ => depth,
    }
}

/// Whether there is a single `=`, and no comparison.
fn is_assignment(tokens: &[Token<'_>], at: usize) -> bool {
    let mark = |at: Option<usize>| match at.and_then(|at| tokens.get(at)) {
        Some(Token::Mark(mark)) => *mark,
        _ => ' ',
    };
    mark(Some(at)) == '='
        && mark(Some(at + 1)) != '='
        && !matches!(mark(at.checked_sub(1)), '=' | '!' | '<' | '>')
}

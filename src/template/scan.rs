//! Finds the filters, tests, functions and some of the statements that a template uses. The template engine only looks them up at render time,
//! but an operator needs to know when the config is loaded. It only reads templates that compile, so it has no errors
//! of its own.

use super::reads::Reads;

/// A use of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use<'a> {
    /// The kind of name.
    pub(super) what: What,
    /// The name itself.
    pub(super) name: &'a str,
    /// The line, from 1.
    pub(super) line: usize,
}

/// The kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// After `|`, or in a filter block.
    Filter,
    /// After `is` or `is not`.
    Test,
    /// Before `(`. Includes macros.
    Function,
    /// The first name of a block, of [`OF_SEVERAL`].
    Statement,
}

/// Statements about other templates. The engine knows them, because the status page is made of several; a template of a
/// config stands alone.
const OF_SEVERAL: [&str; 5] = ["include", "import", "from", "extends", "block"];

/// A token, reduced to what matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// The start of a block (`{%`).
    Start,
    /// A name that is not preceded by a dot.
    Name(&'a str),
    /// A filter or test: not callable by its name alone.
    Taken,
    /// A name after a dot.
    Attribute(&'a str),
    /// A character of punctuation.
    Mark(char),
    /// A string or a number.
    Constant,
}

/// The contents of a template that begins and ends like a single expression.
pub(super) fn sole_expression(source: &str) -> Option<&str> {
    let inside = source.strip_prefix("{{")?.strip_suffix("}}")?;
    // Whitespace control, not a minus sign.
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).unwrap_or(inside))
}

/// The uses of names in a template, and its literal text.
#[derive(Debug, Default)]
pub(super) struct Scanned<'a> {
    /// Every name that is used as a filter, test, function or statement, in order.
    pub(super) uses: Vec<Use<'a>>,
    /// The variables that are read from the scope, as far as the words tell.
    pub(super) reads: Reads<'a>,
    /// The text outside of expressions, blocks and comments, raw blocks included.
    pub(super) literal: String,
    /// Number of words and signs of code.
    pub(super) tokens: usize,
}

/// Scans a whole template.
pub(super) fn scan(source: &str) -> Scanned<'_> {
    let mut scan = Scan { source, at: 0, line: 1, counted: 0, found: Scanned::default() };
    let mut from = 0;
    while let Some(code) = scan.next_code() {
        scan.keep(from, scan.at - code.len());
        match code {
            "{#" => {
                scan.skip_past("#}");
            }
            "{%" if scan.raw() => scan.skip_raw(),
            _ => {
                scan.code(code == "{%");
            }
        }
        from = scan.at;
    }
    scan.keep(from, source.len());
    scan.found
}

struct Scan<'a> {
    source: &'a str,
    at: usize,
    /// The line of the position `counted`.
    line: usize,
    counted: usize,
    found: Scanned<'a>,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    /// Skips past the next `{{`, `{%` or `{#` and returns it.
    fn next_code(&mut self) -> Option<&'a str> {
        loop {
            self.at += self.rest().find('{')?;
            let start = self.rest().get(..2);
            if let Some(start @ ("{{" | "{%" | "{#")) = start {
                self.at += 2;
                return Some(start);
            }
            self.at += 1;
        }
    }

    fn skip_past(&mut self, what: &str) -> bool {
        match self.rest().find(what) {
            Some(at) => self.at += at + what.len(),
            None => self.at = self.source.len(),
        }
        self.at < self.source.len()
    }

    fn keep(&mut self, from: usize, to: usize) {
        self.found.literal.push_str(self.source.get(from..to).unwrap_or_default());
    }

    /// Skips to the end of a raw block, whose text is not code.
    fn skip_raw(&mut self) {
        self.skip_past("%}");
        let mut from = self.at;
        while self.skip_past("{%") {
            self.keep(from, self.at - 2);
            if self.word().is_some_and(|word| word == "endraw") {
                break;
            }
            from = self.at - 2;
        }
        self.skip_past("%}");
    }

    /// The name at the start of a block.
    fn word(&self) -> Option<&'a str> {
        let rest = self.rest().trim_start_matches(['-', '+']).trim_start();
        rest.get(..name_length(rest)).filter(|word| !word.is_empty())
    }

    fn raw(&self) -> bool {
        self.word() == Some("raw")
    }

    /// Scans an expression or a block to its end.
    fn code(&mut self, block: bool) {
        let mut tokens = Vec::new();
        self.tokens(block, &mut tokens);
        self.found.tokens += tokens.len();
        self.found.reads.tag(block, &tokens);
    }

    fn tokens(&mut self, block: bool, tokens: &mut Vec<Token<'a>>) {
        let end = if block { "%}" } else { "}}" };
        let (mut last, mut before) = (if block { Token::Start } else { Token::Constant }, Token::Constant);
        let mut depth = 0_usize;
        while let Some(c) = self.rest().chars().next() {
            if depth == 0 && self.rest().starts_with(end) {
                self.at += end.len();
                return;
            }
            if c.is_whitespace() {
                self.at += c.len_utf8();
                continue;
            }
            let token = self.token(c, last, before);
            match token {
                Token::Name(name) if last == Token::Start && OF_SEVERAL.contains(&name) => {
                    self.use_of(What::Statement, name);
                }
                Token::Mark('(') => {
                    if let Token::Name(name) = last {
                        self.use_of(What::Function, name);
                    }
                    depth += 1;
                }
                Token::Mark('[' | '{') => depth += 1,
                Token::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
                // Whitespace control: the block's first name is still to come.
                Token::Mark('-' | '+') if last == Token::Start => continue,
                _ => {}
            }
            tokens.push(token);
            (before, last) = (last, token);
        }
    }

    /// Reads the token that starts with `c`.
    fn token(&mut self, c: char, last: Token<'a>, before: Token<'a>) -> Token<'a> {
        let rest = self.rest();
        if c == '"' || c == '\'' {
            self.at += string_length(rest, c);
            return Token::Constant;
        }
        let length = name_length(rest);
        if length == 0 {
            self.at += c.len_utf8();
            return Token::Mark(c);
        }
        let name = rest.get(..length).unwrap_or_default();
        let token = match (last, before) {
            (Token::Mark('|'), _) | (Token::Name("filter"), Token::Start) => {
                self.use_of(What::Filter, name);
                Token::Taken
            }
            (Token::Name("is"), _) if name != "not" => {
                self.use_of(What::Test, name);
                Token::Taken
            }
            (Token::Name("not"), Token::Name("is")) => {
                self.use_of(What::Test, name);
                Token::Taken
            }
            (Token::Mark('.'), _) => Token::Attribute(name),
            _ if c.is_ascii_digit() => Token::Constant,
            _ => Token::Name(name),
        };
        self.at += length;
        token
    }

    fn use_of(&mut self, what: What, name: &'a str) {
        self.line += self.source.get(self.counted..self.at).unwrap_or_default().matches('\n').count();
        self.counted = self.at;
        self.found.uses.push(Use { what, name, line: self.line });
    }
}

/// Length in bytes of the name (or number) at the start of a text.
fn name_length(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len())
}

/// Length in bytes of the string literal at the start of a text, including the quotes.
fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

//! What is shown, and how keys and answers change it. Pure: neither a clock nor a terminal.

use super::columns::TopRow;
use super::snapshot::{TopPair, TopSnapshot, TopWindow};
use jiff::{SignedDuration, Timestamp};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::cmp::Reverse;

/// Rows by which the keys for pages move.
const PAGE: isize = 10;
/// Longest text that is looked for, in characters.
const MAX_TEXT: usize = 60;

/// An order of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TopSort {
    /// That of the daemon.
    #[default]
    Name,
    /// What is wrong first.
    Bad,
    /// The slowest first token first.
    FirstToken,
    /// The most failures of the last minute first.
    Failures,
}

impl TopSort {
    fn next(self) -> Self {
        match self {
            Self::Name => Self::Bad,
            Self::Bad => Self::FirstToken,
            Self::FirstToken => Self::Failures,
            Self::Failures => Self::Name,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Bad => "bad first",
            Self::FirstToken => "TTFT",
            Self::Failures => "failures",
        }
    }
}

/// The state of the screen.
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
#[derive(Clone, Debug)]
pub struct TopState {
    /// The daemon's address, without a password.
    pub(super) address: String,
    /// Whether colours are shown.
    pub(super) color: bool,
    pub(super) now: Timestamp,
    /// The last answer, and when it came.
    pub(super) snapshot: Option<(TopSnapshot, Timestamp)>,
    /// Why the daemon did not answer when it was last asked.
    pub(super) trouble: Option<String>,
    /// Names of the selected pair.
    selected: Option<(String, String)>,
    pub(super) only_bad: bool,
    pub(super) sort: TopSort,
    pub(super) text: String,
    pub(super) is_typing: bool,
    pub(super) shows_detail: bool,
    pub(super) shows_help: bool,
    quits: bool,
}

impl TopState {
    /// The state before the first answer.
    pub fn new(address: String, color: bool, now: Timestamp) -> Self {
        Self {
            address,
            color,
            now,
            snapshot: None,
            trouble: None,
            selected: None,
            only_bad: false,
            sort: TopSort::default(),
            text: String::new(),
            is_typing: false,
            shows_detail: false,
            shows_help: false,
            quits: false,
        }
    }

    /// Whether the user wants to leave.
    pub fn quits(&self) -> bool {
        self.quits
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The daemon answered, or did not. The last answer stays until the next one.
    pub fn answered(&mut self, answer: Result<TopSnapshot, String>, now: Timestamp) {
        self.now = now;
        match answer {
            Ok(snapshot) => {
                self.trouble = None;
                self.snapshot = Some((snapshot, now));
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            self.quits = true;
        } else if self.is_typing {
            self.typed(key.code);
        } else if self.shows_help {
            self.shows_help = false;
        } else {
            self.command(key.code);
        }
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.text.clear();
            }
            KeyCode::Backspace => drop(self.text.pop()),
            KeyCode::Char(c) if self.text.chars().count() < MAX_TEXT => self.text.push(c),
            _ => {}
        }
    }

    fn command(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') => self.quits = true,
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('f') => self.only_bad = !self.only_bad,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Enter => self.shows_detail = !self.shows_detail,
            KeyCode::Esc if self.shows_detail => self.shows_detail = false,
            KeyCode::Esc => self.text.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::PageDown => self.move_by(PAGE),
            KeyCode::PageUp => self.move_by(-PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX),
            _ => {}
        }
    }

    fn move_by(&mut self, rows: isize) {
        let shown = self.rows();
        let last = shown.len().saturating_sub(1);
        let to = self.selected_row(&shown).unwrap_or(0).saturating_add_signed(rows).min(last);
        self.selected = shown.get(to).map(|row| (row.pair.profile.clone(), row.pair.target.clone()));
    }

    /// The pairs that are shown, in their order.
    pub(super) fn rows(&self) -> Vec<TopRow<'_>> {
        let Some((snapshot, _)) = &self.snapshot else { return Vec::new() };
        let row = |pair| TopRow { pair, target: snapshot.target(&pair.target), now: self.now };
        let text = self.text.to_lowercase();
        let is_found = |pair: &TopPair| {
            [&pair.profile, &pair.target, &pair.model].iter().any(|name| name.to_lowercase().contains(&text))
        };
        let mut rows: Vec<TopRow<'_>> = snapshot
            .pairs
            .iter()
            .map(row)
            .filter(|row| !self.only_bad || row.pair.is_bad(row.target))
            .filter(|row| is_found(row.pair))
            .collect();
        match self.sort {
            TopSort::Name => {}
            TopSort::Bad => rows.sort_by_key(|row| !row.pair.is_bad(row.target)),
            TopSort::Failures => rows.sort_by_key(|row| Reverse(minute(row).map_or(0, |it| it.failed))),
            TopSort::FirstToken => {
                let slowest = |row: &TopRow<'_>| {
                    let first = minute(row).and_then(|it| it.time_to_first_token_seconds.as_ref());
                    first.map_or(-1.0, |it| it.p95.unwrap_or(it.p50))
                };
                rows.sort_by(|a, b| slowest(b).total_cmp(&slowest(a)));
            }
        }
        rows
    }

    /// The number of the selected one of the rows that are shown; the first if the selected pair is not among them.
    pub(super) fn selected_row(&self, rows: &[TopRow<'_>]) -> Option<usize> {
        let is_selected = |row: &TopRow<'_>| {
            self.selected
                .as_ref()
                .is_some_and(|(profile, target)| row.pair.profile == *profile && row.pair.target == *target)
        };
        if rows.is_empty() { None } else { Some(rows.iter().position(is_selected).unwrap_or(0)) }
    }

    /// How old the last answer is.
    pub(super) fn age(&self) -> Option<SignedDuration> {
        self.snapshot.as_ref().map(|(_, at)| self.now.duration_since(*at))
    }
}

/// What a pair did in the last minute.
fn minute<'a>(row: &TopRow<'a>) -> Option<&'a TopWindow> {
    row.pair.history.as_ref().map(|history| &history.minute)
}

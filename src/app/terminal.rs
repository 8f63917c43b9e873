//! What the terminal can show: its width, and whether colours are wanted.

use crate::report::TerminalStyle;
use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use ratatui::crossterm::style::force_color_output;
use std::io::IsTerminal as _;

/// Width of what is not written to a terminal.
const PLAIN_WIDTH: u16 = 120;

/// Sets whether colours are shown. `auto` asks the terminal, and `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE`.
pub(super) fn choose_color(choice: clap::ColorChoice) {
    let choice = match choice {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// Whether colours are shown on a stream.
pub(super) fn shows_color<S: RawStream>(stream: &S) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Prints a line to stderr, such as `failed: chat on llama: nothing was sent`, with its first word in colour.
pub(super) fn tell(line: &str) {
    let (kind, rest) = line.split_once(':').unwrap_or((line, ""));
    let color = match kind {
        "note" => AnsiColor::Blue,
        "warning" => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    let style = color.on_default().bold();
    // Without the style where no colours are wanted.
    say!("{style}{kind}:{style:#}{rest}");
}

/// What stdout shows. Where it is no terminal, the width is that of the variable COLUMNS, or 120.
pub(super) fn stdout() -> TerminalStyle {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout));
    let of_terminal = size.and_then(Result::ok).map(|size| size.ws_col).filter(|width| *width > 0);
    let of_variable = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0);
    let width = of_terminal.or_else(of_variable).unwrap_or(PLAIN_WIDTH);
    let color = shows_color(&stdout);
    // Otherwise it decides by NO_COLOR alone.
    if color {
        force_color_output(true);
    }
    TerminalStyle { width, color }
}

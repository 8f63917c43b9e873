//! What is done with results: the options of `report`, and those of `run` that write one.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to write of a result.
#[derive(Clone, Debug, Default, Args)]
pub struct ReportOutput {
    /// Write a report in this file, whose ending says what it is: .json (everything, for programs, `report` and
    /// --baseline), .html (one file with plots), .xml (`JUnit`) or .md (Markdown for a pull request); repeatable, `-` is JSON
    /// on stdout in place of the tables
    #[arg(id = "report_files", long = "report", value_name = "FILE", value_parser = report_file)]
    pub files: Vec<ReportFile>,
    /// What stdout gets: tables, or the same as `--report x.json`
    #[arg(id = "result_format", long = "format", value_enum, default_value_t = DiffFormat::Table)]
    pub format: DiffFormat,
}

/// A report to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// Where; `None` is stdout.
    pub path: Option<PathBuf>,
    /// What it is.
    pub kind: ReportKind,
}

/// A kind of report, by the ending of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// Everything, for programs, for `tokenbeat report`, and as a baseline.
    Json,
    /// One HTML file with plots.
    Html,
    /// `JUnit` XML.
    Xml,
    /// Markdown.
    Md,
}

impl ReportKind {
    /// The ending of its files.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Xml => "xml",
            Self::Md => "md",
        }
    }
}

/// Options of `report`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ReportOptions {
    /// Saved results to show
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What to write of them; only of a single one.
    #[command(flatten)]
    pub output: ReportOutput,
    /// What to do with them instead.
    #[command(subcommand)]
    pub command: Option<ReportCommand>,
}

/// What to do with saved results.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Print what changed between two saved results, and exit with 2 if anything is worse
    Diff(DiffOptions),
    /// Add up results of several agents, or of several runs of the same thing; exit with 2 if the sum misses an objective
    Merge(MergeOptions),
}

/// Options of `report merge`.
#[derive(Debug, Args)]
pub struct MergeOptions {
    /// The results
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Save the sum in this file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Compare the sum with the result in this file, and exit with 2 if anything is worse
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// What to write of the sum.
    #[command(flatten)]
    pub output: ReportOutput,
}

/// Options of `report diff`.
#[derive(Debug, Args)]
pub struct DiffOptions {
    /// The result to compare with
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The result that is judged
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// The output format
    #[arg(id = "diff_format", long = "format", value_enum, default_value_t = DiffFormat::Table)]
    pub format: DiffFormat,
}

/// Output formats of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Tables for a terminal.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

/// A report on the command line, by its ending.
fn report_file(text: &str) -> Result<ReportFile, String> {
    if text == "-" {
        return Ok(ReportFile { path: None, kind: ReportKind::Json });
    }
    let path = PathBuf::from(text);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let kinds = ReportKind::value_variants();
    let kind = kinds.iter().find(|kind| ending.as_deref() == Some(kind.ending()));
    let Some(kind) = kind else {
        let endings: Vec<String> = kinds.iter().map(|kind| format!(".{}", kind.ending())).collect();
        return Err(format!("a report is one of {} by the ending of its file, or `-`", endings.join(", ")));
    };
    Ok(ReportFile { kind: *kind, path: Some(path) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn results_are_shown_or_compared() {
        let options = |words: &[&str]| {
            let words = ["tokenbeat", "report"].iter().chain(words);
            match Cli::try_parse_from(words).map(|cli| cli.command) {
                Ok(Command::Report(options)) => Some(options),
                _ => None,
            }
        };
        let shown = options(&["a.json", "b.json"]).unwrap();
        assert!(shown.files.len() == 2 && shown.command.is_none());
        let Some(ReportCommand::Diff(diff)) =
            options(&["diff", "a", "b", "--format", "json"]).unwrap().command
        else {
            panic!("a diff")
        };
        assert_eq!((diff.before, diff.after, diff.format), ("a".into(), "b".into(), DiffFormat::Json));
        assert!(options(&[]).is_none() && options(&["diff", "a"]).is_none());
    }

    #[test]
    fn a_report_is_known_by_its_ending() {
        let file = |kind, path: &str| Ok(ReportFile { path: Some(path.into()), kind });
        assert_eq!(report_file("out/a.JSON"), file(ReportKind::Json, "out/a.JSON"));
        assert_eq!(report_file("-"), Ok(ReportFile { path: None, kind: ReportKind::Json }));
        for kind in ReportKind::value_variants() {
            let name = format!("a.b.{}", kind.ending());
            assert_eq!(report_file(&name), file(*kind, &name));
        }
        for wrong in ["a.pdf", "json", ".json", ""] {
            assert!(report_file(wrong).unwrap_err().starts_with("a report is one of .json"), "{wrong}");
        }
        let merge =
            ["tokenbeat", "report", "merge", "a", "b", "--out", "c", "--report", "x.json", "--report", "-"];
        let Command::Report(options) = Cli::try_parse_from(merge).unwrap().command else {
            panic!("a report")
        };
        let Some(ReportCommand::Merge(merge)) = options.command else { panic!("a sum") };
        assert_eq!((merge.files.len(), merge.out, merge.output.files.len()), (2, Some("c".into()), 2));
    }
}

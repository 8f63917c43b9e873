//! Writes the reports of a result that were asked for. That they can be written is checked before anything is sent, as far
//! as that is known.

use super::{output_file, print};
use crate::cli::{DiffFormat, ReportFile, ReportKind, ReportOutput};
use crate::error_chain::error_chain;
use crate::report::SavedResult;
use anyhow::Context as _;
use std::path::Path;

/// The reports to write.
#[derive(Debug)]
pub(super) struct ReportFiles<'a> {
    files: Vec<(&'a Path, ReportKind)>,
    stdout: bool,
}

impl<'a> ReportFiles<'a> {
    /// Checks what was asked for; `out` is one more file for the result itself, and `taken` are files that options have
    /// for something else.
    pub(super) fn open(
        asked: &'a ReportOutput,
        out: Option<&'a Path>,
        taken: &[(&str, Option<&Path>)],
    ) -> Result<Self, Vec<String>> {
        let mut files: Vec<(&Path, ReportKind)> = out.iter().map(|path| (*path, ReportKind::Json)).collect();
        let mut problems: Vec<String> = out
            .and_then(|path| output_file::check(path).err())
            .map(|why| format!("--out: {why}"))
            .into_iter()
            .collect();
        for ReportFile { path, kind } in &asked.files {
            let Some(path) = path else { continue };
            if let Err(why) = output_file::check(path) {
                problems.push(format!("--report: {why}"));
            } else if files.iter().any(|(known, _)| output_file::is_same(known, path)) {
                problems.push(format!("--report: {} is named twice", path.display()));
            }
            files.push((path, *kind));
        }
        for (path, _) in &files {
            let its =
                |(_, known): &&(&str, Option<&Path>)| known.is_some_and(|it| output_file::is_same(it, path));
            if let Some((option, _)) = taken.iter().find(its) {
                problems.push(format!("{} is the file of {option}; name another one", path.display()));
            }
        }
        let stdout = asked.format == DiffFormat::Json || asked.files.iter().any(|file| file.path.is_none());
        if problems.is_empty() { Ok(Self { files, stdout }) } else { Err(problems) }
    }

    /// Whether stdout gets JSON in place of tables.
    pub(super) fn takes_stdout(&self) -> bool {
        self.stdout
    }

    /// Whether nothing but tables was asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.stdout
    }

    /// Writes all of them. If one cannot be written, the others still are, and the first error is returned.
    pub(super) fn write(&self, result: &SavedResult) -> anyhow::Result<()> {
        let mut first = Ok(());
        for (path, kind) in &self.files {
            let shown = path.display();
            let written = render(result, *kind)
                .and_then(|text| Ok(output_file::replace(path, &text)?))
                .with_context(|| format!("cannot write {shown}"));
            match written {
                Ok(()) => say!("wrote {shown}"),
                Err(error) if first.is_ok() => first = Err(error),
                Err(error) => say!("error: {}", error_chain(error.as_ref())),
            }
        }
        if self.stdout {
            print(&render(result, ReportKind::Json)?)?;
        }
        first
    }
}

fn render(result: &SavedResult, kind: ReportKind) -> anyhow::Result<String> {
    Ok(match kind {
        ReportKind::Json => result.to_json()?,
        ReportKind::Html => result.to_html()?,
        ReportKind::Xml => result.to_junit()?,
        ReportKind::Md => result.to_markdown(),
    })
}

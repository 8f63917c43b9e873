//! Compiles lengths in tokens, and reads files of lengths.

use super::{Findings, pattern};
use crate::config::{self, DrawnLength, KeyPath, LengthFile, TokenLength};
use crate::limits;
use crate::plan::{JointLengths, LONGEST_TEXT, LengthCurve, LengthDistribution, WeightedLengths, canonical};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

/// The default of `max`: the context window of many models.
const DEFAULT_MAX: u64 = 131_072;

/// Maximum size of a file of lengths, in bytes.
const LARGEST: u64 = 16 << 20;

/// Number of bytes of the digest that identifies a file.
const DIGEST_BYTES: usize = 16;

/// The fields of a line of a file, with its number from 1.
type FileRow = (usize, Vec<String>);

/// Curves and their weights.
type Curves = Vec<(f64, LengthCurve)>;

/// Compiles a length; `None` if it is invalid.
pub(super) fn compile(
    written: &TokenLength,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LengthDistribution> {
    within(written, DEFAULT_MAX, path, findings)
}

/// Compiles a number of things, of which there are at most `most`.
pub(super) fn count(
    written: &TokenLength,
    most: u64,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LengthDistribution> {
    let lengths = within(written, most, path, findings)?;
    if lengths.max() > most {
        findings.error(path, format!("must be at most {most}"));
        return None;
    }
    Some(lengths)
}

fn within(
    written: &TokenLength,
    default_max: u64,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LengthDistribution> {
    let drawn = match written {
        TokenLength::Fixed(tokens) => return Some(LengthDistribution::fixed(tokens.get())),
        TokenLength::Drawn(drawn) => drawn,
    };
    let curves = curves(drawn, path, findings)?;
    let (min, max) = bounds(drawn, default_max);
    if min > max {
        findings.error(path, "`min` must not be more than `max`");
        return None;
    }
    let lengths = LengthDistribution::within(curves, min, max);
    if lengths.is_none() {
        findings.error(path, format!("has no lengths between `min`, {min}, and `max`, {max}"));
    }
    lengths
}

fn bounds(written: &DrawnLength, default_max: u64) -> (u64, u64) {
    let max = written.max.map_or(default_max, NonZeroU64::get);
    (written.min.map_or(1, NonZeroU64::get), max)
}

/// The curves of a distribution, without its bounds.
fn curves(written: &DrawnLength, path: &KeyPath, findings: &mut Findings) -> Option<Curves> {
    let DrawnLength {
        uniform,
        normal,
        lognormal,
        exponential,
        pareto,
        histogram,
        empirical,
        mixture,
        min: _,
        max: _,
    } = written;
    let kinds = [
        ("uniform", uniform.is_some()),
        ("normal", normal.is_some()),
        ("lognormal", lognormal.is_some()),
        ("exponential", exponential.is_some()),
        ("pareto", pareto.is_some()),
        ("histogram", histogram.is_some()),
        ("empirical", empirical.is_some()),
        ("mixture", mixture.is_some()),
    ];
    let kind = findings.only_one(path, &kinds)?;
    let path = path.key(kind);
    if let Some(histogram) = histogram {
        return of_histogram(histogram, &path, findings);
    }
    if let Some(parts) = mixture {
        return of_mixture(parts, &path, findings);
    }
    if let Some(file) = empirical {
        return of_file(file, &path, findings);
    }
    let curve = if let Some(it) = uniform {
        between(it.from, it.to, &path, findings)?
    } else if let Some(it) = normal {
        LengthCurve::Normal { mean: it.mean, stddev: it.stddev }
    } else if let Some(it) = lognormal {
        if it.p95 <= it.median {
            findings.error(&path.key("p95"), "must be more than `median`");
            return None;
        }
        LengthCurve::lognormal(it.median, it.p95)
    } else if let Some(it) = exponential {
        LengthCurve::Exponential { mean: it.mean }
    } else {
        let it = pareto.as_ref()?;
        LengthCurve::Pareto { scale: it.scale, shape: it.shape }
    };
    Some(vec![(1.0, curve)])
}

fn between(from: NonZeroU64, to: NonZeroU64, path: &KeyPath, findings: &mut Findings) -> Option<LengthCurve> {
    if from > to {
        findings.error(path, "must not end before it begins: `from` is the shorter length");
        return None;
    }
    Some(LengthCurve::Between { from: from.get(), to: to.get() })
}

fn of_histogram(bins: &[config::LengthBin], path: &KeyPath, findings: &mut Findings) -> Option<Curves> {
    let curve = |(index, bin): (usize, &config::LengthBin)| {
        Some((bin.weight, between(bin.from, bin.to, &path.index(index), findings)?))
    };
    // Every bin is checked, so that all errors are reported.
    let curves: Vec<_> = bins.iter().enumerate().map(curve).collect();
    curves.into_iter().collect()
}

fn of_mixture(parts: &[config::MixturePart], path: &KeyPath, findings: &mut Findings) -> Option<Curves> {
    let mut all = Some(Vec::new());
    for (index, part) in parts.iter().enumerate() {
        let at = path.index(index).key("of");
        let curves = match &part.of {
            TokenLength::Fixed(tokens) => {
                Some(vec![(1.0, LengthCurve::Between { from: tokens.get(), to: tokens.get() })])
            }
            TokenLength::Drawn(drawn) => {
                for (key, bound) in [("min", drawn.min), ("max", drawn.max)] {
                    if bound.is_some() {
                        findings.error(&at.key(key), "goes beside `mixture`, for all of its parts");
                    }
                }
                curves(drawn, &at, findings)
            }
        };
        // A part counts by its own weight, no matter what the weights within it add up to.
        all = all.zip(curves).map(|(mut all, curves): (Curves, Curves)| {
            let total: f64 = curves.iter().map(|(weight, _)| weight).sum();
            all.extend(curves.into_iter().map(|(weight, curve)| (part.weight * weight / total, curve)));
            all
        });
    }
    all
}

fn of_file(written: &LengthFile, path: &KeyPath, findings: &mut Findings) -> Option<Curves> {
    let read = rows(&written.file, findings).and_then(|(digest, rows)| {
        let shown = written.file.display();
        let weighted = rows.iter().map(|(line, fields)| match fields.as_slice() {
            [length] => Ok((length_in(length, *line, &shown)?, 1.0)),
            [length, count] => {
                let count: f64 =
                    count.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(|| {
                        format!("{shown} has a count in line {line} that is not a number over 0")
                    })?;
                Ok((length_in(length, *line, &shown)?, count))
            }
            fields => Err(columns(&shown, *line, fields.len(), "a length, and perhaps its count")),
        });
        let weighted = weighted.collect::<Result<Vec<_>, String>>()?;
        WeightedLengths::new(weighted, digest).ok_or_else(|| format!("{shown} holds no length"))
    });
    match read {
        Ok(weighted) => Some(vec![(1.0, LengthCurve::Empirical(Arc::new(weighted)))]),
        Err(message) => {
            findings.error(&path.key("file"), message);
            None
        }
    }
}

/// Pairs of an input and an output length.
pub(super) fn joint(written: &LengthFile, path: &KeyPath, findings: &mut Findings) -> Option<JointLengths> {
    let read = rows(&written.file, findings).and_then(|(digest, rows)| {
        let shown = written.file.display();
        let pairs = rows.iter().map(|(line, fields)| match fields.as_slice() {
            [input, output] => {
                let short = |text: &str| {
                    let length = length_in(text, *line, &shown)?;
                    u32::try_from(length).map_err(|_| format!("{shown} has a length beyond any limit"))
                };
                Ok((short(input)?, short(output)?))
            }
            fields => Err(columns(&shown, *line, fields.len(), "an input and an output length")),
        });
        let pairs = pairs.collect::<Result<Vec<_>, String>>()?;
        JointLengths::new(pairs, digest).ok_or_else(|| format!("{shown} holds no pair"))
    });
    read.map_err(|message| findings.error(&path.key("file"), message)).ok()
}

/// The digest of a file, and the fields of each non-blank line with its line number, from 1. A first line that does not
/// start with a number is a header and is skipped.
fn rows(file: &Path, findings: &mut Findings) -> Result<(String, Vec<FileRow>), String> {
    let text = pattern::text_file(file, LARGEST, findings)?;
    let shown = file.display();
    let lines = text.lines().enumerate();
    let rows = lines.map(|(index, line)| (index + 1, line.trim())).filter(|(_, line)| !line.is_empty());
    let fields = |line: &str| line.split(',').map(|field| field.trim().to_owned()).collect::<Vec<_>>();
    let is_header = |(n, line): &(usize, &str)| *n == 1 && !line.starts_with(|c: char| c.is_ascii_digit());
    let rows: Vec<_> = rows.filter(|row| !is_header(row)).map(|(n, line)| (n, fields(line))).collect();
    findings.hold(0, rows.len(), &shown)?;
    if rows.len() > limits::ITEMS {
        return Err(format!("{shown} has {} lines, and at most {} are allowed", rows.len(), limits::ITEMS));
    }
    Ok((canonical::hex_of(&text, DIGEST_BYTES), rows))
}

fn length_in(text: &str, line: usize, shown: &impl std::fmt::Display) -> Result<u64, String> {
    let length = text.parse().ok().filter(|length| (1..=LONGEST_TEXT).contains(length));
    length.ok_or_else(|| {
        format!("{shown} has a length in line {line} that is not a whole number from 1 to {LONGEST_TEXT}")
    })
}

fn columns(shown: &impl std::fmt::Display, line: usize, found: usize, wanted: &str) -> String {
    format!("{shown} has {found} fields in line {line}: a line is {wanted}")
}

//! Compiles lengths in tokens, and reads files of lengths.

use super::{Findings, pattern};
use crate::config::{self, DrawnLength, KeyPath, LengthFile, TokenLength};
use crate::limits;
use crate::plan::{JointLengths, LONGEST_TEXT, LengthCurve, LengthDistribution, WeightedLengths, canonical};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

/// The default of `max`: the context window of many models. Lengths that the config names are in any case drawn.
const DEFAULT_MAX: u64 = 131_072;

/// Maximum size of a file of lengths, in bytes.
const LARGEST: u64 = 16 << 20;

/// Number of bytes of the digest that identifies a file.
const DIGEST_BYTES: usize = 16;

/// The fields of a line of a file, with its number from 1.
type FileRow = (usize, Vec<String>);

/// Largest count of a length in a file, so that the sum of all is a number.
const LARGEST_COUNT: f64 = 1e15;

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
    let named = curves.iter().filter_map(|(_, curve)| curve.longest()).max();
    let (min, max) = bounds(drawn, named.map_or(default_max, |named| named.max(default_max)));
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
                let count: f64 = count
                    .parse()
                    .ok()
                    .filter(|n: &f64| *n > 0.0 && *n <= LARGEST_COUNT)
                    .ok_or_else(|| {
                        format!(
                            "{shown} has a count in line {line} that is not a number over 0 and up to 1e15"
                        )
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
/// start with a number, of whatever kind, is a header and is skipped. Fields may be in quotes.
fn rows(file: &Path, findings: &mut Findings) -> Result<(String, Vec<FileRow>), String> {
    let text = pattern::text_file(file, LARGEST, findings)?;
    let shown = file.display();
    let lines = text.lines().enumerate();
    let rows = lines.map(|(index, line)| (index + 1, line.trim())).filter(|(_, line)| !line.is_empty());
    let plain = |field: &str| field.trim().trim_matches('"').trim().to_owned();
    let fields = |line: &str| line.split(',').map(plain).collect::<Vec<_>>();
    let of_number = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let is_header = |(n, line): &(usize, &str)| *n == 1 && !plain(line).starts_with(of_number);
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

#[cfg(test)]
mod tests {
    use crate::plan::{StepAction, from_yaml};

    /// The shortest and the longest of these lengths.
    fn ends(written: &str) -> Result<(u64, u64), String> {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1' }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, \
             workload: {{ prompts: [x], output_tokens: {written} }} }} }}"
        ));
        let plan = plan.map_err(|errors| errors.to_string())?;
        let StepAction::Ask(ask) = &plan.profiles[0].scenario.steps[0].action else { panic!("it asks") };
        let lengths = ask.output.lengths.as_ref().unwrap();
        Ok((lengths.min(), lengths.max()))
    }

    #[test]
    fn lengths_that_are_named_are_drawn() {
        for (written, wanted) in [
            ("{ uniform: { from: 200000, to: 300000 } }", (200_000, 300_000)),
            ("{ uniform: { from: 5, to: 300000 }, max: 250000 }", (5, 250_000)),
            (
                "{ histogram: [{ from: 7, to: 9, weight: 1 }, { from: 200000, to: 200005, weight: 1 }] }",
                (7, 200_005),
            ),
            ("{ lognormal: { median: 100000, p95: 900000 }, min: 9 }", (9, super::DEFAULT_MAX)),
        ] {
            assert_eq!(ends(written), Ok(wanted), "{written}");
        }
    }

    #[test]
    fn a_first_line_is_a_header_unless_it_is_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lengths.csv");
        let of_file = |text: &str| {
            std::fs::write(&path, text).unwrap();
            ends(&format!("{{ empirical: {{ file: '{}' }} }}", path.display()))
        };
        for text in ["\"128\"\n300\n", "\u{feff}length,count\n128,1\n300,\"2\"\n", "128\n200000\n300\n"] {
            let longest = if text.contains("200000") { 200_000 } else { 300 };
            assert_eq!(of_file(text), Ok((128, longest)), "{text}");
        }
        for text in ["-5\n10\n20\n", "1.5\n10\n20\n"] {
            let said = of_file(text).unwrap_err();
            assert!(said.contains("has a length in line 1 that is not a whole number"), "{said}");
        }
    }
}

//! Determines revision, compiler and date of the build. Reproducible: the date is that of the revision, or
//! `SOURCE_DATE_EPOCH`, and never the current one.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["TOKENBEAT_REVISION", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // Only a release asks Git: otherwise, a debug build would be repeated after each commit.
    let git = env::var("PROFILE").is_ok_and(|profile| profile == "release") && Path::new(".git").exists();
    if git {
        println!("cargo::rerun-if-changed=.git/HEAD");
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
    }
    let git = |arguments: &[&str]| git.then(|| said("git", arguments)).flatten();
    let revision = given("TOKENBEAT_REVISION").or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let epoch = given("SOURCE_DATE_EPOCH").or_else(|| git(&["log", "-1", "--format=%ct"]));
    let date = epoch.and_then(|seconds| seconds.parse().ok()).map(day);
    let rustc = env::var("RUSTC").ok().and_then(|rustc| said(&rustc, &["--version"]));
    let rustc = rustc.and_then(|line| line.split(' ').nth(1).map(str::to_owned));
    for (name, value) in [("REVISION", revision), ("DATE", date), ("RUSTC", rustc)] {
        println!("cargo::rustc-env=TOKENBEAT_{name}={}", value.as_deref().unwrap_or("unknown"));
    }
}

/// A variable with a non-empty value.
fn given(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first line that a program prints, if it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned();
    Some(line).filter(|line| !line.is_empty())
}

/// The UTC day of an instant, as `2026-11-20` (the algorithm `civil_from_days` by Howard Hinnant).
fn day(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

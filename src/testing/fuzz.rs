//! Runs a parser on hostile inputs: those in `tests/corpus`, which include earlier findings, and random variations of
//! them. A panic fails the test and leaves the input in the corpus, where it stays as a regression test.
//!
//! `TOKENBEAT_FUZZ=100000` runs that many inputs instead of a few, with a different seed each time (or
//! `TOKENBEAT_FUZZ_SEED`), and keeps the current input in `target/fuzz`, so that an input that ends the process is not
//! lost.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum length of an input in bytes.
const LONGEST: usize = 64 << 10;

/// A fuzz target.
pub(crate) struct Fuzz<'a> {
    /// The name of the target and of its folder in the corpus.
    pub(crate) name: &'a str,
    /// Inputs that are valid, or nearly.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Tokens that are significant to the parser.
    pub(crate) tokens: &'a [&'a str],
    /// Number of generated inputs by default.
    pub(crate) inputs: usize,
}

impl Fuzz<'_> {
    /// Runs every input of the corpus, and generated ones.
    pub(crate) fn run(self, target: impl Fn(&[u8])) {
        let corpus = root().join("tests/corpus").join(self.name);
        let kept: Vec<Vec<u8>> = files(&corpus).iter().map(|path| fs::read(path).unwrap()).collect();
        for input in kept.iter().chain(&self.seeds) {
            play(&corpus, input, &target);
        }
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let asked = number("TOKENBEAT_FUZZ");
        let seed =
            number("TOKENBEAT_FUZZ_SEED").unwrap_or_else(|| if asked.is_some() { rand::random() } else { 7 });
        let mut rng = StdRng::seed_from_u64(seed);
        let sources: Vec<Vec<u8>> = kept.into_iter().chain(self.seeds).collect();
        let last = asked.map(|_| root().join("target/fuzz").join(self.name));
        if let Some(last) = &last {
            fs::create_dir_all(last.parent().unwrap()).unwrap();
            println!("{}: seed {seed}", self.name);
        }
        let mut slowest = Duration::ZERO;
        for _ in 0..asked.map_or(self.inputs, |asked| usize::try_from(asked).unwrap()) {
            let input = made(&sources, self.tokens, &mut rng);
            if let Some(last) = &last {
                fs::write(last, &input).unwrap();
            }
            let begun = Instant::now();
            play(&corpus, &input, &target);
            if let Some(last) = &last
                && begun.elapsed() > slowest
            {
                slowest = begun.elapsed();
                fs::write(last.with_extension("slowest"), &input).unwrap();
            }
        }
        if last.is_some() {
            println!("{}: the slowest input took {slowest:?}", self.name);
        }
    }
}

/// The files of a folder of the repository, as seeds.
pub(crate) fn seeds(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let files = files(&root().join(folder));
    let wanted = |path: &&PathBuf| {
        path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
    };
    let seeds: Vec<_> = files.iter().filter(wanted).map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "{folder} holds no seeds");
    seeds
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn play(corpus: &Path, input: &[u8], target: &impl Fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        fs::create_dir_all(corpus).unwrap();
        let digest = u64::from_be_bytes(Sha256::digest(input)[..8].try_into().unwrap());
        let path = corpus.join(format!("{digest:016x}"));
        fs::write(&path, input).unwrap();
        eprintln!("the input is kept in {}", path.display());
        resume_unwind(panic);
    }
}

/// A random variation of other inputs.
fn made(sources: &[Vec<u8>], tokens: &[&str], rng: &mut StdRng) -> Vec<u8> {
    let source = |rng: &mut StdRng| match sources {
        [] => Vec::new(),
        all => all[rng.random_range(0..all.len())].clone(),
    };
    let mut input = if rng.random_bool(0.2) { Vec::new() } else { source(rng) };
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..=input.len());
        let end = rng.random_range(at..=input.len().min(at + 200));
        match rng.random_range(0..7) {
            0 => drop(input.drain(at..end)),
            1 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            2 => {
                let other = source(rng);
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            3 if at < input.len() => input[at] = rng.random(),
            // Repetitions create nesting and chains.
            4 | 5 if !tokens.is_empty() => {
                let token = tokens[rng.random_range(0..tokens.len())];
                let times = if rng.random_bool(0.7) { 1 } else { rng.random_range(2..3000) };
                input.splice(at..at, token.repeat(times).into_bytes());
            }
            _ if !tokens.is_empty() => {
                let count = rng.random_range(1..12);
                let parts: String = (0..count).map(|_| tokens[rng.random_range(0..tokens.len())]).collect();
                input.splice(at..at, parts.into_bytes());
            }
            _ => {}
        }
        input.truncate(LONGEST);
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_input_is_played_and_a_panic_is_not_lost() {
        let played = AtomicUsize::new(0);
        let fuzz = |name| Fuzz { name, seeds: vec![b"seed".to_vec()], tokens: &["["], inputs: 20 };
        fuzz("no-such-folder").run(|_| {
            played.fetch_add(1, Ordering::Relaxed);
        });
        assert!(played.load(Ordering::Relaxed) >= 21);
        let folder = tempfile::tempdir().unwrap();
        let broken = |input: &[u8]| assert!(input != b"bad", "scripted panic");
        play(folder.path(), b"good", &broken);
        assert!(catch_unwind(|| play(folder.path(), b"bad", &broken)).is_err());
        let [only] = files(folder.path()).try_into().unwrap();
        assert_eq!(fs::read(only).unwrap(), b"bad");
    }
}

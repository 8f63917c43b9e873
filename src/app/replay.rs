//! The random draws of `tokenbeat run`, and the command line that repeats a run.

use super::sources;
use crate::cli::RunOptions;
use crate::config::Config;
use crate::engine::Draws;
use crate::plan::{Profile, Shard};
use jiff::{SignedDuration, Timestamp};

/// The inputs of the random draws of one invocation.
pub(super) struct Replay<'a> {
    options: &'a RunOptions,
    config: &'a Config,
    shard: Shard,
    /// The nominal instant if neither an instant nor a seed is given: the same for all profiles and targets.
    now: Timestamp,
}

impl<'a> Replay<'a> {
    /// `now` is the nominal instant of profiles without a seed.
    pub(super) fn new(options: &'a RunOptions, config: &'a Config, shard: Shard, now: Timestamp) -> Self {
        Self { options, config, shard, now }
    }

    /// The draws of a profile. With `--at`, they are those of the run at that instant. With a seed, on the command line
    /// or in the config, two invocations draw the same. Otherwise, each invocation draws anew; but all shards must draw
    /// the same, whenever each of them is started.
    pub(super) fn draws(&self, profile: &Profile) -> Draws {
        let written = self.config.profiles.get(&*profile.name).and_then(|profile| profile.seed);
        match (self.options.at, self.options.seed.or(written)) {
            (Some(at), _) => Draws::At(self.options.seed, at),
            (None, Some(seed)) => Draws::Seed(seed),
            (None, None) if !self.shard.is_whole() => Draws::Seed(profile.seed),
            (None, None) => Draws::At(None, self.now),
        }
    }

    /// The command line that repeats a profile. The seed is always included, because the config may change.
    pub(super) fn command(&self, profile: &Profile) -> String {
        let (seed, at) = match self.draws(profile) {
            Draws::Seed(seed) => (seed, None),
            Draws::At(seed, at) => (seed.unwrap_or(profile.seed), Some(at)),
            Draws::Now => (profile.seed, Some(self.now)),
        };
        let mut words = vec!["tokenbeat".to_owned(), "run".to_owned(), profile.name.to_string()];
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        for path in sources::paths(&self.options.config).into_iter().flatten() {
            option("config.file", path.display().to_string());
        }
        if !self.shard.is_whole() {
            option("shard", self.shard.to_string());
        }
        for target in &self.options.target {
            option("target", target.clone());
        }
        if let Some(time) = self.options.time.and_then(|time| SignedDuration::try_from(time).ok()) {
            option("for", format!("{time:#}").replace(' ', ""));
        }
        option("seed", seed.to_string());
        if let Some(at) = at {
            option("at", at.to_string());
        }
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::ConfigSource;
    use crate::plan::{self, LoadedPlan};
    use clap::Parser as _;

    fn loaded() -> LoadedPlan {
        let profile = |seed| {
            format!("{{ targets: [t], schedule: {{ manual: {{}} }}, {seed} workload: {{ prompts: [x] }} }}")
        };
        let text = format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1' }} }}\n\
             profiles: {{ a: {}, b: {} }}\n",
            profile(""),
            profile("seed: 7,")
        );
        plan::load(&[ConfigSource::Text { name: "a.yaml".to_owned(), text }], []).unwrap()
    }

    fn options(words: &[String]) -> RunOptions {
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_draws_the_same() {
        let LoadedPlan { plan, config, .. } = loaded();
        let at: Timestamp = "2026-11-20T10:01:00Z".parse().unwrap();
        let now: Timestamp = "2026-11-27T16:00:00.000000001Z".parse().unwrap();
        let cases = [
            ("", Draws::At(None, now), Draws::Seed(7)),
            ("--seed 9", Draws::Seed(9), Draws::Seed(9)),
            ("--at 2026-11-20T10:01:00Z", Draws::At(None, at), Draws::At(None, at)),
            ("--seed 9 --at 2026-11-20T10:01:00Z", Draws::At(Some(9), at), Draws::At(Some(9), at)),
        ];
        for (written, a, b) in cases {
            let line = format!("tokenbeat run -- {written}").replace("-- ", "");
            let line = format!("{line} --config.file x.yaml --target t --for 90s");
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let options = options(&words);
            let replay = Replay::new(&options, &config, Shard::WHOLE, now);
            let profile = |name: &str| &**plan.profiles.iter().find(|it| &*it.name == name).unwrap();
            assert_eq!((replay.draws(profile("a")), replay.draws(profile("b"))), (a, b), "{written}");
            let shard = Replay::new(&options, &config, Shard::parse("1/3", "").unwrap(), now);
            let all = if written.is_empty() { Draws::Seed(profile("a").seed) } else { a };
            assert_eq!(shard.draws(profile("a")), all, "{written}: each shard is started at another instant");
            assert!(shard.command(profile("a")).contains("--shard 1/3"));
            for profile in &plan.profiles {
                let command = replay.command(profile);
                let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
                let again = self::options(&words);
                assert_eq!(again.profiles, [profile.name.to_string()]);
                assert_eq!((&again.target, again.time), (&options.target, options.time), "{command}");
                assert_eq!(again.config.files, options.config.files);
                // The seed is included even if it is the profile's own.
                let told = |draws| match draws {
                    Draws::At(seed, at) => (seed.unwrap_or(profile.seed), Some(at)),
                    Draws::Seed(seed) => (seed, None),
                    Draws::Now => panic!("not replayable"),
                };
                let later = Replay::new(&again, &config, Shard::WHOLE, Timestamp::UNIX_EPOCH);
                assert_eq!(told(later.draws(profile)), told(replay.draws(profile)), "{command}");
            }
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("config/a-b.yaml"), "config/a-b.yaml");
        assert_eq!(quoted("my config.yaml"), "'my config.yaml'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

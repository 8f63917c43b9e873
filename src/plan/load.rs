//! From sources to a plan: every error of form and of meaning at once, and every warning, each with its place.

use super::{Plan, compile};
use crate::config::{self, Config, Errors, Located, Source};

/// A plan, and what it was made of.
#[derive(Debug)]
pub struct Loaded {
    /// What will happen.
    pub plan: Plan,
    /// What was written, defaults and environment included. Shows and serialises without its secrets.
    pub config: Config,
    /// What looks wrong and does not stop us.
    pub warnings: Vec<Located>,
}

/// Loads a plan. `environment` is what `std::env::vars` gives.
///
/// An error of form in one profile or target does not hide an error of meaning in another.
pub fn load(
    sources: &[Source],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Errors> {
    let (loaded, broken, mut problems) = config::read(sources, environment);
    let compiled = compile::compile_beside(&loaded.config, &broken);
    problems.extend(compiled.errors.into_iter().map(|problem| loaded.locate(problem)));
    let warnings = compiled.warnings.into_iter().map(|problem| loaded.locate(problem)).collect();
    match Errors::of(problems) {
        Some(errors) => Err(errors),
        None => Ok(Loaded { plan: compiled.plan, warnings: config::sorted(warnings), config: loaded.config }),
    }
}

/// Loads a plan from YAML text, without the environment. Relative paths are relative to the present folder.
pub fn from_yaml(text: &str) -> Result<Plan, Errors> {
    load(&[Source::Text { name: "config".to_owned(), text: text.to_owned() }], []).map(|loaded| loaded.plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_config_makes_a_plan() {
        let plan = from_yaml(
            "targets: { llama: { api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', model: m } }\n\
             profiles: { chat: { targets: [llama], schedule: { every: 1m }, workload: { prompts: [hello] } } }\n",
        )
        .unwrap();
        assert_eq!(plan.pairs.len(), 1);
        let pair = &plan.pairs[0];
        assert_eq!((&*pair.pair.profile, &*pair.pair.target), ("chat", "llama"));
        assert_eq!(pair.places.len(), pair.profile.stages.len());
    }
}

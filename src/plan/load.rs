//! Loads a plan from its sources. Reports every error of form and of meaning at once, and every warning, each with its
//! place.

use super::{Compiled, Plan, Tokenizer, compile};
use crate::config::{
    self, Config, ConfigSource, Errors, KeyPath, Located, Position, Problem, Reading, Variant,
};
use crate::event::{BudgetScope, BudgetUnit};
use crate::files::Files;
use crate::limits;
use std::collections::BTreeMap;
use std::thread;

/// A plan and its config.
#[derive(Debug)]
pub struct LoadedPlan {
    /// The compiled plan.
    pub plan: Plan,
    /// The config, with defaults and environment. Its debug output and serialized form omit secrets.
    pub config: Config,
    /// Warnings: suspicious values that do not prevent a start.
    pub warnings: Vec<Located>,
    /// The place of each key that may be found wrong only later: limits of budgets, idle times, windows, tokenizers.
    pub positions: BTreeMap<KeyPath, Position>,
}

impl LoadedPlan {
    /// A warning about a limit of a budget, located at that limit.
    pub fn warn_of_budget(&self, scope: &BudgetScope, unit: BudgetUnit, message: String) -> Located {
        self.locate(limit_path(scope, unit), message)
    }

    /// A warning about the idle time after which a profile runs, located there.
    pub fn warn_of_idle(&self, profile: &str, message: String) -> Located {
        self.locate(idle_path(profile), message)
    }

    /// A problem with a key, located there if its place is known.
    pub fn locate(&self, path: KeyPath, message: String) -> Located {
        let position = self.positions.get(&path).cloned().unwrap_or(Position::Nowhere);
        Located { position, path, message }
    }
}

fn limit_path(scope: &BudgetScope, unit: BudgetUnit) -> KeyPath {
    let owner = match scope {
        BudgetScope::Agent => KeyPath::of(["agent"]),
        BudgetScope::Profile(name) => KeyPath::of(["profiles", &**name]),
    };
    owner.key("budget").key(unit.label())
}

fn idle_path(profile: &str) -> KeyPath {
    KeyPath::of(["profiles", profile, "schedule", "after_idle"])
}

/// The keys of all idle times, windows and tokenizer files.
fn judged_later(config: &Config) -> impl Iterator<Item = KeyPath> {
    let idle = config.profiles.iter().filter(|(_, profile)| profile.schedule.after_idle.is_some());
    let windows = config.profiles.iter().filter(|(_, profile)| !profile.schedule.windows.is_empty());
    let windows = windows.map(|(name, _)| KeyPath::of(["profiles", name, "schedule", "windows"]));
    let files =
        config.targets.iter().filter(|(_, target)| matches!(target.tokenizer, Some(Tokenizer::File(_))));
    let files = files.map(|(name, _)| KeyPath::of(["targets", name, "tokenizer", "file"]));
    idle.map(|(name, _)| idle_path(name)).chain(windows).chain(files)
}

/// The keys of all possible limits.
fn limits(config: &Config) -> Vec<KeyPath> {
    let profiles = config.profiles.iter().filter(|(_, profile)| profile.budget.is_some());
    let scopes =
        profiles.map(|(name, _)| BudgetScope::Profile(name.as_str().into())).chain([BudgetScope::Agent]);
    scopes.flat_map(|scope| BudgetUnit::ALL.iter().map(move |unit| limit_path(&scope, *unit))).collect()
}

/// An attempt to load a plan.
#[derive(Debug)]
pub struct PlanLoadAttempt {
    /// The result.
    pub result: Result<LoadedPlan, Errors>,
    /// Every file that was read or could not be read. As long as they are unchanged, another attempt has the same
    /// result.
    pub files: Files,
}

/// Additional checks that the plan alone cannot do, such as of metric names.
pub type Also<'a> = &'a (dyn Fn(&Config) -> Vec<Problem> + Sync);

/// Loads a plan. `environment` has the form of `std::env::vars`.
///
/// An error in one key does not hide errors in other keys, whether of form or of meaning.
pub fn load(
    sources: &[ConfigSource],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<LoadedPlan, Errors> {
    attempt(sources, environment, &|_| Vec::new()).result
}

/// Like [`load`], but also returns the files that were read, and adds the problems found by `also`.
///
/// Runs on a thread with its own stack: parsers recurse, within limits chosen for this stack. A panic there is reported
/// as an error, so that no config can crash a daemon that reloads it.
pub fn attempt(
    sources: &[ConfigSource],
    environment: impl IntoIterator<Item = (String, String)>,
    also: Also<'_>,
) -> PlanLoadAttempt {
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    on_own_stack(|| judge(sources, &environment, also)).unwrap_or_else(|message| {
        let problem = Problem::new(KeyPath::root(), message);
        PlanLoadAttempt { result: Err(Errors::only(problem)), files: Files::default() }
    })
}

/// Runs a function on a thread of its own, and waits for it.
fn on_own_stack<T: Send>(load: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("config".to_owned()).stack_size(limits::LOADER_STACK);
        let thread = thread
            .spawn_scoped(scope, load)
            .map_err(|error| format!("cannot be loaded, because there is no thread for it: {error}"))?;
        let panicked = |_| "cannot be judged because of a fault in tokenbeat, which the log shows".to_owned();
        thread.join().map_err(panicked)
    })
}

fn judge(
    sources: &[ConfigSource],
    environment: &BTreeMap<String, String>,
    also: Also<'_>,
) -> PlanLoadAttempt {
    let Reading { mut loaded, mut problems, least, others } = config::read(sources, environment.clone());
    let judge = |Variant { config, broken, changed }: Variant| {
        let mut compiled = compile::compile_beside(&config, &broken, &|name| environment.get(name).cloned());
        if broken.unread {
            compiled.errors.clear();
        } else {
            compiled.errors.extend(also(&config));
        }
        compiled.errors.retain(|error| !changed.iter().any(|path| path.holds(&error.path)));
        compiled
    };
    let Compiled { plan, mut errors, warnings, files: named, mut work } = judge(least);
    let all = errors.clone();
    for other in others {
        if work > limits::COMPILE_UNITS {
            // These may be mere consequences of the errors of form.
            errors.clear();
            break;
        }
        let Compiled { errors: found, work: more, .. } = judge(other);
        work = work.saturating_add(more);
        // An error that only this variant has may have prevented checks of the keys below it.
        let hidden = |error: &Problem| {
            let mut own = found.iter().filter(|own| !all.contains(own) && !own.path.segments().is_empty());
            own.any(|own| own.path != error.path && own.path.holds(&error.path))
        };
        errors.retain(|error| found.contains(error) || hidden(error));
    }
    let mut files = std::mem::take(&mut loaded.files);
    files.extend(named);
    problems.extend(errors.into_iter().map(|problem| loaded.locate(problem)));
    let warnings = warnings.into_iter().map(|problem| loaded.locate(problem)).collect();
    let positions = limits(&loaded.config).into_iter().chain(judged_later(&loaded.config)).map(|path| {
        let position = loaded.position(&path);
        (path, position)
    });
    let positions = positions.collect();
    let result = match Errors::of(problems) {
        Some(errors) => Err(errors),
        None => Ok(LoadedPlan { plan, warnings: config::sorted(warnings), positions, config: loaded.config }),
    };
    PlanLoadAttempt { result, files }
}

/// Loads a plan from YAML text, without the environment. Relative paths are relative to the current directory.
pub fn from_yaml(text: &str) -> Result<Plan, Errors> {
    load(&[ConfigSource::Text { name: "config".to_owned(), text: text.to_owned() }], [])
        .map(|loaded| loaded.plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        Arrivals, Auth, Bound, LoadCurve, Overlap, Propagate, Ramp, Shape, StageBounds, Think, Trigger,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    const TARGET: &str = "{ api: openai-chat, base_url: 'http://127.0.0.1:8000/v1/', model: m }";

    fn plan(profile: &str) -> Plan {
        let text = format!("targets: {{ t: {TARGET}, u: {TARGET} }}\nprofiles: {{ p: {profile} }}\n");
        from_yaml(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_panic_of_a_load_is_an_error() {
        let said = on_own_stack(|| -> u8 { panic!("scripted panic") }).unwrap_err();
        assert!(said.contains("a fault in tokenbeat"), "{said}");
        assert_eq!(on_own_stack(|| 7), Ok(7));
    }

    #[test]
    fn the_least_config_makes_a_plan_with_its_defaults() {
        let plan = plan("{ targets: [t], schedule: { every: 1m }, workload: { prompts: [hello] } }");
        assert_eq!(plan.server.listen.to_string(), "127.0.0.1:9464");
        assert!(!plan.agent.id.is_empty() && &*plan.agent.currency == "usd" && plan.telemetry.exemplars);
        let [pair] = plan.pairs.as_slice() else { panic!("one pair") };
        assert_eq!((&*pair.pair.profile, &*pair.pair.target), ("p", "t"));
        assert_eq!(pair.target.base_url.as_str(), "http://127.0.0.1:8000/v1");
        assert!(matches!(pair.target.auth, Auth::None) && pair.target.propagate == Propagate::W3c);
        assert_eq!(pair.target.timeouts.total, Duration::from_mins(2));
        let bounds = StageBounds { time: None, requests: Some(1) };
        let think = Think { min: Duration::ZERO, max: Duration::ZERO };
        let users = LoadCurve::constant(1.0);
        assert_eq!(pair.profile.stages.len(), 1);
        assert_eq!(
            pair.profile.stages[0].shape,
            Shape::Users { users, think, bounds, spawn: Duration::ZERO }
        );
        assert!(matches!(pair.profile.schedule.trigger, Trigger::Every { at_start: false, .. }));
        assert_eq!(pair.profile.schedule.overlap, Overlap::Skip);
        assert!(pair.profile.scenario.streams());
    }

    #[test]
    fn what_is_written_arrives() {
        let plan = plan(
            "{ targets: [u, t], schedule: { cron: '0 * * * *', timezone: Europe/Berlin, jitter: 5s }, \
             load: [{ warm_up: 5s, rate: 30/m }, { name: a, for: 10s, rate: { from: 1, to: 3/s }, arrivals: { gamma: { cv: 2 } } }, \
             { for: 1m, requests: 9, users: { from: 1, to: 4 }, think: 1s..3s }], \
             workload: { prompts: [x], stream: true }, seed: 7, \
             slo: [{ name: s, metric: time_per_output_token, below: 50ms, objective: 99.9% }, { name: q, metric: output_pace, above: 9.5, objective: 95% }] }",
        );
        assert_eq!(plan.pairs.iter().map(|pair| &*pair.pair.target).collect::<Vec<_>>(), ["u", "t"]);
        let profile = &plan.profiles[0];
        let second = Duration::from_secs(1);
        let bounds = |seconds, requests| StageBounds { time: Some(second * seconds), requests };
        let half = LoadCurve::constant(0.5);
        assert_eq!(
            profile.stages[0].shape,
            Shape::Rate { rate: half, arrivals: Arrivals::Constant, bounds: bounds(5, None) }
        );
        assert!(profile.stages[0].warm_up && !profile.stages[1].warm_up);
        let rate = Ramp { from: 1.0, to: 3.0 }.into();
        assert_eq!(
            profile.stages[1].shape,
            Shape::Rate { rate, arrivals: Arrivals::Gamma { cv: 2.0 }, bounds: bounds(10, None) }
        );
        let think = Think { min: second, max: second * 3 };
        let users = Ramp { from: 1.0, to: 4.0 }.into();
        assert_eq!(
            profile.stages[2].shape,
            Shape::Users { users, think, bounds: bounds(60, Some(9)), spawn: Duration::ZERO }
        );
        assert_eq!((profile.seed, profile.schedule.jitter), (7, second * 5));
        assert_eq!(profile.schedule.timezone.iana_name(), Some("Europe/Berlin"));
        assert_eq!(profile.slos[0].bound, Some(Bound::Below(0.05)));
        assert_eq!(profile.slos[1].bound, Some(Bound::Above(9.5)));
        // Stages without a name share one place, and the named stage has its own.
        let places = &plan.pairs[0].places;
        assert!(std::sync::Arc::ptr_eq(&places[0], &places[2]) && &*places[1].stage == "a");
    }

    #[test]
    fn otlp_is_what_is_written_and_then_the_environment() {
        use crate::plan::otlp::{Protocol, Sampling, TracedFailures};
        let environment = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let load = |text: &str, pairs: &[(&str, &str)]| {
            let source = ConfigSource::Text { name: "config".to_owned(), text: text.to_owned() };
            load(&[source], environment(pairs))
        };
        let named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert!(load("{}", &[]).unwrap().plan.telemetry.otlp.is_none());
        assert!(load("{}", &[named]).unwrap().plan.telemetry.otlp.is_some());
        let text =
            "telemetry: { otlp: { protocol: http, traces: { sample: 0%, failures: sampled }, logs: false } }";
        let otlp = load(text, &[named]).unwrap().plan.telemetry.otlp.unwrap();
        let traces = otlp.traces.unwrap();
        assert_eq!(traces.to.endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(
            (traces.to.protocol, traces.sampling),
            (Protocol::Http, Sampling { ratio: 0.0, failures: TracedFailures::Sampled })
        );
        assert!(otlp.logs.is_none() && otlp.metrics.is_some());
        let off = load("telemetry: { otlp: { traces: { enabled: false }, metrics: false } }", &[]).unwrap();
        let otlp = off.plan.telemetry.otlp.unwrap();
        assert!(otlp.traces.is_none() && otlp.metrics.is_none() && otlp.logs.is_some());
        let errors = load("{}", &[named, ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")]).unwrap_err().to_string();
        let said = "OTEL_EXPORTER_OTLP_TIMEOUT: must be a number of milliseconds above 0";
        assert!(errors.contains(said), "{errors}");
    }

    #[test]
    fn an_attempt_names_every_file_that_it_needs_also_when_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("conf")).unwrap();
        write("conf/a.yaml", &format!("targets: {{ t: {TARGET} }}"));
        write(
            "conf/b.yaml",
            "profiles: { p: { targets: [t], schedule: { manual: {} }, workload: { prompts: [{ file: ../prompts.txt }] } } }",
        );
        let sources = [ConfigSource::Path(dir.path().join("conf"))];
        let mut failed = attempt(&sources, [], &|_| Vec::new());
        let said = failed.result.err().unwrap().to_string();
        assert!(said.contains("prompts.txt cannot be read"), "{said}");
        let names = ["conf", "conf/../prompts.txt", "conf/a.yaml", "conf/b.yaml"];
        let expected = names.map(|name| dir.path().join(name));
        assert!(failed.files.paths().eq(expected.iter()), "{:?}", failed.files);
        assert!(!failed.files.changed());
        write("prompts.txt", "\u{feff}Hello\n");
        assert!(failed.files.changed());
        let mut loaded = attempt(&sources, [], &|_| Vec::new());
        assert!(loaded.result.is_ok() && loaded.files.paths().eq(expected.iter()));
        // The byte order mark is no part of the prompt.
        let shown = format!("{:?}", loaded.result.unwrap().plan.profiles[0].scenario);
        assert!(shown.contains("\"Hello\""), "{shown}");
        assert!(!loaded.files.changed());
    }

    #[test]
    fn revisions_follow_what_is_sent_and_not_how_it_is_written() {
        let revisions = |rest: &str| {
            let plan = plan(&format!("{{ targets: [t], schedule: {{ every: 1m }}, {rest} }}"));
            (plan.profiles[0].revision.to_string(), plan.pairs[0].revision.to_string())
        };
        let base = revisions("workload: { prompts: [x] }, load: [{ for: 60s, rate: 0.5 }]");
        let other_words = "workload: { stream: true, cache: bust, prompts: ['x'] }, slo: [{ name: a, metric: availability, objective: 99% }], \
             load: [{ rate: { from: 30/m, to: 0.5/s }, for: 1m, arrivals: constant }]";
        assert_eq!(revisions(other_words), base);
        let changes = [
            "workload: { prompts: [y] }, load: [{ for: 60s, rate: 0.5 }]",
            "workload: { prompts: [x], system: s }, load: [{ for: 60s, rate: 0.5 }]",
            "workload: { prompts: [x], params: { a: 1 } }, load: [{ for: 60s, rate: 0.5 }]",
            "workload: { prompts: [x], cache: reuse }, load: [{ for: 60s, rate: 0.5 }]",
            "workload: { prompts: [x] }, load: [{ for: 61s, rate: 0.5 }]",
            "workload: { prompts: [x] }, load: [{ for: 60s, rate: 0.5, arrivals: poisson }]",
        ];
        for change in changes {
            let (profile, pair) = revisions(change);
            assert!(profile != base.0 && pair != base.1, "{change}");
        }
        assert_ne!(base.0, base.1);
    }

    #[test]
    fn revisions_of_workloads_stay_what_they_are() {
        // If these change, comparisons across versions compare different things.
        let plan = plan(
            "{ targets: [t], schedule: { every: 1m }, workload: { prompts: [x], output_tokens: 9 }, \
             load: [{ warm_up: 5s, rate: 1 }, { name: a, for: 10s, users: { from: 1, to: 4 }, think: 1s..2s }] }",
        );
        assert_eq!((&*plan.profiles[0].revision, &*plan.pairs[0].revision), ("2712c61a30c2", "1b55db409b5e"));
    }

    #[test]
    fn data_and_schemas_of_a_scenario_are_among_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("people.csv", "name\nAda\n");
        write("schema.json", "{}");
        write(
            "c.yaml",
            "targets: { t: { api: http, base_url: 'http://127.0.0.1' } }\nprofiles: { p: { targets: [t], \
             schedule: { manual: {} }, scenario: { data: { people: { file: people.csv } }, steps: [{ name: a, \
             get: '/{{ pick(people).name }}', expect: { schema: { file: schema.json } } }] } } }",
        );
        let mut loaded = attempt(&[ConfigSource::Path(dir.path().join("c.yaml"))], [], &|_| Vec::new());
        assert!(loaded.result.is_ok(), "{:?}", loaded.result.err());
        let names = ["c.yaml", "people.csv", "schema.json"].map(|name| dir.path().join(name));
        assert!(loaded.files.paths().eq(names.iter()) && !loaded.files.changed());
        write("people.csv", "name\nGrace\n");
        assert!(loaded.files.changed());
    }

    #[test]
    fn the_model_and_the_params_of_a_target_count_for_its_pairs_only() {
        let plan = from_yaml(
            "targets:\n  a: &a { api: openai-chat, base_url: 'http://127.0.0.1', model: m }\n  \
             b: { <<: *a, model: n }\n  c: { <<: *a, params: { top_p: 1 } }\n  d: { <<: *a, http: '2' }\n\
             profiles: { p: { targets: [a, b, c, d], schedule: { manual: {} }, workload: { prompts: [x] } } }",
        )
        .unwrap_or_else(|e| panic!("{e}"));
        let revision = |index: usize| &plan.pairs[index].revision;
        assert_ne!(revision(0), revision(1));
        assert_ne!(revision(0), revision(2));
        assert_eq!(revision(0), revision(3));
    }

    /// The revision of a pair whose target and profile have these parameters.
    fn revision_with(target: &str, what: &str) -> String {
        let text = format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1', params: {target} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, {what} }} }}"
        );
        from_yaml(&text).unwrap_or_else(|e| panic!("{e}")).pairs[0].revision.to_string()
    }

    #[test]
    fn a_revision_changes_with_the_merged_parameters_and_not_with_where_they_stand() {
        let workload = |target: &str, own: &str| {
            revision_with(target, &format!("workload: {{ prompts: [x], params: {own} }}"))
        };
        let scenario = |target: &str, own: &str| {
            let steps =
                format!("[{{ name: a, ask: {{ prompt: x, params: {own} }} }}, {{ name: b, get: / }}]");
            revision_with(target, &format!("scenario: {{ steps: {steps} }}"))
        };
        by_merged_parameters(workload);
        by_merged_parameters(scenario);
    }

    fn by_merged_parameters(revision: impl Fn(&str, &str) -> String) {
        let base = revision("{}", "{ a: { b: 1, c: 2 }, d: 3 }");
        assert_eq!(revision("{ a: { b: 1 } }", "{ a: { c: 2 }, d: 3 }"), base);
        assert_eq!(revision("{ a: { b: 1, c: 2 }, d: 3 }", "{}"), base);
        assert_eq!(revision("{ a: { b: 9, c: 2 }, d: 4 }", "{ a: { b: 1 }, d: 3 }"), base);
        assert_ne!(revision("{ a: { b: 1, c: 2 }, d: 3 }", "{ d: null }"), base);
        assert_ne!(revision("{ a: { b: 1, c: 2 }, d: 3 }", "{ a: { c: null } }"), base);
        assert_ne!(revision("{ e: 1 }", "{ a: { b: 1, c: 2 }, d: 3 }"), base);
        assert_eq!(revision("{ d: null }", "{ a: { b: 1, c: 2 }, d: 3 }"), base);
    }

    /// The paths of all values inside a value.
    fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    paths(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    paths(value, &format!("{path}/{index}"), found);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        /// Arbitrary values anywhere in a config: each is reported as an error of form or of meaning, and
        /// deserialization never fails after the schema has accepted the config.
        #[test]
        fn any_value_anywhere_is_taken_or_explained(at in any::<prop::sample::Index>(), kind in 0_usize..14, more in any::<prop::sample::Index>(), other in 0_usize..14) {
            let whole = config::load_str("whole", include_str!("../../tests/config/whole.yml")).unwrap();
            let mut value = serde_json::to_value(&whole.config).unwrap();
            let strange = [
                json!(null), json!(true), json!(0), json!(-1), json!(1.5), json!(1e300), json!(18_446_744_073_709_551_615_u64),
                json!(""), json!("1s"), json!("none"), json!([]), json!(["x"]), json!({}), json!({ "env": "A" }),
            ];
            let mut all = Vec::new();
            paths(&value, "", &mut all);
            for (index, kind) in [(at, kind), (more, other)] {
                let path: &String = index.get(&all);
                if let Some(place) = value.pointer_mut(path) {
                    *place = strange[kind].clone();
                }
            }
            let text = serde_json::to_string(&value).unwrap();
            if let Err(errors) = from_yaml(&text) {
                let said = errors.to_string();
                prop_assert!(!said.contains("fault in tokenbeat") && !said.contains("breaks the rule"), "{said}");
            }
        }
    }
}

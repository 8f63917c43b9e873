//! How long the traces of a plan take, and how many requests they send: a wrong unit of their times shows here.

use crate::config::show_duration;
use crate::plan::Plan;
use std::fmt::Write as _;
use std::time::Duration;

/// A line for each profile whose requests are due as recorded.
pub(super) fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for profile in &plan.profiles {
        let Some(replay) = profile.scenario.replay().filter(|replay| replay.trace.format().has_times())
        else {
            continue;
        };
        let (time, requests) = (replay.length(), replay.trace.requests() as f64 * replay.scale);
        let per_second = requests / time.as_secs_f64().max(f64::MIN_POSITIVE);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "The trace of {}: {requests:.0} requests in {}, {per_second:.3}/s on average",
            profile.name,
            show_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::plan::from_yaml;

    #[test]
    fn a_trace_tells_how_long_it_takes_and_how_dense_it_is() {
        let shown = |rest: &str| {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/seconds.jsonl");
            let plan = from_yaml(&format!(
                "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000' }} }}\n\
                 profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, \
                 workload: {{ trace: {{ file: '{file}', {rest} }} }} }} }}"
            ));
            super::describe(&plan.unwrap_or_else(|e| panic!("{e}")))
        };
        assert_eq!(shown("format: bailian"), "The trace of p: 3 requests in 6s, 0.500/s on average\n");
        assert_eq!(
            shown("format: bailian, speed: 2, scale: 2"),
            "The trace of p: 6 requests in 3s, 2.000/s on average\n"
        );
        assert_eq!(
            shown("skip_bad_lines: true"),
            "The trace of p: 3 requests in 6ms, 500.000/s on average\n"
        );
    }
}

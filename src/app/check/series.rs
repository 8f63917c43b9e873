//! Tells `check` how many series the config has, and warns of more than a scrape should have.

use crate::config::{KeyPath, Located, Position};
use crate::plan::Plan;
use crate::telemetry::{Error, SeriesCount, series_count};
use crate::vocabulary::TelemetryDetail;

/// Number of series from which there is a warning: a tenth of what one small Prometheus server holds in all.
const MANY: usize = 100_000;

/// The numbers of series in a sentence, and a warning if there are many.
pub(super) fn describe(plan: &Plan) -> Result<(String, Option<Located>), Error> {
    let (all, pair) = series_count(&plan.with_most_replicas())?;
    let detail = plan.telemetry.detail;
    let said = format!(
        "{} series on /metrics from the start, at most {} of one profile and target; when every kind of answer has \
         occurred, {} and {} (telemetry.detail: {})\n",
        all.start,
        pair.start,
        all.most,
        pair.most,
        detail.name()
    );
    Ok((said, warning(all, detail)))
}

fn warning(all: SeriesCount, detail: TelemetryDetail) -> Option<Located> {
    if all.start <= MANY {
        return None;
    }
    let less = match detail {
        TelemetryDetail::Full => "`standard` or `lean` has fewer, as have",
        TelemetryDetail::Standard => "`lean` has fewer, as have",
        TelemetryDetail::Lean => "it is the lowest already; fewer have",
    };
    let message = format!(
        "`{}` makes {} series in each scrape, which is a lot for a Prometheus server: {less} telemetry.disable, and \
         profiles with fewer targets",
        detail.name(),
        all.start
    );
    let path = KeyPath::of(["telemetry", "detail"]);
    Some(Located { position: Position::Nowhere, path, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    fn described(targets: usize, detail: &str) -> (String, Option<String>) {
        let names: Vec<String> = (0..targets).map(|n| format!("t{n}")).collect();
        let target =
            |name| format!("{name}: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000', model: m }}");
        let yaml = format!(
            "telemetry: {{ detail: {detail} }}\ntargets: {{ {} }}\nprofiles: {{ p: {{ targets: [{}], schedule: \
             {{ every: 1m }}, workload: {{ prompts: [x], output_tokens: 8 }} }} }}",
            names.iter().map(target).collect::<Vec<_>>().join(", "),
            names.join(", ")
        );
        let plan = from_yaml(&yaml).unwrap_or_else(|error| panic!("{error}"));
        let (said, warning) = describe(&plan).unwrap();
        (said, warning.map(|warning| warning.to_string()))
    }

    #[test]
    fn the_numbers_are_told_with_the_level() {
        for detail in ["lean", "standard", "full"] {
            let (said, warning) = described(1, detail);
            assert!(said.ends_with(&format!("(telemetry.detail: {detail})\n")), "{said}");
            assert_eq!(warning, None);
        }
    }

    #[test]
    fn a_rich_pair_stays_within_its_level() {
        for (detail, most) in [("lean", 120), ("standard", 300)] {
            let yaml = format!(
                "telemetry: {{ detail: {detail} }}\n\
                 targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000', model: m, price: {{ input: 1, output: 2 }} }} }}\n\
                 profiles: {{ p: {{ targets: [t], schedule: {{ every: 1m }}, \
                 load: [{{ warm_up: 1s, rate: 20/s }}, {{ for: 2s, rate: 20/s }}], \
                 workload: {{ prompts: [x], output_tokens: 8 }}, expect: {{ text: {{ min_chars: 1 }} }}, \
                 slo: [{{ name: ttft, metric: time_to_first_token, below: 10s, objective: 99% }}, \
                 {{ name: total, metric: request_duration, below: 30s, objective: 99% }}] }} }}"
            );
            let plan = from_yaml(&yaml).unwrap_or_else(|error| panic!("{error}"));
            let (_, pair) = series_count(&plan).unwrap();
            assert!(pair.start <= most, "{detail}: {}", pair.start);
        }
    }

    #[test]
    fn many_series_are_warned_of_with_what_has_fewer() {
        let (said, warning) = described(500, "standard");
        let warning = warning.unwrap();
        assert!(warning.contains("telemetry.detail: `standard` makes 1"), "{warning}");
        assert!(warning.contains("`lean` has fewer"), "{warning} {said}");
        assert_eq!(described(500, "lean").1, None);
    }
}

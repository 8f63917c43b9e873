//! A capacity search for a terminal: the knee, and the curve as a table. The answer is the reason of the run's result.

use super::tables::{ABSENT, table};
use crate::detect::quantile::{CONFIDENCE, needed};
use crate::event::{LoadMeasurement, LoadVerdict, SearchReport};

pub(super) fn render(report: &SearchReport) -> String {
    let unit = report.unit.words();
    let mut curve: Vec<&LoadMeasurement> = report.curve.iter().collect();
    curve.sort_by(|a, b| a.load.total_cmp(&b.load));
    let header = [
        unit,
        "objectives",
        "samples",
        "requests/s done",
        "output tokens/s",
        "TTFT p95",
        "tokens/s of an answer",
    ];
    let table = table(header, 0, curve.into_iter().map(row).collect());
    let answered =
        |point: &&LoadMeasurement| point.verdict != LoadVerdict::Unjudged && point.requests_per_second > 0.0;
    let knee = match report.knee {
        Some(knee) => {
            let (load, done) = (number(knee.load), number(knee.requests_per_second));
            format!("throughput stops growing in proportion at {load} {unit}, with {done} requests/s done\n")
        }
        None if report.curve.iter().filter(answered).count() > 1 => {
            "throughput grew in proportion to the load\n".to_owned()
        }
        // One load says nothing about growth.
        None => String::new(),
    };
    format!("{knee}{table}")
}

fn row(point: &LoadMeasurement) -> [String; 7] {
    let verdict = match point.verdict {
        LoadVerdict::Met => "met".to_owned(),
        LoadVerdict::MetByFew => "met, few samples".to_owned(),
        LoadVerdict::Missed => format!("missed {}", point.missed.join(", ")),
        LoadVerdict::Unjudged => "not judged".to_owned(),
    };
    let optional =
        |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| ABSENT.to_owned(), show);
    let enough = needed(0.95, CONFIDENCE);
    let first_token = match point.time_to_first_token_p95_seconds {
        Some(_) if point.samples < enough => format!("needs {enough}"),
        seconds => optional(seconds, |seconds| format!("{:.1} ms", seconds * 1e3)),
    };
    [
        number(point.load),
        verdict,
        point.samples.to_string(),
        number(point.requests_per_second),
        format!("{:.0}", point.output_tokens_per_second),
        first_token,
        optional(point.output_pace_p50_tokens_per_second, |pace| format!("{pace:.1}")),
    ]
}

/// Whole numbers as such, others with two decimals.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use crate::event::LoadUnit;
    use crate::testing::search_report;

    #[test]
    fn the_curve_is_a_table_by_load() {
        let text = super::render(&search_report());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "throughput stops growing in proportion at 2 users, with 3.50 requests/s done");
        let row = |number: usize| lines[number].split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(row(2).contains("users objectives samples requests/s done"), "{text}");
        // In the order of the load, not of the search.
        assert_eq!(row(4), "│ 1 met 30 2 70 needs 130 40.0 │");
        assert_eq!(row(5), "│ 2 met 30 3.50 70 needs 130 40.0 │");
        assert_eq!(row(6), "│ 4 missed ttft 30 3.60 70 - - │");
        let mut straight = crate::event::SearchReport { knee: None, ..search_report() };
        assert!(super::render(&straight).starts_with("throughput grew in proportion to the load\n"));
        let journeys = crate::event::SearchReport { unit: LoadUnit::JourneysPerSecond, ..search_report() };
        let text = super::render(&journeys);
        assert!(
            text.starts_with("throughput stops growing in proportion at 2 journeys/s, with 3.50 requests/s")
        );
        assert!(text.contains("│ journeys/s "), "{text}");
        straight.curve.truncate(1);
        assert!(!super::render(&straight).contains("throughput"), "one load says nothing about growth");
        let mut enough = search_report();
        enough.curve.iter_mut().for_each(|point| point.samples = 130);
        let text = super::render(&enough);
        assert!(text.contains("100.0 ms") && !text.contains("needs"), "{text}");
    }
}

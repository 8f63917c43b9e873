use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// Reads a trace, and counts the lines that are used.
fn read(
    text: &str,
    part: &TracePart,
    skip: bool,
) -> Result<(tempfile::TempDir, RequestTrace, usize), String> {
    let (folder, path) = file(text);
    let mut used = 0;
    let trace = RequestTrace::read(&path, None, part, skip, &mut Files::default(), |_| used += 1)?;
    Ok((folder, trace, used))
}

/// Time in milliseconds, and input tokens.
fn requests(trace: &RequestTrace) -> Vec<(u64, u64)> {
    let read = |index| (trace.at(index).unwrap() / 1000, trace.request(index).unwrap().input_tokens);
    (0..trace.requests()).map(read).collect()
}

fn mooncake(times: &[i64]) -> String {
    let line = |(n, at): (usize, &i64)| {
        format!("{{\"timestamp\": {at}, \"input_length\": {}, \"output_length\": 5}}\n", n + 1)
    };
    times.iter().enumerate().map(line).collect()
}

fn window(from: u64, to: Option<u64>) -> TracePart {
    let seconds = Duration::from_secs;
    TracePart { from: seconds(from), to: to.map(seconds), models: Vec::new() }
}

#[test]
fn requests_come_in_the_order_of_their_times() {
    let text = format!("\u{feff}{}", mooncake(&[5000, 3000, 3000, 9000]));
    let (_folder, trace, used) = read(&text, &TracePart::default(), false).unwrap();
    assert_eq!(requests(&trace), [(0, 2), (0, 3), (2000, 1), (6000, 4)]);
    // The last request has a gap after it like the others.
    assert_eq!((used, trace.length(), trace.held()), (4, 8_000_000, 64));
    assert_eq!([0, 1, 2_000_000, 2_000_001, 9_000_000].map(|at| trace.before(at)), [0, 2, 2, 3, 4]);
    let size = TraceSize {
        min_input: 1,
        mean_input: 2.5,
        max_input: 4,
        mean_output: 5.0,
        max_output: 5,
        max_messages: 1,
    };
    assert_eq!(*trace.size(), size);
    assert!(trace.request(4).unwrap_err().ends_with("has no such line"));
}

#[test]
fn a_window_is_a_part_of_the_time_since_the_first_line() {
    let text = mooncake(&[60_000, 61_000, 62_500, 64_000, 59_000]);
    let of = |from, to| {
        read(&text, &window(from, to), false).map(|(_folder, trace, _)| (requests(&trace), trace.length()))
    };
    assert_eq!(of(1, Some(4)).unwrap(), (vec![(0, 2), (1500, 3)], 3_000_000));
    // The gap after the last request is that between the requests, without the time before the first one.
    assert_eq!(of(2, None).unwrap(), (vec![(500, 3), (2000, 4)], 3_500_000));
    assert_eq!(of(3, None).unwrap(), (vec![(1000, 4)], 2_000_000));
    assert_eq!(of(0, Some(2)).unwrap(), (vec![(0, 1), (1000, 2)], 2_000_000));
    assert_eq!(of(9, None).unwrap_err(), "holds no request in this window of these models");
}

#[test]
fn requests_of_one_time_have_no_length_without_the_end_of_a_window() {
    let has_none = |times: &[i64], part| read(&mooncake(times), &part, false).unwrap().1.has_no_length();
    assert!(has_none(&[5, 5], TracePart::default()));
    assert!(has_none(&[0, 3000, 3000], window(1, None)));
    assert!(!has_none(&[0, 3000, 3000], window(1, Some(4))));
    assert!(!has_none(&[0, 3000, 4000], window(1, None)));
}

#[test]
fn models_are_chosen_and_failures_left_out() {
    let text = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                0,A,1,9,,\n1,B,2,9,,\n2,A,3,0,,\n3,A,4,9,,\n4,B,0,9,,\n";
    let part = TracePart { models: vec!["A".to_owned()], ..TracePart::default() };
    let (_folder, trace, _) = read(text, &part, false).unwrap();
    assert_eq!((requests(&trace), trace.failed()), (vec![(0, 1), (3000, 4)], 1));
    let (_folder, trace, _) = read(text, &TracePart::default(), false).unwrap();
    assert_eq!((trace.requests(), trace.failed()), (3, 2));
}

#[test]
fn a_malformed_line_is_an_error_with_its_number_or_is_counted() {
    let text = format!("{}\nx\n{}{{}}\n", mooncake(&[0]), mooncake(&[1000]));
    let error = read(&text, &TracePart::default(), false).err().unwrap();
    assert_eq!(error, "line 3 is not what is expected: expected value, column 1 (and 1 more)");
    let (_folder, trace, _) = read(&text, &TracePart::default(), true).unwrap();
    assert_eq!((requests(&trace).len(), trace.skipped().count), (2, 2));
    for (text, said) in [
        ("", "holds nothing"),
        ("\n", "holds nothing"),
        (
            "x\n",
            "begins like none of the formats `mooncake`, `azure`, `burstgpt`, `bailian`, `sharegpt`: set `format`",
        ),
        ("TIMESTAMP,ContextTokens\n", "has no column `GeneratedTokens` in its first line"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no request"),
    ] {
        assert_eq!(read(text, &TracePart::default(), false).err().unwrap(), said);
    }
    let none = "TIMESTAMP,ContextTokens,GeneratedTokens\nx,1,1\ny,1,1\n";
    let error = read(none, &TracePart::default(), true).err().unwrap();
    assert!(
        error.starts_with("holds no request; 2 malformed lines were left out, the first: line 2 "),
        "{error}"
    );
    let none = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n2,A,3,0,,\n4,B,0,9,,\nx,B,0,9,,\n";
    let error = read(none, &TracePart::default(), true).err().unwrap();
    let said =
        "holds no request; 2 requests failed when they were recorded; 1 malformed line was left out: line 4 ";
    assert!(error.starts_with(said), "{error}");
    let second =
        r#"[{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, {"x": 1}]"#;
    let error = read(second, &TracePart::default(), false).err().unwrap();
    assert!(error.starts_with("item 2 is not what is expected"), "{error}");
}

#[test]
fn long_lines_are_read_again_in_full() {
    let ids: Vec<_> = (0..9000).collect();
    let line = |at: u64| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 144000, \"output_length\": 5, \"hash_ids\": {ids:?}}}"
        )
    };
    let (_folder, trace, _) =
        read(&format!("{}\n{}", line(0), line(5)), &TracePart::default(), false).unwrap();
    assert_eq!([0, 1].map(|index| trace.request(index).unwrap().blocks.len()), [9000, 9000]);
}

#[test]
fn a_file_that_was_changed_is_not_read() {
    let (folder, trace, _) = read(&mooncake(&[0, 1]), &TracePart::default(), false).unwrap();
    std::fs::write(folder.path().join("trace"), "x").unwrap();
    assert!(trace.request(0).unwrap_err().ends_with("it was changed since it was read"));
}

#[test]
fn a_summary_has_rates_lengths_and_shared_prefixes() {
    let line = |at: u64, input: u64, ids: &str| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": {input}, \"output_length\": 10, \"hash_ids\": [{ids}]}}\n"
        )
    };
    let text = [
        line(0, 1024, "1, 2"),
        line(400, 1000, "1, 2"),
        line(900, 1536, "1, 3, 2"),
        line(1000, 512, "9"),
        line(3000, 928, "8, 1"),
    ];
    let (_folder, path) = file(&text.concat());
    let mut statistics = TraceStatistics::default();
    let read = RequestTrace::read(&path, None, &TracePart::default(), false, &mut Files::default(), |line| {
        statistics.add(line);
    });
    let summary = statistics.finish(&read.unwrap(), 4);
    assert_eq!((summary.requests, summary.peak_second), (5, 3));
    assert_eq!(summary.over_time, [3, 1, 0, 1]);
    assert!((summary.seconds - 3.75).abs() < 1e-9, "{}", summary.seconds);
    // All of the second, one block of the third; a block counts only if all before it are shared.
    assert!((summary.shared.unwrap() - 1512.0 / 5000.0).abs() < 1e-9, "{:?}", summary.shared);
    let TokenPercentiles { p50, p90, p99, max, mean } = summary.input;
    assert_eq!((p50, p90, p99, max), (1000, 1536, 1536, 1536));
    assert!((mean - 1000.0).abs() < 1e-9 && !summary.shared_at_least && summary.models.is_empty());
}

#[test]
fn many_models_are_counted_together() {
    let mut text = "Timestamp,Model,Request tokens,Response tokens\n".to_owned();
    (0..20).for_each(|n| writeln!(text, "{n},M{},1,1", n % 18).unwrap());
    let (_folder, path) = file(&text);
    let mut statistics = TraceStatistics::default();
    let trace =
        RequestTrace::read(&path, None, &TracePart::default(), false, &mut Files::default(), |line| {
            statistics.add(line);
        });
    let summary = statistics.finish(&trace.unwrap(), 10);
    assert_eq!((summary.models.len(), summary.shared), (17, None));
    assert_eq!(summary.models[0], ("M0".to_owned(), 2));
    assert_eq!(summary.models[16], (String::new(), 2));
}

proptest! {
    /// What is read does not depend on how the file is split into pieces.
    #[test]
    fn pieces_make_no_difference(times in proptest::collection::vec(0_i64..9000, 1..20), piece in 1_usize..90) {
        let text = mooncake(&times);
        let part = TracePart::default();
        let index = |piece: usize| {
            let (mut reader, mut used) = (TraceReader::NotBegun, 0);
            for bytes in text.as_bytes().chunks(piece) {
                reader.begin(Some(TraceFormat::Mooncake), &part, bytes);
                reader.push(bytes, &mut |_| used += 1);
            }
            let TraceReader::Scans { mut splitter, mut scan, .. } = reader else { panic!("a trace") };
            splitter.finish(|row| scan.row(&row, &mut |_| used += 1));
            (used, scan.index.iter().map(|it| (it.at, it.offset)).collect::<Vec<_>>())
        };
        prop_assert_eq!(index(piece), index(text.len()));
        prop_assert_eq!(index(piece).0, times.len());
    }
}

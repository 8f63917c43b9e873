//! Known traps of other tools, each with its tests. A test of a trap is called `trap_NN_...`, is in the module that
//! could fall into it, and must be listed here. Traps that do not apply yet say why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A trap: its number, its description, and the tests that cover it or the reason why none does.
struct Trap(usize, &'static str, Covered);

enum Covered {
    By(&'static [&'static str]),
    NotYet(&'static str),
}

use Covered::{By, NotYet};

const TRAPS: [Trap; 33] = [
    Trap(
        1,
        "a role-only or empty first delta stops the TTFT clock",
        By(&[
            "trap_01_role_only_delta_does_not_stop_ttft",
            "trap_01_role_only_and_empty_deltas_have_no_content",
        ]),
    ),
    Trap(
        2,
        "reasoning under `reasoning_content` or `reasoning` ignored",
        By(&[
            "trap_02_reasoning_under_either_name",
            "trap_02_reasoning_under_either_name_stops_ttft_and_is_not_text",
        ]),
    ),
    Trap(
        3,
        "hidden reasoning gives impossible tokens per second",
        By(&["trap_03_hidden_reasoning_is_not_in_the_streamed_tokens"]),
    ),
    Trap(
        4,
        "one chunk taken for one token",
        By(&[
            "trap_04_a_chunk_is_not_a_token",
            "trap_04_without_a_tokenizer_chunks_are_an_estimate_and_called_one",
        ]),
    ),
    Trap(
        5,
        "chunk-wise tokenising adds a sequence start and splits merges",
        By(&[
            "trap_05_the_tokenizer_counts_the_whole_text",
            "trap_05_whole_texts_are_counted_without_a_sequence_start",
        ]),
    ),
    Trap(
        6,
        "the usage chunk has empty choices, or rides on the finish chunk",
        By(&[
            "trap_06_a_usage_chunk_moves_no_token_mark",
            "trap_06_usage_with_empty_choices_or_on_the_finish_chunk",
        ]),
    ),
    Trap(
        7,
        "the end is taken at different events",
        By(&[
            "trap_07_the_end_is_the_terminal_event_and_not_the_end_of_the_body",
            "trap_07_without_done_the_end_is_the_end_of_the_body",
        ]),
    ),
    Trap(
        8,
        "HTTP 200 with an error inside, or cut short, counted as success",
        By(&[
            "trap_08_errors_and_cuts_inside_a_200_are_failures",
            "trap_08_a_body_that_ends_early_is_truncated",
            "trap_08_an_error_object_in_a_200_stream",
            "trap_08_error_objects_of_every_shape",
            "trap_08_an_empty_body_and_a_cut_finish",
        ]),
    ),
    Trap(
        9,
        "framing of server-sent events",
        By(&[
            "trap_09_many_events_in_one_read",
            "trap_09_any_split_gives_the_same_events",
            "trap_09_however_the_bytes_are_split_the_answer_is_the_same",
            "trap_09_a_space_after_the_colon_is_optional_and_only_one_is_removed",
            "trap_09_comments_and_unknown_fields_are_no_events",
            "trap_09_line_ends_of_every_kind",
            "trap_09_a_lone_cr_does_not_wait_for_more_bytes",
            "trap_09_a_byte_order_mark_may_come_in_pieces",
            "trap_09_no_blank_line_at_the_end",
            "trap_09_a_line_of_megabytes_is_an_error",
        ]),
    ),
    Trap(
        10,
        "connection set-up hidden in TTFT",
        By(&[
            "trap_10_warm_set_up_lies_before_the_send",
            "trap_10_cold_set_up_lies_inside_and_nothing_is_kept",
            "trap_10_a_cold_connection_resumes_no_session",
        ]),
    ),
    Trap(
        11,
        "client saturation read as a server regression",
        By(&[
            "trap_11_a_late_prober_degrades_the_run",
            "trap_11_a_saturated_prober_is_not_taken_for_a_slow_server",
        ]),
    ),
    Trap(
        12,
        "timer quantisation",
        By(&[
            "trap_12_seven_hundred_per_second_stay_seven_hundred",
            "trap_12_whole_milliseconds_do_not_become_the_rate",
        ]),
    ),
    Trap(
        13,
        "latency from the send where the schedule is the truth",
        By(&["trap_13_response_time_counts_from_the_due_instant"]),
    ),
    Trap(14, "wall clock for durations", By(&["trap_14_no_duration_comes_from_the_wall_clock"])),
    Trap(
        15,
        "failed requests in the latency, or left out of goodput's denominator",
        By(&["trap_15_failed_requests_stay_out_of_latency_and_inside_goodput"]),
    ),
    Trap(
        16,
        "a fixed prompt measures the prefix cache",
        By(&["trap_16_a_nonce_busts_the_prefix_cache_and_reuse_does_not"]),
    ),
    Trap(
        17,
        "last-value gauges and client-side quantiles that cannot be aggregated",
        By(&[
            "trap_17_nothing_that_cannot_be_aggregated",
            "trap_17_no_summary_and_no_quantile_leaves_the_process",
        ]),
    ),
    Trap(
        18,
        "an early end of the output changes the work done",
        By(&["trap_18_output_length_stands_beside_the_time"]),
    ),
    Trap(
        19,
        "retries that restart the clock",
        By(&["trap_19_a_stale_connection_is_replaced_once_and_the_clock_runs_on"]),
    ),
    Trap(
        20,
        "memory that grows with the run",
        By(&[
            "trap_20_series_and_memory_do_not_grow_with_the_run",
            "trap_20_the_rings_are_bounded",
            "trap_20_a_distribution_stays_small",
            "trap_20_a_stuck_writer_costs_lines_and_not_memory",
        ]),
    ),
    Trap(
        21,
        "quantiles of empty windows panic",
        By(&[
            "trap_21_quantiles_of_nothing_are_absent",
            "trap_21_a_summary_of_nothing_prints_dashes",
            "trap_21_empty_answers_and_empty_streams_do_not_panic",
        ]),
    ),
    Trap(
        22,
        "TLS verification off by default",
        By(&[
            "trap_22_certificates_are_verified",
            "trap_22_a_certificate_that_nobody_vouches_for_is_refused",
        ]),
    ),
    Trap(
        23,
        "units of recorded traces, cumulative against per-turn lengths",
        NotYet("there is no workload from recorded traces yet"),
    ),
    Trap(
        24,
        "a failure that is told inside a success passes as one",
        By(&[
            "trap_24_a_finish_reason_that_says_that_the_server_gave_up",
            "trap_24_a_reason_says_whether_the_server_gave_up",
            "trap_24_an_error_in_a_choice",
            "trap_24_an_error_without_its_field",
            "trap_24_json_without_its_field_is_an_event",
        ]),
    ),
    Trap(
        25,
        "a count of an odd type fails a good answer",
        By(&[
            "trap_25_a_count_is_read_however_it_is_written_or_is_unknown",
            "trap_25_odd_types_of_what_measures_nothing_fail_no_answer",
        ]),
    ),
    Trap(
        26,
        "cached tokens under a vendor's own name are not read",
        By(&["trap_26_counts_under_the_names_of_vendors"]),
    ),
    Trap(
        27,
        "a zero usage at the end overwrites a good one",
        By(&["trap_27_a_zero_usage_does_not_overwrite_a_good_one"]),
    ),
    Trap(
        28,
        "a stream that arrives in one piece gives a time per token of zero",
        By(&["trap_28_an_answer_in_one_read_has_no_time_per_token_and_meets_no_objective_by_it"]),
    ),
    Trap(
        29,
        "a final message repeats what the deltas said",
        By(&[
            "trap_29_a_message_at_the_end_of_a_stream_repeats",
            "trap_29_a_message_at_the_end_that_repeats_what_came",
        ]),
    ),
    Trap(
        30,
        "our own limits are charged to the target",
        By(&[
            "trap_30_too_few_open_files_are_no_fault_of_the_target",
            "trap_30_a_secret_that_is_not_set_is_our_own",
        ]),
    ),
    Trap(31, "being late hides that everything failed", By(&["trap_31_being_late_hides_no_failure"])),
    Trap(
        32,
        "two targets are compared with different prompts",
        By(&["trap_32_each_target_is_asked_the_same_and_so_is_a_replay"]),
    ),
    Trap(
        33,
        "whole clients are dropped on a timeout, so that only the survivors are measured",
        NotYet("failed requests are counted by outcome; no test drives a whole client through a timeout"),
    ),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// All source files below these folders of the crate, with their text.
fn texts(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        sources(&root.join(folder), &mut files);
    }
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Names of test functions, which are recognized by their attributes.
fn tests(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_test = text.contains("proptest! {");
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
            if is_test {
                found.push(name.split(['(', '<']).next().unwrap());
            }
            is_test = false;
        }
    }
    found
}

#[test]
fn every_trap_has_a_test() {
    let texts = texts(&["src", "tests/integration"]);
    let found: BTreeSet<&str> = texts.iter().flat_map(|(_, text)| tests(text)).collect();
    for (index, Trap(number, what, covered)) in TRAPS.iter().enumerate() {
        assert_eq!(*number, index + 1, "{what}");
        match covered {
            By(names) => {
                assert!(!names.is_empty(), "trap {number} has no test: {what}");
                for name in *names {
                    assert!(
                        name.starts_with(&format!("trap_{number:02}_")),
                        "{name} is no name for trap {number}"
                    );
                    assert!(found.contains(name), "trap {number} ({what}): there is no test {name}");
                }
            }
            NotYet(reason) => assert!(!reason.is_empty()),
        }
    }
    // A test about a trap has the trap's number in its name.
    for name in found.iter().filter(|name| name.starts_with("trap_")) {
        let number: usize = name[5..7].parse().unwrap_or_else(|_| panic!("{name} has no number"));
        let covered = TRAPS.iter().any(|trap| trap.0 == number && matches!(trap.2, By(_)));
        assert!(covered, "{name}: trap {number} is not told to be covered");
    }
}

#[test]
fn the_reader_of_tests_knows_tests_from_helpers() {
    let text = "#[test]\nfn a() {\n    fn inner() {}\n}\nfn helper() {}\n#[tokio::test(start_paused = true)]\n\
                async fn b() {}\nasync fn other() {}\n";
    assert_eq!(tests(text), ["a", "b"]);
}

/// Timestamps are `tokio::time::Instant`s by their type, and a lint forbids those of the standard library, which no
/// test can pause. What remains is to check that no duration is taken from the wall clock, which goes back and jumps.
#[test]
fn trap_14_no_duration_comes_from_the_wall_clock() {
    let lints = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("clippy.toml")).unwrap();
    assert!(lints.contains("path = \"std::time::Instant\""), "the lint is gone");
    let measures =
        ["client", "engine", "event", "framing", "pacing", "receive_time", "schedule", "slo", "workload"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of_measures = |path: &Path| {
        let module = path.strip_prefix(&root).unwrap().components().next().unwrap().as_os_str();
        measures.iter().any(|name| module == *name || module.to_str() == Some(&format!("{name}.rs")))
    };
    let measuring: Vec<_> = texts(&["src"]).into_iter().filter(|(path, _)| of_measures(path)).collect();
    assert!(measuring.len() > 40, "the sources were not found");
    for (path, text) in measuring {
        let is_test = path.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs" || name == "testing.rs");
        // The places that read the wall clock: for schedules, for headers that contain a date, and for the age of what the
        // kernel noted by it, which is kept between two readings of the monotonic clock.
        let places = ["engine/clock.rs", "client/wall_clock.rs", "receive_time.rs"];
        if is_test || places.iter().any(|place| path.ends_with(place)) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for reads in
            ["SystemTime::now", "Timestamp::now", "Zoned::now", "ZonedDateTime::now", "UNIX_EPOCH.elapsed"]
        {
            assert!(!code.contains(reads), "{} reads the wall clock: {reads}", path.display());
        }
    }
}

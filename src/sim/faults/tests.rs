//! The syntax of faults, and the endpoints they concern.

use super::*;
use strum::VariantNames as _;

#[test]
fn every_fault_reads_what_it_writes() {
    let all =
        "slow_down, rate_limited;retry_after=3s, error_500, unavailable_503, overloaded_529, status;code=502,
        redirect;location=\"http://a/b;c,d\", reset_before, close_before, not_http, stall_headers;for=20ms,
        reset_mid;after=2, truncated, garbage, error_in_stream, bad_chunk_framing, stall;after=4;for=1500ms,
        role_only, empty_chunks;n=3, tokens_per_chunk;n=5, split_writes;bytes=3, many_events_per_write;n=9,
        hidden_reasoning;tokens=8, reasoning;field=reasoning;tokens=9, no_done, no_usage, usage_on_finish,
        no_content, early_finish;tokens=2, ignore_max_tokens, ignore_stop, ignore_seed,
        no_logprobs, model_drift;strength=0.25, served_by;as=\"m,2\";fingerprint=\"fp;1\", no_prefix_cache, stream_differs, broken_arguments, crlf, lone_cr, comments, bom, no_space,
        multi_line_data,
        no_final_blank_line, huge_line;bytes=100, close_keepalive;when=reuse, wrong_content_type, no_choices,
        zero_usage, no_citations, slow_retrieval;for=3s, no_token, expired_token, wrong_status";
    let faults = parse_list(all).unwrap();
    assert_eq!(faults.len(), 55);
    for fault in faults {
        assert_eq!(fault.to_string().parse(), Ok(fault));
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let error = |text: &str| text.parse::<Fault>().unwrap_err().to_string();
    let unknown = error("explode");
    assert!(
        unknown.starts_with("there is no fault `explode`; there are: slow_down, rate_limited, "),
        "{unknown}"
    );
    assert_eq!(error("stall;often=3"), "fault `stall` has no parameter `often`");
    assert_eq!(error("stall;after=x"), "parameter `after` of fault `stall`: `x` is not a whole number");
    assert!(error("slow_down;factor=0.5").contains("not a number from 1"));
    assert!(error("stall;for=soon").contains("not a duration"));
}

#[test]
fn other_spellings_mean_the_same() {
    let read = |text: &str| text.parse::<Fault>().unwrap();
    assert_eq!(read("no-citations"), Fault::NoCitations);
    assert_eq!(read("slow-generation;factor=3"), Fault::SlowDown { factor: 3.0 });
    assert_eq!(read("short-answer"), Fault::EarlyFinish { tokens: 1 });
    assert!("no-such".parse::<Fault>().unwrap_err().to_string().starts_with("there is no fault `no-such`; "));
}

#[test]
fn each_fault_is_listed_as_it_is_written() {
    for name in Fault::VARIANTS {
        let written = name.parse::<Fault>().unwrap().to_string();
        assert_eq!(written.split(';').next(), Some(*name));
        assert!(Fault::all().contains(&written), "{written}");
    }
}

#[test]
fn a_fault_concerns_those_who_can_have_it() {
    let concerned = |fault: &str| {
        let fault: Fault = fault.parse().unwrap();
        Service::ALL.into_iter().filter(|service| fault.concerns(*service)).collect::<Vec<_>>()
    };
    assert_eq!(concerned("error_500"), Service::ALL);
    assert_eq!(concerned("no_content"), [Service::Model, Service::Message, Service::Rag]);
    assert_eq!(concerned("no_citations"), [Service::Rag]);
    assert_eq!(concerned("no_token"), [Service::Login]);
    assert_eq!(concerned("wrong_status"), [Service::NewSession]);
    assert_eq!(concerned("expired_token").len(), Service::ALL.len() - 1);
    assert_eq!(concerned("no_choices"), [Service::Model]);
}

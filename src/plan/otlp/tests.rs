use super::*;
use crate::secret::{Exposed, SecretOrigin};

fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let map: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    move |name| map.get(name).cloned()
}

fn otlp(written: OtlpSettings, pairs: &[(&str, &str)]) -> Otlp {
    resolve(Some(written), &environment(pairs)).unwrap().unwrap()
}

fn problems(written: OtlpSettings, pairs: &[(&str, &str)]) -> Vec<String> {
    let found = resolve(Some(written), &environment(pairs)).unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn endpoints(otlp: &Otlp) -> [&str; 3] {
    [
        otlp.metrics.as_ref().unwrap().to.endpoint.as_str(),
        otlp.traces.as_ref().unwrap().to.endpoint.as_str(),
        otlp.logs.as_ref().unwrap().endpoint.as_str(),
    ]
}

fn headers(to: &Destination) -> Vec<(String, String)> {
    let mut headers: Vec<_> = to
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.read().unwrap().expose().to_owned()))
        .collect();
    headers.sort();
    headers
}

#[test]
fn silence_gives_the_defaults() {
    let otlp = otlp(OtlpSettings::default(), &[]);
    assert_eq!(endpoints(&otlp), ["http://localhost:4317/"; 3]);
    let metrics = otlp.metrics.unwrap();
    assert_eq!(metrics.interval, Duration::from_secs(15));
    assert_eq!((metrics.histograms, metrics.genai), (Histograms::Explicit, GenAi::Current));
    assert_eq!((metrics.to.protocol, metrics.to.compression), (Protocol::Grpc, Compression::None));
    assert_eq!(metrics.to.timeout, Duration::from_secs(10));
    assert_eq!(otlp.traces.unwrap().sampling, Sampling { ratio: 0.1, failures: TracedFailures::Always });
    assert_eq!(otlp.service_name, "tokenbeat");
}

#[test]
fn without_the_section_an_endpoint_in_the_environment_switches_it_on() {
    assert!(resolve(None, &environment(&[("OTEL_SERVICE_NAME", "x")])).unwrap().is_none());
    let named = environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]);
    assert_eq!(endpoints(&resolve(None, &named).unwrap().unwrap()), ["http://c:4317/"; 3]);
}

#[test]
fn without_the_section_the_environment_switches_signals_off() {
    let of = |off: &[(&str, &str)]| {
        let pairs = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")], off].concat();
        let otlp = resolve(None, &environment(&pairs)).unwrap();
        otlp.map(|otlp| [otlp.metrics.is_some(), otlp.traces.is_some(), otlp.logs.is_some()])
    };
    let [metrics, traces, logs] =
        ["METRICS", "TRACES", "LOGS"].map(|signal| format!("OTEL_{signal}_EXPORTER"));
    assert_eq!(of(&[("OTEL_SDK_DISABLED", "false"), (&metrics, "otlp")]), Some([true; 3]));
    assert_eq!(of(&[("OTEL_SDK_DISABLED", "True")]), None);
    assert_eq!(of(&[(&metrics, "none")]), Some([false, true, true]));
    assert_eq!(of(&[(&traces, "none"), (&logs, "none")]), Some([true, false, false]));
    assert_eq!(of(&[(&metrics, "none"), (&traces, "none"), (&logs, "none")]), None);
    // What is written in the config is meant.
    let off = [("OTEL_SDK_DISABLED", "true"), ("OTEL_LOGS_EXPORTER", "none")];
    assert!(otlp(OtlpSettings::default(), &off).logs.is_some());
}

#[test]
fn the_signals_path_is_appended_to_a_base_and_never_to_a_signals_own_endpoint() {
    let http = || OtlpSettings { protocol: Some(Protocol::Http), ..OtlpSettings::default() };
    let written = OtlpSettings { endpoint: Some(url("http://c:4318")), ..http() };
    let found = otlp(written, &[]);
    assert_eq!(
        endpoints(&found),
        ["http://c:4318/v1/metrics", "http://c:4318/v1/traces", "http://c:4318/v1/logs"]
    );
    let written = OtlpSettings { endpoint: Some(url("https://c/otlp/")), ..http() };
    assert_eq!(endpoints(&otlp(written, &[]))[1], "https://c/otlp/v1/traces");
    let found = otlp(
        http(),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces/ingest"),
        ],
    );
    assert_eq!(
        endpoints(&found),
        ["http://all:4318/v1/metrics", "http://traces/ingest", "http://all:4318/v1/logs"]
    );
    let written = OtlpSettings { endpoint: Some(url("http://c/v1/traces")), ..http() };
    let found = problems(written, &[]);
    assert_eq!(found[0], "endpoint: is the base of all signals: leave the path /v1/traces out");
}

#[test]
fn the_config_wins_over_the_environment() {
    let written = OtlpSettings {
        endpoint: Some(url("http://config:4317")),
        protocol: Some(Protocol::Grpc),
        timeout: Some(Duration::from_secs(3)),
        interval: Some(Duration::from_secs(5)),
        compression: Some(Compression::None),
        ca_file: Some("config.pem".into()),
        headers: vec![(
            HeaderName::from_static("x-a"),
            Arc::new(Secret::new(SecretOrigin::Literal(Exposed::new("config")))),
        )],
        ..OtlpSettings::default()
    };
    let otlp = otlp(
        written,
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://env:1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "env.pem"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-A=env,X-B=b%20c"),
        ],
    );
    assert_eq!(endpoints(&otlp), ["http://config:4317/"; 3]);
    let metrics = otlp.metrics.unwrap();
    assert_eq!(metrics.interval, Duration::from_secs(5));
    let to = metrics.to;
    assert_eq!((to.protocol, to.compression), (Protocol::Grpc, Compression::None));
    assert_eq!((to.timeout, to.ca_file.clone()), (Duration::from_secs(3), Some("config.pem".into())));
    let expected = [("x-a".to_owned(), "config".to_owned()), ("x-b".to_owned(), "b c".to_owned())];
    assert_eq!(headers(&to), expected);
}

#[test]
fn a_signals_own_variable_wins_over_the_general_one() {
    let otlp = otlp(
        OtlpSettings::default(),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317"),
            ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "TRUE"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m/x"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "cert.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
            // An empty variable counts as unset.
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", " "),
        ],
    );
    assert_eq!(endpoints(&otlp), ["https://m/x", "https://c:4317/", "http://c:4317/"]);
    let (metrics, traces, logs) = (otlp.metrics.unwrap(), otlp.traces.unwrap().to, otlp.logs.unwrap());
    assert_eq!(metrics.interval, Duration::from_mins(1));
    assert_eq!((metrics.to.protocol, traces.protocol), (Protocol::Http, Protocol::Grpc));
    assert_eq!((traces.timeout, logs.timeout), (Duration::from_millis(500), Duration::from_secs(2)));
    assert_eq!(headers(&traces), [("b".to_owned(), "2".to_owned())]);
    assert_eq!(headers(&logs), [("a".to_owned(), "1".to_owned())]);
    assert_eq!((traces.compression, logs.compression), (Compression::Gzip, Compression::None));
    assert_eq!(logs.ca_file, Some("ca.pem".into()));
    let identity = logs.identity.as_ref().unwrap();
    assert_eq!(
        (identity.cert_file.clone(), identity.key_file.clone()),
        ("cert.pem".into(), "key.pem".into())
    );
}

#[test]
fn the_resource_comes_from_the_environment() {
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=x%2Cy, k8s.pod.name = p ");
    let found = otlp(OtlpSettings::default(), &[attributes]);
    assert_eq!(found.service_name, "a");
    let expected = [("k8s.pod.name", "p"), ("team", "x,y")];
    assert_eq!(found.resource, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let found = otlp(OtlpSettings::default(), &[attributes, ("OTEL_SERVICE_NAME", "b")]);
    assert_eq!(found.service_name, "b");
}

#[test]
fn switched_off_signals_have_no_destination() {
    let written = OtlpSettings {
        metrics: Some(false),
        traces: Some(None),
        logs: Some(false),
        ..OtlpSettings::default()
    };
    let otlp = otlp(written, &[]);
    assert!(otlp.metrics.is_none() && otlp.traces.is_none() && otlp.logs.is_none());
}

#[test]
fn every_problem_at_once_and_no_header_value_in_it() {
    let found = problems(
        OtlpSettings { interval: Some(Duration::ZERO), ..OtlpSettings::default() },
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:pw@c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "novalue"),
        ],
    );
    assert_eq!(
        found,
        [
            "OTEL_RESOURCE_ATTRIBUTES: must be key=value pairs with commas between them",
            "interval: must be 100ms or more",
            "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http:// or https://, not ftp:",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must hold no credentials: use headers",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL: must be grpc or http/protobuf, not http/json",
        ]
    );
    let found = problems(
        OtlpSettings {
            interval: Some(Duration::ZERO),
            timeout: Some(Duration::ZERO),
            ..OtlpSettings::default()
        },
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2,ok=hunter3"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ],
    );
    assert!(!found.concat().contains("hunter"), "{found:?}");
    for expected in [
        "interval: must be 100ms or more",
        "timeout: must be longer than nothing",
        "OTEL_EXPORTER_OTLP_HEADERS: holds what no header can be",
        "OTEL_EXPORTER_OTLP_COMPRESSION: must be gzip or none, not zstd",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY: needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE beside it",
    ] {
        assert_eq!(found.iter().filter(|problem| *problem == expected).count(), 1, "{expected} in {found:?}");
    }
    let found = problems(OtlpSettings::default(), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")]);
    assert_eq!(found, ["OTEL_EXPORTER_OTLP_TIMEOUT: must be a number of milliseconds above 0, not soon"]);
}

#[test]
fn the_ratio_is_kept_and_monotone() {
    let ids: Vec<[u8; 16]> = (0..20_000_u64)
        .map(|n| {
            let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let mut id = [7; 16];
            id[8..].copy_from_slice(&low);
            id
        })
        .collect();
    let share = |ratio| {
        let sampling = Sampling { ratio, failures: TracedFailures::Sampled };
        ids.iter().filter(|id| sampling.sampled(**id)).count() as f64 / ids.len() as f64
    };
    assert!((share(0.1) - 0.1).abs() < 0.005 && (share(0.5) - 0.5).abs() < 0.005);
    assert!(share(0.0) < f64::EPSILON && share(1.0) > 1.0 - f64::EPSILON);
    let (few, many) = (
        Sampling { ratio: 0.2, failures: TracedFailures::Sampled },
        Sampling { ratio: 0.6, failures: TracedFailures::Sampled },
    );
    assert!(ids.iter().all(|id| !few.sampled(*id) || many.sampled(*id)));
}

#[test]
fn the_decision_is_that_of_trace_id_ratio_based() {
    // The bound of the SDKs for one half: the last 8 bytes shifted right by one, below 2^62.
    let half = Sampling { ratio: 0.5, failures: TracedFailures::Sampled };
    let id = |low: u64| {
        let mut id = [0xff; 16];
        id[8..].copy_from_slice(&low.to_be_bytes());
        id
    };
    assert!(half.sampled(id((1 << 63) - 1)));
    assert!(!half.sampled(id(1 << 63)));
}

#[test]
fn failures_are_exported_when_asked_for() {
    let always = Sampling { ratio: 0.0, failures: TracedFailures::Always };
    assert!(always.exports(false, true) && !always.exports(false, false) && always.exports(true, false));
    assert!(!Sampling { ratio: 0.0, failures: TracedFailures::Sampled }.exports(false, true));
}

//! OTLP export, from the config section and the environment.

use super::{Findings, target, wire};
use crate::config::{self, HeaderText, KeyPath, names_a_credential};
use crate::plan::otlp::{Otlp, OtlpSettings, Sampling, resolve};

/// Compiles the export; `None` if there is none, or if the section is not valid.
pub(super) fn compile(
    written: Option<&config::Otlp>,
    environment: &dyn Fn(&str) -> Option<String>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Otlp> {
    let before = findings.errors.len();
    let section = written.map(|written| section(written, path, findings));
    if findings.errors.len() > before {
        return None;
    }
    match resolve(section, environment) {
        Ok(otlp) => {
            let credential = |name: &str| match written.and_then(|written| header(written, name)) {
                Some(value) => value.is_credential(name),
                None => names_a_credential(name),
            };
            in_the_clear(otlp.as_ref(), credential, path, findings);
            otlp
        }
        Err(problems) => {
            for problem in problems {
                // A variable is not a config key, so its problem is reported at the section.
                if problem.subject.starts_with("OTEL_") {
                    findings.error(path, problem.to_string());
                } else {
                    findings.error(&path.key(&problem.subject), problem.message);
                }
            }
            None
        }
    }
}

/// Warns of credentials sent to a collector on another machine over plain HTTP.
fn in_the_clear(
    otlp: Option<&Otlp>,
    credential: impl Fn(&str) -> bool,
    path: &KeyPath,
    findings: &mut Findings,
) {
    let Some(otlp) = otlp else { return };
    let metrics = otlp.metrics.iter().map(|metrics| &metrics.to);
    let traces = otlp.traces.iter().map(|traces| &traces.to);
    let mut plain = metrics.chain(traces).chain(&otlp.logs).filter(|to| target::is_plain(&to.endpoint));
    let named = plain.find_map(|to| to.headers.iter().find(|(name, _)| credential(name.as_str())));
    if let Some((name, _)) = named {
        let message = format!("is plain http: the header `{name}` goes out in the clear");
        findings.warn(&path.key("endpoint"), message);
    }
}

fn header<'a>(written: &'a config::Otlp, name: &str) -> Option<&'a HeaderText> {
    written.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn section(written: &config::Otlp, path: &KeyPath, findings: &mut Findings) -> OtlpSettings {
    let endpoint = written.endpoint.as_ref();
    let endpoint = endpoint
        .and_then(|url| target::address(url, &["http", "https"], "headers", &path.key("endpoint"), findings));
    let tls_path = path.key("tls");
    if let Some(file) = &written.tls.ca_file {
        wire::certificates(file, &tls_path.key("ca_file"), findings);
    }
    let (tls, traces) = (&written.tls, &written.traces);
    let identity =
        wire::identity(tls.client_cert_file.as_deref(), tls.client_key_file.as_deref(), &tls_path, findings);
    if (tls.ca_file.is_some() || identity.is_some())
        && endpoint.as_ref().is_some_and(|url| url.scheme() == "http")
    {
        findings.warn(&tls_path, "does nothing: `endpoint` is plain http");
    }
    OtlpSettings {
        endpoint,
        protocol: written.protocol,
        headers: wire::headers(&written.headers, |_| false, &path.key("headers"), findings),
        interval: written.interval.map(|interval| interval.0),
        timeout: written.timeout.map(|timeout| timeout.0),
        compression: written.compression,
        ca_file: tls.ca_file.clone(),
        identity,
        metrics: written.metrics,
        histograms: written.histograms,
        traces: Some(
            traces.enabled.then_some(Sampling { ratio: traces.sample.0, failures: traces.failures }),
        ),
        logs: written.logs,
        genai: written.genai,
    }
}

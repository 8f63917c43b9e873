//! Fills in what the config omits, from the OpenTelemetry variables and then from defaults. Pure: the environment is
//! passed in as a function.
//!
//! | config key | variables, the first that is set and not empty wins | default |
//! | --- | --- | --- |
//! | `endpoint` | `OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT` (as it is), `OTEL_EXPORTER_OTLP_ENDPOINT` | `http://localhost:4317`, for HTTP `http://localhost:4318` |
//! | `protocol` | `OTEL_EXPORTER_OTLP_{SIGNAL}_PROTOCOL`, `OTEL_EXPORTER_OTLP_PROTOCOL`: `grpc`, `http/protobuf` | `grpc` |
//! | `headers` | `..._{SIGNAL}_HEADERS`, else `..._HEADERS`; a header of the config wins over the same one there | |
//! | `timeout` | `..._{SIGNAL}_TIMEOUT`, `..._TIMEOUT`, milliseconds | 10 s |
//! | `compression` | `..._{SIGNAL}_COMPRESSION`, `..._COMPRESSION`: `gzip`, `none` | `none` |
//! | `tls.ca_file` | `..._{SIGNAL}_CERTIFICATE`, `..._CERTIFICATE` | the system's roots |
//! | `tls.client_cert_file`, `tls.client_key_file` | `..._CLIENT_CERTIFICATE`, `..._CLIENT_KEY`, likewise | |
//! | `interval` | `OTEL_METRIC_EXPORT_INTERVAL`, milliseconds | 15 s |
//! | | `OTEL_EXPORTER_OTLP_{SIGNAL}_INSECURE`, `..._INSECURE`: a gRPC endpoint without a scheme is plain text | `false` |
//! | | `OTEL_SERVICE_NAME`, else `service.name` of `OTEL_RESOURCE_ATTRIBUTES` | `tokenbeat` |
//! | | `OTEL_RESOURCE_ATTRIBUTES`: `key=value,...`, percent-encoded | |
//! | | without the section: `OTEL_SDK_DISABLED`, and `OTEL_{SIGNAL}_EXPORTER`, which is `none` | `false` |
//!
//! For HTTP, the signal's path (`/v1/traces` and so on) is appended to a base endpoint. Without the section, an
//! endpoint in the environment switches the export on.

use super::{
    Compression, Destination, GenAi, Histograms, Metrics, Otlp, OtlpSettings, Protocol, Sampling, Traces,
};
use crate::plan::Identity;
use crate::secret::{Exposed, Secret, SecretOrigin};
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Shortest interval between two exports of the metrics.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

const SIGNALS: [(&str, &str); 3] =
    [("METRICS", "/v1/metrics"), ("TRACES", "/v1/traces"), ("LOGS", "/v1/logs")];

/// The environment: the value of a variable, if it is set.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A setting that cannot be used. It never contains a header's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {message}")]
pub struct InvalidSetting {
    /// The variable, or the key below `telemetry.otlp`.
    pub subject: String,
    /// A description of the problem.
    pub message: String,
}

/// Resolves what is exported; `None` if nothing is. Reports every problem at once.
pub fn resolve(
    written: Option<OtlpSettings>,
    environment: Environment<'_>,
) -> Result<Option<Otlp>, Vec<InvalidSetting>> {
    let mut fill = Fill { environment, problems: Vec::new() };
    let written = match written {
        Some(written) => written,
        None if !fill.names_an_endpoint() => return Ok(None),
        None => match fill.switched_on() {
            Some(by_environment) => by_environment,
            None => return Ok(None),
        },
    };
    let otlp = fill.otlp(&written);
    if fill.problems.is_empty() { Ok(Some(otlp)) } else { Err(fill.problems) }
}

struct Fill<'a> {
    environment: Environment<'a>,
    problems: Vec<InvalidSetting>,
}

impl Fill<'_> {
    fn problem(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        let problem = InvalidSetting { subject: subject.into(), message: message.into() };
        // One variable applies to three signals; a problem with it is reported once.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The value of a variable. By the specification, an empty one counts as unset.
    fn get(&self, name: &str) -> Option<String> {
        (self.environment)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The signal's own variable, or else the general one: its name and value.
    fn of_signal(&self, signal: &str, suffix: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_{signal}_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")]
            .into_iter()
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn names_an_endpoint(&self) -> bool {
        SIGNALS.iter().any(|(signal, _)| self.of_signal(signal, "ENDPOINT").is_some())
    }

    /// What the environment exports, if it alone decides; `None` for nothing.
    fn switched_on(&self) -> Option<OtlpSettings> {
        let says = |name: &str, word| self.get(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        if says("OTEL_SDK_DISABLED", "true") {
            return None;
        }
        let is_on = SIGNALS.map(|(signal, _)| !says(&format!("OTEL_{signal}_EXPORTER"), "none"));
        let [metrics, traces, logs] = is_on;
        is_on.contains(&true).then(|| OtlpSettings {
            metrics: Some(metrics),
            traces: (!traces).then_some(None),
            logs: Some(logs),
            ..OtlpSettings::default()
        })
    }

    fn otlp(&mut self, written: &OtlpSettings) -> Otlp {
        let [metrics, traces, logs] = SIGNALS;
        let mut resource = self.resource();
        let named = resource.remove("service.name");
        let metrics = written.metrics.unwrap_or(true).then(|| {
            let interval = self.interval(written);
            Some(Metrics {
                to: self.destination(written, metrics)?,
                interval,
                histograms: written.histograms.unwrap_or(Histograms::Explicit),
                genai: written.genai.unwrap_or(GenAi::Current),
            })
        });
        let traces = written
            .traces
            .unwrap_or(Some(Sampling::default()))
            .map(|sampling| Some(Traces { to: self.destination(written, traces)?, sampling }));
        let logs = written.logs.unwrap_or(true).then(|| self.destination(written, logs));
        let service_name = self.get("OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| "tokenbeat".to_owned());
        // For a signal without a destination, a problem has already been reported.
        Otlp {
            metrics: metrics.flatten(),
            traces: traces.flatten(),
            logs: logs.flatten(),
            service_name,
            resource,
        }
    }

    fn destination(
        &mut self,
        written: &OtlpSettings,
        (signal, path): (&str, &str),
    ) -> Option<Arc<Destination>> {
        let protocol = match written.protocol {
            Some(protocol) => protocol,
            None => self.protocol(signal),
        };
        let timeout = match written.timeout {
            Some(timeout) => timeout,
            None => self.millis(self.of_signal(signal, "TIMEOUT"), Duration::from_secs(10)),
        };
        if timeout.is_zero() {
            self.problem("timeout", "must be longer than nothing");
        }
        let compression = match written.compression {
            Some(compression) => compression,
            None => self.compression(signal),
        };
        let file = |fill: &Self, suffix| fill.of_signal(signal, suffix).map(|(_, path)| PathBuf::from(path));
        let headers = self.headers(written, signal);
        let identity = self.identity(written, signal);
        let endpoint = self.endpoint(written, protocol, (signal, path));
        Some(Arc::new(Destination {
            endpoint: endpoint?,
            protocol,
            headers,
            timeout,
            compression,
            ca_file: written.ca_file.clone().or_else(|| file(self, "CERTIFICATE")),
            identity,
        }))
    }

    fn endpoint(
        &mut self,
        written: &OtlpSettings,
        protocol: Protocol,
        (signal, path): (&str, &str),
    ) -> Option<Url> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        let (subject, base) = if let Some(endpoint) = &written.endpoint {
            ("endpoint".to_owned(), Ok(endpoint.clone()))
        } else if let Some(text) = self.get(&own) {
            let url = self.parse_endpoint(&text, protocol, signal);
            return self.checked(own, url);
        } else if let Some(text) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), self.parse_endpoint(&text, protocol, signal))
        } else {
            let port = if protocol == Protocol::Grpc { 4317 } else { 4318 };
            ("endpoint".to_owned(), Url::parse(&format!("http://localhost:{port}")))
        };
        let mut url = self.checked(subject.clone(), base)?;
        if protocol == Protocol::Http {
            let base = url.path().trim_end_matches('/').to_owned();
            if SIGNALS.iter().any(|(_, path)| base.ends_with(path)) {
                self.problem(subject, format!("is the base of all signals: leave the path {base} out"));
                return None;
            }
            url.set_path(&format!("{base}{path}"));
        }
        Some(url)
    }

    /// gRPC endpoints may be given as `host:port`; another variable decides whether that means TLS.
    fn parse_endpoint(&self, text: &str, protocol: Protocol, signal: &str) -> Result<Url, url::ParseError> {
        if text.contains("://") || protocol == Protocol::Http {
            return Url::parse(text);
        }
        let insecure =
            self.of_signal(signal, "INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
        Url::parse(&format!("{}://{text}", if insecure { "http" } else { "https" }))
    }

    fn checked(&mut self, subject: String, url: Result<Url, url::ParseError>) -> Option<Url> {
        let problem = match url {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                format!("must begin with http:// or https://, not {}:", url.scheme())
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "must hold no credentials: use headers".to_owned()
            }
            Ok(url) if url.has_host() => return Some(url),
            Ok(_) => "must have a host".to_owned(),
            Err(error) => format!("is no URL: {error}"),
        };
        self.problem(subject, problem);
        None
    }

    fn protocol(&mut self, signal: &str) -> Protocol {
        match self.of_signal(signal, "PROTOCOL") {
            None => Protocol::Grpc,
            Some((_, value)) if value == "grpc" => Protocol::Grpc,
            Some((_, value)) if value == "http/protobuf" => Protocol::Http,
            Some((name, value)) => {
                self.problem(name, format!("must be grpc or http/protobuf, not {value}"));
                Protocol::Grpc
            }
        }
    }

    fn compression(&mut self, signal: &str) -> Compression {
        match self.of_signal(signal, "COMPRESSION") {
            None => Compression::None,
            Some((_, value)) if value == "gzip" => Compression::Gzip,
            Some((_, value)) if value == "none" => Compression::None,
            Some((name, value)) => {
                self.problem(name, format!("must be gzip or none, not {value}"));
                Compression::None
            }
        }
    }

    fn interval(&mut self, written: &OtlpSettings) -> Duration {
        let named = "OTEL_METRIC_EXPORT_INTERVAL";
        let interval = written.interval.unwrap_or_else(|| {
            self.millis(self.get(named).map(|value| (named.to_owned(), value)), Duration::from_secs(15))
        });
        if interval < SHORTEST_INTERVAL {
            let name = if written.interval.is_some() { "interval" } else { named };
            self.problem(name, format!("must be {}ms or more", SHORTEST_INTERVAL.as_millis()));
        }
        interval
    }

    fn millis(&mut self, found: Option<(String, String)>, default: Duration) -> Duration {
        let Some((name, value)) = found else { return default };
        match value.parse::<u64>() {
            Ok(millis) if millis > 0 => Duration::from_millis(millis),
            _ => {
                self.problem(name, format!("must be a number of milliseconds above 0, not {value}"));
                default
            }
        }
    }

    fn headers(&mut self, written: &OtlpSettings, signal: &str) -> Vec<(HeaderName, Arc<Secret>)> {
        let mut headers = written.headers.clone();
        let Some((name, text)) = self.of_signal(signal, "HEADERS") else { return headers };
        for (key, value) in self.pairs(&name, &text) {
            let parsed = HeaderName::from_bytes(key.to_ascii_lowercase().as_bytes());
            let (Ok(key), true) = (parsed, HeaderValue::from_str(&value).is_ok()) else {
                self.problem(name.clone(), "holds what no header can be");
                continue;
            };
            if !headers.iter().any(|(known, _)| *known == key) {
                headers.push((key, Arc::new(Secret::new(SecretOrigin::Literal(Exposed::new(value))))));
            }
        }
        headers
    }

    fn identity(&mut self, written: &OtlpSettings, signal: &str) -> Option<Identity> {
        if let Some(Identity { cert_file, key_file }) = &written.identity {
            return Some(Identity { cert_file: cert_file.clone(), key_file: key_file.clone() });
        }
        let cert = self.of_signal(signal, "CLIENT_CERTIFICATE");
        let key = self.of_signal(signal, "CLIENT_KEY");
        match (cert, key) {
            (Some((_, cert)), Some((_, key))) => {
                Some(Identity { cert_file: cert.into(), key_file: key.into() })
            }
            (None, None) => None,
            (Some((name, _)), None) => {
                self.problem(name, "needs OTEL_EXPORTER_OTLP_CLIENT_KEY beside it");
                None
            }
            (None, Some((name, _))) => {
                self.problem(name, "needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE beside it");
                None
            }
        }
    }

    fn resource(&mut self) -> BTreeMap<String, String> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let text = self.get(name).unwrap_or_default();
        self.pairs(name, &text).into_iter().collect()
    }

    /// `key=value,key=value`, percent-encoded as in W3C baggage.
    fn pairs(&mut self, name: &str, text: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let decoded = item.split_once('=').and_then(|(key, value)| {
                Some((percent_decoded(key.trim())?, percent_decoded(value.trim())?))
            });
            match decoded {
                Some((key, value)) if !key.is_empty() => pairs.push((key, value)),
                _ => self.problem(name, "must be key=value pairs with commas between them"),
            }
        }
        pairs
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    Some(percent_encoding::percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

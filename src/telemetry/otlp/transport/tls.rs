//! The TLS settings of both transports, and the connector for gRPC.

use super::Error;
use crate::plan::otlp::Destination;
use crate::tls::{Trust, client_config};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use std::time::Duration;

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// TCP keep-alive interval of both transports.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connector for gRPC: HTTP/2, over TLS if the endpoint begins with `https`.
pub(super) fn connector(to: &Destination) -> Result<Connector, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    let schemes = HttpsConnectorBuilder::new().with_tls_config(config(to)?).https_or_http();
    Ok(schemes.enable_http2().wrap_connector(tcp))
}

/// The TLS configuration of both transports.
pub(super) fn config(to: &Destination) -> Result<ClientConfig, Error> {
    if to.endpoint.scheme() != "https" {
        return Ok(client_config(Trust::Nobody, None)?);
    }
    let trust = to.ca_file.as_deref().map_or(Trust::System, Trust::File);
    let identity = to.identity.as_ref().map(|it| (it.cert_file.as_path(), it.key_file.as_path()));
    Ok(client_config(trust, identity)?)
}

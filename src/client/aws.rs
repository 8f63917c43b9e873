//! Signs requests with AWS credentials: Signature Version 4, by AWS's own crate.

use super::classify::CallError;
use super::connection::Body;
use crate::credentials::SigningKeys;
use crate::event::Failure;
use crate::plan::Aws;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderValue, Request, header};
use std::time::SystemTime;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

/// Like [`sign_request`], but silences the logs of the crate, which writes keys at level `trace`.
pub(super) fn authorize(
    request: &mut Request<Body>,
    body: &[u8],
    keys: &SigningKeys,
    aws: &Aws,
    now: SystemTime,
) -> Result<(), CallError> {
    let silence = Dispatch::none();
    with_default(&silence, || sign_request(request, body, keys, aws, now))
}

/// Adds the headers of a signature over the method, the address, the body, and the headers that describe them. `body`
/// is the body of the request. Other headers, such as `traceparent`, may change on the way and are not signed.
fn sign_request(
    request: &mut Request<Body>,
    body: &[u8],
    keys: &SigningKeys,
    aws: &Aws,
    now: SystemTime,
) -> Result<(), CallError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CallError::by(Failure::Internal, "the request cannot be signed", error)
    };
    let token = keys.session_token.as_ref().map(|token| token.expose().to_owned());
    let secret = keys.secret_access_key.expose();
    let identity = Credentials::new(&keys.access_key_id, secret, token, None, "tokenbeat").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&aws.region)
        .name(&aws.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?;
    let address = request.uri().to_string();
    let signed = |name: &str| matches!(name, "host" | "content-type") || name.starts_with("x-amz-");
    let headers = request.headers().iter().filter(|(name, _)| signed(name.as_str()));
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable =
        SignableRequest::new(request.method().as_str(), address, headers, SignableBody::Bytes(body))
            .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params.into()).map_err(|error| failed(&error))?.into_parts();
    let (added, _) = instructions.into_parts();
    for new in added {
        let mut value = HeaderValue::from_str(new.value()).map_err(|error| failed(&error))?;
        value.set_sensitive(
            new.sensitive() || new.name().eq_ignore_ascii_case(header::AUTHORIZATION.as_str()),
        );
        request.headers_mut().insert(new.name(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::AwsSource;
    use crate::secret::Exposed;
    use std::time::{Duration, UNIX_EPOCH};

    fn signed(uri: &str, headers: &[(&'static str, &str)], body: &'static [u8]) -> Request<Body> {
        let aws =
            Aws { region: "us-east-1".into(), service: "service".into(), source: AwsSource::Environment };
        let keys = SigningKeys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Exposed::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let mut request = Request::new(Body::new(body.into()));
        *request.uri_mut() = uri.parse().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        // 2015-08-30T12:36:00Z
        let now = UNIX_EPOCH + Duration::from_mins(24_015_636);
        authorize(&mut request, body, &keys, &aws, now).unwrap();
        request
    }

    /// `get-vanilla` of the test suite that AWS published for Signature Version 4.
    #[test]
    fn the_signature_is_that_of_the_published_suite() {
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                        SignedHeaders=host;x-amz-date, \
                        Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        // In the origin form of HTTP/1.1 and the absolute form of HTTP/2; other headers change nothing.
        let host = ("host", "example.amazonaws.com");
        for request in [
            signed("/", &[host, ("traceparent", "00-1"), ("user-agent", "x")], b""),
            signed("https://example.amazonaws.com/", &[], b""),
        ] {
            assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
            assert_eq!(request.headers()["authorization"], expected);
            assert!(request.headers()["authorization"].is_sensitive());
        }
        assert_ne!(signed("/", &[host], b"x").headers()["authorization"], expected);
        assert_ne!(signed("/?a=b", &[host], b"").headers()["authorization"], expected);
    }
}

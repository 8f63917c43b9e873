//! Asks the Kubernetes API for the `EndpointSlices` of a Service, with the credentials of the pod that tokenbeat runs in.
//! For where DNS does not do: Services that are not headless, pod names as names of replicas, several ports.

use super::http::{self, shown};
use super::source::{LookError, blocking};
use crate::event::LookFailure;
use crate::files::Files;
use crate::plan::{KubernetesService, Replica};
use crate::secret::Exposed;
use crate::unmeasured;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::{Host, Url};

/// Where Kubernetes puts the credentials of a pod.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Maximum size of each of these files in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Slices per answer, and maximum number of answers that are read: 100 endpoints in each slice.
const PAGE: usize = 500;
const MAX_PAGES: usize = 20;

/// The API of the cluster, and the credentials for it.
pub(super) struct KubernetesApi {
    url: Url,
    account: PathBuf,
}

/// The kinds of objects that are read, as far as they are read.
#[derive(Debug, Deserialize)]
struct SliceList {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Slice>,
}

#[derive(Debug, Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    more: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<SlicePort>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    target_ref: Option<TargetRef>,
}

#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct TargetRef {
    kind: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SlicePort {
    port: Option<u16>,
}

impl KubernetesApi {
    /// The API of the cluster that this process runs in.
    pub(super) fn in_cluster() -> Result<Self, LookError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
        let host = host.map(|host| if host.contains(':') { format!("[{host}]") } else { host });
        let url = host.zip(port).and_then(|(host, port)| Url::parse(&format!("https://{host}:{port}/")).ok());
        let url = url.ok_or_else(|| LookError::Http {
            place: "the Kubernetes API".to_owned(),
            said: "this process is not in a cluster: KUBERNETES_SERVICE_HOST and _PORT are not set"
                .to_owned(),
            failure: LookFailure::Unreachable,
        })?;
        Ok(Self { url, account: ACCOUNT.into() })
    }

    /// The ready endpoints of a Service, each pod once.
    pub(super) async fn endpoints(
        &self,
        service: &KubernetesService,
        port: u16,
    ) -> Result<Vec<Replica>, LookError> {
        let token = Exposed::new(self.file("token").await?.trim());
        let namespace = match &service.namespace {
            Some(namespace) => namespace.clone(),
            None => self.file("namespace").await?.trim().to_owned(),
        };
        let ca = self.account.join("ca.crt");
        let client = if self.url.scheme() == "https" { Some(ca) } else { None };
        let client = blocking(move || unmeasured::client(client.as_deref())).await;
        let client = client.map_err(|said| self.failed(LookFailure::Unreadable, said))?;
        let mut url = self.url.clone();
        url.set_path(&format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"));
        let (mut slices, mut more) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            url.query_pairs_mut()
                .clear()
                .append_pair("labelSelector", &format!("kubernetes.io/service-name={}", service.name))
                .append_pair("limit", &PAGE.to_string());
            if !more.is_empty() {
                url.query_pairs_mut().append_pair("continue", &more);
            }
            let text = http::get(&client, &url, Some(&token)).await?;
            let list: SliceList = serde_json::from_str(&text)
                .map_err(|error| LookError::Invalid { place: shown(&url), said: error.to_string() })?;
            slices.extend(list.items);
            more = list.metadata.more;
            if more.is_empty() {
                break;
            }
        }
        replicas(&slices, service.port, port)
            .map_err(|said| LookError::Invalid { place: shown(&url), said: said.to_owned() })
    }

    fn failed(&self, failure: LookFailure, said: String) -> LookError {
        LookError::Http { place: shown(&self.url), said, failure }
    }

    /// A file of the pod's account; the kubelet replaces the token from time to time.
    async fn file(&self, name: &str) -> Result<String, LookError> {
        let path = self.account.join(name);
        let read = |path: &Path| Files::default().read_text_at_most(path, MAX_FILE);
        let asked = path.clone();
        let text = tokio::task::spawn_blocking(move || read(&asked)).await;
        let text = text.map_err(std::io::Error::other).and_then(|text| text);
        text.map_err(|source| LookError::Unreadable { path, source })
    }
}

/// The ready endpoints in slices. Of a pod with addresses of both families, the one of IPv4.
fn replicas(slices: &[Slice], asked: Option<u16>, port: u16) -> Result<Vec<Replica>, &'static str> {
    let mut pods: BTreeMap<Arc<str>, Replica> = BTreeMap::new();
    for (kind, is_v6) in [("IPv4", false), ("IPv6", true)] {
        for slice in slices.iter().filter(|slice| slice.address_type == kind) {
            let mut ports = slice.ports.iter().flatten().filter_map(|port| port.port);
            let port = match (asked, ports.next(), ports.next()) {
                (Some(asked), _, _) => asked,
                (None, Some(only), None) => only,
                // A slice without ports is one of a headless Service without ports.
                (None, None, _) => port,
                (None, Some(_), Some(_)) => {
                    return Err(
                        "the Service has several ports; `port` says which one the replicas are asked at",
                    );
                }
            };
            // Whether it is ready is unknown while it is new, which Kubernetes wants taken for ready.
            let ready = |endpoint: &&Endpoint| endpoint.conditions.ready != Some(false);
            for endpoint in slice.endpoints.iter().flatten().filter(ready) {
                let Some(address) = endpoint.addresses.first() else { continue };
                let address = if is_v6 { format!("[{address}]") } else { address.clone() };
                let Ok(host) = Host::parse(&address) else { continue };
                let replica = Replica::new(host, port);
                let pod = endpoint.target_ref.as_ref().filter(|it| it.kind.as_deref() == Some("Pod"));
                let name = pod.and_then(|pod| pod.name.as_deref());
                let name = name.map_or_else(|| Arc::clone(&replica.name), Arc::from);
                pods.entry(Arc::clone(&name)).or_insert(Replica { name, ..replica });
            }
        }
    }
    Ok(pods.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use wiremock::matchers::{header, method, path, query_param, query_param_is_missing};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn pod(name: &str, address: &str, ready: Option<bool>) -> Value {
        json!({ "addresses": [address], "conditions": { "ready": ready }, "targetRef": { "kind": "Pod", "name": name } })
    }

    fn slice(kind: &str, ports: &Value, endpoints: &[Value]) -> Value {
        json!({ "addressType": kind, "ports": ports, "endpoints": endpoints })
    }

    fn names(slices: &[Value], asked: Option<u16>) -> Result<Vec<String>, &'static str> {
        let slices: Vec<Slice> = serde_json::from_value(Value::from(slices.to_vec())).unwrap();
        let found = replicas(&slices, asked, 9000)?;
        Ok(found.iter().map(|it| format!("{}={}:{}", it.name, it.host, it.port)).collect())
    }

    #[test]
    fn ready_pods_are_replicas() {
        let one = json!([{ "name": "http", "port": 8000 }]);
        let slices = [
            slice("IPv6", &one, &[pod("llm-0", "fd00::1", Some(true)), pod("llm-3", "fd00::3", Some(true))]),
            slice(
                "IPv4",
                &one,
                &[
                    pod("llm-0", "10.0.0.1", Some(true)),
                    pod("llm-1", "10.0.0.2", Some(false)),
                    pod("llm-2", "10.0.0.3", None),
                    json!({ "addresses": ["10.0.0.9"], "conditions": {} }),
                ],
            ),
            slice("FQDN", &one, &[pod("x", "example.net", Some(true))]),
        ];
        let right = [
            "10.0.0.9:8000=10.0.0.9:8000",
            "llm-0=10.0.0.1:8000",
            "llm-2=10.0.0.3:8000",
            "llm-3=[fd00::3]:8000",
        ];
        assert_eq!(names(&slices, None).unwrap(), right);
        assert_eq!(names(&[slice("IPv4", &Value::Null, &[])], None).unwrap(), [""; 0]);
        let bare = [slice("IPv4", &json!([]), &[pod("a", "10.0.0.1", None)])];
        assert_eq!(names(&bare, None).unwrap(), ["a=10.0.0.1:9000"]);
        let two = json!([{ "port": 8000 }, { "port": 8080 }]);
        let several = [slice("IPv4", &two, &[pod("a", "10.0.0.1", None)])];
        assert!(names(&several, None).unwrap_err().contains("several ports"));
        assert_eq!(names(&several, Some(8080)).unwrap(), ["a=10.0.0.1:8080"]);
    }

    #[tokio::test]
    async fn the_api_is_asked_with_the_account_of_the_pod_page_by_page() {
        let server = MockServer::start().await;
        let account = tempfile::tempdir().unwrap();
        std::fs::write(account.path().join("token"), "hunter2\n").unwrap();
        std::fs::write(account.path().join("namespace"), "prod").unwrap();
        let api = KubernetesApi { url: server.uri().parse().unwrap(), account: account.path().to_owned() };
        let ports = json!([{ "port": 8000 }]);
        let page = |more: &str, pod: Value| {
            let items = [slice("IPv4", &ports, &[pod])];
            ResponseTemplate::new(200)
                .set_body_json(json!({ "metadata": { "continue": more }, "items": items }))
        };
        let asked = || {
            Mock::given(method("GET"))
                .and(path("/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"))
                .and(query_param("labelSelector", "kubernetes.io/service-name=llm"))
                .and(header("authorization", "Bearer hunter2"))
        };
        let first = asked().and(query_param_is_missing("continue"));
        first.respond_with(page("next", pod("llm-0", "10.0.0.1", Some(true)))).mount(&server).await;
        let second = asked().and(query_param("continue", "next"));
        second.respond_with(page("", pod("llm-1", "10.0.0.2", Some(true)))).mount(&server).await;
        let service = KubernetesService { name: "llm".to_owned(), namespace: None, port: None };
        let found = api.endpoints(&service, 80).await.unwrap();
        let names: Vec<&str> = found.iter().map(|replica| &*replica.name).collect();
        assert_eq!(names, ["llm-0", "llm-1"]);
        // Another namespace, which it may not read.
        let other = KubernetesService { namespace: Some("other".to_owned()), ..service };
        let refused = api.endpoints(&other, 80).await.unwrap_err();
        assert_eq!(refused.failure(), LookFailure::Refused);
        assert!(refused.to_string().contains("/namespaces/other/endpointslices: HTTP 404"), "{refused}");
        std::fs::remove_file(account.path().join("token")).unwrap();
        let unreadable = api.endpoints(&other, 80).await.unwrap_err();
        assert_eq!(unreadable.failure(), LookFailure::Unreadable);
    }
}

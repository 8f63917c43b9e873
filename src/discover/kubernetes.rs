//! Asks the Kubernetes API for the `EndpointSlices` of a Service, with the credentials of the pod that tokenbeat runs in.
//! For where DNS does not do: Services that are not headless, pod names as names of replicas, several ports.

use super::http::{self, shown};
use super::or_none;
use super::source::{LookError, blocking};
use crate::event::LookFailure;
use crate::files::Files;
use crate::plan::{KubernetesService, Replica};
use crate::secret::{Exposed, trimmed};
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

/// The kind of the answer. Anything else, such as the page of a proxy, says nothing about the Service.
const KIND: &str = "EndpointSliceList";

/// The API of the cluster, and the credentials for it.
pub(super) struct KubernetesApi {
    url: Url,
    account: PathBuf,
}

/// What any object of the API says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnyObject {
    kind: Option<String>,
}

/// The kinds of objects that are read, as far as they are read.
#[derive(Debug, Deserialize)]
struct SliceList {
    #[serde(default, deserialize_with = "or_none")]
    metadata: ListMeta,
    #[serde(deserialize_with = "or_none")]
    items: Vec<Slice>,
}

#[derive(Debug, Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue", deserialize_with = "or_none")]
    more: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    address_type: String,
    #[serde(default, deserialize_with = "or_none")]
    endpoints: Vec<Endpoint>,
    #[serde(default, deserialize_with = "or_none")]
    ports: Vec<SlicePort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(deserialize_with = "or_none")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
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
        let token = Exposed::new(trimmed(&self.file("token").await?));
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
        let invalid = |url: &Url, said: String| LookError::Invalid { place: shown(url), said };
        let (mut slices, mut more) = (Vec::new(), String::new());
        for page in 1.. {
            url.query_pairs_mut()
                .clear()
                .append_pair("labelSelector", &format!("kubernetes.io/service-name={}", service.name))
                .append_pair("limit", &PAGE.to_string());
            if !more.is_empty() {
                url.query_pairs_mut().append_pair("continue", &more);
            }
            let text = http::get(&client, &url, Some(&token)).await?;
            let list = SliceList::read(&text).map_err(|said| invalid(&url, said))?;
            slices.extend(list.items);
            more = list.metadata.more;
            if more.is_empty() {
                break;
            }
            if page == MAX_PAGES {
                // The replicas of a part of them would be taken for all.
                let said = format!("there are more than {} EndpointSlices of the Service", slices.len());
                return Err(invalid(&url, said));
            }
        }
        replicas(&slices, service.port, port).map_err(|said| invalid(&url, said.to_owned()))
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

impl SliceList {
    /// Reads an answer. The error is a clause.
    fn read(text: &str) -> Result<Self, String> {
        let AnyObject { kind } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match kind.as_deref() {
            Some(KIND) => serde_json::from_str(text).map_err(|error| error.to_string()),
            // What is not a name may be anything, and is not quoted.
            Some(kind) if kind.len() < 64 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Err(format!("the answer is a `{kind}`, not an `{KIND}`"))
            }
            _ => Err(format!("the answer does not say that it is an `{KIND}`")),
        }
    }
}

/// The ready endpoints in slices. Of a pod with addresses of both families, the one of IPv4.
fn replicas(slices: &[Slice], asked: Option<u16>, port: u16) -> Result<Vec<Replica>, &'static str> {
    let mut pods: BTreeMap<Arc<str>, Replica> = BTreeMap::new();
    let families = [("IPv4", false), ("IPv6", true)];
    let is_other = |slice: &Slice| families.iter().all(|(kind, _)| *kind != slice.address_type);
    if !slices.is_empty() && slices.iter().all(is_other) {
        return Err(
            "its EndpointSlices hold names, and only those of the address types IPv4 and IPv6 are read",
        );
    }
    for (kind, is_v6) in families {
        for slice in slices.iter().filter(|slice| slice.address_type == kind) {
            let mut ports = slice.ports.iter().filter_map(|port| port.port);
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
            for endpoint in slice.endpoints.iter().filter(ready) {
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

    #[test]
    fn slices_of_other_addresses_alone_are_no_answer() {
        let one = json!([{ "port": 8000 }]);
        let names_only = [slice("FQDN", &one, &[pod("x", "example.net", Some(true))])];
        assert!(names(&names_only, None).unwrap_err().contains("hold names"));
        let empty = slice("IPv4", &one, &[]);
        assert_eq!(names(&[empty, names_only[0].clone()], None).unwrap(), [""; 0]);
        assert_eq!(names(&[], None).unwrap(), [""; 0]);
    }

    #[test]
    fn only_a_list_of_slices_is_an_answer() {
        let said = |answer: Value| SliceList::read(&answer.to_string()).unwrap_err();
        let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410 });
        assert_eq!(said(status), "the answer is a `Status`, not an `EndpointSliceList`");
        for other in [json!({}), json!([]), json!({ "error": "login required" }), json!({ "items": [] })] {
            assert_eq!(said(other), "the answer does not say that it is an `EndpointSliceList`");
        }
        assert_eq!(said(json!({ "kind": "a\nb" })), said(json!({ "kind": null })));
        assert!(said(json!({ "kind": KIND })).contains("missing field `items`"));
        // As programs in Go write what they never made.
        let slice = json!({ "addressType": "IPv4", "ports": null, "endpoints": [
            { "addresses": null, "conditions": null },
            { "addresses": ["10.0.0.1"], "conditions": { "ready": null }, "targetRef": null },
        ] });
        let bare = json!({ "addressType": "IPv4", "endpoints": null });
        let list = |items: Value| {
            let list = json!({ "kind": KIND, "apiVersion": "discovery.k8s.io/v1", "metadata": null, "items": items });
            let found = replicas(&SliceList::read(&list.to_string()).unwrap().items, None, 9000).unwrap();
            found.iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(list(json!([slice, bare])), ["10.0.0.1:9000"]);
        assert_eq!(list(json!([])), [""; 0]);
        assert_eq!(list(Value::Null), [""; 0]);
    }

    #[tokio::test]
    async fn a_list_without_end_is_no_answer() {
        let server = MockServer::start().await;
        let account = tempfile::tempdir().unwrap();
        std::fs::write(account.path().join("token"), "hunter2\n").unwrap();
        let api = KubernetesApi { url: server.uri().parse().unwrap(), account: account.path().to_owned() };
        let items = [slice("IPv4", &json!([{ "port": 8000 }]), &[pod("llm-0", "10.0.0.1", Some(true))])];
        let page = json!({ "kind": KIND, "metadata": { "continue": "more" }, "items": items });
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .expect(MAX_PAGES as u64)
            .mount(&server)
            .await;
        let service =
            KubernetesService { name: "llm".to_owned(), namespace: Some("prod".to_owned()), port: None };
        let refused = api.endpoints(&service, 80).await.unwrap_err();
        assert_eq!(refused.failure(), LookFailure::Invalid);
        assert!(refused.to_string().ends_with("more than 20 EndpointSlices of the Service"), "{refused}");
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
                .set_body_json(json!({ "kind": KIND, "metadata": { "continue": more }, "items": items }))
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

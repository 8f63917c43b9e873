use super::*;
use crate::event::LookFailure;
use crate::plan::from_yaml;
use std::path::Path;

fn plan(file: &Path, max: usize) -> Plan {
    asked_every("1s", file, max)
}

fn asked_every(refresh: &str, file: &Path, max: usize) -> Plan {
    let text = format!(
        "targets: {{ llm: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', \
         discover: {{ file_sd: ['{}'], refresh: {refresh}, max: {max} }} }} }}\n\
         profiles: {{ p: {{ targets: [llm], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}",
        file.display()
    );
    from_yaml(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// Waits for the next answer, and adopts it.
async fn next(discoverer: &mut Discoverer) -> AnswerTaken {
    let fresh = discoverer.next().await;
    discoverer.take(fresh).unwrap()
}

/// Writes a file as a whole.
fn write(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, file).unwrap();
}

fn known(discoverer: &Discoverer, plan: &Plan) -> Vec<String> {
    let targets = plan.with_replicas(&discoverer.known(plan)).targets;
    targets.iter().map(|target| target.name.to_string()).collect()
}

#[tokio::test]
async fn replicas_come_and_go_and_a_source_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replicas.json");
    let plan = plan(&file, 2);
    let mut discoverer = Discoverer::default();
    // There is no file yet.
    let [(look, error)] = &discoverer.first(&plan, None).await[..] else { panic!("one source") };
    assert_eq!((look.replicas, look.failure), (0, Some(LookFailure::Unreadable)));
    assert!(error.as_ref().unwrap().contains("replicas.json"), "{error:?}");
    write(&file, r#"[{"targets": ["10.0.0.2", "10.0.0.3"]}]"#);
    discoverer.follow(&plan);
    let taken = next(&mut discoverer).await;
    assert!(taken.changed);
    assert_eq!(known(&discoverer, &plan), ["llm@10.0.0.2:8000", "llm@10.0.0.3:8000"]);
    // One more than there may be, in front of the others.
    write(&file, r#"[{"targets": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}]"#);
    let look = loop {
        let taken = next(&mut discoverer).await;
        assert!(!taken.changed);
        if taken.look.left_out > 0 {
            break taken.look;
        }
    };
    assert_eq!((look.replicas, look.left_out), (2, 1));
    // Half a list is no list.
    write(&file, r#"[{"targets": ["10.0.0.1""#);
    loop {
        let taken = next(&mut discoverer).await;
        assert!(!taken.changed);
        if taken.look.failure == Some(LookFailure::Invalid) {
            break;
        }
    }
    assert_eq!(known(&discoverer, &plan).len(), 2);
    // An empty list is believed.
    write(&file, "[]");
    while !next(&mut discoverer).await.changed {}
    assert!(known(&discoverer, &plan).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_failed_is_asked_again_before_it_would_be_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replicas.json");
    for (refresh, after_failure, after_answer) in
        [("6h", RETRY, 6 * 3600), ("10s", Duration::from_secs(10), 10)]
    {
        let _ = std::fs::remove_file(&file);
        let mut discoverer = Discoverer::default();
        discoverer.follow(&asked_every(refresh, &file, 2));
        let mut times = Vec::new();
        for (failure, text) in [(true, None), (true, Some("[]")), (false, None), (false, None)] {
            assert_eq!(next(&mut discoverer).await.look.failure.is_some(), failure);
            times.push(Instant::now());
            if let Some(text) = text {
                write(&file, text);
            }
        }
        let waited: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        // An answer has settled for a moment, which is part of the time.
        assert_eq!(waited, [after_failure.as_secs(), after_failure.as_secs(), after_answer], "{refresh}");
    }
}

#[tokio::test]
async fn another_source_begins_with_nothing_and_another_limit_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.json"), folder.path().join("two.json"));
    write(&one, r#"[{"targets": ["10.0.0.1", "10.0.0.2"]}]"#);
    write(&two, "[]");
    let (before, fewer, other) = (plan(&one, 5), plan(&one, 1), plan(&two, 5));
    let mut discoverer = Discoverer::default();
    discoverer.first(&before, None).await;
    assert_eq!(known(&discoverer, &fewer), ["llm@10.0.0.1:8000"]);
    assert!(known(&discoverer, &other).is_empty());
    discoverer.follow(&fewer);
    assert_eq!(known(&discoverer, &fewer), ["llm@10.0.0.1:8000"]);
    let fresh = discoverer.next().await;
    discoverer.follow(&other);
    assert!(discoverer.take(fresh).is_none(), "it is of the source before");
    assert!(!next(&mut discoverer).await.changed);
    discoverer.follow(&from_yaml("{}").unwrap());
    assert!(discoverer.watched.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_waited_for_as_long_as_there_is_patience() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replicas.json");
    write(&file, r#"[{"targets": ["10.0.0.1"]}]"#);
    // Connections to it are established, and nobody answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = format!(
        "targets:\n  hangs: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', \
         discover: {{ http_sd: 'http://{}/list' }} }}\n\
         \x20 llm: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', discover: {{ file_sd: ['{}'] }} }}\n\
         profiles: {{ p: {{ targets: [hangs, llm], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}",
        silent.local_addr().unwrap(),
        file.display()
    );
    let plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
    let (mut discoverer, began) = (Discoverer::default(), Instant::now());
    let looks = discoverer.first(&plan, Some(Duration::from_secs(3))).await;
    assert_eq!(began.elapsed().as_secs(), 3);
    let failures: Vec<_> = looks.iter().map(|(look, error)| (look.failure, error.as_deref())).collect();
    let late = (Some(LookFailure::Unreachable), Some("there was no answer within 3 s"));
    assert_eq!(failures, [late, (None, None)]);
    assert_eq!(known(&discoverer, &plan), ["llm@10.0.0.1:8000"], "it does not wait in vain");
}

#[tokio::test]
async fn a_list_comes_over_http_and_an_error_is_no_list() {
    use wiremock::matchers::{method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};
    let server = MockServer::start().await;
    let list = r#"[{"targets": ["10.0.0.1:80"], "labels": {"__meta_x": "y"}}]"#;
    let listed = Mock::given(method("GET")).and(path("/list")).and(query_param("site", "a"));
    listed.respond_with(ResponseTemplate::new(200).set_body_string(list)).mount(&server).await;
    let broken = Mock::given(method("GET")).and(path("/broken"));
    broken.respond_with(ResponseTemplate::new(200).set_body_string("<html>")).mount(&server).await;
    let of = async |path: &str| {
        let text = format!(
            "targets: {{ llm: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', \
             discover: {{ http_sd: '{path}' }} }} }}\n\
             profiles: {{ p: {{ targets: [llm], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}"
        );
        let plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
        let mut discoverer = Discoverer::default();
        let mut looks = discoverer.first(&plan, None).await;
        (known(&discoverer, &plan), looks.remove(0))
    };
    let (found, (look, error)) = of(&format!("{}/list?site=a", server.uri())).await;
    assert_eq!((found, look.failure, error), (vec!["llm@10.0.0.1:80".to_owned()], None, None));
    for (url, failure, said) in [
        (format!("{}/missing?site=a", server.uri()), LookFailure::Refused, "/missing: HTTP 404"),
        (
            format!("{}/broken", server.uri()),
            LookFailure::Invalid,
            "/broken: expected value at line 1 column 1",
        ),
        ("http://127.0.0.1:1/list".to_owned(), LookFailure::Unreachable, "http://127.0.0.1:1/list: "),
    ] {
        let (found, (look, error)) = of(&url).await;
        assert_eq!((found.len(), look.failure), (0, Some(failure)));
        let error = error.unwrap();
        assert!(error.contains(said) && !error.contains("site"), "{error}");
    }
}

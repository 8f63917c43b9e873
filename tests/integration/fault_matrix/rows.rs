//! The rows of the matrix, in the order in which a request meets them.

use super::STOPPED;
use super::http2::{CODES, Step, frame, settings, steps};
use super::servers::*;
use crate::authority::Authority;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A target that fails in one way.
pub(super) struct Row {
    /// The name of its target and its profile.
    pub(super) name: String,
    pub(super) peer: Peer,
    /// Keys of the target; the others have their usual values.
    pub(super) keys: String,
    /// Keys of the profile for the request and its expectations.
    pub(super) profile: String,
    /// The expected outcomes and their numbers.
    pub(super) outcomes: Vec<(&'static str, u32)>,
    /// Parts of the message about each failure.
    pub(super) says: Vec<&'static str>,
    /// Whether the time per token is unknown.
    pub(super) in_one_piece: bool,
}

impl Row {
    pub(super) fn requests(&self) -> u32 {
        self.outcomes.iter().map(|(_, n)| n).sum()
    }

    /// The outcomes of this many requests, which are at least those of the row. Later ones end like its last.
    pub(super) fn expected(&self, sent: f64) -> BTreeMap<&'static str, f64> {
        let more = sent - f64::from(self.requests());
        let mut expected: BTreeMap<_, _> =
            self.outcomes.iter().map(|(outcome, n)| (*outcome, f64::from(*n))).collect();
        if let Some((last, _)) = self.outcomes.last()
            && more > 0.0
        {
            *expected.entry(last).or_default() += more;
        }
        expected.retain(|outcome, _| *outcome != STOPPED);
        expected
    }

    fn keys(mut self, keys: impl Into<String>) -> Self {
        self.keys = keys.into();
        self
    }

    fn profile(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.profile);
        self
    }

    /// Requests the answer as one document.
    fn whole(self) -> Self {
        self.profile("workload: { prompts: [hello], output_tokens: 8, stream: false }")
    }

    /// Sends one request instead of two.
    fn once(mut self) -> Self {
        for (_, n) in &mut self.outcomes {
            *n = 1;
        }
        self
    }

    /// Sets a short timeout, though not so short that this agent is late for most of it on a busy machine.
    fn hurried(self, timeout: &str) -> Self {
        let all = ["connect", "first_token", "stall", "total"];
        let usual = all.map(|name| {
            let is_it = timeout.starts_with(&format!("{name}:"));
            if is_it { timeout.to_owned() } else { format!("{name}: 4m") }
        });
        let keys = format!("{}timeouts: {{ {} }}", separated(&self.keys), usual.join(", "));
        self.keys(keys)
    }
}

fn separated(keys: &str) -> String {
    if keys.is_empty() { String::new() } else { format!("{keys}, ") }
}

/// A row of two requests with this outcome.
fn row<const N: usize>(
    name: impl Into<String>,
    peer: Peer,
    outcome: &'static str,
    says: [&'static str; N],
) -> Row {
    Row {
        name: name.into(),
        peer,
        keys: String::new(),
        profile: "workload: { prompts: [hello], output_tokens: 8 }".to_owned(),
        outcomes: vec![(outcome, 2)],
        says: says.to_vec(),
        in_one_piece: false,
    }
}

/// A row for a target of the api `http`, with one step that has these keys.
fn step<const N: usize>(name: &str, keys: &str, outcome: &'static str, says: [&'static str; N]) -> Row {
    let json = "content-type: application/json\r\n";
    row(name, answers(whole("200 OK", json, "{\"a\":1}"), Leave::Close), outcome, says)
        .keys("api: http, base_url: 'http://{ADDRESS}'")
        .profile(&format!("scenario: {{ vars: {{ people: [{{}}] }}, steps: [{{ name: s, {keys} }}] }}"))
}

const PAUSE: Duration = Duration::from_millis(20);
const HTML: &str = "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head></html>";
const TRIED: &str = "is the path right? tried POST http://127.0.0.1:";

pub(super) fn all(authority: &Authority, elsewhere: SocketAddr) -> Vec<Row> {
    let mut rows = before_the_request();
    rows.extend(tls(authority));
    rows.extend(before_the_answer());
    rows.extend(heads());
    rows.extend(statuses(elsewhere));
    rows.extend(broken_bodies());
    rows.extend(bodies());
    rows.extend(large_bodies());
    rows.extend(slow());
    rows.extend(http2());
    rows.extend(our_own());
    rows
}

fn before_the_request() -> Vec<Row> {
    let denies = |head: &str| answers(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n"), Leave::Close);
    vec![
        row("no_name", Peer::Closed, "dns", ["cannot resolve tokenbeat.invalid"])
            .keys("base_url: 'http://tokenbeat.invalid/v1'"),
        row("refused", Peer::Closed, "connect", ["cannot connect to 127.0.0.1:", "refused"]),
        row(
            "black_hole",
            Peer::Full,
            "connect_timeout",
            ["nothing answers at the address", "does a firewall drop"],
        )
        .hurried("connect: 2s"),
        row("proxy_refused", Peer::Closed, "proxy", ["proxy: cannot connect to 127.0.0.1:"])
            .keys("base_url: 'http://127.0.0.1:1/v1', proxy: { url: 'http://{ADDRESS}' }"),
        row("proxy_denies", denies("407 Proxy Authentication Required"), "proxy", ["HTTP 407"])
            .keys("base_url: 'http://127.0.0.1:1/v1', proxy: { url: 'http://{ADDRESS}' }"),
        row(
            "proxy_denies_tunnel",
            denies("403 Forbidden"),
            "proxy",
            ["the proxy refused the tunnel to 127.0.0.1:1", "403"],
        )
        .keys("base_url: 'https://127.0.0.1:1/v1', proxy: { url: 'http://{ADDRESS}' }"),
        row("proxy_breaks_tunnel", answers("", Leave::Close), "proxy", ["the proxy broke the tunnel"])
            .keys("base_url: 'https://127.0.0.1:1/v1', proxy: { url: 'http://{ADDRESS}' }"),
    ]
}

fn tls(authority: &Authority) -> Vec<Row> {
    let other = Authority::new("theirs");
    let https = format!(
        "base_url: 'https://localhost:{{PORT}}/v1', tls: {{ ca_file: '{}' }}",
        authority.path("ca.pem")
    );
    let plain = script(|_, mut io| async move {
        let _ = tokio::io::AsyncReadExt::read_u8(&mut io).await;
        send(&mut io, whole("400 Bad Request", "", "")).await;
        hang(&mut io).await;
    });
    let mute = script(|_, mut io| async move { hang(&mut io).await });
    let closes = script(|_, mut io| async move {
        let _ = tokio::io::AsyncReadExt::read_u8(&mut io).await;
    });
    vec![
        row("tls_good", secure(authority, &["localhost"], 2035), "ok", []).keys(&https),
        row("tls_expired", secure(authority, &["localhost"], 2021), "tls", ["it has expired"]).keys(&https),
        row(
            "tls_self_signed",
            secure(&other, &["localhost"], 2035),
            "tls",
            ["its issuer is not trusted", "tls.ca_file"],
        )
        .keys(&https),
        row(
            "tls_wrong_name",
            secure(authority, &["elsewhere.test"], 2035),
            "tls",
            ["it is for elsewhere.test, not for", "tls.server_name"],
        )
        .keys(&https),
        row("tls_to_plain", plain, "tls", ["TLS handshake with localhost: ", "is it an http:// address?"])
            .keys(&https),
        row("tls_closed", closes, "tls", ["TLS handshake with localhost: "]).keys(&https),
        row("tls_mute", mute, "connect_timeout", ["does the port speak TLS?"])
            .keys(&https)
            .hurried("connect: 2s"),
        row(
            "plain_to_tls",
            answers(b"\x15\x03\x01\x00\x02\x02\x16".as_slice(), Leave::Close),
            "protocol",
            ["http was spoken to an https port", "https://"],
        ),
    ]
}

fn before_the_answer() -> Vec<Row> {
    let head = "HTTP/1.1 200 OK\r\ncontent-ty";
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(3);
    let good = [interim.as_bytes(), &stream_of(RECORDED)].concat();
    let lost = ["the connection was lost before the answer"];
    vec![
        row("closed_at_once", script(|_, _| async {}), "reset", lost),
        row("closed_before", answers("", Leave::Close), "reset", lost),
        row("reset_before", answers("", Leave::Reset), "reset", lost),
        row("closed_in_head", answers(head, Leave::Close), "reset", lost),
        row("reset_in_head", answers(head, Leave::Reset), "reset", lost),
        row(
            "ssh",
            answers("SSH-2.0-OpenSSH_9.2\r\n\r\n", Leave::Stay),
            "protocol",
            ["does not speak HTTP on this port"],
        ),
        row("speaks_http2", answers(settings(), Leave::Stay), "protocol", ["set `http: \"2\"`"]),
        row("interim", answers(good, Leave::Close), "ok", []),
        row(
            "endless_interim",
            drips("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), Duration::ZERO),
            "protocol",
            ["interim answers or control frames without end"],
        ),
        row(
            "switches",
            answers(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
                Leave::Stay,
            ),
            "protocol",
            ["HTTP 101"],
        )
        .hurried("first_token: 5s"),
        row(
            "http_1_0",
            answers(
                format!("HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{RECORDED}"),
                Leave::Close,
            ),
            "ok",
            [],
        ),
        row(
            "http_9",
            answers("HTTP/9.9 200 OK\r\n\r\n", Leave::Close),
            "protocol",
            ["broke the HTTP protocol"],
        ),
        row("says_nothing", answers("", Leave::Stay), "first_token_timeout", ["no generated content within"])
            .hurried("first_token: 3s"),
        row(
            "dripping_head",
            drips("HTTP/1.1 200 OK\r\nx: ", "y", PAUSE),
            "first_token_timeout",
            ["no generated content within"],
        )
        .hurried("first_token: 3s"),
    ]
}

fn heads() -> Vec<Row> {
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{lines}\r\n");
    let broken = |name: &str, lines: &str| {
        row(name, answers(head(lines), Leave::Close), "protocol", ["broke the HTTP protocol"])
    };
    let with = |lines: &[u8]| {
        let length = format!("content-length: {}\r\n\r\n{RECORDED}", RECORDED.len());
        [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n", lines, length.as_bytes()].concat()
    };
    let many = (0..20_000).map(|n| ["x-", &n.to_string(), ": y\r\n"].concat()).collect::<Vec<_>>().concat();
    vec![
        broken("header_of_a_megabyte", &format!("x: {}\r\n", "y".repeat(1 << 20))),
        broken("twenty_thousand_headers", &many),
        broken("header_without_colon", "nonsense\r\n"),
        broken("header_with_null", "x: a\0b\r\n"),
        broken("two_lengths", "content-length: 1\r\ncontent-length: 2\r\n"),
        broken("negative_length", "content-length: -1\r\n"),
        broken("endless_length", "content-length: 99999999999999999999999\r\n"),
        row(
            "endless_head",
            drips("HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(1000), Duration::ZERO),
            "protocol",
            ["broke the HTTP protocol"],
        ),
        row(
            "odd_headers",
            answers(with(b"x-\xc3\xbc: \xff\xfe\r\nserver: \xe2\x98\x83\r\nx:\r\n"), Leave::Close),
            "protocol",
            ["broke the HTTP protocol"],
        ),
        row(
            "odd_values",
            answers(
                with(b"x: \xff\xfe\r\nserver: \xe2\x98\x83\r\ny:\r\nretry-after: never\r\n"),
                Leave::Close,
            ),
            "ok",
            [],
        ),
    ]
}

fn statuses(elsewhere: SocketAddr) -> Vec<Row> {
    let html = "content-type: text/html\r\n";
    let location = format!("location: http://{elsewhere}/v1/chat/completions?token=t0ken\r\n");
    let status = |name: &str, line: &str, outcome: &'static str| {
        row(name, answers(whole(line, "", ""), Leave::Close), outcome, ["HTTP "])
    };
    let mut rows = vec![
        status("unauthorized", "401 Unauthorized", "auth"),
        status("forbidden", "403 Forbidden", "auth"),
        status("rate_limited", "429 Too Many Requests", "rate_limited"),
        status("unavailable", "503 Service Unavailable", "overloaded"),
        status("overloaded", "529 Overloaded", "overloaded"),
        status("bad_request", "400 Bad Request", "http_4xx"),
        status("failing", "500 Internal Server Error", "http_5xx"),
        status("status_999", "999 Odd", "protocol"),
        row(
            "html_404",
            answers(whole("404 Not Found", html, HTML), Leave::Close),
            "http_4xx",
            ["an HTML page (\"Welcome to nginx!\")", TRIED],
        ),
        row(
            "html_502",
            answers(whole("502 Bad Gateway", html, HTML), Leave::Close),
            "http_5xx",
            ["a proxy or gateway in front may have answered"],
        ),
        row(
            "endless_error",
            drips("HTTP/1.1 500 X\r\n\r\n", vec![b'x'; 1 << 16], Duration::ZERO),
            "http_5xx",
            ["HTTP 500"],
        ),
        row(
            "cut_error",
            answers("HTTP/1.1 500 X\r\ncontent-length: 9999\r\n\r\n{", Leave::Reset),
            "http_5xx",
            ["HTTP 500"],
        ),
    ];
    for code in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let name = format!("redirect_{}", code.split(' ').next().unwrap_or_default());
        let says = ["none is followed, so that no credentials go elsewhere"];
        rows.push(
            row(name, answers(whole(code, &location, ""), Leave::Close), "redirect", says)
                .keys("auth: { bearer: { value: s3cret } }"),
        );
    }
    rows
}

fn broken_bodies() -> Vec<Row> {
    let half = [STREAM.as_bytes(), &chunk(piece("a"))].concat();
    let garbage = |name: &str, size: &str| {
        let bytes = [&half, size.as_bytes(), b"\r\n", RECORDED.as_bytes()].concat();
        row(
            name,
            answers(bytes, Leave::Close),
            "protocol",
            ["broke the HTTP protocol in the middle of the answer"],
        )
    };
    let lost = ["the connection was lost in the middle of the answer"];
    let finish = RECORDED.find("\"finish_reason\":\"stop\"").unwrap();
    let finished = finish + RECORDED[finish..].find("\n\n").unwrap();
    let all = RECORDED.len() + 1;
    let [finished, all] = [finished, all].map(|n| u32::try_from(n).unwrap());
    let mut cut = row("cut_at_every_byte", cut_at_every_byte(RECORDED, true), "ok", []);
    cut.outcomes = vec![("truncated", finished), ("ok", all - finished)];
    let mut lost_at = row("lost_at_every_byte", cut_at_every_byte(RECORDED, false), "ok", ["lost"]);
    // An event ends with its empty line, and the last one is the terminal event.
    lost_at.outcomes = vec![("reset", all - 1), ("ok", 1)];
    vec![
        row("closed_in_stream", answers(half.clone(), Leave::Close), "reset", lost),
        row("reset_in_stream", answers(half.clone(), Leave::Reset), "reset", lost),
        row(
            "shorter_than_said",
            answers(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{",
                Leave::Close,
            ),
            "reset",
            lost,
        )
        .whole(),
        row(
            "truncated",
            answers(stream_of(piece("a")), Leave::Close),
            "truncated",
            ["neither a terminal event nor a finish reason"],
        ),
        row(
            "truncated_document",
            answers(whole("200 OK", "content-type: application/json\r\n", "{\"choices\":["), Leave::Close),
            "truncated",
            [],
        )
        .whole(),
        cut,
        lost_at,
        garbage("chunk_of_no_number", "zz"),
        garbage("chunk_too_large", "ffffffffffffffffff"),
        garbage("chunk_negative", "-5"),
        row(
            "chunk_without_end",
            answers([&half[..], b"5\r\nhelloworld"].concat(), Leave::Close),
            "protocol",
            ["broke the HTTP protocol"],
        ),
        row(
            "endless_extension",
            drips(half, "5;x=".to_owned() + &"y".repeat(1 << 16), Duration::ZERO),
            "protocol",
            [],
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let html = "content-type: text/html\r\n";
    let json = "content-type: application/json\r\n";
    let event = |data: &str| stream_of(format!("{}data: {data}\n\n", piece("a")));
    let invalid =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\xff\xfeb\"}}]}\n\ndata: [DONE]\n\n";
    let typed = |kind: &str| whole("200 OK", &format!("content-type: {kind}\r\n"), RECORDED);
    let compressed = [
        STREAM.as_bytes(),
        &chunk(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00\n\n"),
        b"0\r\n\r\n",
    ]
    .concat();
    let hidden = include_str!("../../streams/only_hidden_reasoning.sse");
    let empty =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    vec![
        row("wrong_type", answers(typed("text/plain"), Leave::Close), "ok", []),
        row("html", answers(whole("200 OK", html, HTML), Leave::Close), "protocol", ["an HTML page", TRIED]),
        row(
            "html_as_document",
            answers(whole("200 OK", html, HTML), Leave::Close),
            "protocol",
            ["an HTML page", TRIED],
        )
        .whole(),
        row(
            "gzip",
            answers(STREAM.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n"), Leave::Close),
            "protocol",
            ["compressed (gzip)"],
        ),
        row(
            "gzip_unsaid",
            answers(compressed, Leave::Close),
            "truncated",
            ["neither a terminal event nor a finish reason"],
        ),
        row("not_json", answers(event("{{{{"), Leave::Close), "protocol", ["does not follow the dialect"]),
        row("invalid_utf8", answers(stream_of(invalid), Leave::Close), "protocol", ["not valid UTF-8"]),
        row(
            "deep_event",
            answers(event(&format!("{{\"choices\":{deep}}}")), Leave::Close),
            "truncated",
            ["neither a terminal event"],
        ),
        row("deep_document", answers(whole("200 OK", json, &deep), Leave::Close), "empty", []).whole(),
        row(
            "error_event",
            answers(event("{\"error\":{\"message\":\"out of memory\"}}"), Leave::Close),
            "stream_error",
            ["out of memory"],
        ),
        row(
            "empty",
            answers(stream_of(empty), Leave::Close),
            "empty",
            ["looked at `choices[].delta` in one event"],
        ),
        row("no_body", answers("HTTP/1.1 204 No Content\r\n\r\n", Leave::Close), "truncated", []),
        row("nothing", answers(stream_of(""), Leave::Close), "truncated", []),
        row("exhausted", answers(stream_of(hidden), Leave::Close), "exhausted", ["reasoning"])
            .profile("workload: { prompts: [hello], output_tokens: 64 }"),
    ]
}

/// Run separately, because their memory together has a limit of its own.
fn large_bodies() -> Vec<Row> {
    let head = STREAM.replace("transfer-encoding: chunked\r\n", "");
    let document = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    let line = script({
        let head = head.clone();
        move |_, mut io| {
            let head = head.clone();
            async move {
                if request(&mut io).await.is_none() || !send(&mut io, head + "data: ").await {
                    return;
                }
                let part = vec![b'x'; 1 << 20];
                for _ in 0..100 {
                    if !send(&mut io, &part).await {
                        return;
                    }
                }
                send(&mut io, "\n\n").await;
            }
        }
    });
    vec![
        row("line_of_100_mb", line, "protocol", ["longer than 4194304 bytes"]).once(),
        row(
            "endless_line",
            drips(head.clone(), vec![b'x'; 1 << 20], Duration::ZERO),
            "protocol",
            ["longer than"],
        ),
        row(
            "endless_stream",
            drips(head, piece(&"x".repeat(1 << 20)), Duration::ZERO),
            "protocol",
            ["the answer is longer than"],
        )
        .once(),
        row(
            "endless_document",
            drips(document, vec![b' '; 1 << 20], Duration::ZERO),
            "protocol",
            ["the answer is longer than"],
        )
        .whole()
        .once(),
    ]
}

fn slow() -> Vec<Row> {
    let begun = [STREAM.as_bytes(), &chunk(piece("a"))].concat();
    let hangs = answers(begun.clone(), Leave::Stay);
    let buffers = |pause: Duration| {
        script(move |_, mut io| async move {
            while request(&mut io).await.is_some() {
                tokio::time::sleep(pause).await;
                send(&mut io, stream_of(RECORDED)).await;
            }
        })
    };
    let document = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{";
    let mut in_one_piece = row("buffered", buffers(Duration::from_millis(300)), "ok", []);
    in_one_piece.in_one_piece = true;
    vec![
        row("stalls", hangs.clone(), "stall_timeout", ["no progress within"]).hurried("stall: 3s"),
        row(
            "stalls_with_comments",
            drips(begun.clone(), chunk(": here\n\n"), PAUSE),
            "stall_timeout",
            ["no progress within"],
        )
        .hurried("stall: 3s"),
        row(
            "drips_within_an_event",
            drips(begun.clone(), chunk("d"), PAUSE),
            "stall_timeout",
            ["no progress within"],
        )
        .hurried("stall: 3s"),
        row(
            "only_comments",
            drips(STREAM, chunk(": here\n\n"), PAUSE),
            "first_token_timeout",
            ["no generated content within"],
        )
        .hurried("first_token: 3s"),
        row(
            "slow_without_end",
            drips(begun, chunk(piece("a")), PAUSE),
            "total_timeout",
            ["no end of the answer within"],
        )
        .hurried("total: 3s"),
        row("slow_document", drips(document, " ", PAUSE), "total_timeout", ["no end of the answer within"])
            .whole()
            .hurried("total: 3s"),
        in_one_piece,
        row(
            "buffered_for_long",
            buffers(Duration::from_mins(1)),
            "first_token_timeout",
            ["no generated content within"],
        )
        .hurried("first_token: 3s"),
        row("told_to_stop", hangs, "cancelled", []).once(),
    ]
}

fn http2() -> Vec<Row> {
    const SSE: &str = "text/event-stream";
    let http2 = "http: '2'";
    let first = || vec![Step::Headers(SSE), Step::Data(piece("a").into())];
    let then = |step: Step| steps([first(), vec![step]].concat());
    let complete = |last: Step| steps(vec![Step::Headers(SSE), Step::LastData(RECORDED.into()), last]);
    let mut rows = vec![
        row("h2_good", steps(vec![Step::Headers(SSE), Step::LastData(RECORDED.into())]), "ok", []),
        row("h2_reset_after_the_end", complete(Step::Reset(0)), "ok", []),
        row("h2_goes_away_after_the_end", complete(Step::GoAway(0, true)), "ok", []),
        row("h2_closed", then(Step::Close), "reset", ["in the middle of the answer"]),
        row("h2_truncated", then(Step::LastData(Vec::new())), "truncated", ["neither a terminal event"]),
        row(
            "h2_settings",
            steps(vec![Step::Flood(settings().repeat(1000))]),
            "protocol",
            ["control frames without end"],
        ),
        row(
            "h2_unknown_frames",
            steps(vec![Step::Flood(frame(0xfe, 0, 0, b"x").repeat(1000))]),
            "protocol",
            ["control frames without end"],
        ),
        row(
            "h2_pings",
            then(Step::Flood(frame(6, 0, 0, b"12345678").repeat(1000))),
            "protocol",
            ["control frames without end"],
        ),
        row(
            "h2_empty_data",
            then(Step::Flood(frame(0, 0, 1, b"").repeat(1000))),
            "protocol",
            ["ENHANCE_YOUR_CALM"],
        ),
        row(
            "h2_continuations",
            steps(vec![Step::Flood(
                [frame(1, 0, 1, &[0x88]), frame(9, 0, 1, &[0x0f, 0x10, 1, b'x']).repeat(1_000_000)].concat(),
            )]),
            "protocol",
            [],
        ),
        row("h2_frame_too_large", then(Step::Flood(frame(0, 0, 1, &vec![b'x'; 1 << 20]))), "protocol", []),
        row("h2_speaks_http1", answers_http1(), "protocol", ["set `http: \"1.1\"`"]),
    ];
    for (name, code) in CODES {
        // The server says that the client is at fault, or that it requires another version.
        let outcome =
            if matches!(name, "protocol_error" | "http_1_1_required") { "protocol" } else { "reset" };
        rows.push(row(
            format!("h2_rst_{name}"),
            steps(vec![Step::Reset(code)]),
            outcome,
            ["before the answer"],
        ));
        rows.push(row(
            format!("h2_rst_{name}_later"),
            then(Step::Reset(code)),
            outcome,
            ["in the middle of"],
        ));
        rows.push(row(
            format!("h2_goaway_{name}"),
            steps(vec![Step::GoAway(code, false)]),
            outcome,
            ["before the answer"],
        ));
    }
    for (name, code) in [("no_error", 0), ("internal_error", 2)] {
        let closes = |after: Vec<Step>| steps([after, vec![Step::GoAway(code, false)]].concat());
        rows.push(row(format!("h2_goaway_{name}_later"), closes(first()), "reset", ["in the middle of"]));
    }
    // A document has no end marker of its own: only END_STREAM shows that it is complete.
    let document = vec![Step::Headers("text/plain"), Step::Data(b"all is well".to_vec()), Step::Reset(0)];
    let text = row("h2_rst_no_error_in_text", steps(document), "reset", ["in the middle of"]);
    let mut rows: Vec<Row> = rows.into_iter().map(|row| row.keys(http2)).collect();
    rows.push(
        text.keys("api: http, base_url: 'http://{ADDRESS}', http: '2'")
            .profile("scenario: { steps: [{ name: s, get: / }] }"),
    );
    rows
}

/// A server that takes the HTTP/2 preface for a bad request.
fn answers_http1() -> Peer {
    script(|_, mut io| async move {
        let mut preface = [0; 24];
        let _ = tokio::io::AsyncReadExt::read_exact(&mut io, &mut preface).await;
        send(&mut io, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        hang(&mut io).await;
    })
}

/// Failures that the target did not cause, and messages about a good answer.
fn our_own() -> Vec<Row> {
    let good = || answers(stream_of(RECORDED), Leave::Close);
    vec![
        row("good", good(), "ok", []),
        row("no_secret", good(), "credentials", ["/nowhere/tokenbeat-secret"])
            .keys("auth: { bearer: { file: /nowhere/tokenbeat-secret } }"),
        step("no_value", "get: '/{{ people[0].name }}'", "internal", ["people[0]"]),
        step("nothing_to_take", "get: /, take: { b: $.b }", "extract", ["$.b"]),
        step("check_of_json", "get: /, expect: { json: [{ path: $.a, equals: 2 }] }", "check", ["$.a"]),
        row("check_of_text", good(), "check", ["min_chars"]).profile(
            "workload: { prompts: [hello], output_tokens: 8 }, expect: { text: { min_chars: 9000 } }",
        ),
    ]
}

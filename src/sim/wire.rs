//! Encodes events as bytes: how a stream is framed, including every unusual form that the standards allow.
//!
//! Pure: it knows neither dialects nor sockets.

use super::effects::{LineEnd, StreamFormat};
use crate::framing::eventstream;

/// One event of a stream, before it is framed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The event's name, where the dialect has names.
    pub(crate) name: Option<&'static str>,
    /// Its data: a JSON object, except for markers such as `[DONE]`.
    pub(crate) data: String,
    /// Number of generated tokens in it.
    pub(crate) tokens: usize,
}

/// The framing of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Sse,
    /// Newline-delimited JSON; events have no names.
    NdJson,
    /// One JSON array, of which each event is an element; events have no names.
    JsonArray,
    /// AWS' binary messages. An event whose name ends in `Exception` is one.
    EventStream,
}

/// Frames the events of one stream.
#[derive(Debug)]
pub(crate) struct Framer {
    framing: Framing,
    form: StreamFormat,
    begun: bool,
}

impl Event {
    /// An event without a name or content.
    pub(crate) fn plain(data: impl Into<String>) -> Self {
        Self { name: None, data: data.into(), tokens: 0 }
    }
}

impl Framing {
    /// The content type of such a body.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream; charset=utf-8",
            Self::NdJson => "application/x-ndjson",
            Self::JsonArray => "application/json; charset=UTF-8",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }
}

impl Framer {
    pub(crate) fn new(framing: Framing, form: StreamFormat) -> Self {
        Self { framing, form, begun: false }
    }

    /// The bytes of one event; `last` if none follows.
    pub(crate) fn frame(&mut self, event: &Event, last: bool) -> Vec<u8> {
        match self.framing {
            Framing::Sse => self.sse(event, last).into_bytes(),
            Framing::NdJson => self.line(event, last).into_bytes(),
            Framing::JsonArray => self.element(event, last).into_bytes(),
            Framing::EventStream => message(event),
        }
    }

    fn element(&mut self, event: &Event, last: bool) -> String {
        let before = if self.begun { ["\n,", self.line_end()].concat() } else { "[".to_owned() };
        self.begun = true;
        let after = if last { "\n]\n" } else { "" };
        [before.as_str(), &event.data, after].concat()
    }

    fn line(&mut self, event: &Event, last: bool) -> String {
        let mut out = String::with_capacity(event.data.len() + 2);
        if !self.begun && self.form.bom {
            out.push('\u{feff}');
        }
        self.begun = true;
        out.push_str(&event.data);
        if !(last && self.form.no_final_blank_line) {
            out.push_str(self.line_end());
        }
        out
    }

    fn sse(&mut self, event: &Event, last: bool) -> String {
        let end = self.line_end();
        let mut out = String::with_capacity(event.data.len() + 16);
        if !self.begun && self.form.bom {
            out.push('\u{feff}');
        }
        self.begun = true;
        if self.form.comments {
            out.extend([": keep-alive", end, end]);
        }
        let space = if self.form.no_space { "" } else { " " };
        if let Some(name) = event.name {
            out.extend(["event:", space, name, end]);
        }
        let spread = self.form.multi_line_data.then(|| over_lines(&event.data));
        let mut lines = spread.as_deref().unwrap_or(&event.data).split('\n').peekable();
        while let Some(line) = lines.next() {
            out.extend(["data:", space, line]);
            if lines.peek().is_some() {
                out.push_str(end);
            }
        }
        if !(last && self.form.no_final_blank_line) {
            out.extend([end, end]);
        }
        out
    }

    fn line_end(&self) -> &'static str {
        match self.form.line_end {
            LineEnd::Lf => "\n",
            LineEnd::CrLf => "\r\n",
            LineEnd::Cr => "\r",
        }
    }
}

/// A binary message.
fn message(event: &Event) -> Vec<u8> {
    let name = event.name.unwrap_or_default();
    let (kind, message_type) =
        if name.ends_with("Exception") { (":exception-type", "exception") } else { (":event-type", "event") };
    let headers = [(kind, name), (":content-type", "application/json"), (":message-type", message_type)];
    // Only a header of 32 KiB would be refused.
    eventstream::encode(&headers, event.data.as_bytes()).unwrap_or_default()
}

/// The same JSON object, split over three lines.
fn over_lines(data: &str) -> String {
    match data.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(inside) => format!("{{\n{inside}\n}}"),
        None => data.to_owned(),
    }
}

/// The same JSON object with a meaningless field of `bytes` bytes.
pub(crate) fn padded(data: &str, bytes: usize) -> String {
    match data.strip_prefix('{') {
        Some(rest) => format!("{{\"padding\":\"{}\",{rest}", "x".repeat(bytes)),
        None => data.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(framer: &mut Framer, event: &Event, last: bool) -> String {
        String::from_utf8(framer.frame(event, last)).unwrap()
    }

    fn framed(form: StreamFormat, last: bool) -> String {
        text(&mut Framer::new(Framing::Sse, form), &Event::plain("{\"a\":1}"), last)
    }

    #[test]
    fn an_event_has_every_form() {
        let plain = StreamFormat::default();
        assert_eq!(framed(plain, true), "data: {\"a\":1}\n\n");
        assert_eq!(
            framed(StreamFormat { line_end: LineEnd::CrLf, ..plain }, false),
            "data: {\"a\":1}\r\n\r\n"
        );
        assert_eq!(framed(StreamFormat { line_end: LineEnd::Cr, ..plain }, false), "data: {\"a\":1}\r\r");
        assert_eq!(framed(StreamFormat { no_space: true, ..plain }, false), "data:{\"a\":1}\n\n");
        assert_eq!(framed(StreamFormat { bom: true, ..plain }, false), "\u{feff}data: {\"a\":1}\n\n");
        assert_eq!(
            framed(StreamFormat { comments: true, ..plain }, false),
            ": keep-alive\n\ndata: {\"a\":1}\n\n"
        );
        let spread = "data: {\ndata: \"a\":1\ndata: }\n\n";
        assert_eq!(framed(StreamFormat { multi_line_data: true, ..plain }, false), spread);
        assert_eq!(framed(StreamFormat { no_final_blank_line: true, ..plain }, true), "data: {\"a\":1}");
        assert_eq!(framed(StreamFormat { no_final_blank_line: true, ..plain }, false), "data: {\"a\":1}\n\n");
    }

    #[test]
    fn a_named_event_says_its_name_and_the_mark_comes_once() {
        let mut framer = Framer::new(Framing::Sse, StreamFormat { bom: true, ..StreamFormat::default() });
        let event = Event { name: Some("ping"), ..Event::plain("{}") };
        assert_eq!(text(&mut framer, &event, false), "\u{feff}event: ping\ndata: {}\n\n");
        assert_eq!(text(&mut framer, &event, false), "event: ping\ndata: {}\n\n");
    }

    #[test]
    fn in_ndjson_an_event_is_a_line() {
        let mut framer = Framer::new(
            Framing::NdJson,
            StreamFormat { bom: true, no_space: true, ..StreamFormat::default() },
        );
        let event = Event { name: Some("delta"), ..Event::plain("{\"a\":1}") };
        assert_eq!(text(&mut framer, &event, false), "\u{feff}{\"a\":1}\n");
        assert_eq!(text(&mut framer, &event, true), "{\"a\":1}\n");
        let unended = StreamFormat { no_final_blank_line: true, ..StreamFormat::default() };
        assert_eq!(text(&mut Framer::new(Framing::NdJson, unended), &event, true), "{\"a\":1}");
    }

    #[test]
    fn the_elements_of_an_array_make_one_document() {
        let mut framer = Framer::new(Framing::JsonArray, StreamFormat::default());
        let events = ["{\"a\":1}", "{\"a\":[2]}", "{}"].map(Event::plain);
        let parts: Vec<_> =
            events.iter().enumerate().map(|(n, event)| text(&mut framer, event, n == 2)).collect();
        let value: serde_json::Value = serde_json::from_str(&parts.concat()).unwrap();
        assert_eq!(value, serde_json::json!([{"a": 1}, {"a": [2]}, {}]));
        assert_eq!(parts[0], "[{\"a\":1}");
    }

    #[test]
    fn a_binary_message_says_whether_it_is_an_exception() {
        let mut framer = Framer::new(Framing::EventStream, StreamFormat::default());
        let named = |name| Event { name: Some(name), ..Event::plain("{}") };
        let bytes = ["messageStop", "internalServerException"].map(|name| framer.frame(&named(name), false));
        let mut read = Vec::new();
        let mut decoder = eventstream::EventStreamDecoder::new(1000);
        decoder.push(&bytes.concat(), |it| read.push((it.name.map(str::to_owned), it.error))).unwrap();
        let expected = [("messageStop", false), ("internalServerException", true)];
        assert_eq!(read, expected.map(|(name, error)| (Some(name.to_owned()), error)));
    }

    #[test]
    fn padding_keeps_the_object_valid() {
        let wide = padded("{\"a\":1}", 50);
        let value: serde_json::Value = serde_json::from_str(&wide).unwrap();
        assert_eq!(value["a"], 1);
        assert!(wide.len() > 50);
    }
}

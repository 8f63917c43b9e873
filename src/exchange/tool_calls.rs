//! Tool calls: the pieces in which they arrive, and the calls that a client assembles from them.

use super::Content;

/// Maximum number of calls of one answer that are kept; the pieces of further calls are dropped.
const MAX_CALLS: usize = 128;

/// A piece of a call of a tool: its name, some of its arguments, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCallPiece {
    /// Number of the call to which the piece belongs, if the wire format numbers calls. Without a number, a piece with
    /// a name begins a call, and one without continues the last call.
    pub index: Option<u64>,
    /// The name of the tool.
    pub name: Option<String>,
    /// Text of the arguments, JSON once it is complete.
    pub arguments: Option<String>,
}

impl ToolCallPiece {
    /// Adds it to an event's generated content, and to its calls. A piece without text is ignored.
    pub fn push_to(self, content: &mut Vec<Content>, tool_calls: &mut Vec<Self>) {
        let before = content.len();
        let texts = [&self.name, &self.arguments].into_iter().flatten().filter(|text| !text.is_empty());
        content.extend(texts.cloned().map(Content::ToolCall));
        if content.len() > before {
            tool_calls.push(self);
        }
    }
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The name of the tool.
    pub name: String,
    /// The arguments as received, which may not be valid JSON.
    pub arguments: String,
}

/// Assembles calls from their pieces, as the clients of the APIs do: all pieces of a call are joined, even a repeated
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCalls {
    calls: Vec<(Option<u64>, ToolCall)>,
    full: bool,
}

impl ToolCalls {
    /// Adds a piece.
    pub fn add(&mut self, piece: &ToolCallPiece) {
        let ToolCallPiece { index, name, arguments } = piece;
        let at = match index {
            Some(_) => self.calls.iter().rposition(|(known, _)| known == index),
            None if name.is_some() => None,
            None => self.calls.len().checked_sub(1).filter(|_| !self.full),
        };
        let Some((_, call)) = (match at {
            Some(at) => self.calls.get_mut(at),
            None if self.calls.len() < MAX_CALLS => {
                self.calls.push((*index, ToolCall::default()));
                self.calls.last_mut()
            }
            None => {
                self.full = true;
                None
            }
        }) else {
            return;
        };
        call.name.push_str(name.as_deref().unwrap_or_default());
        call.arguments.push_str(arguments.as_deref().unwrap_or_default());
    }

    /// Number of bytes in the calls.
    pub fn bytes(&self) -> usize {
        let held = |call: &ToolCall| call.name.capacity() + call.arguments.capacity();
        self.calls.iter().map(|(_, call)| held(call) + size_of::<(Option<u64>, ToolCall)>()).sum()
    }

    /// The calls, in the order in which they began.
    pub fn finish(self) -> Vec<ToolCall> {
        self.calls.into_iter().map(|(_, call)| call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: Option<u64>, name: &str, arguments: &str) -> ToolCallPiece {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ToolCallPiece { index, name: some(name), arguments: some(arguments) }
    }

    fn joined(pieces: &[ToolCallPiece]) -> Vec<(String, String)> {
        let mut calls = ToolCalls::default();
        for piece in pieces {
            calls.add(piece);
        }
        calls.finish().into_iter().map(|call| (call.name, call.arguments)).collect()
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn numbered_pieces_are_joined_by_their_number() {
        let pieces = [
            piece(Some(0), "a", ""),
            piece(Some(1), "b", "{\"x\":"),
            piece(Some(0), "", "{}"),
            piece(Some(1), "", "1}"),
        ];
        assert_eq!(joined(&pieces), [call("a", "{}"), call("b", "{\"x\":1}")]);
        // A server that gives two calls the same number, or repeats a name, makes what its clients make of it.
        let mixed = [piece(Some(0), "a", "{}"), piece(Some(0), "b", "{}")];
        assert_eq!(joined(&mixed), [call("ab", "{}{}")]);
    }

    #[test]
    fn without_numbers_a_name_begins_a_call() {
        let pieces =
            [piece(None, "a", "{}"), piece(None, "b", ""), piece(None, "", "{\"x\":"), piece(None, "", "1}")];
        assert_eq!(joined(&pieces), [call("a", "{}"), call("b", "{\"x\":1}")]);
        assert_eq!(joined(&[piece(None, "", "{}")]), [call("", "{}")]);
    }

    #[test]
    fn only_so_many_calls_are_kept() {
        for numbered in [true, false] {
            let mut calls = ToolCalls::default();
            for n in 0..10_000 {
                calls.add(&piece(numbered.then_some(n), "f", "{"));
                calls.add(&piece(numbered.then_some(n), "", "}"));
            }
            assert!(calls.bytes() < 64 << 10, "{}", calls.bytes());
            let kept = calls.finish();
            assert_eq!(kept.len(), MAX_CALLS);
            assert!(kept.iter().all(|call| call.arguments == "{}"));
        }
    }
}

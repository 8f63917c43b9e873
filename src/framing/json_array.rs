//! A stream of JSON values in one array, as `[{...},\n{...}]`: each item is an event once it is complete. Only the
//! structure is examined here; items are not parsed.

use super::{Error, Event};

/// Turns bytes into the items of an array. The items do not depend on how the bytes are split over [`push`](Self::push)
/// calls. Consecutive values without an array are also items.
#[derive(Debug)]
pub struct JsonArrayDecoder {
    /// The beginning of an incomplete item.
    item: Vec<u8>,
    /// Number of open objects and arrays within the item.
    depth: usize,
    in_string: bool,
    escaped: bool,
    limit: usize,
    failed: Option<Error>,
}

impl JsonArrayDecoder {
    /// A decoder that buffers at most `limit` bytes of one item.
    pub fn new(limit: usize) -> Self {
        Self { item: Vec::new(), depth: 0, in_string: false, escaped: false, limit, failed: None }
    }

    /// The number of buffered bytes.
    pub fn buffered(&self) -> usize {
        self.item.capacity()
    }

    /// Pushes the next bytes and delivers the items that they complete. After an error every call returns the same
    /// error.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = bytes.iter().try_for_each(|byte| self.byte(*byte, &mut each));
        self.failed = result.err();
        result
    }

    /// Ends the stream: delivers the rest of an incomplete item.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        match self.failed {
            Some(error) => Err(error),
            None => self.deliver(&mut each),
        }
    }

    fn byte(&mut self, byte: u8, each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        if self.depth == 0 && !self.in_string {
            match byte {
                // The array itself, and the separators of its items.
                b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' => return self.deliver(each),
                _ => {}
            }
        }
        if self.item.len() >= self.limit {
            return Err(Error::TooLong { limit: self.limit });
        }
        self.item.push(byte);
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    return self.deliver(each);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn deliver(&mut self, each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        let item = std::mem::take(&mut self.item);
        (self.depth, self.in_string, self.escaped) = (0, false, false);
        if !item.is_empty() {
            let data = std::str::from_utf8(&item).map_err(|_| Error::NotUtf8)?;
            each(Event { data, ..Event::default() });
        }
        self.item = item;
        self.item.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items(pieces: &[&[u8]], limit: usize) -> (Vec<String>, Result<(), Error>) {
        let mut decoder = JsonArrayDecoder::new(limit);
        let mut items = Vec::new();
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| decoder.push(piece, |event| items.push(event.data.to_owned())));
        }
        let result = result.and_then(|()| decoder.finish(|event| items.push(event.data.to_owned())));
        (items, result)
    }

    const ARRAY: &str = "[{\"a\":[1,{\"b\":\"]}\\\"[\"}]}\n,\r\n{\"c\":\"h\u{e9}\"},{}]\n";
    const ITEMS: [&str; 3] = ["{\"a\":[1,{\"b\":\"]}\\\"[\"}]}", "{\"c\":\"h\u{e9}\"}", "{}"];

    #[test]
    fn items_of_an_array_and_values_without_one() {
        assert_eq!(items(&[ARRAY.as_bytes()], 100).0, ITEMS);
        assert_eq!(items(&[b"{\"a\":1}{\"b\":2}\n"], 100).0, ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(items(&[b"[]"], 100).0, Vec::<String>::new());
        assert_eq!(items(&[b"[{\"a\":1},{\"b\":"], 100).0, ["{\"a\":1}", "{\"b\":"]);
    }

    #[test]
    fn an_item_is_delivered_when_it_is_complete() {
        let mut decoder = JsonArrayDecoder::new(100);
        let mut seen = 0;
        decoder.push(b"[{\"a\":1}", |_| seen += 1).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn the_size_of_an_item_is_bounded() {
        assert_eq!(items(&[b"[{},{\"a\":\"0123456789\"}]"], 10).1, Err(Error::TooLong { limit: 10 }));
        assert_eq!(items(&[b"[{\"a\":\"\xff\"}]"], 100).1, Err(Error::NotUtf8));
    }

    proptest! {
        #[test]
        fn trap_09_any_split_gives_the_same_items(at in 0..ARRAY.len()) {
            let (head, tail) = ARRAY.as_bytes().split_at(at);
            prop_assert_eq!(items(&[head, tail], 100).0, ITEMS);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0_usize..100) {
            let _ = items(&[&bytes], limit);
        }
    }
}

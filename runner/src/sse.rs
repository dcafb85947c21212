//! Server-sent events, by the rules of the HTML standard (section "Event stream interpretation").
//!
//! Invariant: the events depend on the bytes alone, never on how the network cut them; nothing grows past the limit.

use std::collections::VecDeque;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Its name; empty where it has none.
    pub(crate) name: String,
    /// Its data lines, joined by newlines.
    pub(crate) data: String,
}

/// A line or an event is larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Takes bytes, gives events.
#[derive(Debug)]
pub(crate) struct SseParser {
    limit: usize,
    line: Vec<u8>,
    /// The last byte was a carriage return: a newline right after it belongs to it.
    after_return: bool,
    first_line: bool,
    name: String,
    data: Vec<u8>,
}

impl SseParser {
    /// A parser that keeps at most `limit` bytes of an event.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_return: false,
            first_line: true,
            name: String::new(),
            data: Vec::new(),
        }
    }

    /// Takes the next bytes and appends the events they complete. An event that the stream's end leaves incomplete never
    /// comes out, as the standard has it.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut VecDeque<SseEvent>) -> Result<(), TooLarge> {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = tail;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + self.data.len() + part.len() > self.limit {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.line_ended(&line));
        }
        Ok(())
    }

    fn line_ended(&mut self, line: &[u8]) -> Option<SseEvent> {
        let line = match std::mem::take(&mut self.first_line) {
            true => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let mut data = std::mem::take(&mut self.data);
            data.pop()?;
            let data = String::from_utf8_lossy(&data).into_owned();
            return Some(SseEvent { name, data });
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<SseEvent> {
        let mut parser = SseParser::new(1 << 20);
        let mut events = VecDeque::new();
        for chunk in chunks {
            parser.feed(chunk, &mut events).unwrap();
        }
        events.into()
    }

    fn event(name: &str, data: &str) -> SseEvent {
        let (name, data) = (name.to_owned(), data.to_owned());
        SseEvent { name, data }
    }

    #[test]
    fn the_standards_own_examples() {
        let parse = |text: &str| parse([text.as_bytes()]);
        assert_eq!(
            parse("data: YHOO\ndata: +2\ndata: 10\n\n"),
            [event("", "YHOO\n+2\n10")]
        );
        assert_eq!(
            parse(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
            ),
            [event("", "first event"), event("", "second event")]
        );
        assert_eq!(
            parse("data\n\ndata\ndata\n\ndata:"),
            [event("", ""), event("", "\n")]
        );
        assert_eq!(
            parse("data:test\n\ndata: test\n\n"),
            [event("", "test"), event("", "test")]
        );
        assert_eq!(
            parse("\u{feff}event: add\rdata: \u{feff}1\r\revent: x\r\n\r\n"),
            [event("add", "\u{feff}1")]
        );
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_limit() {
        let mut parser = SseParser::new(10);
        let mut events = VecDeque::new();
        assert_eq!(parser.feed(b"data: 123", &mut events), Ok(()));
        assert_eq!(parser.feed(b"45", &mut events), Err(TooLarge));
    }

    /// Cuts bytes at these places (taken modulo the length).
    fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for place in places {
            chunks.push(&bytes[from..place]);
            from = place;
        }
        chunks.push(&bytes[from..]);
        chunks
    }

    proptest! {
        #[test]
        fn events_survive_any_line_ends_and_any_cuts(
            sent in vec(("[a-z_]{0,8}", "[ -~é€\u{1F600}]{0,12}(\n[ -~]{0,6}){0,2}"), 0..6),
            ends in vec(select(vec!["\n", "\r", "\r\n"]), 1..4),
            places in vec(any::<usize>(), 0..40),
        ) {
            let mut wire = String::new();
            let mut ends = ends.iter().cycle();
            // "\r" before a line that begins with "\n" would read as one line end; no line here is empty but the last.
            for (name, data) in &sent {
                let lines = [format!("event: {name}"), ": a comment".to_owned()];
                let data = data.split('\n').map(|line| format!("data: {line}"));
                for line in lines.into_iter().chain(data) {
                    wire.push_str(&line);
                    wire.push_str(ends.next().unwrap());
                }
                wire.push_str("\n\n");
            }
            let expected: Vec<SseEvent> = sent.iter().map(|(name, data)| event(name, data)).collect();
            prop_assert_eq!(parse(cut(wire.as_bytes(), &places)), expected);
        }

        #[test]
        fn any_bytes_give_the_same_events_however_cut(
            bytes in vec(prop_oneof![
                select(b"\r\n: ".to_vec()), select(b"daten".to_vec()), any::<u8>(),
            ], 0..200),
            places in vec(any::<usize>(), 0..40),
        ) {
            let whole = parse([bytes.as_slice()]);
            prop_assert_eq!(&parse(cut(&bytes, &places)), &whole);
            prop_assert_eq!(&parse(bytes.chunks(1)), &whole);
        }
    }
}

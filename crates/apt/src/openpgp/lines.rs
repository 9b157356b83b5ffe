//! Lines of an armored file, with the rules that hold for every one of them.

use super::{Framing, FramingRule};

/// Walks through the lines of a text.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    /// Checks the bytes once: UTF-8, and no control characters but tab, newline and a carriage return before it.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Framing> {
        let allowed = |at: usize| match bytes[at] {
            b'\n' | b'\t' => true,
            b'\r' => bytes.get(at + 1) == Some(&b'\n'),
            byte => byte >= b' ' && byte != 0x7f,
        };
        let bad = (0..bytes.len()).find(|&at| !allowed(at));
        let line_of = |at: usize| 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
        if let Some(at) = bad {
            return Err(Framing { line: line_of(at), rule: FramingRule::Control { byte: bytes[at] } });
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { text, number: 0 }),
            Err(error) => Err(Framing { line: line_of(error.valid_up_to()), rule: FramingRule::NotUtf8 }),
        }
    }

    /// The next line without its line ending (LF or CRLF); `None` after the last. A final newline starts no line.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        if self.text.is_empty() {
            return None;
        }
        self.number += 1;
        let (line, rest) = self.text.split_once('\n').unwrap_or((self.text, ""));
        self.text = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The error that the line given last breaks `rule`.
    pub(super) fn breaks(&self, rule: FramingRule) -> Framing {
        Framing { line: self.number, rule }
    }
}

//! Sections of strings, shown as lines, so that they are compared as text.

use std::sync::Arc;

use crate::extent::{Label, Member, Members, Piece, Source, Unreadable};
use crate::io::ReadAt;

/// Longest section that is shown so, in bytes: longer text is not compared by lines.
pub(super) const LONGEST: u64 = 4 << 20;

/// Members of which some are strings, each with a zero behind it.
pub(super) struct WithStrings {
    pub(super) inner: Box<dyn Members>,
    /// Numbers of those that are, ascending.
    pub(super) strings: Vec<u32>,
}

impl Members for WithStrings {
    fn open(&self, member: u32) -> Result<Member, Unreadable> {
        let opened = self.inner.open(member)?;
        if self.strings.binary_search(&member).is_err() {
            return Ok(opened);
        }
        let failed = |error: std::io::Error| Unreadable::new("strings", &error);
        let size = opened.source.size().map_err(failed)?.min(LONGEST);
        let mut bytes = vec![0; usize::try_from(size).expect("at most 4 MiB")];
        opened.source.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let source: Source = Arc::new(lines(&bytes));
        Ok(source.into())
    }

    fn label(&self, member: u32) -> Label<'_> {
        self.inner.label(member)
    }

    fn count(&self) -> u32 {
        self.inner.count()
    }

    fn pieces(&self, member: u32) -> Result<Vec<Piece>, Unreadable> {
        self.inner.pieces(member)
    }
}

/// Strings as lines. Different strings give different lines: what would be ambiguous is escaped.
fn lines(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0 => all.push(b'\n'),
            b'\n' => all.extend(b"\\n"),
            b'\\' => all.extend(b"\\\\"),
            other => all.push(*other),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn different_strings_are_different_lines() {
        assert_eq!(lines(b"\0main\0a\\b\0c\nd\0"), b"\nmain\na\\\\b\nc\\nd\n");
        let letters = [0, b'\n', b'\\', b'n', b'a'];
        let mut all = BTreeSet::new();
        for number in 0..625_usize {
            let text: Vec<u8> = (0..4).map(|place| letters[number / 5_usize.pow(place) % 5]).collect();
            assert!(all.insert(lines(&text)), "{text:?}");
        }
    }
}

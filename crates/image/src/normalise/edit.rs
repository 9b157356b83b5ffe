//! Changes of a file: which bytes give way to which.

use super::{Done, Left, Outcome, left};

/// For a change that follows from another one: it is not counted.
pub(super) const FOLLOWS: &str = "";

/// Changes that were decided and not made yet.
pub(super) struct Edit<'a> {
    bytes: &'a [u8],
    /// First byte, first byte behind, and what comes there.
    patches: Vec<(usize, usize, Vec<u8>)>,
    done: Done,
}

impl<'a> Edit<'a> {
    /// No change of `bytes` yet.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, patches: Vec::new(), done: Done::new() }
    }

    /// Writes over what lies at `at`. Nothing is done if it is there already, or does not fit.
    pub(super) fn put(&mut self, at: usize, new: &[u8], what: &'static str) {
        if at.checked_add(new.len()).is_some_and(|end| end <= self.bytes.len()) {
            self.replace((at, at + new.len()), new.to_vec(), what);
        }
    }

    /// Puts `new` in the place of the bytes from one offset to another, which lie inside of the file.
    pub(super) fn replace(&mut self, (start, end): (usize, usize), new: Vec<u8>, what: &'static str) {
        if self.bytes.get(start..end).is_some_and(|old| old != new) {
            self.patches.push((start, end, new));
            if what != FOLLOWS {
                *self.done.entry(what).or_default() += 1;
            }
        }
    }

    /// The bytes with all changes, and what was done.
    pub(super) fn apply(mut self) -> Result<(Vec<u8>, Done), Left> {
        self.patches.sort();
        // The same change twice is none: structures may share bytes.
        self.patches.dedup();
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut at = 0;
        for (start, end, new) in self.patches {
            if start < at {
                return left(format!("two structures share the bytes at {start:#x}"));
            }
            out.extend_from_slice(&self.bytes[at..start]);
            out.extend(new);
            at = end;
        }
        out.extend_from_slice(&self.bytes[at..]);
        Ok((out, self.done))
    }

    /// What came of the file.
    pub(super) fn finish(self) -> Result<Outcome, Left> {
        if self.patches.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        self.apply().map(|(bytes, done)| Outcome::Changed { bytes, done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_in_order_and_only_where_there_is_one() {
        let mut edit = Edit::new(b"0123456789");
        edit.put(7, b"x", "a");
        edit.replace((2, 4), b"long".to_vec(), "b");
        edit.put(0, b"0", "c");
        edit.put(1, b"!", FOLLOWS);
        edit.put(9, b"ab", "d");
        let done = Done::from([("a", 1), ("b", 1)]);
        assert_eq!(edit.finish().unwrap(), Outcome::Changed { bytes: b"0!long456x89".to_vec(), done });
        assert_eq!(Edit::new(b"0").finish().unwrap(), Outcome::Unchanged);
    }

    #[test]
    fn two_changes_of_the_same_bytes_are_refused() {
        let mut edit = Edit::new(b"0123");
        edit.put(1, b"xy", "a");
        edit.put(1, b"xy", "a");
        edit.put(3, b"z", "a");
        assert_eq!(edit.apply().unwrap().0, b"0xyz");
        let mut edit = Edit::new(b"0123");
        edit.put(1, b"xy", "a");
        edit.put(2, b"z", "a");
        assert!(edit.finish().is_err());
    }
}

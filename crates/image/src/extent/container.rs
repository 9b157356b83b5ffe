//! Containers whose members lie in them as they are: whose their bytes are, and what is inside, in one go.

use std::sync::Arc;

use super::faults::Faults;
use super::ranges::{InRanges, Ranges};
use super::{Builder, Owner, Parsed, Paths, Source, Structure, Unreadable};
use crate::io::ReadAt;

/// Longest path; Linux has none above 4096 bytes.
pub(crate) const LONGEST_PATH: usize = 4096;
/// Bytes that paths may take in memory. Directories that name each other can ask for any number.
pub(crate) const MOST_PATHS: usize = 512 << 20;

/// What is known so far of a container.
pub(crate) struct Container {
    format: &'static str,
    source: Source,
    builder: Builder,
    paths: Paths,
    files: Vec<InRanges>,
    faults: Faults,
    room: usize,
}

impl Container {
    pub(crate) fn new(format: &'static str, source: &Source) -> Result<Self, Unreadable> {
        let size = source.size().map_err(|error| Unreadable::new(format, &error))?;
        Ok(Self {
            format,
            source: Arc::clone(source),
            builder: Builder::new(size),
            paths: Paths::default(),
            files: Vec::new(),
            faults: Faults::default(),
            room: MOST_PATHS,
        })
    }

    /// Length of the container in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.builder.size()
    }

    /// A new owner. Behind the last path that there is room for, it is the container itself.
    pub(crate) fn owner(&mut self, path: &[u8]) -> Owner {
        // Each takes some bytes beside its text.
        let Some(room) = self.room.checked_sub(path.len() + 64) else {
            if self.room > 0 {
                let message = || format!("its paths need more than {} MiB of memory", MOST_PATHS >> 20);
                self.faults.add(self.format, message);
                self.room = 0;
            }
            return Owner::WHOLE;
        };
        self.room = room;
        self.paths.add(path)
    }

    /// The path of an owner.
    pub(crate) fn path(&self, owner: Owner) -> &[u8] {
        self.paths.of(owner)
    }

    /// [`Builder::claim`], for `owner`.
    pub(crate) fn claim(&mut self, start: u64, len: u64, structure: &'static Structure, owner: Owner) {
        self.builder.claim(start, len, structure, owner);
    }

    /// [`Builder::claim`], for the container itself.
    pub(crate) fn claim_own(&mut self, start: u64, len: u64, structure: &'static Structure) {
        self.builder.claim(start, len, structure, Owner::WHOLE);
    }

    /// A new file, which has no bytes yet; its number.
    pub(crate) fn file(&mut self, owner: Owner) -> u32 {
        self.files.push(InRanges { owner, part: false, ranges: Vec::new() });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// The next bytes of a file; what lies there belongs to it.
    pub(crate) fn data(&mut self, file: u32, start: u64, len: u64, structure: &'static Structure) {
        if let Some(owner) = self.push(file, (start, len)) {
            self.builder.claim_encoded(start, len, structure, owner, &[file]);
        }
    }

    /// The next bytes of a file, which are zeros and lie nowhere.
    pub(crate) fn hole(&mut self, file: u32, len: u64) {
        if len > 0 {
            self.push(file, (super::HOLE, len));
        }
    }

    /// Adds a range to a file; whose it is.
    fn push(&mut self, file: u32, range: (u64, u64)) -> Option<Owner> {
        let found = self.files.get_mut(usize::try_from(file).ok()?)?;
        found.ranges.push(range);
        Some(found.owner)
    }

    /// A part of the container that is like a file.
    pub(crate) fn part(&mut self, name: &str, start: u64, len: u64, structure: &'static Structure) {
        let owner = self.owner(name.as_bytes());
        let file = self.file(owner);
        self.files.last_mut().expect("it was just added").part = true;
        self.data(file, start, len, structure);
    }

    /// Something that cannot be read.
    pub(crate) fn note(&mut self, error: &dyn std::error::Error) {
        self.faults.note(self.format, error);
    }

    /// All that was found.
    pub(crate) fn finish(self) -> Parsed {
        let Self { format, source, builder, paths, files, faults, .. } = self;
        let paths = Arc::new(paths);
        let map = builder.finish(Arc::clone(&paths));
        let members = Ranges { format, source, paths, files };
        Parsed { format, map, members: Box::new(members), faults: faults.finish(), held: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static DATA: Structure = Structure::plain("data");

    #[test]
    fn paths_beyond_the_memory_for_them_are_told_once_and_their_bytes_have_an_owner() {
        let source: Source = Arc::new(vec![0; 100]);
        let mut found = Container::new("test", &source).unwrap();
        found.room = 2 * 65 + 10;
        for at in 0..5 {
            let owner = found.owner(b"a");
            let file = found.file(owner);
            found.data(file, at * 10, 10, &DATA);
        }
        let parsed = found.finish();
        let message = "its paths need more than 512 MiB of memory".to_owned();
        assert_eq!(parsed.faults, [Unreadable { format: "test", message }]);
        let paths: Vec<_> = parsed.map.extents().iter().map(|extent| parsed.map.path(extent.owner)).collect();
        assert_eq!(paths, [&b"a"[..], b"a", b"", b"", b"", b""]);
        assert_eq!(parsed.map.size(), 100);
    }
}

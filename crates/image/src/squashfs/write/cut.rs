//! How contents are cut: into runs of blocks, and their ends into fragments. Known from sizes alone.

use super::plan::Wanted;
use crate::squashfs::error::WriteError;
use crate::squashfs::layout::wide;

/// Plain bytes of a run, unless a block has more: enough to be worth a cache entry, little enough to be shared out
/// between threads.
const RUN: u64 = 1 << 20;

/// What is compressed by one thread at a time and kept in a cache as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Whole blocks of one content.
    Run {
        /// Number of the content.
        file: usize,
        /// Offset of the first byte in it.
        at: u64,
        /// How many bytes: a multiple of the block size.
        length: u64,
    },
    /// The ends of these contents, one behind the other.
    Fragment {
        /// Numbers of the contents.
        files: Vec<usize>,
    },
}

/// Bytes of a content of `size` bytes that are no whole block.
pub(super) fn tail(size: u64, block_size: u64) -> u64 {
    size % block_size
}

/// Cuts all contents, in order. Where an end lies is known as soon as it was taken into a fragment.
pub(super) struct Cutter<'a> {
    wanted: &'a [Wanted],
    block_size: u64,
    /// The content that is next, and how much of it was cut off.
    file: usize,
    at: u64,
    /// Ends that wait for their fragment to be full, and their length.
    open: Vec<usize>,
    filled: u64,
    fragments: u32,
    /// Number of the fragment and offset in it, for the end of each content.
    tails: Vec<Option<(u32, u32)>>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(wanted: &'a [Wanted], block_size: u32) -> Self {
        Self {
            wanted,
            block_size: block_size.into(),
            file: 0,
            at: 0,
            open: Vec::new(),
            filled: 0,
            fragments: 0,
            tails: vec![None; wanted.len()],
        }
    }

    /// Where the ends lie, once all units were taken.
    pub(super) fn into_tails(self) -> Vec<Option<(u32, u32)>> {
        self.tails
    }

    fn next_unit(&mut self) -> Result<Option<Unit>, WriteError> {
        while let Some(wanted) = self.wanted.get(self.file) {
            let (file, size) = (self.file, wanted.content.size);
            let tail = tail(size, self.block_size);
            let blocks = size - tail;
            if self.at < blocks {
                let run = RUN.next_multiple_of(self.block_size);
                let (at, length) = (self.at, run.min(blocks - self.at));
                self.at += length;
                return Ok(Some(Unit::Run { file, at, length }));
            }
            if tail > 0 {
                if self.filled + tail > self.block_size {
                    return self.close().map(Some);
                }
                let offset = u32::try_from(self.filled).expect("a fragment has at most 1 MiB");
                self.tails[file] = Some((self.fragments, offset));
                self.open.push(file);
                self.filled += tail;
            }
            (self.file, self.at) = (file + 1, 0);
        }
        if self.open.is_empty() { Ok(None) } else { self.close().map(Some) }
    }

    /// The fragment is complete.
    fn close(&mut self) -> Result<Unit, WriteError> {
        let limit = u64::from(u32::MAX) - 1;
        self.fragments = self
            .fragments
            .checked_add(1)
            .filter(|count| u64::from(*count) <= limit)
            .ok_or(WriteError::TooLarge { table: "fragment", need: limit + 1, limit })?;
        self.filled = 0;
        Ok(Unit::Fragment { files: std::mem::take(&mut self.open) })
    }
}

impl Iterator for Cutter<'_> {
    type Item = Result<Unit, WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        let unit = self.next_unit();
        if unit.is_err() {
            self.file = self.wanted.len();
            self.open.clear();
        }
        unit.transpose()
    }
}

impl Unit {
    /// Plain bytes in it.
    pub(super) fn length(&self, wanted: &[Wanted], block_size: u32) -> u64 {
        match self {
            Self::Run { length, .. } => *length,
            Self::Fragment { files } => {
                files.iter().map(|file| tail(wanted[*file].content.size, block_size.into())).sum()
            }
        }
    }

    /// Blocks it becomes.
    pub(super) fn blocks(&self, block_size: u32) -> u64 {
        match self {
            Self::Run { length, .. } => length / wide(usize::try_from(block_size).unwrap_or(usize::MAX)),
            Self::Fragment { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use crate::squashfs::error::Path;
    use crate::tree::Content;

    fn wanted(sizes: &[u64]) -> Vec<Wanted> {
        let wanted = |size: &u64| Wanted {
            content: Content { size: *size, digest: Digest::of(b"") },
            path: Path(Vec::new()),
        };
        sizes.iter().map(wanted).collect()
    }

    #[test]
    fn runs_come_before_the_fragment_that_their_end_closes() {
        let wanted = wanted(&[3000, (1 << 20) + 4096 + 2000, 8192, 1]);
        let mut cutter = Cutter::new(&wanted, 4096);
        let units: Vec<_> = cutter.by_ref().map(Result::unwrap).collect();
        let run = |file, at, length| Unit::Run { file, at, length };
        assert_eq!(
            units,
            [
                run(1, 0, 1 << 20),
                run(1, 1 << 20, 4096),
                Unit::Fragment { files: vec![0] },
                run(2, 0, 8192),
                Unit::Fragment { files: vec![1, 3] },
            ]
        );
        assert_eq!(cutter.into_tails(), [Some((0, 0)), Some((1, 0)), None, Some((1, 2000))]);
        assert_eq!(units[4].length(&wanted, 4096), 2001);
        assert_eq!((units[0].blocks(4096), units[4].blocks(4096)), (256, 1));
    }
}

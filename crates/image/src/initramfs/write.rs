//! Writing segments one after the other.

use std::io::Write;

use super::WriteError;
use crate::codec::Codec;
use crate::cpio;
use crate::epoch::Epoch;
use crate::io::wide;
use crate::tree::{Contents, Tree};

/// One segment to write.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// What it holds.
    pub tree: &'a Tree,
    /// Where the bytes of its files come from.
    pub contents: &'a dyn Contents,
    /// How it is compressed; `None` for microcode, which the kernel finds in plain archives at the start only.
    pub codec: Option<Codec>,
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Writes `parts` in their order and gives the length of the whole in bytes. No time in it is later than `epoch`.
///
/// Each segment is one archive of [`cpio::write`]; a compressed one is a single stream of
/// [`Codec::stream_writer`]. Segments start at multiples of 4, with zeros between them, as the kernel wants it.
pub fn write(parts: &[Part<'_>], epoch: Epoch, out: &mut impl Write) -> Result<u64, WriteError> {
    let mut at = 0u64;
    for (index, part) in parts.iter().enumerate() {
        let output = |source| WriteError::Output { index, source };
        let archive = |source| WriteError::Archive { index, source };
        let Part { tree, contents, codec } = *part;
        let padding = at.next_multiple_of(4) - at;
        let zeros = &[0; 4][..usize::try_from(padding).expect("less than four")];
        out.write_all(zeros).map_err(output)?;
        at += padding;
        at += match codec {
            None => cpio::write(tree, contents, epoch, out).map_err(archive)?,
            Some(codec) => {
                let size = cpio::length(tree).map_err(archive)?;
                let counter = Counter { inner: &mut *out, count: 0 };
                let mut packer = codec.stream_writer(counter, Some(size)).map_err(output)?;
                cpio::write(tree, contents, epoch, &mut packer).map_err(archive)?;
                packer.finish().map_err(output)?.count
            }
        };
    }
    Ok(at)
}

/// Counts what goes through.
struct Counter<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += wide(count);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

//! The contents of files: cut into blocks, their ends gathered in fragments, compressed side by side, written in order.

use std::num::NonZero;
use std::slice;
use std::sync::Arc;

use super::Output;
use super::pack::{Packed, is_code, pack};
use super::plan::Wanted;
use crate::codec::Codec;
use crate::digest::Hasher;
use crate::io::ReadAt;
use crate::par;
use crate::squashfs::error::{Path, WriteError};
use crate::squashfs::layout::{DATA_RAW, Fragment, narrow, wide};
use crate::tree::Contents;

/// Where a content lies in the image.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    /// Offset of the first block, 0 if there is none.
    pub(super) start: u64,
    /// Size words of the blocks; 0 stands for a block of zeros that is not stored.
    pub(super) blocks: Vec<u32>,
    /// Bytes in blocks that are not stored.
    pub(super) sparse: u64,
    /// Number of the fragment that holds the end, and where in it.
    pub(super) tail: Option<(u32, u32)>,
}

/// All contents, stored.
#[derive(Debug)]
pub(super) struct Data {
    /// In the order of [`super::plan::Plan::wanted`].
    pub(super) stored: Vec<Stored>,
    pub(super) fragments: Vec<Fragment>,
}

/// Writes all contents behind what `output` holds already.
pub(super) fn write(
    wanted: &[Wanted],
    contents: &dyn Contents,
    options: &super::Options<'_>,
    jobs: NonZero<usize>,
    output: &mut Output<'_>,
) -> Result<Data, WriteError> {
    let codec = options.codec;
    let mut cutter = Cutter::new(wanted, contents, narrow(options.block_size));
    let mut stored = vec![Stored::default(); wanted.len()];
    let mut fragments = Vec::new();
    let total = wanted.iter().map(|file| file.content.size).sum();
    let mut done = 0u64;
    par::map_ordered(
        jobs,
        cutter.by_ref(),
        |piece| piece.and_then(|piece| pack_piece(codec, piece)),
        |piece| {
            let (plain, piece) = piece?;
            match piece {
                Piece::Hole { file } => {
                    stored[file].blocks.push(0);
                    stored[file].sparse += plain;
                }
                Piece::Block { file, block } => {
                    if stored[file].start == 0 {
                        stored[file].start = output.at();
                    }
                    stored[file].blocks.push(size_word(&block));
                    output.put(&block.bytes)?;
                }
                Piece::Fragment { block } => {
                    fragments.push(Fragment {
                        start: output.at().into(),
                        size: size_word(&block).into(),
                        unused: 0.into(),
                    });
                    output.put(&block.bytes)?;
                }
            }
            done += plain;
            if let Some(progress) = options.progress {
                progress(done, total);
            }
            Ok::<(), WriteError>(())
        },
    )?;
    for (stored, tail) in stored.iter_mut().zip(cutter.tails) {
        stored.tail = tail;
    }
    Ok(Data { stored, fragments })
}

/// A piece on its way to the image: `B` is what a block is, plain or packed.
#[derive(Debug)]
enum Piece<B> {
    /// A block of zeros.
    Hole {
        file: usize,
    },
    Block {
        file: usize,
        block: B,
    },
    Fragment {
        block: B,
    },
}

/// Bytes to compress, and whether they come from a program.
#[derive(Debug)]
struct Plain {
    bytes: Vec<u8>,
    code: bool,
}

/// The length of the plain bytes, and the piece as it is stored.
fn pack_piece(codec: Codec, (plain, piece): (u64, Piece<Plain>)) -> Result<(u64, Piece<Packed>), WriteError> {
    let packed =
        |block: Plain| pack(codec, block.bytes, block.code).map_err(|source| WriteError::Compress { source });
    let piece = match piece {
        Piece::Hole { file } => Piece::Hole { file },
        Piece::Block { file, block } => Piece::Block { file, block: packed(block)? },
        Piece::Fragment { block } => Piece::Fragment { block: packed(block)? },
    };
    Ok((plain, piece))
}

fn size_word(block: &Packed) -> u32 {
    let length = u32::try_from(block.bytes.len()).expect("a block has at most 1 MiB");
    if block.raw { length | DATA_RAW } else { length }
}

/// Reads every content once, in order, and cuts it into pieces. What it yields depends on the contents alone.
struct Cutter<'a> {
    files: std::iter::Enumerate<slice::Iter<'a, Wanted>>,
    contents: &'a dyn Contents,
    block_size: usize,
    open: Option<Open<'a>>,
    /// Ends of files that wait for their fragment to be full.
    fragment: Plain,
    fragments: u32,
    /// The fragment is complete and comes next.
    cut: bool,
    /// An end for which there was no more room.
    tail: Option<(usize, Plain)>,
    /// Place of the end of each content: number of the fragment, offset in it.
    tails: Vec<Option<(u32, u32)>>,
    failed: bool,
}

struct Open<'a> {
    file: usize,
    wanted: &'a Wanted,
    reader: Arc<dyn ReadAt + Send>,
    at: u64,
    hasher: Hasher,
    code: bool,
}

impl<'a> Cutter<'a> {
    fn new(wanted: &'a [Wanted], contents: &'a dyn Contents, block_size: usize) -> Self {
        Self {
            files: wanted.iter().enumerate(),
            contents,
            block_size,
            open: None,
            fragment: Plain { bytes: Vec::with_capacity(block_size), code: false },
            fragments: 0,
            cut: false,
            tail: None,
            tails: vec![None; wanted.len()],
            failed: false,
        }
    }

    fn piece(&mut self) -> Result<Option<(u64, Piece<Plain>)>, WriteError> {
        loop {
            if std::mem::take(&mut self.cut) {
                return self.take_fragment().map(Some);
            }
            if let Some((file, tail)) = self.tail.take() {
                self.keep_tail(file, &tail);
                continue;
            }
            let Some(mut open) = self.open.take().map_or_else(|| self.next_file(), |open| Ok(Some(open)))?
            else {
                let rest = !self.fragment.bytes.is_empty();
                return rest.then(|| self.take_fragment()).transpose();
            };
            let (file, bytes) = (open.file, open.read(self.block_size)?);
            let block = Plain { code: open.code, bytes };
            if open.at < open.wanted.content.size {
                self.open = Some(open);
            } else {
                open.finish()?;
            }
            let length = wide(block.bytes.len());
            if is_zero(&block.bytes) {
                return Ok(Some((length, Piece::Hole { file })));
            } else if block.bytes.len() == self.block_size {
                return Ok(Some((length, Piece::Block { file, block })));
            }
            self.cut = self.fragment.bytes.len() + block.bytes.len() > self.block_size;
            self.tail = Some((file, block));
        }
    }

    fn next_file(&mut self) -> Result<Option<Open<'a>>, WriteError> {
        let Some((file, wanted)) = self.files.next() else {
            return Ok(None);
        };
        let failed = |source| WriteError::Read { path: wanted.path.clone(), source };
        let reader = self.contents.open(&wanted.content).map_err(failed)?;
        let (expected, found) = (wanted.content.size, reader.size().map_err(failed)?);
        if found != expected {
            return Err(WriteError::Size { path: wanted.path.clone(), expected, found });
        }
        Ok(Some(Open { file, wanted, reader, at: 0, hasher: Hasher::new(), code: false }))
    }

    fn keep_tail(&mut self, file: usize, tail: &Plain) {
        let offset = u32::try_from(self.fragment.bytes.len()).expect("a fragment has at most 1 MiB");
        self.tails[file] = Some((self.fragments, offset));
        self.fragment.bytes.extend_from_slice(&tail.bytes);
        self.fragment.code |= tail.code;
    }

    fn take_fragment(&mut self) -> Result<(u64, Piece<Plain>), WriteError> {
        let limit = u64::from(u32::MAX) - 1;
        self.fragments = self
            .fragments
            .checked_add(1)
            .filter(|count| u64::from(*count) <= limit)
            .ok_or(WriteError::TooLarge { table: "fragment", need: limit + 1, limit })?;
        let empty = Plain { bytes: Vec::with_capacity(self.block_size), code: false };
        let block = std::mem::replace(&mut self.fragment, empty);
        Ok((wide(block.bytes.len()), Piece::Fragment { block }))
    }
}

impl Iterator for Cutter<'_> {
    type Item = Result<(u64, Piece<Plain>), WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let piece = self.piece();
        self.failed = piece.is_err();
        piece.transpose()
    }
}

impl Open<'_> {
    /// The next block, or what is left.
    fn read(&mut self, block_size: usize) -> Result<Vec<u8>, WriteError> {
        let left = usize::try_from(self.wanted.content.size - self.at).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(block_size)];
        self.reader
            .read_exact_at(&mut bytes, self.at)
            .map_err(|source| WriteError::Read { path: self.path(), source })?;
        self.hasher.update(&bytes);
        if self.at == 0 {
            self.code = is_code(&bytes);
        }
        self.at += wide(bytes.len());
        Ok(bytes)
    }

    /// Compares what was read with what was asked for. One core hashes more than 1 GB/s and compresses a hundredth
    /// of that.
    fn finish(self) -> Result<(), WriteError> {
        let (path, expected, found) = (self.path(), self.wanted.content.digest, self.hasher.finish());
        if found == expected { Ok(()) } else { Err(WriteError::Digest { path, expected, found }) }
    }

    fn path(&self) -> Path {
        self.wanted.path.clone()
    }
}

/// Whether `bytes` are all zero.
fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    // A word at a time within a chunk, and out at the first chunk that has something.
    blocks.iter().all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_recognised_at_every_place() {
        for length in [1, 63, 64, 65, 4096] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for at in [0, length / 2, length - 1] {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {length}");
                bytes[at] = 0;
            }
        }
    }
}

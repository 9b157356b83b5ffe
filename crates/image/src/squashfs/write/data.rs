//! The contents of files: units are compressed side by side, or found in a cache, and written in order.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use super::Output;
use super::cache::{self, BlockCache, Stored as StoredUnit};
use super::cut::{Cutter, Unit, tail};
use super::pack::{is_code, pack};
use super::plan::Wanted;
use crate::codec::Codec;
use crate::digest::Hasher;
use crate::io::ReadAt;
use crate::par;
use crate::squashfs::error::WriteError;
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
    let mut stored = vec![Stored::default(); wanted.len()];
    let mut fragments = Vec::new();
    let total = wanted.iter().map(|file| file.content.size).sum();
    let mut done = 0u64;
    par::keep_memory();
    let mut cutter = Cutter::new(wanted, options.block_size);
    let packer = Packer {
        wanted,
        contents,
        codec: options.codec,
        block_size: options.block_size,
        cache: options.cache,
        verified: wanted.iter().map(|_| Mutex::new(false)).collect(),
    };
    par::map_ordered(
        jobs,
        cutter.by_ref(),
        |unit| {
            let unit = unit?;
            let packed = packer.unit(&unit)?;
            Ok::<_, WriteError>((unit, packed))
        },
        |packed| {
            let (unit, StoredUnit { words, bytes }) = packed?;
            match &unit {
                Unit::Run { file, .. } => {
                    let stored = &mut stored[*file];
                    if stored.start == 0 && !bytes.is_empty() {
                        stored.start = output.at();
                    }
                    let holes = words.iter().filter(|word| **word == 0).count();
                    stored.sparse += wide(holes) * u64::from(options.block_size);
                    stored.blocks.extend(&words);
                }
                Unit::Fragment { .. } => {
                    let size = words.first().copied().unwrap_or(0).into();
                    fragments.push(Fragment { start: output.at().into(), size, unused: 0.into() });
                }
            }
            // Block by block, so that an error says in which.
            let mut rest = &bytes[..];
            for word in &words {
                let block = rest.split_off(..narrow(word & !DATA_RAW)).unwrap_or_default();
                output.put(block)?;
            }
            done += unit.length(wanted, options.block_size);
            if let Some(progress) = options.progress {
                progress(done, total);
            }
            Ok::<(), WriteError>(())
        },
    )?;
    for (stored, tail) in stored.iter_mut().zip(cutter.into_tails()) {
        stored.tail = tail;
    }
    Ok(Data { stored, fragments })
}

/// Turns units into their stored form.
struct Packer<'a> {
    wanted: &'a [Wanted],
    contents: &'a dyn Contents,
    codec: Codec,
    block_size: u32,
    cache: Option<&'a dyn BlockCache>,
    /// Contents of several units whose digest was compared.
    verified: Vec<Mutex<bool>>,
}

type Reader = std::sync::Arc<dyn ReadAt + Send>;

impl Packer<'_> {
    /// The stored form of `unit`, out of the cache if it is there. Then no content is read.
    fn unit(&self, unit: &Unit) -> Result<StoredUnit, WriteError> {
        let Some(cache) = self.cache else { return self.compress(unit) };
        let key = cache::key(unit, self.wanted, self.codec, self.block_size);
        let found =
            cache.get(&key).and_then(|entry| StoredUnit::from_entry(entry, unit.blocks(self.block_size)));
        if let Some(stored) = found {
            return Ok(stored);
        }
        let stored = self.compress(unit)?;
        cache.put(&key, &stored.to_entry());
        Ok(stored)
    }

    fn compress(&self, unit: &Unit) -> Result<StoredUnit, WriteError> {
        let mut stored = StoredUnit { words: Vec::new(), bytes: Vec::new() };
        match unit {
            Unit::Run { file, at, length } => {
                let reader = self.verified(*file)?;
                let code = self.is_code(*file, &reader)?;
                let mut done = 0;
                while done < *length {
                    let mut block = vec![0; narrow(self.block_size)];
                    self.read(*file, &reader, &mut block, at + done)?;
                    done += wide(block.len());
                    if is_zero(&block) { stored.words.push(0) } else { self.add(&mut stored, block, code)? }
                }
            }
            Unit::Fragment { files } => {
                let (mut plain, mut code) = (Vec::with_capacity(narrow(self.block_size)), false);
                for file in files {
                    code |= self.tail(*file, &mut plain)?;
                }
                self.add(&mut stored, plain, code)?;
            }
        }
        Ok(stored)
    }

    fn add(&self, stored: &mut StoredUnit, plain: Vec<u8>, code: bool) -> Result<(), WriteError> {
        let packed = pack(self.codec, plain, code).map_err(|source| WriteError::Compress { source })?;
        let length = u32::try_from(packed.bytes.len()).expect("a block has at most 1 MiB");
        stored.words.push(if packed.raw { length | DATA_RAW } else { length });
        stored.bytes.extend_from_slice(&packed.bytes);
        Ok(())
    }

    /// Appends the end of a content to `plain`. True if it is the end of a program.
    fn tail(&self, file: usize, plain: &mut Vec<u8>) -> Result<bool, WriteError> {
        let size = self.wanted[file].content.size;
        let length = tail(size, self.block_size.into());
        let start = plain.len();
        plain.resize(start + usize::try_from(length).expect("less than a block"), 0);
        if length < size {
            let reader = self.verified(file)?;
            self.read(file, &reader, &mut plain[start..], size - length)?;
            return self.is_code(file, &reader);
        }
        // The end is all there is, so what is read here is what is compared.
        let reader = self.open(file)?;
        self.read(file, &reader, &mut plain[start..], 0)?;
        let mut hasher = Hasher::new();
        hasher.update(&plain[start..]);
        self.compare(file, hasher)?;
        Ok(is_code(&plain[start..]))
    }

    fn open(&self, file: usize) -> Result<Reader, WriteError> {
        let Wanted { content, path } = &self.wanted[file];
        let failed = |source| WriteError::Read { path: path.clone(), source };
        let reader = self.contents.open(content).map_err(failed)?;
        let (expected, found) = (content.size, reader.size().map_err(failed)?);
        if found == expected {
            Ok(reader)
        } else {
            Err(WriteError::Size { path: path.clone(), expected, found })
        }
    }

    /// Opens a content of several units. All its bytes are compared with its digest first, once: one core hashes more
    /// than 1 GB/s and compresses a hundredth of that, so that a second reading costs little.
    fn verified(&self, file: usize) -> Result<Reader, WriteError> {
        let reader = self.open(file)?;
        let mut verified = self.verified[file].lock().unwrap_or_else(PoisonError::into_inner);
        if !*verified {
            let size = self.wanted[file].content.size;
            let mut hasher = Hasher::new();
            let mut buffer = vec![0; narrow(self.block_size)];
            let mut at = 0;
            while at < size {
                let length = usize::try_from(size - at).map_or(buffer.len(), |left| left.min(buffer.len()));
                self.read(file, &reader, &mut buffer[..length], at)?;
                hasher.update(&buffer[..length]);
                at += wide(length);
            }
            self.compare(file, hasher)?;
            *verified = true;
        }
        Ok(reader)
    }

    fn compare(&self, file: usize, hasher: Hasher) -> Result<(), WriteError> {
        let Wanted { content, path } = &self.wanted[file];
        let (path, expected, found) = (path.clone(), content.digest, hasher.finish());
        if found == expected { Ok(()) } else { Err(WriteError::Digest { path, expected, found }) }
    }

    fn is_code(&self, file: usize, reader: &Reader) -> Result<bool, WriteError> {
        let size = usize::try_from(self.wanted[file].content.size).unwrap_or(usize::MAX);
        let mut start = [0; 64];
        let start = &mut start[..size.min(64)];
        self.read(file, reader, start, 0)?;
        Ok(is_code(start))
    }

    fn read(&self, file: usize, reader: &Reader, into: &mut [u8], at: u64) -> Result<(), WriteError> {
        let failed = |source| WriteError::Read { path: self.wanted[file].path.clone(), source };
        reader.read_exact_at(into, at).map_err(failed)
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

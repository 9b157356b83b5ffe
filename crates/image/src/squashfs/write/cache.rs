//! Compressed blocks that were made before: what names them, and how they are kept.

use super::cut::{Unit, tail};
use super::plan::Wanted;
use crate::codec::Codec;
use crate::digest::{Digest, Hasher};
use crate::squashfs::layout::{DATA_RAW, wide};

/// Somewhere to keep compressed blocks: [`super::write()`] looks there before it reads and compresses.
pub trait BlockCache: Sync {
    /// The bytes that were kept under `key`, exactly these, or nothing. Whoever implements this vouches for them: they
    /// go into the image.
    fn get(&self, key: &Digest) -> Option<Vec<u8>>;

    /// Keeps `entry` under `key`, or does not.
    fn put(&self, key: &Digest, entry: &[u8]);
}

/// The stored form of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Size word of each block; 0 stands for a block of zeros that is not stored.
    pub(super) words: Vec<u32>,
    /// The blocks, one behind the other.
    pub(super) bytes: Vec<u8>,
}

impl Stored {
    /// The number of blocks, their size words, their bytes. Numbers are little-endian and have 32 bits.
    pub(super) fn to_entry(&self) -> Vec<u8> {
        let count = u32::try_from(self.words.len()).expect("a unit has at most 256 blocks");
        let words = std::iter::once(&count).chain(&self.words).flat_map(|word| word.to_le_bytes());
        let mut entry = Vec::with_capacity(4 * (self.words.len() + 1) + self.bytes.len());
        entry.extend(words);
        entry.extend_from_slice(&self.bytes);
        entry
    }

    /// Reads what [`Stored::to_entry`] wrote for a unit of `blocks` blocks; `None` if it is none.
    pub(super) fn from_entry(mut entry: Vec<u8>, blocks: u64) -> Option<Self> {
        let (count, rest) = entry.split_first_chunk()?;
        let count =
            usize::try_from(u32::from_le_bytes(*count)).ok().filter(|count| wide(*count) == blocks)?;
        let (words, bytes) = rest.split_at_checked(count.checked_mul(4)?)?;
        let words: Vec<u32> =
            words.as_chunks().0.iter().map(|word: &[u8; 4]| u32::from_le_bytes(*word)).collect();
        let stored: u64 = words.iter().map(|word| u64::from(word & !DATA_RAW)).sum();
        if stored != wide(bytes.len()) {
            return None;
        }
        entry.drain(..4 * (count + 1));
        Some(Self { words, bytes: entry })
    }
}

/// The name of the stored form of `unit`: a digest of everything that decides its bytes.
pub(super) fn key(unit: &Unit, wanted: &[Wanted], codec: Codec, block_size: u32) -> Digest {
    let mut hasher = Hasher::new();
    let kind = match unit {
        Unit::Run { .. } => "run",
        Unit::Fragment { .. } => "fragment",
    };
    let head = format!("squashfs {kind} 1\n{codec}\n{}\n{block_size}\n", codec.library());
    hasher.update(head.as_bytes());
    let mut part = |file: usize, at: u64, length: u64| {
        let content = &wanted[file].content;
        hasher.update(&content.digest.0);
        [content.size, at, length].iter().for_each(|number| hasher.update(&number.to_le_bytes()));
    };
    match unit {
        Unit::Run { file, at, length } => part(*file, *at, *length),
        Unit::Fragment { files } => {
            for file in files {
                let size = wanted[*file].content.size;
                let tail = tail(size, block_size.into());
                part(*file, size - tail, tail);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_nothing_else_is_taken_for_one() {
        let stored = Stored { words: vec![3, 0, 2 | DATA_RAW], bytes: b"abcde".to_vec() };
        let entry = stored.to_entry();
        assert_eq!(Stored::from_entry(entry.clone(), 3).as_ref(), Some(&stored));
        assert_eq!(Stored::from_entry(entry.clone(), 2), None);
        for length in 0..entry.len() {
            assert_eq!(Stored::from_entry(entry[..length].to_vec(), 3), None);
        }
        let longer = [&entry[..], b"f"].concat();
        assert_eq!(Stored::from_entry(longer, 3), None);
    }
}

//! Metadata: streams of plain bytes, cut into blocks of 8 KiB that are compressed one by one.

use super::pack::pack;
use crate::codec::Codec;
use crate::squashfs::error::WriteError;
use crate::squashfs::layout::{META_BLOCK, META_RAW, wide};

/// Where something lies in a metadata stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Offset of the stored block in its table.
    pub(super) block: u64,
    /// Offset in the plain block, below 8192.
    pub(super) offset: u16,
}

impl Place {
    /// The form in which inodes and attributes are referred to.
    pub(super) fn reference(self) -> u64 {
        self.block << 16 | u64::from(self.offset)
    }
}

/// A metadata stream being written. Holds the compressed blocks, which are a thousandth of an image.
#[derive(Debug)]
pub(super) struct MetaWriter {
    codec: Codec,
    open: Vec<u8>,
    stored: Vec<u8>,
    starts: Vec<u64>,
}

/// A finished stream.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) stored: Vec<u8>,
    /// Offset of each block in `stored`.
    pub(super) starts: Vec<u64>,
}

impl MetaWriter {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, open: Vec::with_capacity(META_BLOCK), stored: Vec::new(), starts: Vec::new() }
    }

    /// Where the next byte will lie.
    pub(super) fn place(&self) -> Place {
        let offset = u16::try_from(self.open.len()).expect("an open block is shorter than 8 KiB");
        Place { block: wide(self.stored.len()), offset }
    }

    /// Adds `bytes`, which may lie across blocks.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(META_BLOCK - self.open.len()));
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() == META_BLOCK {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), WriteError> {
        let plain = std::mem::replace(&mut self.open, Vec::with_capacity(META_BLOCK));
        let packed = pack(self.codec, plain, false).map_err(|source| WriteError::Compress { source })?;
        let length =
            u16::try_from(packed.bytes.len()).expect("a stored block is not longer than its plain form");
        self.starts.push(wide(self.stored.len()));
        self.stored.extend_from_slice(&(length | if packed.raw { META_RAW } else { 0 }).to_le_bytes());
        self.stored.extend_from_slice(&packed.bytes);
        Ok(())
    }

    /// Closes the last block.
    pub(super) fn finish(mut self) -> Result<Meta, WriteError> {
        if !self.open.is_empty() {
            self.close()?;
        }
        Ok(Meta { stored: self.stored, starts: self.starts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_name_the_block_in_which_a_byte_begins() {
        let mut meta = MetaWriter::new(Codec::Zstd { level: 3 });
        meta.put(&[1; META_BLOCK - 1]).unwrap();
        assert_eq!(meta.place(), Place { block: 0, offset: 8191 });
        meta.put(&[1]).unwrap();
        let second = meta.place();
        assert!(second.block > 2 && second.offset == 0);
        assert_eq!(second.reference(), second.block * 65536);
        meta.put(&[2; 3]).unwrap();
        let meta = meta.finish().unwrap();
        assert_eq!(meta.starts, [0, second.block]);
        assert_eq!(meta.stored[usize::try_from(second.block).unwrap()..], [3, 0x80, 2, 2, 2]);
    }
}

//! Bytes to inodes and their data. Every field is checked before it is believed.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{
    MAGIC, NO_BLOCK, RawCompact, RawExtended, RawSuper, SLOT, SUPERBLOCK, XATTR_HEADER, data, feature,
};
use crate::io::{ReadAt, ReadError, wide};

/// The rule that was broken, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// There is no superblock.
    #[error("signature of the superblock is {0:#x}")]
    Signature(u32),
    /// A value that no file system has.
    #[error("{field} is {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Something lies outside of the file system.
    #[error("{len} bytes from byte {start:#x} on reach behind the end at {size:#x}")]
    Behind {
        /// The first of them.
        start: u64,
        /// Their number.
        len: u64,
        /// Length of the file system or image in bytes.
        size: u64,
    },
    /// A path is longer than Linux has any: directories are in each other.
    #[error("path of {0} bytes")]
    Path(usize),
    /// Structures that are used so often that reading them would never end.
    #[error("structures are larger than the image")]
    Flood,
}

/// Why a file system could not be read.
pub type ErofsError = ReadError<Corruption>;

pub(super) type Result<T> = std::result::Result<T, ErofsError>;

pub(super) fn corrupt(at: u64, kind: Corruption) -> ErofsError {
    ReadError::Corrupt { at, kind }
}

pub(super) fn fill(source: &(impl ReadAt + ?Sized), buf: &mut [u8], at: u64) -> Result<()> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len, source })
}

pub(super) fn take<T: FromBytes + IntoBytes>(source: &(impl ReadAt + ?Sized), at: u64) -> Result<T> {
    let mut raw = T::new_zeroed();
    fill(source, raw.as_mut_bytes(), at)?;
    Ok(raw)
}

/// What the superblock says.
pub(super) struct Volume {
    pub(super) raw: RawSuper,
    /// Bytes of a block.
    pub(super) block: u64,
    /// Bytes of the file system.
    pub(super) size: u64,
}

impl Volume {
    pub(super) fn open(source: &(impl ReadAt + ?Sized)) -> Result<Self> {
        let raw: RawSuper = take(source, SUPERBLOCK)?;
        if raw.magic.get() != MAGIC {
            return Err(corrupt(SUPERBLOCK, Corruption::Signature(raw.magic.get())));
        }
        let bad = |field, value| corrupt(SUPERBLOCK, Corruption::Field { field, value });
        if !(9..=16).contains(&raw.block_bits) {
            return Err(bad("block_bits", raw.block_bits.into()));
        }
        if raw.incompat.get() & !feature::KNOWN != 0 {
            let feature = "an unknown incompatible feature";
            return Err(ReadError::Unsupported { at: SUPERBLOCK, feature });
        }
        if raw.directory_block_bits != 0 {
            return Err(bad("directory_block_bits", raw.directory_block_bits.into()));
        }
        let block = 1 << raw.block_bits;
        let len = u64::from(raw.blocks.get()) * block;
        let size = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
        if len > size || len < SUPERBLOCK {
            return Err(corrupt(SUPERBLOCK, Corruption::Behind { start: 0, len, size }));
        }
        Ok(Self { raw, block, size: len })
    }

    /// Checks that bytes that something at `at` asks for are inside of the file system.
    pub(super) fn inside(&self, at: u64, start: u64, len: u64) -> Result<()> {
        let size = self.size;
        match start.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(corrupt(at, Corruption::Behind { start, len, size })),
        }
    }

    /// First byte of the shared attribute with this number.
    pub(super) fn shared(&self, id: u32) -> u64 {
        u64::from(self.raw.xattr_block.get()) * self.block + u64::from(id) * 4
    }
}

/// An inode.
pub(super) struct Inode {
    pub(super) at: u64,
    /// Bytes of the inode itself.
    pub(super) len: u64,
    /// Bytes of the attributes behind it.
    pub(super) xattrs: u64,
    pub(super) mode: u16,
    pub(super) size: u64,
    format: u16,
    place: u32,
}

/// Bytes of a file: where they lie, if they do, and how many they are.
pub(super) type Run = (Option<u64>, u64);

impl Inode {
    pub(super) fn read(source: &(impl ReadAt + ?Sized), volume: &Volume, nid: u64) -> Result<Self> {
        let meta = u64::from(volume.raw.meta_block.get()) * volume.block;
        let at = nid.checked_mul(SLOT).and_then(|offset| offset.checked_add(meta)).unwrap_or(u64::MAX);
        volume.inside(SUPERBLOCK, at, SLOT)?;
        let compact: RawCompact = take(source, at)?;
        let format = compact.format.get();
        let count = u64::from(compact.xattr_count.get());
        // The header takes the place of three attributes' numbers.
        let xattrs = if count == 0 { 0 } else { wide(XATTR_HEADER) + (count - 1) * 4 };
        let (mode, place) = (compact.mode.get(), compact.place.get());
        let inode = match format & 1 {
            0 => Self { at, len: 32, xattrs, mode, size: compact.size.get().into(), format, place },
            _ => {
                volume.inside(SUPERBLOCK, at, 64)?;
                let raw: RawExtended = take(source, at)?;
                Self { at, len: 64, xattrs, mode, size: raw.size.get(), format, place }
            }
        };
        volume.inside(at, at, inode.len + xattrs)?;
        Ok(inode)
    }

    /// Type bits of the mode.
    pub(super) fn kind(&self) -> u16 {
        self.mode & 0o170_000
    }

    /// How it has its data, as in [`data`].
    pub(super) fn layout(&self) -> u16 {
        self.format >> 1 & 7
    }

    /// First byte behind inode and attributes.
    pub(super) fn body(&self) -> u64 {
        self.at + self.len + self.xattrs
    }

    /// Whole blocks and what lies behind the inode, for files that are not in chunks and not compressed.
    pub(super) fn flat(&self, volume: &Volume) -> Result<[Run; 2]> {
        let inline = self.layout() == data::INLINE && self.size > 0;
        let blocks = self.size.div_ceil(volume.block) - u64::from(inline);
        let len = blocks.saturating_mul(volume.block).min(self.size);
        let tail = self.size - len;
        let mut runs = [(Some(0), 0); 2];
        if len > 0 {
            let start = u64::from(self.place) * volume.block;
            volume.inside(self.at, start, len)?;
            runs[0] = (Some(start), len);
        }
        if tail > 0 {
            // It never crosses the end of a block.
            let room = volume.block - self.body() % volume.block;
            if tail > room {
                let size = self.body() + room;
                return Err(corrupt(self.at, Corruption::Behind { start: self.body(), len: tail, size }));
            }
            volume.inside(self.at, self.body(), tail)?;
            runs[1] = (Some(self.body()), tail);
        }
        Ok(runs)
    }

    /// The table of chunks: its first byte, its entries' length and number, and bytes of a chunk.
    pub(super) fn chunk_table(&self, volume: &Volume) -> Result<(u64, u64, u64, u64)> {
        let bits = u32::from(volume.raw.block_bits) + (self.place & 0x1f);
        let chunk = 1_u64 << bits;
        let width = if self.place & 0x20 != 0 { 8 } else { 4 };
        let (start, count) = (self.body().next_multiple_of(width), self.size.div_ceil(chunk));
        volume.inside(self.at, start, count.saturating_mul(width))?;
        Ok((start, width, count, chunk))
    }

    /// Chunks of a file by its table; those that follow each other are one.
    pub(super) fn chunks(&self, volume: &Volume, table: &[u8], width: u64, chunk: u64) -> Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let mut left = self.size;
        for entry in table.chunks_exact(usize::try_from(width).expect("4 or 8")) {
            let len = chunk.min(left);
            left -= len;
            let [.., a, b, c, d] = entry else { break };
            let block = u32::from_le_bytes([*a, *b, *c, *d]);
            if width == 8 && entry[2..4] != [0, 0] && block != NO_BLOCK {
                let feature = "data on another device";
                return Err(ReadError::Unsupported { at: self.at, feature });
            }
            let start = (block != NO_BLOCK).then(|| u64::from(block) * volume.block);
            if let Some(start) = start {
                volume.inside(self.at, start, len)?;
            }
            match (runs.last_mut(), start) {
                (Some((Some(from), run)), Some(start)) if *from + *run == start => *run += len,
                (Some((None, run)), None) => *run += len,
                _ => runs.push((start, len)),
            }
        }
        Ok(runs)
    }
}

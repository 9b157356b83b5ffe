//! Bytes to header and clusters. Every field is checked before it is believed.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{MAGIC, RawHeader, RawMore, feature};
use crate::io::{ReadAt, ReadError, wide};

/// Entries of a level 1 table: those of 32 MiB, as QEMU has it (`QCOW_MAX_L1_SIZE`).
const MOST_L1: u32 = 4 << 20;
/// Bits of an entry that say where a table or cluster is.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;

/// The rule that was broken, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// It does not begin like an image.
    #[error("signature is {0:02x?}")]
    Signature([u8; 4]),
    /// A value that no image has.
    #[error("{field} is {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Something lies outside of the image.
    #[error("{len} bytes from byte {start:#x} on reach behind the end at {size:#x}")]
    Behind {
        /// The first of them.
        start: u64,
        /// Their number.
        len: u64,
        /// Length of the image in bytes.
        size: u64,
    },
    /// Clusters that are used so often that reading them would never end.
    #[error("tables and clusters are larger than the image")]
    Flood,
}

/// Why an image could not be read.
pub type Qcow2Error = ReadError<Corruption>;

pub(super) type Result<T> = std::result::Result<T, Qcow2Error>;

pub(super) fn corrupt(at: u64, kind: Corruption) -> Qcow2Error {
    ReadError::Corrupt { at, kind }
}

pub(super) fn take<T: FromBytes + IntoBytes>(source: &(impl ReadAt + ?Sized), at: u64) -> Result<T> {
    let mut raw = T::new_zeroed();
    let buf = raw.as_mut_bytes();
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len, source })?;
    Ok(raw)
}

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Deflate,
    Zstd,
}

/// What the header says.
pub(super) struct Image {
    pub(super) raw: RawHeader,
    pub(super) features: u64,
    pub(super) header_length: u64,
    pub(super) packing: Packing,
    pub(super) cluster: u64,
    /// Bytes of the image.
    pub(super) size: u64,
}

/// What an entry of a level 2 table leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Nothing, or zeros.
    Hole,
    /// Zeros, and a cluster that is kept for them.
    Kept(u64),
    /// A cluster.
    Plain(u64),
    /// Compressed bytes: the first one, and how many at most.
    Packed(u64, u64),
}

impl Image {
    pub(super) fn open(source: &(impl ReadAt + ?Sized)) -> Result<Self> {
        let raw: RawHeader = take(source, 0)?;
        if raw.magic != MAGIC {
            return Err(corrupt(0, Corruption::Signature(raw.magic)));
        }
        let bad = |field, value| corrupt(0, Corruption::Field { field, value });
        let bits = raw.cluster_bits.get();
        if !(9..=21).contains(&bits) {
            return Err(bad("cluster_bits", bits.into()));
        }
        if raw.l1_size.get() > MOST_L1 {
            return Err(bad("l1_size", raw.l1_size.get().into()));
        }
        let (mut features, mut header_length, mut packing) = (0, 72, Packing::Deflate);
        match raw.version.get() {
            2 => {}
            3 => {
                let more: RawMore = take(source, 72)?;
                (features, header_length) =
                    (more.incompatible_features.get(), more.header_length.get().into());
                if features & feature::COMPRESSION != 0 {
                    packing = match more.compression_type {
                        0 => Packing::Deflate,
                        1 => Packing::Zstd,
                        other => return Err(bad("compression_type", other.into())),
                    };
                }
            }
            other => return Err(bad("version", other.into())),
        }
        if features & !feature::KNOWN != 0 {
            return Err(ReadError::Unsupported { at: 72, feature: "an unknown incompatible feature" });
        }
        let cluster = 1 << bits;
        if !(72..=cluster).contains(&header_length) {
            return Err(bad("header_length", header_length));
        }
        let size = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
        Ok(Self { raw, features, header_length, packing, cluster, size })
    }

    /// Checks that bytes that something at `at` asks for are inside of the image.
    pub(super) fn inside(&self, at: u64, start: u64, len: u64) -> Result<()> {
        let size = self.size;
        match start.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(corrupt(at, Corruption::Behind { start, len, size })),
        }
    }

    /// Where the table is that an entry of a level 1 or refcount table leads to.
    pub(super) fn table(entry: u64) -> Option<u64> {
        Some(entry & PLACE).filter(|place| *place != 0)
    }

    /// What an entry of a level 2 table leads to. Compressed bytes end where the image does at the latest.
    pub(super) fn cluster(&self, entry: u64) -> Cluster {
        if entry & 1 << 62 != 0 {
            // The lower bits are the first byte, those above how many sectors follow the one that it is in.
            let bits = 62 - (self.raw.cluster_bits.get() - 8);
            let start = entry & ((1 << bits) - 1);
            let sectors = (entry & ((1 << 62) - 1)) >> bits;
            let len = (sectors + 1) * 512 - start % 512;
            return Cluster::Packed(start, len.min(self.size.saturating_sub(start)));
        }
        match (entry & PLACE, entry & 1 != 0 && self.raw.version.get() > 2) {
            (0, _) => Cluster::Hole,
            (place, true) => Cluster::Kept(place),
            (place, false) => Cluster::Plain(place),
        }
    }
}

//! The structures as they lie on disk: ECMA-119 and El Torito 1.0.

use zerocopy::byteorder::{BE, LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::raw::Show;

/// Bytes of a logical block and of a sector.
pub(super) const BLOCK: u64 = 2048;
/// First block after the system area: the primary volume descriptor.
pub(super) const FIRST_DESCRIPTOR: u64 = 16;
/// Largest multiple of a block that a directory record can give as the size of an extent.
pub(super) const LARGEST_SECTION: u64 = 0xffff_f800;
/// `id` of every volume descriptor.
pub(super) const STANDARD_ID: [u8; 5] = *b"CD001";
/// Joliet, UCS-2 level 3.
pub(super) const JOLIET_ESCAPE: [u8; 3] = *b"%/E";
/// `system` of an El Torito boot record.
pub(super) const EL_TORITO: [u8; 32] = *b"EL TORITO SPECIFICATION\0\0\0\0\0\0\0\0\0";

/// Record flag: a directory.
pub(super) const FLAG_DIRECTORY: u8 = 2;
/// Record flag: the file continues in the next record.
pub(super) const FLAG_CONTINUED: u8 = 0x80;

/// A number in both byte orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Both32 {
    le: U32<LE>,
    be: U32<BE>,
}

impl Both32 {
    pub(super) fn new(value: u32) -> Self {
        Self { le: value.into(), be: value.into() }
    }

    /// The little-endian form: the one that every PC reads.
    pub(super) fn get(self) -> u32 {
        self.le.get()
    }

    pub(super) fn agrees(self) -> bool {
        self.le.get() == self.be.get()
    }
}

/// A number in both byte orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Both16 {
    le: U16<LE>,
    be: U16<BE>,
}

impl Both16 {
    pub(super) fn new(value: u16) -> Self {
        Self { le: value.into(), be: value.into() }
    }

    pub(super) fn get(self) -> u16 {
        self.le.get()
    }

    pub(super) fn agrees(self) -> bool {
        self.le.get() == self.be.get()
    }
}

impl Show for Both32 {
    fn show(&self) -> String {
        if self.agrees() { self.le.show() } else { format!("{} / {}", self.le, self.be) }
    }
}

impl Show for Both16 {
    fn show(&self) -> String {
        if self.agrees() { self.le.show() } else { format!("{} / {}", self.le, self.be) }
    }
}

/// The fixed part of a directory record; the identifier follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawRecord {
    /// Bytes of the whole record, even.
    pub(super) length: u8,
    /// Blocks of the extended attribute record; always 0.
    pub(super) xattr_blocks: u8,
    /// First block.
    pub(super) block: Both32,
    /// Bytes of the extent.
    pub(super) size: Both32,
    /// Year from 1900, month, day, hour, minute, second, quarter hours east of UTC.
    pub(super) time: [u8; 7],
    /// Flag bits.
    pub(super) flags: u8,
    /// Interleaving; always 0.
    pub(super) unit: u8,
    /// Interleaving; always 0.
    pub(super) gap: u8,
    /// Number of the volume, 1.
    pub(super) volume: Both16,
    /// Bytes of the identifier.
    pub(super) id_length: u8,
}

/// The directory record inside a volume descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawRoot {
    pub(super) record: RawRecord,
    /// The identifier: one zero byte.
    pub(super) id: u8,
}

impl Show for RawRoot {
    fn show(&self) -> String {
        let RawRecord { block, size, time, flags, .. } = &self.record;
        format!("[block {} size {} time {} flags {flags:02x}]", block.show(), size.show(), time.show())
    }
}

/// Primary (1) and supplementary (2) volume descriptor.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawVolume {
    pub(super) kind: u8,
    pub(super) id: [u8; 5],
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) system: [u8; 32],
    pub(super) volume: [u8; 32],
    pub(super) unused: [u8; 8],
    pub(super) blocks: Both32,
    pub(super) escape: [u8; 32],
    pub(super) set_size: Both16,
    pub(super) sequence: Both16,
    pub(super) block_size: Both16,
    pub(super) path_table_size: Both32,
    pub(super) path_table_l: U32<LE>,
    pub(super) path_table_l_copy: U32<LE>,
    pub(super) path_table_m: U32<BE>,
    pub(super) path_table_m_copy: U32<BE>,
    pub(super) root: RawRoot,
    pub(super) volume_set: [u8; 128],
    pub(super) publisher: [u8; 128],
    pub(super) preparer: [u8; 128],
    pub(super) application: [u8; 128],
    pub(super) copyright_file: [u8; 37],
    pub(super) abstract_file: [u8; 37],
    pub(super) bibliographic_file: [u8; 37],
    pub(super) created: [u8; 17],
    pub(super) modified: [u8; 17],
    pub(super) expires: [u8; 17],
    pub(super) effective: [u8; 17],
    pub(super) structure_version: u8,
    pub(super) reserved: u8,
    pub(super) application_use: [u8; 512],
    pub(super) rest: [u8; 653],
}

/// El Torito boot record volume descriptor (0).
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawBootRecord {
    pub(super) kind: u8,
    pub(super) id: [u8; 5],
    pub(super) version: u8,
    pub(super) system: [u8; 32],
    pub(super) unused: [u8; 32],
    /// Block of the boot catalog.
    pub(super) catalog: U32<LE>,
    pub(super) rest: [u8; 1973],
}

/// First entry of the boot catalog.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawValidation {
    /// 1.
    pub(super) header: u8,
    /// 0 x86, 0xef UEFI.
    pub(super) platform: u8,
    pub(super) reserved: U16<LE>,
    pub(super) maker: [u8; 24],
    /// Makes the sum of all words zero.
    pub(super) checksum: U16<LE>,
    /// 55 aa.
    pub(super) key: [u8; 2],
}

/// Starts the entries of one more platform.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawSection {
    /// 0x90 more sections follow, 0x91 the last one.
    pub(super) header: u8,
    pub(super) platform: u8,
    pub(super) entries: U16<LE>,
    pub(super) section_id: [u8; 28],
}

/// A bootable image.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawBootEntry {
    /// 0x88 bootable, 0 not.
    pub(super) bootable: u8,
    /// 0 no emulation.
    pub(super) media: u8,
    pub(super) load_segment: U16<LE>,
    pub(super) system: u8,
    pub(super) unused: u8,
    /// Sectors of 512 bytes.
    pub(super) sectors: U16<LE>,
    /// First block of the image.
    pub(super) block: U32<LE>,
    pub(super) criteria_kind: u8,
    pub(super) criteria: [u8; 19],
}

/// What isolinux wants to know about itself, at byte 8 of its image.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawBootInfo {
    pub(super) descriptor: U32<LE>,
    pub(super) block: U32<LE>,
    pub(super) length: U32<LE>,
    /// Sum of all little-endian words from byte 64 on.
    pub(super) checksum: U32<LE>,
    pub(super) reserved: [u8; 40],
}

const _: () = assert!(size_of::<RawRecord>() == 33);
const _: () = assert!(size_of::<RawVolume>() == 2048);
const _: () = assert!(size_of::<RawBootRecord>() == 2048);
const _: () = assert!(std::mem::offset_of!(RawBootRecord, catalog) == 71);
const _: () = assert!(size_of::<RawValidation>() == 32);
const _: () = assert!(size_of::<RawSection>() == 32);
const _: () = assert!(size_of::<RawBootEntry>() == 32);
const _: () = assert!(size_of::<RawBootInfo>() == 56);

//! The structures of SquashFS 4.0 as they lie on disk, all little-endian.
//!
//! A struct here is the layout and nothing else. Source: `Documentation/filesystems/squashfs.rst` of Linux and the
//! behaviour of its reader; the choices that the format leaves open are in `docs/formats/squashfs.md`.

use zerocopy::little_endian::{I16, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of an image.
pub(super) const MAGIC: [u8; 4] = *b"hsqs";
/// Offset of a table the image does not have: all 64 bits set.
pub(super) const ABSENT: u64 = u64::MAX;
/// Fragment or xattr number of an inode that has none.
pub(super) const NONE: u32 = u32::MAX;
/// Most plain bytes in one metadata block.
pub(super) const META_BLOCK: usize = 8192;
/// Bit of a metadata block's header: the bytes are stored as they are. The other bits are the stored length.
pub(super) const META_RAW: u16 = 0x8000;
/// Bit of a data block's size word: the bytes are stored as they are. The lower bits are the stored length.
pub(super) const DATA_RAW: u32 = 1 << 24;
/// Most entries behind one directory header.
pub(super) const DIR_RUN: usize = 256;
/// Bytes that a directory's size counts beyond its listing, for `.` and `..`.
pub(super) const DIR_EXTRA: u32 = 3;
/// Bit of an attribute's type: the value is a reference to where it lies.
pub(super) const XATTR_ELSEWHERE: u16 = 0x100;
/// Images are padded with zeros to a multiple of this many bytes, so that a loop device can hold them.
pub(super) const PADDING: u64 = 4096;
/// Deepest directory that is written or read; the root has depth 0. Bounds the stack.
pub(super) const MAX_DEPTH: usize = 512;
/// Longest extended attribute value Linux knows (`XATTR_SIZE_MAX`).
pub(super) const MAX_XATTR: usize = 65536;

/// Flags of the superblock.
pub(super) mod flag {
    /// Inode metadata blocks are not compressed.
    pub(in crate::squashfs) const RAW_INODES: u16 = 0x0001;
    /// Data blocks are not compressed.
    pub(in crate::squashfs) const RAW_DATA: u16 = 0x0002;
    /// Fragment blocks are not compressed.
    pub(in crate::squashfs) const RAW_FRAGMENTS: u16 = 0x0008;
    /// There are no fragments.
    pub(in crate::squashfs) const NO_FRAGMENTS: u16 = 0x0010;
    /// The ends of long files are in fragments too.
    pub(in crate::squashfs) const TAILS_IN_FRAGMENTS: u16 = 0x0020;
    /// Equal files are stored once.
    pub(in crate::squashfs) const DEDUPLICATED: u16 = 0x0040;
    /// There is an export table.
    pub(in crate::squashfs) const EXPORTABLE: u16 = 0x0080;
    /// Extended attributes are not compressed.
    pub(in crate::squashfs) const RAW_XATTRS: u16 = 0x0100;
    /// Extended attributes were not stored.
    pub(in crate::squashfs) const NO_XATTRS: u16 = 0x0200;
    /// Options of the codec follow the superblock.
    pub(in crate::squashfs) const CODEC_OPTIONS: u16 = 0x0400;
    /// The table of owners is not compressed.
    pub(in crate::squashfs) const RAW_IDS: u16 = 0x0800;

    /// All of them by name, for a dump.
    pub(in crate::squashfs) const NAMES: [(u16, &str); 11] = [
        (RAW_INODES, "raw inodes"),
        (RAW_DATA, "raw data"),
        (RAW_FRAGMENTS, "raw fragments"),
        (NO_FRAGMENTS, "no fragments"),
        (TAILS_IN_FRAGMENTS, "tails in fragments"),
        (DEDUPLICATED, "deduplicated"),
        (EXPORTABLE, "exportable"),
        (RAW_XATTRS, "raw xattrs"),
        (NO_XATTRS, "no xattrs"),
        (CODEC_OPTIONS, "codec options"),
        (RAW_IDS, "raw ids"),
    ];
}

/// Inode types; the extended form of a basic type is 7 higher. Directory entries hold the basic type.
pub(super) mod kind {
    pub(in crate::squashfs) const DIR: u16 = 1;
    pub(in crate::squashfs) const FILE: u16 = 2;
    pub(in crate::squashfs) const SYMLINK: u16 = 3;
    pub(in crate::squashfs) const BLOCK: u16 = 4;
    pub(in crate::squashfs) const CHAR: u16 = 5;
    pub(in crate::squashfs) const FIFO: u16 = 6;
    pub(in crate::squashfs) const SOCKET: u16 = 7;
    /// Distance between a basic type and its extended form.
    pub(in crate::squashfs) const EXTENDED: u16 = 7;
}

/// Prefixes of attribute names, by the number that stands for them on disk.
pub(super) const XATTR_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

macro_rules! on_disk {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $ty,)* }

        impl OnDisk for $name {
            const NAME: &'static str = stringify!($name);

            fn fields(&self) -> Vec<(usize, &'static str, String)> {
                vec![$({
                    let (at, name) = (std::mem::offset_of!($name, $field), stringify!($field));
                    (at, name, show(name, &self.$field))
                },)*]
            }
        }
    )*};
}

/// A structure that can say what it holds.
pub(super) trait OnDisk: FromBytes + IntoBytes {
    const NAME: &'static str;
    /// Offset, name and value of every field, for a dump.
    fn fields(&self) -> Vec<(usize, &'static str, String)>;
}

/// The value of a field as it is best read.
fn show(name: &str, value: &dyn std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    // The little-endian wrappers print as `U32(7)`.
    let digits: String = text.chars().skip_while(|c| *c != '(').filter(|c| c.is_ascii_digit()).collect();
    let number: u64 = match digits.parse() {
        Ok(number) if !text.contains('-') => number,
        _ if name == "magic" => return String::from_utf8_lossy(&MAGIC).into_owned(),
        _ => return text.replace("I16", "").replace(['(', ')'], ""),
    };
    match name {
        "mode" => format!("{number:#o}"),
        "parent" | "number" | "position" | "level" | "size" | "count" | "dictionary" => number.to_string(),
        _ if number == u64::from(NONE) || number == ABSENT => "none".to_owned(),
        "flags" | "root" | "reference" | "start" | "block" | "bytes_used" => format!("{number:#x}"),
        _ if name.ends_with("_table") => format!("{number:#x}"),
        _ => number.to_string(),
    }
}

on_disk! {
    /// The first 96 bytes.
    struct SuperBlock {
        magic: [u8; 4],
        inode_count: U32,
        mkfs_time: U32,
        block_size: U32,
        fragment_count: U32,
        codec: U16,
        block_log: U16,
        flags: U16,
        id_count: U16,
        major: U16,
        minor: U16,
        root: U64,
        bytes_used: U64,
        id_table: U64,
        xattr_table: U64,
        inode_table: U64,
        directory_table: U64,
        fragment_table: U64,
        export_table: U64,
    }
    /// Options of gzip.
    struct GzipOptions { level: U32, window: U16, strategies: U16, }
    /// Options of xz. Bit 0 of `filters` is x86.
    struct XzOptions { dictionary: U32, filters: U32, }
    /// Options of zstd.
    struct ZstdOptions { level: U32, }
    /// Options of lz4, which are never left out. Bit 0 of `flags` is high compression.
    struct Lz4Options { version: U32, flags: U32, }
    /// Options of lzo: one of the algorithms lzo1x_1, 1_11, 1_12, 1_15 and 999, and the level of the last one.
    struct LzoOptions { algorithm: U32, level: U32, }
    /// What every inode begins with. Owners are indices into the table of owners.
    struct InodeHead { kind: U16, mode: U16, uid: U16, gid: U16, mtime: U32, number: U32, }
    struct BasicDir { block: U32, links: U32, size: U16, offset: U16, parent: U32, }
    /// Followed by `index_count` of [`DirIndex`].
    struct ExtendedDir {
        links: U32,
        size: U32,
        block: U32,
        parent: U32,
        index_count: U16,
        offset: U16,
        xattr: U32,
    }
    /// Followed by a name of `name_size + 1` bytes: the first one behind the header at `position` of the listing.
    struct DirIndex { position: U32, block: U32, name_size: U32, }
    /// Followed by the size words of the blocks.
    struct BasicFile { start: U32, fragment: U32, offset: U32, size: U32, }
    /// Followed by the size words of the blocks.
    struct ExtendedFile {
        start: U64,
        size: U64,
        sparse: U64,
        links: U32,
        fragment: U32,
        offset: U32,
        xattr: U32,
    }
    /// Followed by the target; in the extended form then by the number of the xattr set.
    struct Symlink { links: U32, size: U32, }
    /// In the extended form followed by the number of the xattr set.
    struct Device { links: U32, device: U32, }
    /// A pipe or socket. In the extended form followed by the number of the xattr set.
    struct Pipe { links: U32, }
    /// The number of the xattr set that ends most extended inodes.
    struct XattrNumber { xattr: U32, }
    /// A run of directory entries whose inodes begin in one metadata block.
    struct DirHeader { count: U32, block: U32, number: U32, }
    /// Followed by a name of `name_size + 1` bytes.
    struct DirEntry { offset: U16, number: I16, kind: U16, name_size: U16, }
    struct Fragment { start: U64, size: U32, unused: U32, }
    /// The table of owners is of these.
    struct Id { id: U32, }
    /// A position in a list of positions: of a metadata block or (export table) of an inode.
    struct Position { position: U64, }
    /// Followed by the positions of the blocks that hold the sets.
    struct XattrHeader { start: U64, count: U32, unused: U32, }
    /// One set of attributes: where it lies, how many it has and their length.
    struct XattrSet { reference: U64, count: U32, size: U32, }
    /// Followed by the name without its prefix.
    struct XattrKey { kind: U16, name_size: U16, }
    /// Followed by the value.
    struct XattrValue { size: U32, }
}

const _: () = assert!(size_of::<SuperBlock>() == 96);
const _: () = assert!(std::mem::offset_of!(SuperBlock, root) == 0x20);
const _: () = assert!(std::mem::offset_of!(SuperBlock, export_table) == 0x58);
const _: () = assert!(size_of::<ExtendedFile>() == 40 && size_of::<ExtendedDir>() == 24);

/// Numbers of the codecs in the superblock.
pub(super) mod codec {
    pub(in crate::squashfs) const GZIP: u16 = 1;
    pub(in crate::squashfs) const LZMA: u16 = 2;
    pub(in crate::squashfs) const LZO: u16 = 3;
    pub(in crate::squashfs) const XZ: u16 = 4;
    pub(in crate::squashfs) const LZ4: u16 = 5;
    pub(in crate::squashfs) const ZSTD: u16 = 6;
}

/// The only version of lz4 options: blocks without a frame. Linux calls it `LZ4_LEGACY`.
pub(super) const LZ4_VERSION: u32 = 1;
/// Flag of lz4 options: the blocks were made by the high compression variant.
pub(super) const LZ4_HIGH: u32 = 1;

/// A length in the width of file offsets.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("usize has at most 64 bits")
}

/// A 32-bit number as index or length in memory.
pub(super) fn narrow(number: u32) -> usize {
    usize::try_from(number).expect("usize has at least 32 bits")
}

/// Device numbers as Linux packs them into 32 bits (`new_encode_dev`).
pub(super) fn pack_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Major and minor number of a packed device number.
pub(super) fn unpack_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_round_trip_at_their_limits() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (8, 256), (259, 1_048_575), (4095, 1_048_575)] {
            assert_eq!(unpack_device(pack_device(major, minor)), (major, minor));
        }
        assert_eq!(pack_device(8, 257), 0x0010_0801);
    }
}

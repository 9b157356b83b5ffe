//! What a caller decides about an image, and how the image says so.

use std::fmt;

use zerocopy::IntoBytes;

use super::cache::BlockCache;
use crate::Epoch;
use crate::codec::Codec;
use crate::squashfs::error::OptionsError;
use crate::squashfs::layout::{
    GzipOptions, LZ4_HIGH, LZ4_VERSION, Lz4Options, META_BLOCK, META_RAW, XzOptions, ZstdOptions, codec, flag,
};
use crate::squashfs::sort::Sort;

/// What shapes an image besides the tree.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Bytes of file content that are compressed together: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Codec of everything, as [`codec_for`] reads it. The dictionary of xz is the block size, or one of the smaller sizes that Linux takes:
    /// 8 KiB or more, 2^n or 2^n + 2^(n+1) bytes. Its x86 filter is tried on programs only.
    pub codec: Codec,
    /// Time of the image, and the latest time of anything in it.
    pub epoch: Epoch,
    /// Whether NFS can export the file system: a table from inode numbers to inodes.
    pub export_table: bool,
    /// Which contents come first; without it all have the same priority.
    pub sort: Option<&'a Sort>,
    /// Where compressed blocks are looked for and kept. They are the same with and without.
    pub cache: Option<&'a dyn BlockCache>,
    /// Called with the bytes of content that are written, and their total, after each block.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_size, codec, epoch, export_table, sort, cache: _, progress: _ } = self;
        let sorted = sort.is_some();
        write!(
            f,
            "Options {{ {block_size}, {codec}, {epoch:?}, export_table: {export_table}, sorted: {sorted} }}"
        )
    }
}

/// The codec that `text` names, for blocks of `block_size` bytes: the text form of [`Codec`], in which xz has a
/// dictionary of one block if none is given.
///
/// # Errors
/// The text is no codec, or Linux could not read what it made of such blocks.
pub fn codec_for(text: &str, block_size: u32) -> Result<Codec, OptionsError> {
    let mut codec = text.parse()?;
    if let Codec::Xz { dict_size, .. } = &mut codec
        && !text.contains(":dict=")
    {
        *dict_size = block_size;
    }
    check(codec, block_size)?;
    Ok(codec)
}

fn check(codec: Codec, block_size: u32) -> Result<(), OptionsError> {
    if !block_size.is_power_of_two() || !(4096..=1 << 20).contains(&block_size) {
        return Err(OptionsError::BlockSize(block_size));
    }
    if let Codec::Xz { dict_size, .. } = codec {
        let lowest = dict_size & dict_size.wrapping_neg();
        let shape = dict_size == lowest || dict_size == lowest | lowest << 1;
        let range = (8192..=block_size).contains(&dict_size);
        if dict_size != block_size && !(shape && range) {
            return Err(OptionsError::Dictionary { dict_size, block_size });
        }
    }
    Ok(())
}

impl Options<'_> {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        check(self.codec, self.block_size)
    }

    /// Number of the codec in the superblock.
    pub(super) fn codec_number(&self) -> u16 {
        match self.codec {
            Codec::Gzip { .. } => codec::GZIP,
            Codec::Xz { .. } => codec::XZ,
            Codec::Zstd { .. } => codec::ZSTD,
            Codec::Lz4 { .. } => codec::LZ4,
        }
    }

    /// The metadata block behind the superblock, stored as it is; empty if everything is as readers assume.
    pub(super) fn block(&self) -> Vec<u8> {
        let body = match self.codec {
            Codec::Gzip { level: 9 } | Codec::Zstd { level: 15 } => return Vec::new(),
            Codec::Gzip { level } => {
                let raw =
                    GzipOptions { level: u32::from(level).into(), window: 15.into(), strategies: 0.into() };
                raw.as_bytes().to_vec()
            }
            Codec::Zstd { level } => ZstdOptions { level: u32::from(level).into() }.as_bytes().to_vec(),
            // Linux mounts no lz4 image without them.
            Codec::Lz4 { .. } => {
                Lz4Options { version: LZ4_VERSION.into(), flags: LZ4_HIGH.into() }.as_bytes().to_vec()
            }
            Codec::Xz { x86: false, dict_size, .. } if dict_size == self.block_size => return Vec::new(),
            Codec::Xz { x86, dict_size, .. } => {
                // Linux refuses dictionaries below 8 KiB here and needs no option for them: it takes what metadata needs.
                let dictionary = dict_size.max(u32::try_from(META_BLOCK).expect("8192 fits"));
                XzOptions { dictionary: dictionary.into(), filters: u32::from(x86).into() }
                    .as_bytes()
                    .to_vec()
            }
        };
        let length = u16::try_from(body.len()).expect("options are short");
        [&(length | META_RAW).to_le_bytes()[..], &body].concat()
    }

    /// Flags of the superblock.
    pub(super) fn flags(&self, no_xattrs: bool) -> u16 {
        let mut flags = flag::TAILS_IN_FRAGMENTS | flag::DEDUPLICATED;
        for (set, bit) in [
            (self.export_table, flag::EXPORTABLE),
            (no_xattrs, flag::NO_XATTRS),
            (!self.block().is_empty(), flag::CODEC_OPTIONS),
        ] {
            if set {
                flags |= bit;
            }
        }
        flags
    }
}

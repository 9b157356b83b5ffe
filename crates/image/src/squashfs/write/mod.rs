//! From a tree to an image, in one pass over the contents.

mod cache;
mod cut;
mod data;
mod dir;
mod inode;
mod meta;
mod pack;
mod plan;
mod xattr;

use std::fmt;
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZero;

use zerocopy::IntoBytes;

pub use self::cache::BlockCache;
use self::inode::Inodes;
use self::meta::{Meta, MetaWriter};
use self::plan::Plan;
use super::error::{OptionsError, WriteError};
use super::layout::{
    ABSENT, GzipOptions, Id, MAGIC, META_BLOCK, META_RAW, PADDING, Position, SuperBlock, XattrHeader,
    XzOptions, ZstdOptions, codec, flag, wide,
};
use crate::Epoch;
use crate::codec::Codec;
use crate::digest::Digest;
use crate::tree::{Contents, Tree};

/// What shapes an image besides the tree.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Bytes of file content that are compressed together: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Codec of everything. The dictionary of xz is the block size, or one of the smaller sizes that Linux takes:
    /// 8 KiB or more, 2^n or 2^n + 2^(n+1) bytes. Its x86 filter is tried on programs only.
    pub codec: Codec,
    /// Time of the image, and the latest time of anything in it.
    pub epoch: Epoch,
    /// Whether NFS can export the file system: a table from inode numbers to inodes.
    pub export_table: bool,
    /// Where compressed blocks are looked for and kept. They are the same with and without.
    pub cache: Option<&'a dyn BlockCache>,
    /// Called with the bytes of content that are written, and their total, after each block.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_size, codec, epoch, export_table, cache: _, progress: _ } = self;
        write!(f, "Options {{ {block_size}, {codec}, {epoch:?}, export_table: {export_table} }}")
    }
}

/// An image that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes, a multiple of 4096.
    pub size: u64,
    /// Length without the padding.
    pub bytes_used: u64,
    /// Bytes of file content, each content counted once.
    pub content_bytes: u64,
    /// Inodes; hard links are one.
    pub inodes: u32,
    /// Blocks in which the ends of files are gathered.
    pub fragments: u32,
}

/// Writes `tree` as an image that begins at the present position of `out`, and leaves `out` at its end.
///
/// Checks size and digest of every content it compresses; what is found in the cache of the options is not read at
/// all. Contents may not change meanwhile. Compresses on `jobs` threads; the bytes do not depend on their number. Holds
/// at most `4 * jobs` MiB of content, and the compressed metadata. The first 96 bytes are zeros until all else is
/// written, so what an interrupted call leaves is no image.
///
/// # Errors
/// [`WriteError`] names the file or option at fault. Then the state of `out` is undefined.
pub fn write(
    tree: &Tree,
    contents: &dyn Contents,
    options: &Options<'_>,
    jobs: NonZero<usize>,
    out: &mut (impl Write + Seek),
) -> Result<Written, WriteError> {
    check_options(options)?;
    let plan = Plan::new(tree)?;
    let base = out.stream_position().map_err(|source| WriteError::Output { at: 0, source })?;
    let mut output = Output { out, at: 0 };
    output.put(&[0; size_of::<SuperBlock>()])?;
    let codec_options = codec_options(options);
    output.put(&codec_options)?;
    let data = data::write(&plan.wanted, contents, options, jobs, &mut output)?;
    let inodes = inode::write(&plan, &data.stored, options.codec, options.epoch)?;
    let mut head = SuperBlock {
        magic: MAGIC,
        inode_count: plan.inode_count.into(),
        mkfs_time: options.epoch.0.into(),
        block_size: options.block_size.into(),
        fragment_count: u32::try_from(data.fragments.len()).expect("fragments are counted").into(),
        codec: codec_number(options.codec).into(),
        block_log: u16::try_from(options.block_size.ilog2()).expect("a logarithm is below 32").into(),
        flags: flags(options, &plan, !codec_options.is_empty()).into(),
        id_count: u16::try_from(plan.ids.len()).expect("owners are counted").into(),
        major: 4.into(),
        minor: 0.into(),
        root: inodes.root.reference().into(),
        bytes_used: 0.into(),
        id_table: ABSENT.into(),
        xattr_table: ABSENT.into(),
        inode_table: ABSENT.into(),
        directory_table: ABSENT.into(),
        fragment_table: ABSENT.into(),
        export_table: ABSENT.into(),
    };
    put_tables(&mut output, &mut head, &plan, &data, &inodes, options)?;
    let bytes_used = output.at();
    head.bytes_used = bytes_used.into();
    let size = bytes_used.next_multiple_of(PADDING);
    output.put(&vec![0; usize::try_from(size - bytes_used).expect("padding is short")])?;
    let failed = |source| WriteError::Output { at: 0, source };
    out.seek(SeekFrom::Start(base)).map_err(failed)?;
    out.write_all(head.as_bytes()).map_err(failed)?;
    out.seek(SeekFrom::Start(base + size)).map_err(failed)?;
    Ok(Written {
        size,
        bytes_used,
        content_bytes: plan.wanted.iter().map(|file| file.content.size).sum(),
        inodes: plan.inode_count,
        fragments: head.fragment_count.get(),
    })
}

/// Compresses the contents of `tree` into the cache of `options` and writes no image: for a tree that is known before
/// the one that will be packed, and much like it.
///
/// # Errors
/// As [`write()`].
pub fn warm(
    tree: &Tree,
    contents: &dyn Contents,
    options: &Options<'_>,
    jobs: NonZero<usize>,
) -> Result<(), WriteError> {
    check_options(options)?;
    let plan = Plan::new(tree)?;
    let mut output = Output { out: &mut std::io::sink(), at: 0 };
    data::write(&plan.wanted, contents, options, jobs, &mut output).map(drop)
}

/// The names under which [`write()`] will look in the cache of `options`, in order: for whoever can fetch entries faster
/// than they are asked for. No content is read.
///
/// # Errors
/// [`WriteError`] if no image can be written of `tree`.
pub fn keys(tree: &Tree, options: &Options<'_>) -> Result<Vec<Digest>, WriteError> {
    check_options(options)?;
    let plan = Plan::new(tree)?;
    let key = |unit: &cut::Unit| cache::key(unit, &plan.wanted, options.codec, options.block_size);
    cut::Cutter::new(&plan.wanted, options.block_size).map(|unit| Ok(key(&unit?))).collect()
}

/// Counts what goes out.
struct Output<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl Output<'_> {
    /// Bytes since the beginning of the image.
    fn at(&self) -> u64 {
        self.at
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(|source| WriteError::Output { at: self.at, source })?;
        self.at += wide(bytes.len());
        Ok(())
    }

    /// Writes the blocks of a table, then the list of their positions; returns where the list is.
    fn put_listed(&mut self, meta: &Meta) -> Result<u64, WriteError> {
        let start = self.at;
        self.put(&meta.stored)?;
        let list = self.at;
        self.put_positions(start, meta)?;
        Ok(list)
    }

    fn put_positions(&mut self, start: u64, meta: &Meta) -> Result<(), WriteError> {
        for block in &meta.starts {
            self.put(Position { position: (start + block).into() }.as_bytes())?;
        }
        Ok(())
    }
}

/// Writes everything behind the data, in the only order Linux accepts, and notes where it is.
fn put_tables(
    output: &mut Output<'_>,
    head: &mut SuperBlock,
    plan: &Plan<'_>,
    data: &data::Data,
    inodes: &Inodes,
    options: &Options<'_>,
) -> Result<(), WriteError> {
    let codec = options.codec;
    head.inode_table = output.at().into();
    output.put(&inodes.inodes.stored)?;
    head.directory_table = output.at().into();
    output.put(&inodes.directories.stored)?;
    // Linux reads the position of this table even if it is empty.
    head.fragment_table = output.put_listed(&table(codec, &data.fragments)?)?.into();
    if options.export_table {
        let places: Vec<_> =
            inodes.places.iter().map(|place| Position { position: place.reference().into() }).collect();
        head.export_table = output.put_listed(&table(codec, &places)?)?.into();
    }
    let ids: Vec<_> = plan.ids.keys().map(|id| Id { id: (*id).into() }).collect();
    head.id_table = output.put_listed(&table(codec, &ids)?)?.into();
    if let Some(xattrs) = xattr::write(plan, codec)? {
        let start = output.at();
        output.put(&xattrs.pairs.stored)?;
        let sets = output.at();
        output.put(&xattrs.sets.stored)?;
        head.xattr_table = output.at().into();
        let header = XattrHeader { start: start.into(), count: xattrs.count.into(), unused: 0.into() };
        output.put(header.as_bytes())?;
        output.put_positions(sets, &xattrs.sets)?;
    }
    Ok(())
}

fn table<T: IntoBytes + zerocopy::Immutable>(codec: Codec, entries: &[T]) -> Result<Meta, WriteError> {
    let mut meta = MetaWriter::new(codec);
    meta.put(entries.as_bytes())?;
    meta.finish()
}

fn check_options(options: &Options<'_>) -> Result<(), OptionsError> {
    let block_size = options.block_size;
    if !block_size.is_power_of_two() || !(4096..=1 << 20).contains(&block_size) {
        return Err(OptionsError::BlockSize(block_size));
    }
    if let Codec::Xz { dict_size, .. } = options.codec {
        let lowest = dict_size & dict_size.wrapping_neg();
        let shape = dict_size == lowest || dict_size == lowest | lowest << 1;
        let range = (8192..=block_size).contains(&dict_size);
        if dict_size != block_size && !(shape && range) {
            return Err(OptionsError::Dictionary { dict_size, block_size });
        }
    }
    Ok(())
}

fn codec_number(codec: Codec) -> u16 {
    match codec {
        Codec::Gzip { .. } => codec::GZIP,
        Codec::Xz { .. } => codec::XZ,
        Codec::Zstd { .. } => codec::ZSTD,
    }
}

/// The metadata block behind the superblock, stored as it is; empty if everything is as readers assume.
fn codec_options(options: &Options<'_>) -> Vec<u8> {
    let body = match options.codec {
        Codec::Gzip { level: 9 } | Codec::Zstd { level: 15 } => return Vec::new(),
        Codec::Gzip { level } => {
            let raw = GzipOptions { level: u32::from(level).into(), window: 15.into(), strategies: 0.into() };
            raw.as_bytes().to_vec()
        }
        Codec::Zstd { level } => ZstdOptions { level: u32::from(level).into() }.as_bytes().to_vec(),
        Codec::Xz { x86: false, dict_size, .. } if dict_size == options.block_size => return Vec::new(),
        Codec::Xz { x86, dict_size, .. } => {
            // Linux refuses dictionaries below 8 KiB here and needs no option for them: it takes what metadata needs.
            let dictionary = dict_size.max(u32::try_from(META_BLOCK).expect("8192 fits"));
            XzOptions { dictionary: dictionary.into(), filters: u32::from(x86).into() }.as_bytes().to_vec()
        }
    };
    let length = u16::try_from(body.len()).expect("options are short");
    [&(length | META_RAW).to_le_bytes()[..], &body].concat()
}

fn flags(options: &Options<'_>, plan: &Plan<'_>, codec_options: bool) -> u16 {
    let mut flags = flag::TAILS_IN_FRAGMENTS | flag::DEDUPLICATED;
    for (set, bit) in [
        (options.export_table, flag::EXPORTABLE),
        (plan.xattrs.is_empty(), flag::NO_XATTRS),
        (codec_options, flag::CODEC_OPTIONS),
    ] {
        if set {
            flags |= bit;
        }
    }
    flags
}

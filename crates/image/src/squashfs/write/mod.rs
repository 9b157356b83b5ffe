//! From a tree to an image, in one pass over the contents.

mod cache;
mod cut;
mod data;
mod dir;
mod inode;
mod meta;
mod options;
mod pack;
mod plan;
mod xattr;

use std::io::{Seek, SeekFrom, Write};
use std::num::NonZero;

use zerocopy::IntoBytes;

pub use self::cache::BlockCache;
use self::inode::Inodes;
use self::meta::{Meta, MetaWriter};
pub use self::options::{Options, codec_for};
use self::plan::Plan;
use super::error::WriteError;
use super::layout::{ABSENT, Id, MAGIC, PADDING, Position, SuperBlock, XattrHeader, wide};
use crate::codec::Codec;
use crate::digest::Digest;
use crate::tree::{Contents, Tree};

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
    options.check()?;
    let plan = Plan::new(tree, options.sort)?;
    let base = out.stream_position().map_err(|source| WriteError::Output { at: 0, source })?;
    let mut output = Output { out, at: 0 };
    output.put(&[0; size_of::<SuperBlock>()])?;
    let codec_options = options.block();
    output.put(&codec_options)?;
    let data = data::write(&plan.wanted, contents, options, jobs, &mut output)?;
    let inodes = inode::write(&plan, &data.stored, options.codec, options.epoch)?;
    let mut head = SuperBlock {
        magic: MAGIC,
        inode_count: plan.inode_count.into(),
        mkfs_time: options.epoch.0.into(),
        block_size: options.block_size.into(),
        fragment_count: u32::try_from(data.fragments.len()).expect("fragments are counted").into(),
        codec: options.codec_number().into(),
        block_log: u16::try_from(options.block_size.ilog2()).expect("a logarithm is below 32").into(),
        flags: options.flags(plan.xattrs.is_empty()).into(),
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
    options.check()?;
    let plan = Plan::new(tree, options.sort)?;
    let mut output = Output { out: &mut std::io::sink(), at: 0 };
    data::write(&plan.wanted, contents, options, jobs, &mut output).map(drop)
}

/// The names under which [`write()`] will look in the cache of `options`, in order: for whoever can fetch entries faster
/// than they are asked for. No content is read.
///
/// # Errors
/// [`WriteError`] if no image can be written of `tree`.
pub fn keys(tree: &Tree, options: &Options<'_>) -> Result<Vec<Digest>, WriteError> {
    options.check()?;
    let plan = Plan::new(tree, options.sort)?;
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

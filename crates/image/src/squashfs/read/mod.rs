//! From an image to a tree.
//!
//! Nothing in an image is trusted. Lengths are compared with what there is before memory is taken, references with
//! the table they point into, and every loop ends with its input.

mod compression;
mod dir;
mod file;
mod inode;
mod meta;
mod tree;
mod xattr;

use std::sync::Arc;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use self::meta::Cache;
use super::error::{Corruption, Error};
use super::layout::{ABSENT, Id, MAGIC, META_BLOCK, Position, SuperBlock, XattrHeader, flag, narrow, wide};
use crate::io::ReadAt;

pub use self::compression::Compression;
pub(super) use self::dir::Listed;
pub use self::file::{File, FileRef, Files};
pub(super) use self::inode::{Body, DirBody, Inode};
use self::meta::MetaBlock;
pub(super) use self::meta::{Cursor, Region};
pub(super) use self::xattr::Xattrs;

/// Plain metadata blocks that are kept: 2 MiB.
const META_ROOM: usize = 256;
/// Plain fragments that are kept: 8 MiB at most. Files that follow each other share them.
const FRAGMENT_ROOM: usize = 8;

/// An opened image. A clone refers to the same source and caches.
#[derive(Debug)]
pub struct Image<R> {
    pub(super) inner: Arc<Inner<R>>,
}

impl<R> Clone for Image<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// What clones share.
#[derive(Debug)]
pub(super) struct Inner<R> {
    source: R,
    pub(super) head: SuperBlock,
    pub(super) compression: Compression,
    pub(super) ids: Vec<u32>,
    pub(super) xattrs: Option<XattrHeader>,
    meta: Cache<MetaBlock>,
    fragments: Cache<Vec<u8>>,
}

impl<R: ReadAt> Image<R> {
    /// Checks the superblock and reads the table of owners.
    ///
    /// # Errors
    /// The first rule of the format that is broken. Versions other than 4.0 are unsupported.
    pub fn open(source: R) -> Result<Self, Error> {
        let have = source.size().map_err(|source| Error::Io { at: 0, len: 0, source })?;
        let mut head = SuperBlock::new_zeroed();
        let need = wide(size_of::<SuperBlock>());
        if have < need {
            return Err(Error::Corrupt { at: 0, kind: Corruption::Truncated { need, have } });
        }
        let read = source.read_exact_at(head.as_mut_bytes(), 0);
        read.map_err(|source| Error::Io { at: 0, len: need, source })?;
        let compression = check_head(&head, have)?;
        let mut inner = Inner {
            source,
            head,
            compression,
            ids: Vec::new(),
            xattrs: None,
            meta: Cache::new(META_ROOM),
            fragments: Cache::new(FRAGMENT_ROOM),
        };
        let count = u64::from(head.id_count.get());
        for index in 0..count {
            let id: Id = inner.entry("id", head.id_table.get(), index, count)?;
            inner.ids.push(id.id.get());
        }
        if head.xattr_table.get() != ABSENT {
            let mut header = XattrHeader::new_zeroed();
            inner.read(head.xattr_table.get(), header.as_mut_bytes())?;
            inner.xattrs = Some(header);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What its blocks are compressed with.
    pub fn compression(&self) -> Compression {
        self.inner.compression
    }

    /// Bytes of file content that are compressed together.
    pub fn block_size(&self) -> u32 {
        self.inner.head.block_size.get()
    }

    /// Time of the image in seconds since 1970-01-01 UTC.
    pub fn mkfs_time(&self) -> u32 {
        self.inner.head.mkfs_time.get()
    }

    /// Length of the image without padding.
    pub fn bytes_used(&self) -> u64 {
        self.inner.head.bytes_used.get()
    }
}

fn check_head(head: &SuperBlock, have: u64) -> Result<Compression, Error> {
    let corrupt = |at: usize, kind| Err(Error::Corrupt { at: wide(at), kind });
    let unsupported = |at: usize, feature| Err(Error::Unsupported { at: wide(at), feature });
    macro_rules! at {
        ($field:ident) => {
            std::mem::offset_of!(SuperBlock, $field)
        };
    }
    if head.magic == *b"sqsh" {
        return unsupported(at!(magic), "big-endian images");
    }
    if head.magic != MAGIC {
        return corrupt(at!(magic), Corruption::Magic { found: head.magic });
    }
    if (head.major.get(), head.minor.get()) != (4, 0) {
        return unsupported(at!(major), "versions other than 4.0");
    }
    let (size, log) = (head.block_size.get(), head.block_log.get());
    if !(12..=20).contains(&log) || size != 1 << log {
        return corrupt(at!(block_size), Corruption::BlockSize { size, log });
    }
    let Some(compression) = Compression::from_number(head.codec.get()) else {
        return unsupported(at!(codec), "unknown codec");
    };
    let used = head.bytes_used.get();
    if used > have || used < wide(size_of::<SuperBlock>()) {
        return corrupt(at!(bytes_used), Corruption::Truncated { need: used, have });
    }
    let optional = [
        (at!(xattr_table), "xattr", head.xattr_table, false),
        (at!(fragment_table), "fragment", head.fragment_table, head.fragment_count.get() != 0),
        (at!(export_table), "export", head.export_table, head.flags.get() & flag::EXPORTABLE != 0),
        (at!(id_table), "id", head.id_table, true),
        (at!(inode_table), "inode", head.inode_table, true),
        (at!(directory_table), "directory", head.directory_table, true),
    ];
    for (at, table, start, needed) in optional {
        let start = start.get();
        let inside = (wide(size_of::<SuperBlock>())..=used).contains(&start);
        if !inside && (needed || start != ABSENT) {
            return corrupt(at, Corruption::Table { table, at: start, have: used });
        }
    }
    Ok(compression)
}

impl<R: ReadAt> Inner<R> {
    /// Bytes in a block.
    pub(super) fn block_size(&self) -> usize {
        narrow(self.head.block_size.get())
    }

    /// Fills `buf` from byte `at` of the image on.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        let (len, have) = (wide(buf.len()), self.head.bytes_used.get());
        let need = at.saturating_add(len);
        if need > have {
            return Err(Error::Corrupt { at, kind: Corruption::Truncated { need, have } });
        }
        self.read_raw(at, buf)
    }

    /// Fills `buf` from byte `at` of the source on, beyond the end of the image too.
    pub(super) fn read_raw(&self, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        let len = wide(buf.len());
        self.source.read_exact_at(buf, at).map_err(|source| Error::Io { at, len, source })
    }

    /// The plain form of `stored`, which lies at `at` and may have `limit` plain bytes.
    fn decompress(&self, at: u64, stored: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        self.compression.decompress(stored, limit).map_err(|error| {
            let (stored, message) = (wide(stored.len()), error.to_string());
            Error::Corrupt { at, kind: Corruption::Undecodable { stored, message } }
        })
    }

    /// Entry `index` of `count` in a table whose blocks are listed from byte `list` on.
    pub(super) fn entry<T: FromBytes + IntoBytes>(
        &self,
        table: &'static str,
        list: u64,
        index: u64,
        count: u64,
    ) -> Result<T, Error> {
        if index >= count {
            return Err(Error::Corrupt { at: list, kind: Corruption::Index { table, index, count } });
        }
        let byte = index * wide(size_of::<T>());
        let at = list.saturating_add(byte / wide(META_BLOCK) * wide(size_of::<Position>()));
        let mut position = Position::new_zeroed();
        self.read(at, position.as_mut_bytes())?;
        let region = Region { table, start: 0, end: self.head.bytes_used.get() };
        let block = position.position.get();
        if block >= region.end {
            return Err(Error::Corrupt {
                at,
                kind: Corruption::Table { table, at: block, have: region.end },
            });
        }
        self.cursor(region, (block << 16) | (byte % wide(META_BLOCK))).raw()
    }
}

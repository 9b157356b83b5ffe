//! Reading all segments.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use super::InitramfsError;
use crate::codec::Wrapping;
use crate::cpio::{self, Extent};
use crate::digest::Digest;
use crate::io::{ReadAt, Window, wide};
use crate::tree::{Content, Contents, Tree};

/// One cpio archive, or one compressed stream of them.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Offset in the initramfs.
    pub at: u64,
    /// Length in the initramfs in bytes, without padding after it.
    pub packed: u64,
    /// How it is compressed.
    pub wrapping: Wrapping,
    /// The trees of its archives, nearly always one. Leaves are numbered in the order of the walk.
    pub trees: Vec<Tree>,
    plain: Arc<Vec<u8>>,
    extents: BTreeMap<Digest, Extent>,
}

impl Segment {
    /// The plain bytes: the archives with their padding.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }
}

impl Contents for Segment {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        match self.extents.get(&content.digest) {
            Some(extent) => Ok(Arc::new(Window::new(Arc::clone(&self.plain), extent.at, extent.size))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no content {}", content.digest))),
        }
    }
}

/// Reads all segments with the bytes of their files into memory; more than `limit` plain bytes together are an error.
pub fn read(source: &impl ReadAt, limit: u64) -> Result<Vec<Segment>, InitramfsError> {
    let mut segments = Vec::new();
    let mut left = limit;
    let mut at = 0;
    while let Some(start) = skip_zeros(source, at)? {
        let segment = segment(source, start, left)?;
        left = left.saturating_sub(wide(segment.plain.len()));
        at = start + segment.packed;
        segments.push(segment);
    }
    Ok(segments)
}

/// Where each segment lies, and every header of its archives as [`cpio::dump`] prints them.
///
/// Offsets of headers count from the start of the segment's plain bytes.
pub fn dump(source: &impl ReadAt, limit: u64) -> Result<String, InitramfsError> {
    let mut out = String::new();
    for segment in read(source, limit)? {
        let Segment { at, packed, wrapping, plain, .. } = &segment;
        let _ = writeln!(out, "segment at {at:#x}: {packed} bytes, {wrapping:?}, {} plain", plain.len());
        let mut inner = 0;
        while let Some(start) = skip_zeros(&**plain, inner)? {
            let archive_error = |source| InitramfsError::Archive { at: *at, source };
            out.push_str(&cpio::dump(&**plain, start).map_err(archive_error)?);
            inner = cpio::read(&**plain, start).map_err(archive_error)?.end;
        }
    }
    Ok(out)
}

/// The offset of the first byte from `at` on that is not zero; `None` if there is none.
fn skip_zeros(source: &impl ReadAt, at: u64) -> Result<Option<u64>, InitramfsError> {
    crate::io::skip_zeros(source, at).map_err(|source| InitramfsError::Io { at, source })
}

fn start_of(source: &impl ReadAt, at: u64) -> Result<Vec<u8>, InitramfsError> {
    let io_error = |source| InitramfsError::Io { at, source };
    let left = source.size().map_err(io_error)?.saturating_sub(at).min(6);
    let mut start = vec![0; usize::try_from(left).expect("at most six")];
    source.read_exact_at(&mut start, at).map_err(io_error)?;
    Ok(start)
}

fn segment(source: &impl ReadAt, at: u64, limit: u64) -> Result<Segment, InitramfsError> {
    let start = start_of(source, at)?;
    let unpack = |source| InitramfsError::Unpack { at, source };
    let wrapping = Wrapping::detect(&start);
    let (plain, end) = match wrapping {
        Wrapping::None if start.starts_with(b"0707") => {
            if !at.is_multiple_of(4) {
                return Err(InitramfsError::Misaligned(at));
            }
            let archive = cpio::read(source, at);
            let end = archive.map_err(|source| InitramfsError::Archive { at, source })?.end;
            let window = Window::new(source, at, end - at);
            Wrapping::None.unpack_one(&window, 0, limit).map(|(plain, length)| (plain, at + length))
        }
        Wrapping::None => return Err(unknown(at, start)),
        _ => wrapping.unpack_one(source, at, limit),
    }
    .map_err(unpack)?;
    let (trees, extents) = archives(at, &plain)?;
    Ok(Segment { at, packed: end - at, wrapping, trees, plain: Arc::new(plain), extents })
}

/// Names compressions that the kernel may know (`lib/decompress.c`).
fn unknown(at: u64, found: Vec<u8>) -> InitramfsError {
    let name = match found[..] {
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        [0x89, b'L', b'Z', b'O', ..] => "lzo",
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0x5d, 0, 0, ..] => "lzma",
        _ => return InitramfsError::Junk { at, found },
    };
    InitramfsError::Compression { at, name }
}

/// The archives in the plain bytes of the segment at `at`.
fn archives(at: u64, plain: &[u8]) -> Result<(Vec<Tree>, BTreeMap<Digest, Extent>), InitramfsError> {
    let mut trees = Vec::new();
    let mut extents = BTreeMap::new();
    let mut inner = 0;
    while let Some(start) = skip_zeros(&plain, inner)? {
        let found = start_of(&plain, start)?;
        if !found.starts_with(b"0707") || !start.is_multiple_of(4) {
            return Err(InitramfsError::JunkInside { at, inner: start, found });
        }
        let archive_error = |source| InitramfsError::Archive { at, source };
        let archive = cpio::read(&plain, start).map_err(archive_error)?;
        inner = archive.end;
        let tree = archive.tree.try_map(|extent| {
            let io_error = |source| InitramfsError::Io { at: extent.at, source };
            let mut bytes = crate::io::Cursor::new(Window::new(plain, extent.at, extent.size), 0);
            let (digest, size) = Digest::of_reader(&mut bytes).map_err(io_error)?;
            extents.insert(digest, extent);
            Ok(Content { size, digest })
        });
        let mut tree = tree?;
        tree.compact();
        trees.push(tree);
    }
    Ok((trees, extents))
}

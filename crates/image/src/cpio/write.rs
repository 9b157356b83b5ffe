//! Writing the one canonical archive of a tree. The choices are in `docs/formats/cpio.md`.

use std::io::{self, Write};

use super::header::Header;
use super::{HEADER, MAX_NAME, TRAILER, padding};
use crate::epoch::Epoch;
use crate::io::wide;
use crate::tar::{CopyError, copy};
use crate::tree::{Content, Contents, Dir, Item, Kind, LeafId, Meta, Node, Tree};

/// The archive is padded with zeros to a multiple of this.
const RECORD: u64 = 512;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file is longer than the format can say: 4 GiB.
    #[error("{:?} has {size} bytes, the format ends at {}", String::from_utf8_lossy(.path), u32::MAX)]
    TooLong {
        /// Path of the file in the tree.
        path: Vec<u8>,
        /// Its size in bytes.
        size: u64,
    },
    /// The kernel would skip the name, or take it for the end of the archive.
    #[error("{:?} cannot be a name in a cpio archive", String::from_utf8_lossy(.0))]
    Name(Vec<u8>),
    /// The bytes of a file could not be had.
    #[error("cannot read the content of {:?}", String::from_utf8_lossy(.path))]
    Content {
        /// Path of the file in the tree.
        path: Vec<u8>,
        /// Why.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Output(#[source] io::Error),
}

/// The length in bytes of the archive that [`write()`] makes of `tree`, without reading any content.
pub fn length(tree: &Tree) -> Result<u64, WriteError> {
    let mut names = Names::new(tree);
    let mut total = entry_length(TRAILER, 0);
    tree.walk(|path, entry| {
        let (name, size) = match entry.item {
            Item::Dir(_) => (dir_name(path), 0),
            Item::Leaf(id, kind) => (path, body_size(kind, names.next(id).last)),
        };
        total += entry_length(name, size);
        Ok::<(), WriteError>(())
    })?;
    Ok(total.next_multiple_of(RECORD))
}

/// Writes `tree` and gives the length of the archive in bytes. No time in it is later than `epoch`.
///
/// The bytes depend on the tree, the contents and the epoch alone.
pub fn write(
    tree: &Tree,
    contents: &dyn Contents,
    epoch: Epoch,
    out: &mut impl Write,
) -> Result<u64, WriteError> {
    let mut writer = Writer { out, at: 0, epoch, inodes: Inodes(0), names: Names::new(tree) };
    tree.walk(|path, entry| match entry.item {
        Item::Dir(dir) => writer.dir(path, dir),
        Item::Leaf(id, kind) => writer.leaf(path, id, kind, entry.meta, contents),
    })?;
    writer.entry(TRAILER, Header { nlink: 1, ..Header::default() })?;
    writer.zeros(writer.at.next_multiple_of(RECORD) - writer.at)?;
    Ok(writer.at)
}

fn dir_name(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Bytes of data with a name of this inode. A file comes with the last of its names, like GNU cpio does it; the
/// kernel makes symbolic links without regard to their inode, so each has its target.
fn body_size(kind: &Kind, last: bool) -> u64 {
    match kind {
        Kind::File(content) if last => content.size,
        Kind::Symlink(target) => wide(target.len()),
        _ => 0,
    }
}

fn entry_length(name: &[u8], size: u64) -> u64 {
    let head = HEADER + wide(name.len()) + 1;
    head + padding(head) + size + padding(size)
}

/// Counts the names of each leaf while the tree is walked.
struct Names {
    total: Vec<u32>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    names: u32,
    /// Number of the inode, known from the first name on.
    inode: Option<u32>,
}

struct Turn {
    links: u32,
    last: bool,
}

impl Names {
    fn new(tree: &Tree) -> Self {
        let total = tree.link_counts();
        let seen = vec![Seen::default(); total.len()];
        Self { total, seen }
    }

    /// The next name of leaf `id`.
    fn next(&mut self, id: LeafId) -> Turn {
        let links = self.total[id.index()];
        let seen = &mut self.seen[id.index()];
        seen.names += 1;
        Turn { links, last: seen.names == links }
    }
}

/// Numbers inodes from 0 on in the order of their first names, as `cpio --renumber-inodes` does it.
struct Inodes(u32);

impl Inodes {
    fn next(&mut self) -> u32 {
        let number = self.0;
        self.0 += 1;
        number
    }
}

struct Writer<'a, W> {
    out: &'a mut W,
    at: u64,
    epoch: Epoch,
    inodes: Inodes,
    names: Names,
}

impl<W: Write> Writer<'_, W> {
    fn dir(&mut self, path: &[u8], dir: &Dir) -> Result<(), WriteError> {
        let below = dir.entries().filter(|(_, node)| matches!(node, Node::Dir(_))).count();
        let nlink = u32::try_from(below).unwrap_or(u32::MAX).saturating_add(2);
        let ino = self.inodes.next();
        let header = Header { ino, nlink, ..self.meta(&dir.meta, 0o040_000) };
        self.named(path, dir_name(path), header)
    }

    fn leaf(
        &mut self,
        path: &[u8],
        id: LeafId,
        kind: &Kind,
        meta: &Meta,
        contents: &dyn Contents,
    ) -> Result<(), WriteError> {
        let turn = self.names.next(id);
        let ino = match self.names.seen[id.index()].inode {
            Some(ino) => ino,
            None => *self.names.seen[id.index()].inode.insert(self.inodes.next()),
        };
        let file_type = match kind {
            Kind::File(_) => 0o100_000,
            Kind::Symlink(_) => 0o120_000,
            Kind::Block { .. } => 0o060_000,
            Kind::Char { .. } => 0o020_000,
            Kind::Fifo => 0o010_000,
            Kind::Socket => 0o140_000,
        };
        let (rdevmajor, rdevminor) = match kind {
            Kind::Block { major, minor } | Kind::Char { major, minor } => (*major, *minor),
            _ => (0, 0),
        };
        let size = body_size(kind, turn.last);
        let filesize = u32::try_from(size).map_err(|_| WriteError::TooLong { path: path.to_vec(), size })?;
        let header =
            Header { ino, nlink: turn.links, filesize, rdevmajor, rdevminor, ..self.meta(meta, file_type) };
        self.named(path, path, header)?;
        match kind {
            Kind::File(content) if turn.last => self.content(path, content, contents)?,
            Kind::Symlink(target) => self.put(target)?,
            _ => {}
        }
        self.zeros(padding(size))
    }

    fn meta(&self, meta: &Meta, file_type: u32) -> Header {
        Header {
            mode: file_type | u32::from(meta.mode),
            uid: meta.uid,
            gid: meta.gid,
            mtime: self.epoch.clamp(meta.mtime),
            ..Header::default()
        }
    }

    fn named(&mut self, path: &[u8], name: &[u8], header: Header) -> Result<(), WriteError> {
        if wide(name.len()) > MAX_NAME || name == TRAILER {
            return Err(WriteError::Name(path.to_vec()));
        }
        self.entry(name, header)
    }

    fn entry(&mut self, name: &[u8], header: Header) -> Result<(), WriteError> {
        let namesize = u32::try_from(name.len() + 1).expect("names have at most 4095 bytes");
        self.put(&Header { namesize, ..header }.to_bytes())?;
        self.put(name)?;
        let head = HEADER + wide(name.len()) + 1;
        self.zeros(1 + padding(head))
    }

    fn content(&mut self, path: &[u8], content: &Content, contents: &dyn Contents) -> Result<(), WriteError> {
        match copy(content, contents, self.out) {
            Ok(()) => {
                self.at += content.size;
                Ok(())
            }
            Err(CopyError::Content(source)) => Err(WriteError::Content { path: path.to_vec(), source }),
            Err(CopyError::Output(source)) => Err(WriteError::Output(source)),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(WriteError::Output)?;
        self.at += wide(bytes.len());
        Ok(())
    }

    fn zeros(&mut self, count: u64) -> Result<(), WriteError> {
        let count = usize::try_from(count).expect("less than a record");
        self.put(&[0; 512][..count])
    }
}

//! Writing the one canonical tar archive of a tree. The choices are in `docs/formats/tar.md`.

use std::io::{self, Write};

use super::header::{checksum, padding};
use super::{BLOCK, number, pax};
use crate::epoch::Epoch;
use crate::io::{ReadAt, wide};
use crate::tree::{Content, Contents, Item, Kind, LeafId, Meta, Tree};

/// The archive is padded with zeros to a multiple of this: GNU tar's record.
const RECORD: u64 = 10_240;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The archive format has no sockets.
    #[error("{:?} is a socket, which a tar archive cannot hold", String::from_utf8_lossy(.0))]
    Socket(Vec<u8>),
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

/// Writes `tree` and gives the length of the archive in bytes. No time in it is later than `epoch`.
///
/// The bytes depend on the tree, the contents and the epoch alone.
pub fn write(
    tree: &Tree,
    contents: &dyn Contents,
    epoch: Epoch,
    out: &mut impl Write,
) -> Result<u64, WriteError> {
    let mut writer = Writer { out, at: 0, epoch, first_names: vec![None; tree.leaves().len()] };
    tree.walk(|path, entry| match entry.item {
        Item::Dir(_) => writer.entry(&name(path, true), b'5', entry.meta, &Body::default()),
        Item::Leaf(id, kind) => writer.leaf(path, id, kind, entry.meta, contents),
    })?;
    let end = writer.at + 2 * BLOCK;
    writer.zeros(end.next_multiple_of(RECORD) - writer.at)?;
    Ok(writer.at)
}

/// `./` before every name, so that the root has an entry too; `/` after those of directories.
fn name(path: &[u8], dir: bool) -> Vec<u8> {
    let mut name = b"./".to_vec();
    name.extend_from_slice(path);
    if dir && !path.is_empty() {
        name.push(b'/');
    }
    name
}

/// What an entry has beside its name and metadata.
#[derive(Default)]
struct Body<'a> {
    link: &'a [u8],
    size: u64,
    device: (u32, u32),
}

struct Writer<'a, W> {
    out: &'a mut W,
    at: u64,
    epoch: Epoch,
    /// The name under which each leaf was written, once it was.
    first_names: Vec<Option<Vec<u8>>>,
}

impl<W: Write> Writer<'_, W> {
    fn leaf(
        &mut self,
        path: &[u8],
        id: LeafId,
        kind: &Kind,
        meta: &Meta,
        contents: &dyn Contents,
    ) -> Result<(), WriteError> {
        let name = name(path, false);
        if let Some(first) = self.first_names[id.index()].take() {
            let result = self.entry(&name, b'1', meta, &Body { link: &first, ..Body::default() });
            self.first_names[id.index()] = Some(first);
            return result;
        }
        let (flag, body) = match kind {
            Kind::File(content) => (b'0', Body { size: content.size, ..Body::default() }),
            Kind::Symlink(target) => (b'2', Body { link: target, ..Body::default() }),
            Kind::Char { major, minor } => (b'3', Body { device: (*major, *minor), ..Body::default() }),
            Kind::Block { major, minor } => (b'4', Body { device: (*major, *minor), ..Body::default() }),
            Kind::Fifo => (b'6', Body::default()),
            Kind::Socket => return Err(WriteError::Socket(path.to_vec())),
        };
        self.entry(&name, flag, meta, &body)?;
        if let Kind::File(content) = kind {
            self.content(path, content, contents)?;
        }
        self.first_names[id.index()] = Some(name);
        Ok(())
    }

    /// Writes the header of an entry, after a PAX header with what does not fit into it.
    fn entry(&mut self, name: &[u8], flag: u8, meta: &Meta, body: &Body<'_>) -> Result<(), WriteError> {
        let mut records = Vec::new();
        // Like GNU tar: a PAX path is UTF-8 by definition, bytes outside ASCII in a header mean nothing for sure.
        let needs_record = |text: &[u8]| text.len() > 100 || !text.is_ascii();
        if needs_record(body.link) {
            pax::record(&mut records, b"linkpath", body.link);
        }
        if needs_record(name) {
            pax::record(&mut records, b"path", name);
        }
        for (key, value) in [("uid", meta.uid), ("gid", meta.gid)] {
            if u64::from(value) >> 21 != 0 {
                pax::record(&mut records, key.as_bytes(), value.to_string().as_bytes());
            }
        }
        if body.size >> 33 != 0 {
            pax::record(&mut records, b"size", body.size.to_string().as_bytes());
        }
        // A further name of an inode says nothing new about the inode.
        if flag != b'1' {
            for (key, value) in &meta.xattrs {
                pax::record(&mut records, &pax::xattr_key(key), value);
            }
        }
        if !records.is_empty() {
            let header = Meta { mode: 0o644, uid: 0, gid: 0, ..meta.clone() };
            let size = wide(records.len());
            self.header(&pax_name(name), b'x', &header, &Body { size, ..Body::default() })?;
            self.put(&records)?;
            self.zeros(padding(size))?;
        }
        self.header(name, flag, meta, body)
    }

    fn header(&mut self, name: &[u8], flag: u8, meta: &Meta, body: &Body<'_>) -> Result<(), WriteError> {
        let mut block = [0; 512];
        put_text(&mut block[..100], name);
        put_text(&mut block[157..257], body.link);
        let mut field = |start: usize, length: usize, value: u64| {
            // What has no room here stands in a PAX record.
            let room = 3 * (u32::try_from(length).expect("8 or 12") - 1);
            let value = if value >> room == 0 { value } else { 0 };
            number::write(&mut block[start..start + length], i64::try_from(value).expect("33 bits"));
        };
        field(100, 8, u64::from(meta.mode));
        field(108, 8, u64::from(meta.uid));
        field(116, 8, u64::from(meta.gid));
        field(124, 12, body.size);
        field(136, 12, u64::from(self.epoch.clamp(meta.mtime)));
        if flag != b'x' {
            field(329, 8, u64::from(body.device.0));
            field(337, 8, u64::from(body.device.1));
        }
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum = format!("{:06o}\0 ", checksum(&block));
        block[148..156].copy_from_slice(sum.as_bytes());
        self.put(&block)
    }

    fn content(&mut self, path: &[u8], content: &Content, contents: &dyn Contents) -> Result<(), WriteError> {
        match copy(content, contents, self.out) {
            Ok(()) => self.at += content.size,
            Err(CopyError::Content(source)) => {
                return Err(WriteError::Content { path: path.to_vec(), source });
            }
            Err(CopyError::Output(source)) => return Err(WriteError::Output(source)),
        }
        self.zeros(padding(content.size))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(WriteError::Output)?;
        self.at += wide(bytes.len());
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), WriteError> {
        while count > 0 {
            let take = usize::try_from(count.min(BLOCK)).expect("at most a block");
            self.put(&[0; 512][..take])?;
            count -= wide(take);
        }
        Ok(())
    }
}

/// The name of the PAX header itself, as GNU tar makes it: `DIRECTORY/PaxHeaders/NAME`, cut to its field.
fn pax_name(name: &[u8]) -> Vec<u8> {
    let bare = name.strip_suffix(b"/").unwrap_or(name);
    let slash = bare.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let mut out = [&bare[..slash], b"PaxHeaders/", &bare[slash..]].concat();
    out.truncate(100);
    out
}

/// Copies as much of `text` as fits; what is cut off stands in a PAX record.
fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Which side of a copy failed.
pub(crate) enum CopyError {
    Content(io::Error),
    Output(io::Error),
}

/// Copies exactly the bytes of `content` to `out`.
pub(crate) fn copy(
    content: &Content,
    contents: &dyn Contents,
    out: &mut impl Write,
) -> Result<(), CopyError> {
    let source = contents.open(content).map_err(CopyError::Content)?;
    let size = source.size().map_err(CopyError::Content)?;
    if size != content.size {
        let message = format!("content {} has {size} bytes instead of {}", content.digest, content.size);
        return Err(CopyError::Content(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    let room = usize::try_from(size.min(256 << 10)).expect("at most 256 KiB");
    let mut buf = vec![0; room];
    let mut at = 0;
    while at < size {
        let take = usize::try_from((size - at).min(wide(room))).expect("at most the buffer");
        source.read_exact_at(&mut buf[..take], at).map_err(CopyError::Content)?;
        out.write_all(&buf[..take]).map_err(CopyError::Output)?;
        at += wide(take);
    }
    Ok(())
}

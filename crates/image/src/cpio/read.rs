//! Reading an archive in place: files stay ranges of the source.

use std::collections::BTreeMap;

use super::header::Header;
use super::{Corruption, CpioError, HEADER, MAX_NAME, TRAILER, normalise, padding};
use crate::io::{ReadAt, ReadError};
use crate::tree::{Kind, Leaf, LeafId, Meta, Tree, TreeError};

/// Where the bytes of a file lie in the source of its archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the first byte.
    pub at: u64,
    /// Length in bytes, below 2^32.
    pub size: u64,
}

/// What one archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The tree. Its root is that of the archive, or of mode 0755 and time 0 if the archive has none.
    pub tree: Tree<Extent>,
    /// Offset of the first byte after the trailer and its padding to 4 bytes; padding with zeros may follow.
    pub end: u64,
}

/// Reads the archive that starts at byte `start` of `source`, up to its trailer.
///
/// Memory is bounded by the number of entries, each of which has at least 112 bytes in the source. A directory may
/// come twice, then the later metadata holds, as in the kernel; any other name twice is an error, and so is an entry
/// whose directory did not come before, which the kernel leaves out.
pub fn read(source: &impl ReadAt, start: u64) -> Result<Archive, CpioError> {
    let size = source.size().map_err(|source| ReadError::Io { at: start, len: 0, source })?;
    let mut reader = Reader::new(source, size);
    let mut at = start;
    loop {
        let entry = reader.entry(at)?;
        at = entry.next;
        if entry.name == TRAILER {
            return Ok(Archive { tree: reader.tree, end: entry.next.min(size) });
        }
        reader.add(entry)?;
    }
}

/// A header, its name, and where its data lies.
pub(super) struct Entry {
    pub(super) at: u64,
    pub(super) header: Header,
    pub(super) name: Vec<u8>,
    pub(super) data: Extent,
    pub(super) next: u64,
}

/// What makes names the same inode: inode number, device, file type.
type Identity = (u32, u32, u32, u32);

pub(super) struct Reader<'a, R> {
    source: &'a R,
    size: u64,
    tree: Tree<Extent>,
    links: BTreeMap<Identity, LeafId>,
}

impl<'a, R: ReadAt> Reader<'a, R> {
    pub(super) fn new(source: &'a R, size: u64) -> Self {
        Self { source, size, tree: Tree::new(Meta::root(0o755, 0)), links: BTreeMap::new() }
    }

    /// The entry whose header lies at byte `at`.
    pub(super) fn entry(&self, at: u64) -> Result<Entry, CpioError> {
        let fits = |end: Option<u64>| match end {
            Some(end) if end <= self.size => Ok(end),
            end => {
                let need = end.unwrap_or(u64::MAX);
                Err(corrupt(at, Corruption::Truncated { need, have: self.size }))
            }
        };
        let names = fits(at.checked_add(HEADER))?;
        let mut bytes = [0; 110];
        self.bytes(&mut bytes, at)?;
        if bytes.starts_with(b"070702") {
            return Err(ReadError::Unsupported { at, feature: "cpio with checksums" });
        }
        if bytes.starts_with(b"070707") {
            return Err(ReadError::Unsupported { at, feature: "cpio in the old portable format" });
        }
        let header = Header::parse(&bytes).map_err(|kind| corrupt(at, kind))?;
        let bad_name = || corrupt(at, Corruption::Name(header.namesize));
        let name_size = u64::from(header.namesize);
        if !(2..=MAX_NAME + 1).contains(&name_size) {
            return Err(bad_name());
        }
        let name_end = fits(Some(names + name_size))?;
        let mut name = vec![0; usize::try_from(name_size).expect("at most 4096")];
        self.bytes(&mut name, names)?;
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(bad_name());
        }
        let data = name_end + padding(HEADER + name_size);
        let size = u64::from(header.filesize);
        // Padding after the last data may be missing: the kernel does not look at it.
        let data_end = fits(Some(if size == 0 { name_end } else { data + size }))?;
        let next = data_end.max(data) + padding(size);
        Ok(Entry { at, header, name, data: Extent { at: data, size }, next })
    }

    fn add(&mut self, entry: Entry) -> Result<(), CpioError> {
        let Entry { at, header, name, data, .. } = entry;
        let corrupt = |kind| corrupt(at, kind);
        let path = normalise(&name).map_err(corrupt)?;
        let bad_mode = || corrupt(Corruption::Mode(header.mode));
        let meta = Meta {
            mode: u16::try_from(header.mode & 0o7777).expect("twelve bits"),
            uid: header.uid,
            gid: header.gid,
            mtime: i64::from(header.mtime),
            xattrs: BTreeMap::new(),
        };
        let file_type = header.mode & !0o7777;
        let has_body = matches!(file_type, 0o100_000 | 0o120_000);
        if !has_body && header.filesize != 0 {
            let (mode, size) = (header.mode, header.filesize);
            return Err(corrupt(Corruption::SizeWithoutBody { mode, size }));
        }
        let misfit = |error: TreeError| corrupt(Corruption::Tree(error));
        if file_type == 0o040_000 {
            return self.dir(&path, meta).map_err(misfit);
        }
        let identity = (header.ino, header.devmajor, header.devminor, file_type);
        // The kernel links what has two names or more and is no symbolic link.
        let linked = header.nlink >= 2 && file_type != 0o120_000;
        if let Some(id) = self.links.get(&identity).copied().filter(|_| linked) {
            self.tree.link(&path, id).map_err(misfit)?;
            return self.more_data(id, data).map_err(corrupt);
        }
        let kind = match file_type {
            0o100_000 => Kind::File(data),
            0o120_000 => Kind::Symlink(self.target(at, &header, data)?),
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o020_000 | 0o060_000 => {
                let (major, minor) = (header.rdevmajor, header.rdevminor);
                if major >> 12 != 0 || minor >> 20 != 0 {
                    return Err(corrupt(Corruption::Device { major, minor }));
                }
                if file_type == 0o020_000 {
                    Kind::Char { major, minor }
                } else {
                    Kind::Block { major, minor }
                }
            }
            _ => return Err(bad_mode()),
        };
        let id = self.tree.insert(&path, Leaf { meta, kind }).map_err(misfit)?;
        if linked {
            self.links.insert(identity, id);
        }
        Ok(())
    }

    fn dir(&mut self, path: &[u8], meta: Meta) -> Result<(), TreeError> {
        match self.tree.dir_mut(path) {
            Ok(dir) => {
                dir.meta = meta;
                Ok(())
            }
            Err(_) => self.tree.insert_dir(path, meta),
        }
    }

    /// A further name of a file: one of the names has the data, or all have the same amount and the last one holds.
    fn more_data(&mut self, id: LeafId, data: Extent) -> Result<(), Corruption> {
        if let Kind::File(earlier) = &mut self.tree.leaves_mut()[id.index()].kind
            && data.size != 0
        {
            if earlier.size != 0 && earlier.size != data.size {
                return Err(Corruption::LinkSizes { earlier: earlier.size, found: data.size });
            }
            *earlier = data;
        }
        Ok(())
    }

    pub(super) fn target(&self, at: u64, header: &Header, data: Extent) -> Result<Box<[u8]>, CpioError> {
        let bad = || corrupt(at, Corruption::Target(header.filesize));
        if data.size == 0 || data.size > MAX_NAME {
            return Err(bad());
        }
        let mut target = vec![0; usize::try_from(data.size).expect("at most 4095")];
        self.bytes(&mut target, data.at)?;
        if target.contains(&0) { Err(bad()) } else { Ok(target.into()) }
    }

    fn bytes(&self, buf: &mut [u8], at: u64) -> Result<(), CpioError> {
        let len = crate::io::wide(buf.len());
        self.source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len, source })
    }
}

fn corrupt(at: u64, kind: Corruption) -> CpioError {
    ReadError::Corrupt { at, kind }
}

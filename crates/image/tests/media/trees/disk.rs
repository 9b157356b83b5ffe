//! Trees on a disk: made as planned, and told as the kernel tells them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, SeekFrom, Timespec, Timestamps, XattrFlags};
use rustix::fs::{chmodat, chownat, lsetxattr, makedev, mknodat, utimensat};
use rustix::process::{Gid, Uid};
use selfsame_image::Digest;

use super::plan::{Kind, Node, Plan};

/// What is known of each path; that of the root is empty.
pub(super) type Listing = BTreeMap<Vec<u8>, Entry>;

/// What is known of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// As `ls` has it.
    pub(super) kind: char,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Seconds since 1970, and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) target: Vec<u8>,
    pub(super) device: (u32, u32),
    /// Length and digest.
    pub(super) content: Option<(usize, Digest)>,
    /// First and last byte of each.
    pub(super) holes: Vec<(u64, u64)>,
    /// The first of its names, in byte order.
    pub(super) first: Vec<u8>,
}

/// Says of each name which is the first one of its inode; `inodes` has that of each.
pub(super) fn join_names<I: Ord>(listing: &mut Listing, inodes: &BTreeMap<Vec<u8>, I>) {
    let mut first: BTreeMap<&I, &Vec<u8>> = BTreeMap::new();
    for (path, entry) in listing {
        let name = inodes.get(path).map_or(path, |inode| *first.entry(inode).or_insert(path));
        entry.first.clone_from(name);
    }
}

/// Makes what is planned in `root`, which is made, too.
pub(super) fn make(plan: &Plan, root: &Path) {
    let at = |path: &[u8]| if path.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(path)) };
    let (links, nodes): (Vec<_>, Vec<_>) =
        plan.nodes.iter().partition(|(_, node)| matches!(node.kind, Kind::Link(_)));
    for (path, node) in &nodes {
        make_node(&node.kind, &at(path));
    }
    for (path, node) in links {
        if let Kind::Link(first) = &node.kind {
            fs::hard_link(at(first), at(path)).unwrap();
        }
    }
    // Making an entry changes the time of its directory.
    for (path, node) in nodes.iter().rev() {
        set_meta(node, &at(path), plan.taste.root);
    }
}

fn make_node(kind: &Kind, path: &Path) {
    let node = |kind, device| mknodat(CWD, path, kind, Mode::RUSR, device).unwrap();
    match kind {
        Kind::Dir => fs::create_dir(path).unwrap(),
        Kind::File(size, pieces) => {
            let file = fs::File::create(path).unwrap();
            for (at, bytes) in pieces {
                file.write_all_at(bytes, *at).unwrap();
            }
            file.set_len(*size).unwrap();
        }
        Kind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap(),
        Kind::Char(major, minor) => node(FileType::CharacterDevice, makedev(*major, *minor)),
        Kind::Block(major, minor) => node(FileType::BlockDevice, makedev(*major, *minor)),
        Kind::Fifo => node(FileType::Fifo, 0),
        Kind::Socket => node(FileType::Socket, 0),
        Kind::Link(_) => unreachable!("links are made last"),
    }
}

fn set_meta(node: &Node, path: &Path, root: bool) {
    if root {
        let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
        chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    for (name, value) in &node.xattrs {
        // Not every file system has all of them.
        let _ = lsetxattr(path, name.as_str(), value, XattrFlags::empty());
    }
    if !matches!(node.kind, Kind::Symlink(_)) {
        chmodat(CWD, path, Mode::from_raw_mode(node.mode), AtFlags::empty()).unwrap();
    }
    let time = Timespec { tv_sec: node.mtime.0, tv_nsec: node.mtime.1.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What lies at `root`, as the kernel tells it.
pub(super) fn capture(root: &Path) -> Listing {
    let (mut listing, mut inodes) = (Listing::new(), BTreeMap::new());
    let mut waiting: Vec<(PathBuf, Vec<u8>)> = vec![(root.to_owned(), Vec::new())];
    while let Some((host, path)) = waiting.pop() {
        let meta = fs::symlink_metadata(&host).unwrap();
        if meta.is_dir() {
            for entry in fs::read_dir(&host).unwrap() {
                let name = entry.unwrap().file_name();
                let slash = if path.is_empty() { &b""[..] } else { b"/" };
                waiting.push((host.join(&name), [&path, slash, name.as_bytes()].concat()));
            }
        }
        if !meta.is_dir() {
            inodes.insert(path.clone(), meta.ino());
        }
        listing.insert(path, entry(&host, &meta));
    }
    join_names(&mut listing, &inodes);
    listing
}

fn entry(host: &Path, meta: &fs::Metadata) -> Entry {
    let kind = meta.file_type();
    let mut entry = Entry {
        kind: letter(meta.mode()),
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap()),
        xattrs: xattrs(host),
        ..Entry::default()
    };
    if kind.is_symlink() {
        entry.target = fs::read_link(host).unwrap().as_os_str().as_bytes().to_vec();
    } else if kind.is_file() {
        let bytes = fs::read(host).unwrap();
        entry.content = Some((bytes.len(), Digest::of(&bytes)));
        entry.holes = holes(&fs::File::open(host).unwrap(), meta.len());
    } else if kind.is_block_device() || kind.is_char_device() {
        entry.device = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    }
    entry
}

/// The letter that `ls` has for the type in a mode.
pub(super) fn letter(mode: u32) -> char {
    match mode & 0o170_000 {
        0o040_000 => 'd',
        0o100_000 => '-',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '?',
    }
}

fn xattrs(host: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    // A file system without any attributes says so.
    let length = rustix::fs::llistxattr(host, &mut names[..]).unwrap_or(0);
    let mut all = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(host, name, &mut value[..]).unwrap();
        all.insert(name.to_vec(), value[..length].to_vec());
    }
    all
}

fn holes(file: &fs::File, size: u64) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < size {
        let start = rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap_or(size).min(size);
        at = rustix::fs::seek(file, SeekFrom::Data(start)).unwrap_or(size).min(size);
        if start < at {
            all.push((start, at));
        } else {
            break;
        }
    }
    all
}

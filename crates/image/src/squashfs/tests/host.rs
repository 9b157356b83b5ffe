//! Programs and directories of the machine, as oracles.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Output};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::fs::{chmodat, chownat, lsetxattr, makedev, mknodat, utimensat};
use rustix::process::{Gid, Uid};

use crate::tree::{Contents, Item, Kind, Leaf, LeafId, Memory, Meta, Tree};

/// Runs a program to its good end. `None` if it is not installed, which outside CI skips a test.
pub(super) fn oracle(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) if output.status.success() => Some(output),
        Ok(output) => panic!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && std::env::var_os("CI").is_none() => {
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What lies below `root`, contents included.
pub(super) fn capture(root: &Path) -> (Tree, Memory) {
    let meta = to_meta(root, &fs::symlink_metadata(root).unwrap());
    let mut capture = Capture { tree: Tree::new(meta), memory: Memory::new(), links: BTreeMap::new() };
    capture.directory(root, b"");
    (capture.tree, capture.memory)
}

struct Capture {
    tree: Tree,
    memory: Memory,
    links: BTreeMap<u64, LeafId>,
}

impl Capture {
    fn directory(&mut self, host: &Path, path: &[u8]) {
        let mut entries: Vec<_> = fs::read_dir(host).unwrap().map(Result::unwrap).collect();
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let (name, host) = (entry.file_name(), entry.path());
            let path = [path, if path.is_empty() { b"" } else { b"/" }, name.as_bytes()].concat();
            let meta = fs::symlink_metadata(&host).unwrap();
            if meta.is_dir() {
                self.tree.insert_dir(&path, to_meta(&host, &meta)).unwrap();
                self.directory(&host, &path);
            } else if let Some(id) = self.links.get(&meta.ino()) {
                self.tree.link(&path, *id).unwrap();
            } else {
                let leaf = Leaf { meta: to_meta(&host, &meta), kind: self.kind(&host, &meta) };
                let id = self.tree.insert(&path, leaf).unwrap();
                self.links.insert(meta.ino(), id);
            }
        }
    }

    fn kind(&mut self, host: &Path, meta: &fs::Metadata) -> Kind {
        let kind = meta.file_type();
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        if kind.is_symlink() {
            Kind::Symlink(fs::read_link(host).unwrap().as_os_str().as_bytes().into())
        } else if kind.is_file() {
            let bytes = fs::read(host).unwrap();
            Kind::File(self.memory.add(bytes))
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_socket() {
            Kind::Socket
        } else if kind.is_block_device() {
            Kind::Block { major, minor }
        } else {
            Kind::Char { major, minor }
        }
    }
}

fn to_meta(host: &Path, meta: &fs::Metadata) -> Meta {
    let mode = u16::try_from(meta.mode() & 0o7777).unwrap();
    Meta { mode, uid: meta.uid(), gid: meta.gid(), mtime: meta.mtime(), xattrs: xattrs(host) }
}

fn xattrs(host: &Path) -> BTreeMap<Box<[u8]>, Box<[u8]>> {
    let mut names = vec![0; 65536];
    let length = match rustix::fs::llistxattr(host, &mut names[..]) {
        // A SquashFS without any attributes.
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other.unwrap(),
    };
    let mut all = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(host, name, &mut value[..]).unwrap();
        all.insert(name.into(), value[..length].into());
    }
    all
}

/// Makes `tree` below `root`, which exists. Owners, devices and other attributes than `user.` need root.
pub(super) fn make(tree: &Tree, contents: &Memory, root: &Path) {
    let at = |path: &[u8]| root.join(OsStr::from_bytes(path));
    let mut first = BTreeMap::new();
    let mut metas = Vec::new();
    tree.walk(|path, entry| {
        let host = at(path);
        match entry.item {
            Item::Dir(_) if path.is_empty() => {}
            Item::Dir(_) => fs::create_dir(&host).unwrap(),
            Item::Leaf(id, kind) => {
                if let Some(old) = first.insert(id, host.clone()) {
                    fs::hard_link(old, &host).unwrap();
                    return Ok::<(), ()>(());
                }
                make_leaf(kind, contents, &host);
            }
        }
        metas.push((host, entry.meta.clone()));
        Ok(())
    })
    .unwrap();
    // Children before parents, because making an entry changes the time of its directory.
    for (host, meta) in metas.iter().rev() {
        set_meta(host, meta);
    }
}

fn make_leaf(kind: &Kind, contents: &Memory, host: &Path) {
    let node = |kind, device| mknodat(CWD, host, kind, Mode::RUSR, device).unwrap();
    match kind {
        Kind::File(content) => {
            let reader = contents.open(content).unwrap();
            let mut bytes = vec![0; usize::try_from(content.size).unwrap()];
            reader.read_exact_at(&mut bytes, 0).unwrap();
            fs::write(host, bytes).unwrap();
        }
        Kind::Symlink(target) => {
            std::os::unix::fs::symlink(OsStr::from_bytes(target), host).unwrap();
        }
        Kind::Fifo => node(FileType::Fifo, 0),
        Kind::Socket => node(FileType::Socket, 0),
        Kind::Block { major, minor } => node(FileType::BlockDevice, makedev(*major, *minor)),
        Kind::Char { major, minor } => node(FileType::CharacterDevice, makedev(*major, *minor)),
    }
}

fn set_meta(host: &Path, meta: &Meta) {
    let link = host.is_symlink();
    if is_root() {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        chownat(CWD, host, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    for (name, value) in &meta.xattrs {
        lsetxattr(host, &name[..], value, XattrFlags::empty()).unwrap();
    }
    if !link {
        chmodat(CWD, host, Mode::from_raw_mode(u32::from(meta.mode)), AtFlags::empty()).unwrap();
    }
    let time = Timespec { tv_sec: meta.mtime, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, host, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

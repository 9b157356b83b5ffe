//! A directory of this machine as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, readlinkat, statx,
};
use rustix::io::Errno;
use selfsame_image::digest::{Digest, Hasher};
use selfsame_image::par::{both, map_ordered};
use selfsame_image::tree::{Content, Contents, Dir, Item, Kind, Leaf, LeafId, Meta, Name, Node, NotAName};
use selfsame_image::{ReadAt, Tree};

use super::IdShift;
use super::xattr::{self, AttributeError};

/// How much [`capture`] takes in before it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Names in all directories together.
    pub entries: u64,
    /// Bytes of all files together; a file with two names counts once.
    pub bytes: u64,
}

impl Default for CaptureLimits {
    /// Ten million names, 1 TiB.
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 1 << 40 }
    }
}

/// Directories below this are refused. The deepest in Debian 12 has 21 above it.
const DEEPEST: usize = 200;
/// The kernel takes no longer path than this, with its terminating NUL.
const LONGEST: usize = 4096;

/// What could not be captured.
#[derive(Debug, thiserror::Error)]
#[error("cannot capture {}", path.display())]
pub struct CaptureError {
    /// Where, from the captured directory on; empty for that directory itself.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: CaptureReason,
}

/// Why something could not be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureReason {
    /// The kernel refused.
    #[error("the kernel refused")]
    Io(#[from] io::Error),
    /// The owner or group is none of the image's.
    #[error("owner {uid} or group {gid} is none of the image's")]
    Owner {
        /// Owner as this machine numbers it.
        uid: u32,
        /// Group likewise.
        gid: u32,
    },
    /// Something else is mounted there.
    #[error("it is a mount point")]
    Mount,
    /// It lies too deep.
    #[error("it has more than {DEEPEST} directories above it, or a path above {LONGEST} bytes")]
    Deep,
    /// A limit was reached here.
    #[error("more than {entries} names or {bytes} bytes", entries = .0.entries, bytes = .0.bytes)]
    Limit(CaptureLimits),
    /// An extended attribute has no meaning in an image.
    #[error("extended attribute {name}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong.
        source: AttributeError,
    },
    /// The kernel gave a name that is none.
    #[error(transparent)]
    Name(#[from] NotAName),
    /// It changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// Something else could not be captured before.
    #[error("something else could not be captured")]
    Stopped,
}

impl From<Errno> for CaptureReason {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// The files of a captured directory, by what is in them.
#[derive(Debug)]
pub struct DirContents {
    root: OwnedFd,
    files: BTreeMap<Digest, (u64, Box<[u8]>)>,
}

impl DirContents {
    /// The files of the directory `root`, which was captured as `tree` before. Whoever reads them compares them with
    /// their digests.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn of(root: &Path, tree: &Tree) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        let mut files = BTreeMap::new();
        let Ok(()) = tree.walk(|path, entry| {
            if let Item::Leaf(_, Kind::File(content)) = entry.item {
                files.entry(content.digest).or_insert_with(|| (content.size, path.into()));
            }
            Ok::<(), Infallible>(())
        });
        Ok(Self { root, files })
    }
}

/// Opens the regular file `path` below the directory `root`. Links are not followed, wherever on the way they are, and
/// a pipe is not waited for.
///
/// # Errors
/// If there is no such file, or something else.
pub(crate) fn open_below(root: &Path, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open_file(&rustix::fs::open(root, flags, Mode::empty())?, path.as_bytes())
}

/// Directories of `tree`, captured of the directory `upper`, that hide what lower layers have at their place.
///
/// # Errors
/// If their marks cannot be read.
pub(super) fn opaque_dirs(upper: &Path, tree: &Tree, user_namespace: bool) -> io::Result<BTreeSet<Vec<u8>>> {
    let mark = if user_namespace { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
    let mut found = BTreeSet::new();
    tree.walk(|path, entry| {
        if let Item::Dir(_) = entry.item {
            let at = upper.join(OsStr::from_bytes(path));
            match rustix::fs::lgetxattr(&at, mark, &mut [0; 1][..]) {
                Ok(_) => drop(found.insert(path.to_vec())),
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(io::Error::from(error)),
            }
        }
        Ok(())
    })?;
    Ok(found)
}

impl Contents for DirContents {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no content {}", content.digest));
        let (size, path) = self.files.get(&content.digest).ok_or_else(missing)?;
        let file = open_file(&self.root, path)?;
        if *size != content.size || file.metadata()?.len() != *size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("size of {} changed", content.digest),
            ));
        }
        Ok(Arc::new(file))
    }
}

/// Takes in the directory `root` and everything below it.
///
/// The result depends on nothing but what is there: not on the order of directories, numbers of inodes, `jobs`, or
/// the file system, whose own attributes are left out (see `docs/sandbox.md`). Times are cut to whole seconds.
/// Names of one inode become hard links. `root` must not change meanwhile or until the contents have been read.
///
/// With more than one job, as many threads read files while the calling one, or one more, looks for names.
///
/// # Errors
/// The first thing that cannot be part of an image, by path: mount points below `root` are such things. A file that cannot
/// be read ends the walk, too, wherever that has come by then: of several faults, either kind may be told.
pub fn capture(
    root: &Path,
    shift: IdShift,
    jobs: NonZero<usize>,
    limits: CaptureLimits,
) -> Result<(Tree, DirContents), CaptureError> {
    capture_with(root, shift, jobs, limits, false)
}

/// As [`capture`]. With `whiteouts`, character devices 0:0 are taken in whoever they belong to: the kernel makes them
/// in the name of whoever mounted the overlay.
pub(super) fn capture_with(
    root: &Path,
    shift: IdShift,
    jobs: NonZero<usize>,
    limits: CaptureLimits,
    whiteouts: bool,
) -> Result<(Tree, DirContents), CaptureError> {
    let at_root = |error: Errno| CaptureError { path: PathBuf::new(), reason: error.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root, flags, Mode::empty()).map_err(at_root)?;
    let here = stat(dir.as_fd(), c"").map_err(at_root)?;
    let (files, found) = Batches::new();
    let stop = AtomicBool::new(false);
    let walk = Walk {
        shift,
        limits,
        whiteouts,
        mount: here.stx_mnt_id,
        path: Vec::new(),
        entries: 0,
        bytes: 0,
        tree: Tree::new(Meta::root(0o755, 0)),
        files,
        links: BTreeMap::new(),
        stop: &stop,
    };
    // Names are looked for while files that were found are read, unless there is one job only.
    let (tree, hashed) = if jobs.get() == 1 {
        let tree = walk.whole(&dir, &here)?;
        (Ok(tree), hash(&dir, found, jobs, &stop))
    } else {
        both(|| walk.whole(&dir, &here), || hash(&dir, found, jobs, &stop))
    };
    // What the walk met is told first, and stops those who read; an error of theirs stops the walk.
    let (tree, (hashed, files)) = match (tree, hashed) {
        (Err(CaptureError { reason: CaptureReason::Stopped, .. }), Err(error)) => return Err(error),
        (tree, hashed) => (tree?, hashed?),
    };
    let mut hashed = hashed.into_iter();
    let changed = || CaptureError { path: PathBuf::new(), reason: CaptureReason::Changed };
    let tree = tree.try_map(|()| hashed.next().ok_or_else(changed))?;
    Ok((tree, DirContents { root: dir, files }))
}

/// Extended attributes by name.
type Attributes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// A file still to be read: its size and path. In the order of leaves.
type Found = (u64, Box<[u8]>);

/// Files on their way from the walk to those who read them, many small ones at a time: handing over one by one would take
/// as long as reading them. All that were found may wait there: their names are in the tree as well.
struct Batches {
    send: Sender<Vec<Found>>,
    next: Vec<Found>,
    bytes: u64,
}

impl Batches {
    /// Files of one batch, at most.
    const FILES: usize = 64;
    /// Bytes from which on a batch is full.
    const BYTES: u64 = 1 << 20;

    fn new() -> (Self, Receiver<Vec<Found>>) {
        let (send, receive) = mpsc::channel();
        (Self { send, next: Vec::new(), bytes: 0 }, receive)
    }

    fn push(&mut self, size: u64, path: &[u8]) {
        self.next.push((size, path.into()));
        self.bytes = self.bytes.saturating_add(size);
        if self.next.len() >= Self::FILES || self.bytes >= Self::BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.bytes = 0;
        // Whoever reads them has met an error if nobody takes them any more, and tells it.
        drop(self.send.send(std::mem::take(&mut self.next)));
    }
}

/// Contents in the order of leaves, and where to read each.
type Hashed = (Vec<Content>, BTreeMap<Digest, Found>);

/// Reads what is found, until `stop` is set; an error sets it.
fn hash(
    root: &OwnedFd,
    found: Receiver<Vec<Found>>,
    jobs: NonZero<usize>,
    stop: &AtomicBool,
) -> Result<Hashed, CaptureError> {
    let mut hashed = Vec::new();
    let mut files = BTreeMap::new();
    let read = |batch: Vec<Found>| {
        let mut buffer = Vec::new();
        let hash = |(size, path): Found| {
            let stopped = stop.load(Ordering::Relaxed);
            let digest =
                if stopped { Err(CaptureReason::Stopped) } else { hash_file(root, &path, size, &mut buffer) };
            (size, path, digest)
        };
        batch.into_iter().map(hash).collect::<Vec<_>>()
    };
    map_ordered(jobs, found.into_iter(), read, |batch| {
        for (size, path, digest) in batch {
            let at = || PathBuf::from(OsStr::from_bytes(&path));
            let digest = digest.map_err(|reason| CaptureError { path: at(), reason })?;
            hashed.push(Content { size, digest });
            files.entry(digest).or_insert((size, path));
        }
        Ok(())
    })
    .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
    Ok((hashed, files))
}

/// Reads a file of `size` bytes through `buffer`, which is made larger as needed.
fn hash_file(root: &OwnedFd, path: &[u8], size: u64, buffer: &mut Vec<u8>) -> Result<Digest, CaptureReason> {
    let mut file = open_file(root, path)?;
    let mut hasher = Hasher::new();
    // One byte more, so that a whole file and its end come with one call.
    let wanted = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1).min(256 << 10);
    if buffer.len() < wanted {
        buffer.resize(wanted, 0);
    }
    let mut total = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(length) => {
                total += length as u64;
                hasher.update(&buffer[..length]);
                if length < buffer.len() && total == size {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if total == size { Ok(hasher.finish()) } else { Err(CaptureReason::Changed) }
}

/// Opens a regular file below `root`, following nothing.
fn open_file(root: &OwnedFd, path: &[u8]) -> io::Result<File> {
    // A pipe that took the file's place must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = File::from(openat2(root, path, flags, Mode::empty(), resolve)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn stat(dir: impl AsFd, name: &std::ffi::CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

struct Walk<'a> {
    shift: IdShift,
    limits: CaptureLimits,
    whiteouts: bool,
    mount: u64,
    /// Where the walk is; after an error, where it happened.
    path: Vec<u8>,
    entries: u64,
    bytes: u64,
    tree: Tree<()>,
    files: Batches,
    links: BTreeMap<(u32, u32, u64), LeafId>,
    /// Set when nothing more is wanted.
    stop: &'a AtomicBool,
}

impl Walk<'_> {
    /// All below `dir`, without contents.
    fn whole(mut self, dir: &OwnedFd, here: &Statx) -> Result<Tree<()>, CaptureError> {
        let top = self.directory(dir, here, 0);
        let at = PathBuf::from(OsStr::from_bytes(&self.path));
        self.tree.root = top.map_err(|reason| {
            self.stop.store(true, Ordering::Relaxed);
            CaptureError { path: at, reason }
        })?;
        self.files.flush();
        Ok(self.tree)
    }

    fn directory(&mut self, dir: &OwnedFd, here: &Statx, depth: usize) -> Result<Dir, CaptureReason> {
        let meta = self.meta(here, dir, None)?;
        let mut node = Dir::new(meta);
        for name in sorted_names(dir)? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(CaptureReason::Stopped);
            }
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(CaptureReason::Limit(self.limits));
            }
            if self.path.len() >= LONGEST || depth >= DEEPEST {
                return Err(CaptureReason::Deep);
            }
            let child = self.entry(dir, &name, depth)?;
            // Two equal names in one directory are a broken file system.
            node.insert(Name::new(name.as_bytes())?, child).map_err(|_| CaptureReason::Changed)?;
            self.path.truncate(length);
        }
        Ok(node)
    }

    fn entry(&mut self, dir: &OwnedFd, name: &CString, depth: usize) -> Result<Node, CaptureReason> {
        let here = stat(dir, name)?;
        if here.stx_mnt_id != self.mount {
            return Err(CaptureReason::Mount);
        }
        let kind = FileType::from_raw_mode(here.stx_mode.into());
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(dir, name, flags, Mode::empty())?;
            return Ok(Node::Dir(self.directory(&below, &here, depth + 1)?));
        }
        let inode = (here.stx_dev_major, here.stx_dev_minor, here.stx_ino);
        if here.stx_nlink > 1
            && let Some(id) = self.links.get(&inode)
        {
            return Ok(Node::Leaf(*id));
        }
        let (major, minor) = (here.stx_rdev_major, here.stx_rdev_minor);
        if self.whiteouts && kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
            let kind = Kind::Char { major, minor };
            return Ok(Node::Leaf(self.tree.add_leaf(Leaf { meta: Meta::root(0, 0), kind })));
        }
        let meta = self.meta(&here, dir, Some(name))?;
        let kind = match kind {
            FileType::RegularFile => {
                self.bytes = self.bytes.saturating_add(here.stx_size);
                if self.bytes > self.limits.bytes {
                    return Err(CaptureReason::Limit(self.limits));
                }
                self.files.push(here.stx_size, &self.path);
                Kind::File(())
            }
            FileType::Symlink => Kind::Symlink(readlinkat(dir, name, Vec::new())?.into_bytes().into()),
            FileType::BlockDevice => Kind::Block { major, minor },
            FileType::CharacterDevice => Kind::Char { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Directory | FileType::Unknown => return Err(CaptureReason::Changed),
        };
        let id = self.tree.add_leaf(Leaf { meta, kind });
        if here.stx_nlink > 1 {
            self.links.insert(inode, id);
        }
        Ok(Node::Leaf(id))
    }

    /// Metadata of the entry `name` of `dir`, or of `dir` itself.
    fn meta(&self, here: &Statx, dir: &OwnedFd, name: Option<&CString>) -> Result<Meta, CaptureReason> {
        let owner = (self.shift.inside(here.stx_uid), self.shift.inside(here.stx_gid));
        let foreign = CaptureReason::Owner { uid: here.stx_uid, gid: here.stx_gid };
        let (Some(uid), Some(gid)) = owner else {
            return Err(foreign);
        };
        if self.shift == IdShift::NONE && uid == OVERFLOW && !is_ours(dir, name, here) {
            return Err(foreign);
        }
        // There is no call that lists the attributes of an entry of a directory; this path names just that.
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.map_or(b"", |name| name.as_bytes()));
        Ok(Meta {
            mode: here.stx_mode & 0o7777,
            uid,
            gid,
            mtime: here.stx_mtime.tv_sec,
            xattrs: self.xattrs(&path)?,
        })
    }

    fn xattrs(&self, path: &[u8]) -> Result<Attributes, CaptureReason> {
        let mut kept = BTreeMap::new();
        for (name, value) in attributes(path, xattr::is_kept)? {
            let value = xattr::to_inside(&name, &value, self.shift).map_err(|source| {
                CaptureReason::Attribute { name: String::from_utf8_lossy(&name).into_owned(), source }
            })?;
            kept.insert(name.into(), value);
        }
        Ok(kept)
    }
}

/// The user a user namespace reports for all it does not map. It also is an ordinary user: `nobody`.
const OVERFLOW: u32 = 65_534;

/// False if the inode belongs to a user this process has no power over. Only the owner may ask not to be noticed
/// reading. Links cannot be opened, and pass.
fn is_ours(dir: &OwnedFd, name: Option<&CString>, here: &Statx) -> bool {
    let kind = FileType::from_raw_mode(here.stx_mode.into());
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return true;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOATIME;
    openat(dir, name.map_or(c".", CString::as_c_str), flags, Mode::empty()).is_ok()
}

/// Extended attributes of what `path` names, by name, as far as this process sees them and `keep` has them. Links are not
/// followed. There are none where the file system has no attributes.
///
/// # Errors
/// What the kernel says of the path, or of an attribute.
pub fn attributes(path: &[u8], keep: impl Fn(&[u8]) -> bool) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let list = match read_attribute(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty() && keep(name));
    let value = |name| read_attribute(|buffer| rustix::fs::lgetxattr(path, name, buffer));
    names.map(|name| Ok((name.to_vec(), value(name)?))).collect()
}

/// Calls with a small buffer, and with the largest the kernel fills if that was too small.
fn read_attribute(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 65_536];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

fn sorted_names(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

//! Running programs and looking at what they left behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use selfsame_image::Epoch;
use selfsame_image::tree::{Kind, Leaf, LeafId, Memory, Meta, Tree, text};

/// What `command` prints when it is given `input`; `None` if the program is missing and `CI` is not set.
pub(crate) fn oracle(command: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.env("LC_ALL", "C").env("TZ", "UTC").spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => return None,
        Err(error) => panic!("{command:?}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that has seen enough closes its end.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// Whether devices can be made and owners given away.
pub(crate) fn root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What lies below `top`, with numbers of leaves in the order of the walk. Extended attributes are left out.
pub(crate) fn capture(top: &Path) -> (Tree, Memory) {
    let mut memory = Memory::new();
    let mut tree = Tree::new(meta(&fs::symlink_metadata(top).unwrap()));
    let mut seen = BTreeMap::new();
    below(top, &mut Vec::new(), &mut tree, &mut memory, &mut seen);
    tree.compact();
    (tree, memory)
}

fn meta(found: &fs::Metadata) -> Meta {
    let mode = u16::try_from(found.mode() & 0o7777).unwrap();
    // Who may not give files away owns what it unpacked.
    let (uid, gid) = if root() { (found.uid(), found.gid()) } else { (0, 0) };
    Meta { uid, gid, ..Meta::root(mode, found.mtime()) }
}

fn below(
    dir: &Path,
    path: &mut Vec<u8>,
    tree: &mut Tree,
    memory: &mut Memory,
    seen: &mut BTreeMap<(u64, u64), LeafId>,
) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(entry.file_name().as_bytes());
        let found = fs::symlink_metadata(entry.path()).unwrap();
        let device = || {
            let number = found.rdev();
            let major = (number >> 8) & 0xfff;
            let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
            (u32::try_from(major).unwrap(), u32::try_from(minor).unwrap())
        };
        let kind = found.file_type();
        let known = seen.get(&(found.dev(), found.ino())).copied();
        if kind.is_dir() {
            tree.insert_dir(path, meta(&found)).unwrap();
            below(&entry.path(), path, tree, memory, seen);
        } else if let Some(id) = known {
            tree.link(path, id).unwrap();
        } else {
            let kind = if kind.is_file() {
                Kind::File(memory.add(fs::read(entry.path()).unwrap()))
            } else if kind.is_symlink() {
                Kind::Symlink(fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().into())
            } else if kind.is_char_device() {
                let (major, minor) = device();
                Kind::Char { major, minor }
            } else if kind.is_block_device() {
                let (major, minor) = device();
                Kind::Block { major, minor }
            } else if kind.is_fifo() {
                Kind::Fifo
            } else {
                Kind::Socket
            };
            let id = tree.insert(path, Leaf { meta: meta(&found), kind }).unwrap();
            seen.insert((found.dev(), found.ino()), id);
        }
        path.truncate(length);
    }
}

/// Fails with the lines that differ.
pub(crate) fn assert_same(ours: &Tree, theirs: &Tree, what: &str) {
    let (ours, theirs) = (text::to_string(ours), text::to_string(theirs));
    if ours == theirs {
        return;
    }
    let missing: Vec<_> = theirs.lines().filter(|line| !ours.lines().any(|own| own == *line)).collect();
    let added: Vec<_> = ours.lines().filter(|line| !theirs.lines().any(|own| own == *line)).collect();
    panic!("{what}: missing {missing:#?}\nadded {added:#?}");
}

/// Something of everything that can be made here: devices and owners only for root.
pub(crate) fn sample() -> (Tree, Memory) {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 1_600_000_000));
    let meta = |mode, gid| Meta { gid: if root() { gid } else { 0 }, ..Meta::root(mode, 1_600_000_007) };
    let leaf = |mode, gid, kind| Leaf { meta: meta(mode, gid), kind };
    let deep = "deep/".repeat(30);
    let mut dirs =
        vec!["dev".into(), "etc".into(), "usr".into(), "usr/bin".into(), "d".repeat(97), "e".repeat(98)];
    dirs.extend((1..=30).map(|depth| deep[..5 * depth - 1].to_owned()));
    for dir in &dirs {
        tree.insert_dir(dir.as_bytes(), meta(0o755, 0)).unwrap();
    }
    if root() {
        tree.insert(b"dev/console", leaf(0o600, 5, Kind::Char { major: 5, minor: 1 })).unwrap();
        let large = Meta { uid: u32::MAX - 1, gid: 1 << 21, ..meta(0o600, 0) };
        tree.insert(b"etc/stranger", Leaf { meta: large, kind: Kind::File(memory.add("who")) }).unwrap();
        tree.insert(b"dev/disk", leaf(0o660, 6, Kind::Block { major: 259, minor: 300_000 })).unwrap();
    }
    tree.insert(b"dev/pipe", leaf(0o644, 0, Kind::Fifo)).unwrap();
    tree.insert(b"etc/empty", leaf(0o4711, 0, Kind::File(memory.add("")))).unwrap();
    tree.insert(b"etc/block", leaf(0o640, 42, Kind::File(memory.add([b'x'; 512])))).unwrap();
    tree.insert(b"etc/\xc3\xa9 \n", leaf(0o644, 0, Kind::File(memory.add("odd name\n")))).unwrap();
    tree.insert(b"etc/large", leaf(0o644, 0, Kind::File(memory.add([7; 1_000_001])))).unwrap();
    tree.insert(format!("{deep}file").as_bytes(), leaf(0o644, 0, Kind::File(memory.add("deep")))).unwrap();
    let id = tree.insert(b"usr/bin/tool", leaf(0o755, 0, Kind::File(memory.add([1; 1_000])))).unwrap();
    tree.link(b"bin", id).unwrap();
    tree.link(b"usr/bin/other", id).unwrap();
    for (name, length) in [(97, 98), (98, 99), (99, 100), (100, 101), (200, 1_000)] {
        let target = Kind::Symlink(vec![b't'; length].into());
        tree.insert(format!("usr/{}", "n".repeat(name - 4)).as_bytes(), leaf(0o777, 0, target)).unwrap();
    }
    tree.compact();
    (tree, memory)
}

/// Has GNU tar unpack the archive of `tree` into `dir`; `None` if it is missing.
pub(crate) fn unpack_tar(tree: &Tree, memory: &Memory, dir: &Path) -> Option<Vec<u8>> {
    let mut archive = Vec::new();
    selfsame_image::tar::write(tree, memory, Epoch(u32::MAX), &mut archive).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(dir).args(["-xpf-", "--numeric-owner", "--delay-directory-restore"]);
    oracle(&mut unpack, &archive)?;
    Some(archive)
}

/// The names of the files in `dir` that end with `ending`.
pub(crate) fn files_in(dir: &OsStr, ending: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.as_os_str().as_bytes().ends_with(ending.as_bytes())).collect();
    files.sort();
    files
}

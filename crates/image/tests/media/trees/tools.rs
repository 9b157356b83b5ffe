//! The programs that write trees, and those that list them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_image::Digest;
use selfsame_testkit::{is_root, may_skip, oracle, oracle_text, skip};

use super::disk::{Entry, Listing, capture, join_names};
use super::ours;
use super::plan::{Plan, Taste};

/// A program that writes trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    Squashfs,
    Ext4,
    Fat,
    Iso,
    Tar,
    Cpio,
}

impl Writer {
    pub(super) fn taste(self) -> Taste {
        let plain = self == Self::Fat;
        // GNU tar leaves them out, and xorriso does not unpack them.
        let sockets = matches!(self, Self::Squashfs | Self::Ext4 | Self::Cpio);
        // mke2fs gives a target one block, and libisofs less than Linux.
        let target = if matches!(self, Self::Ext4 | Self::Iso) { 1000 } else { 4095 };
        // Of some attributes libisofs cannot be told to leave them out.
        let attributes = !matches!(self, Self::Fat | Self::Iso);
        Taste { plain, sockets, attributes, target, root: !plain && is_root() }
    }

    /// Writes what lies at `root`, with options by `seed`. `None` if the program is missing.
    pub(super) fn write(self, root: &Path, plan: &Plan, image: &Path, seed: u64) -> Option<()> {
        match self {
            Self::Squashfs => mksquashfs(root, image, seed),
            Self::Ext4 => mke2fs(root, image, seed),
            Self::Fat => mcopy(root, image, seed),
            Self::Iso => xorriso(root, image, seed),
            Self::Tar => gnu_tar(root, image, seed),
            Self::Cpio => gnu_cpio(root, plan, image),
        }
    }

    /// What is read here.
    pub(super) fn ours(self, image: &[u8]) -> Listing {
        match self {
            Self::Squashfs => ours::squashfs(image),
            Self::Ext4 => ours::ext4(image),
            Self::Fat => ours::fat(image),
            Self::Iso => ours::iso(image),
            Self::Tar => ours::tar(image),
            Self::Cpio => ours::cpio(image),
        }
    }

    /// What somebody else reads, who gets `dir` to work in; `root` is what was packed. `None` if nobody can be asked.
    pub(super) fn theirs(self, image: &Path, dir: &Path, root: &Path) -> Option<Listing> {
        let out = dir.join("out");
        match self {
            Self::Squashfs if mounts() => Some(Mounted::new("squashfs", "ro", image, &out)?.tree()),
            Self::Squashfs => {
                let mut unpack = Command::new("unsquashfs");
                unpack.args(["-no-progress", "-quiet", "-strict-errors", "-d"]).arg(&out).arg(image);
                oracle_text(&mut unpack)?;
                Some(unpacked(&out))
            }
            Self::Ext4 if mounts() => Some(Mounted::new("ext4", "ro,noload", image, &out)?.tree()),
            // What was packed, as nobody but root can mount.
            Self::Ext4 => Some(capture(root)),
            Self::Fat => {
                fs::create_dir(&out).unwrap();
                mtools(Command::new("mcopy").arg("-i").arg(image).args(["-s", "-m", "-n", "::*"]).arg(&out))?;
                Some(unpacked(&out))
            }
            Self::Iso => {
                let mut unpack = Command::new("xorriso");
                unpack
                    .args(["-hardlinks", "on", "-osirrox", "device_files:sort_lba_off", "-indev"])
                    .arg(image);
                oracle_text(unpack.args(["-extract", "/"]).arg(&out))?;
                let (mut listing, packed) = (unpacked(&out), capture(root));
                // It restores neither times nor owners of symbolic links.
                for (path, entry) in bsdtar(image)?.into_iter().filter(|(_, entry)| entry.kind == 'l') {
                    let link = listing.get_mut(&path).expect("both have each link");
                    // libarchive takes the second before 1970 for an error, and says 0.
                    let time = if entry.mtime.0 == 0 { packed[&path].mtime } else { entry.mtime };
                    (link.mtime, link.owner) = (time, entry.owner);
                }
                Some(listing)
            }
            Self::Tar => {
                fs::create_dir(&out).unwrap();
                let mut unpack = Command::new("tar");
                unpack.args([
                    "--xattrs",
                    "--xattrs-include=*",
                    "--numeric-owner",
                    "--delay-directory-restore",
                ]);
                oracle_text(unpack.args(["-xpf"]).arg(image).arg("-C").arg(&out))?;
                Some(unpacked(&out))
            }
            Self::Cpio => bsdtar(image),
        }
    }

    /// Takes out of a listing what the format, or who lists it, does not know.
    pub(super) fn known(self, listing: &mut Listing, seed: u64) {
        let ordinary = self == Self::Ext4 && !mounts();
        if matches!(self, Self::Fat | Self::Iso) || ordinary {
            // It has none, or one that nobody restores.
            listing.remove(&b""[..]);
        }
        if self == Self::Ext4 {
            listing.retain(|path, _| path != b"lost+found");
        }
        let written_by_kernel = seed % 2 == 1 && mounts();
        let fine = match self {
            Self::Ext4 => written_by_kernel,
            Self::Tar => posix(seed),
            _ => false,
        };
        for entry in listing.values_mut() {
            entry.xattrs.retain(|name, _| name != b"security.selinux");
            if !fine {
                entry.mtime.1 = 0;
            }
            if !matches!(self, Self::Ext4 | Self::Tar) || ordinary {
                entry.holes.clear();
            }
            if matches!(self, Self::Fat | Self::Iso | Self::Cpio) {
                entry.xattrs.clear();
            }
            if self == Self::Squashfs && !mounts() {
                // unsquashfs gives none of these to others than root.
                entry.mode &= 0o777;
            }
            if ordinary {
                // mke2fs keeps 32 bits before 1.47.1.
                let [a, b, c, d, ..] = entry.mtime.0.to_le_bytes();
                entry.mtime.0 = i32::from_le_bytes([a, b, c, d]).into();
            }
            if self == Self::Fat {
                (entry.mode, entry.owner) = (0, (0, 0));
                entry.mtime.0 &= !1;
            }
        }
    }
}

/// Whether file systems can be mounted here.
fn mounts() -> bool {
    is_root() && Path::new("/dev/loop-control").exists()
}

fn mksquashfs(root: &Path, image: &Path, seed: u64) -> Option<()> {
    const OPTIONS: [&[&str]; 8] = [
        &["-comp", "gzip", "-b", "4096"],
        &["-comp", "zstd", "-b", "131072"],
        &["-comp", "xz", "-b", "16384", "-no-fragments"],
        &["-comp", "lz4", "-b", "1048576", "-no-exports"],
        &["-comp", "gzip", "-noI", "-noD", "-noF", "-noX"],
        &["-comp", "zstd", "-b", "8192", "-always-use-fragments", "-no-duplicates"],
        &["-comp", "xz", "-Xbcj", "x86", "-no-tailends"],
        &["-comp", "lz4", "-no-sparse", "-noId"],
    ];
    let mut make = Command::new("mksquashfs");
    make.arg(root).arg(image).args(["-noappend", "-no-progress", "-quiet", "-mkfs-time", "1600000000"]);
    oracle_text(make.args(OPTIONS[choice(seed, 8)]))?;
    Some(())
}

fn choice(seed: u64, count: u64) -> usize {
    usize::try_from(seed % count).expect("it is small")
}

fn mke2fs(root: &Path, image: &Path, seed: u64) -> Option<()> {
    const KINDS: [(&str, &str, &str); 5] = [
        ("ext4", "1024", "^has_journal"),
        ("ext4", "4096", "metadata_csum,64bit"),
        ("ext2", "1024", "^dir_index"),
        ("ext3", "4096", "dir_index"),
        ("ext4", "2048", "bigalloc,^resize_inode,^has_journal"),
    ];
    let (kind, block, features) = KINDS[choice(seed / 2, 5)];
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", kind, "-b", block, "-O", features, "-N", "2000", "-I", "256"]);
    make.args(["-U", "6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c", "-E"]);
    make.arg("hash_seed=6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c");
    make.env("E2FSPROGS_FAKE_TIME", "1600000000");
    let by_kernel = seed % 2 == 1 && mounts();
    if !by_kernel {
        make.arg("-d").arg(root);
    }
    oracle_text(make.arg(image).arg("16m"))?;
    if by_kernel {
        // Parts of seconds, and attributes that files share.
        let mounted = Mounted::new("ext4", "rw", image, &image.with_extension("mounted"))?;
        let mut from = root.as_os_str().to_owned();
        from.push("/.");
        oracle_text(Command::new("cp").arg("-a").arg(from).arg(&mounted.root))?;
    }
    Some(())
}

fn mcopy(root: &Path, image: &Path, seed: u64) -> Option<()> {
    const KINDS: [&[&str]; 3] =
        [&["-F12", "-s8", "-C", "16000"], &["-F16", "-s2", "-C", "24576"], &["-F32", "-s1", "-C", "40960"]];
    let [width, cluster, create, size] = KINDS[choice(seed, 3)] else { unreachable!("each has four") };
    let mut make = Command::new("mkfs.vfat");
    oracle_text(make.args(["-i", "12345678", width, cluster, create]).arg(image).arg(size))?;
    let mut all: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    if all.is_empty() {
        return Some(());
    }
    mtools(Command::new("mcopy").arg("-i").arg(image).args(["-s", "-m", "-Q"]).args(all).arg("::/"))
}

/// Runs one of mtools, which have names in the charset of the locale.
fn mtools(command: &mut Command) -> Option<()> {
    let mut wrapped = Command::new("env");
    wrapped
        .args(["LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1"])
        .arg(command.get_program())
        .args(command.get_args());
    if selfsame_testkit::which(command.get_program()).is_none() {
        // That says why it is left out.
        return oracle_text(command).map(drop);
    }
    oracle_text(&mut wrapped).map(drop)
}

fn xorriso(root: &Path, image: &Path, seed: u64) -> Option<()> {
    const OPTIONS: [&[&str]; 4] =
        [&["-R"], &["-R", "-J"], &["-R", "-J", "-joliet-long", "-iso-level", "3"], &["-R", "-D"]];
    let mut make = Command::new("xorriso");
    make.args(["-as", "mkisofs", "-quiet", "--hardlinks"]).args(OPTIONS[choice(seed, 4)]);
    oracle_text(make.arg("-o").arg(image).arg(root))?;
    Some(())
}

/// Whether GNU tar writes the form of POSIX, or its own.
fn posix(seed: u64) -> bool {
    !seed.is_multiple_of(3)
}

fn gnu_tar(root: &Path, image: &Path, seed: u64) -> Option<()> {
    let mut make = Command::new("tar");
    make.arg("-C").arg(root).args(["--create", "--numeric-owner", "--sparse", "--sort=name"]);
    if posix(seed) {
        make.args(["--format=posix", "--xattrs", "--xattrs-include=*"]);
        make.arg(["--pax-option=delete=atime,delete=ctime", "--sparse-version=0.1"][choice(seed, 2)]);
    } else {
        make.arg("--format=gnu");
    }
    oracle_text(make.arg("-f").arg(image).arg("."))?;
    Some(())
}

fn gnu_cpio(root: &Path, plan: &Plan, image: &Path) -> Option<()> {
    let names: Vec<&[u8]> =
        plan.nodes.keys().map(|path| if path.is_empty() { &b"."[..] } else { &path[..] }).collect();
    let list = image.with_extension("names");
    fs::write(&list, names.join(&0)).unwrap();
    let mut make = Command::new("cpio");
    make.current_dir(root).args(["--create", "--format=newc", "--null", "--quiet"]);
    make.stdin(fs::File::open(&list).unwrap());
    let output = oracle(&mut make)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(image, output.stdout).unwrap();
    Some(())
}

/// What was unpacked to `out`, which is removed.
fn unpacked(out: &Path) -> Listing {
    let listing = capture(out);
    fs::remove_dir_all(out).unwrap();
    listing
}

/// What libarchive reads: GNU cpio itself restores no times of directories and symbolic links.
fn bsdtar(image: &Path) -> Option<Listing> {
    let mut list = Command::new("bsdtar");
    let mut from = OsStr::new("@").to_owned();
    from.push(image);
    let output = oracle(list.args(["-cf", "-", "--format=mtree", "--options=mtree:all"]).arg(from))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut listing, mut inodes) = (Listing::new(), BTreeMap::new());
    let text = String::from_utf8(output.stdout).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let path = unescaped(words.next().unwrap());
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        let path = if path == b"." { Vec::new() } else { path };
        let words: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let entry = of_mtree(&words);
        if words.get("nlink").is_some_and(|count| *count != "1") && entry.kind != 'd' {
            inodes.insert(path.clone(), (words["inode"].to_owned(), words["resdevice"].to_owned()));
        }
        listing.insert(path, entry);
    }
    join_names(&mut listing, &inodes);
    // One of the names has the content.
    let contents: BTreeMap<Vec<u8>, (usize, Digest)> = listing
        .values()
        .filter_map(|entry| Some((entry.first.clone(), entry.content.filter(|(size, _)| *size > 0)?)))
        .collect();
    for entry in listing.values_mut().filter(|entry| entry.content.is_some()) {
        entry.content = contents.get(&entry.first).copied().or(entry.content);
    }
    Some(listing)
}

fn of_mtree(words: &BTreeMap<&str, &str>) -> Entry {
    let number = |name: &str| -> u32 { words[name].parse().unwrap() };
    let kind = match words["type"] {
        "dir" => 'd',
        "file" => '-',
        "link" => 'l',
        "char" => 'c',
        "block" => 'b',
        "fifo" => 'p',
        "socket" => 's',
        other => panic!("{other}"),
    };
    let device = words.get("device").map_or((0, 0), |text| {
        let parts: Vec<u32> = text.split(',').skip(1).map(|part| part.parse().unwrap()).collect();
        (parts[0], parts[1])
    });
    let content = (kind == '-').then(|| {
        let digest = words["sha256digest"].parse().unwrap();
        (words["size"].parse().unwrap(), digest)
    });
    Entry {
        kind,
        mode: u32::from_str_radix(words["mode"], 8).unwrap(),
        owner: (number("uid"), number("gid")),
        mtime: (words["time"].split('.').next().unwrap().parse().unwrap(), 0),
        target: words.get("link").map(|text| unescaped(text)).unwrap_or_default(),
        device,
        content,
        ..Entry::default()
    }
}

/// A name without backslashes: three octal digits follow each.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'\\' {
            let digits = std::str::from_utf8(&rest[..3]).unwrap();
            bytes.push(u8::from_str_radix(digits, 8).unwrap());
            rest = &rest[3..];
        } else {
            bytes.push(*first);
        }
    }
    bytes
}

/// A mounted image.
struct Mounted {
    root: PathBuf,
}

impl Mounted {
    fn new(kind: &str, options: &str, image: &Path, root: &Path) -> Option<Self> {
        fs::create_dir(root).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", &format!("loop,{options}")]).arg(image).arg(root);
        let output = oracle(&mut mount)?;
        if !output.status.success() && may_skip() {
            skip(format_args!("this kernel does not mount {kind}"));
            return None;
        }
        assert!(output.status.success(), "{mount:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(Self { root: root.to_owned() })
    }

    fn tree(&self) -> Listing {
        capture(&self.root)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that another test is just starting has a copy of every open file until its program runs.
        for _ in 0..50 {
            if Command::new("umount").arg(&self.root).status().is_ok_and(|status| status.success()) {
                return fs::remove_dir(&self.root).unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("cannot unmount {}", self.root.display());
    }
}

/// A path for people.
pub(super) fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

//! What programs of others say about the images of the examples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_build::host::{CaptureLimits, IdShift, capture};
use selfsame_build::lock::{Lock, Role};
use selfsame_image::deb::Deb;
use selfsame_image::tree::{Content, Item, Kind, text};
use selfsame_image::{Digest, Tree, initramfs, iso9660};
use selfsame_testkit::readme::workspace;
use selfsame_testkit::{is_root, oracle, oracle_text, skip};

use super::{LIVE, TINY, store};

/// The output of examples/live with this extension.
fn output(extension: &str) -> &'static Path {
    let found = LIVE.keys().find(|path| path.to_string_lossy().ends_with(extension));
    found.unwrap_or_else(|| panic!("examples/live has no {extension}"))
}

/// The lock of examples/live.
pub(crate) fn lock() -> Lock {
    fs::read_to_string(workspace().join("examples/live/selfsame.lock")).unwrap().parse().unwrap()
}

pub(crate) fn manifest() -> Tree {
    text::parse(&fs::read(output(".manifest")).unwrap()).unwrap()
}

/// What the record says of a part of the image.
fn component(name: &str) -> Content {
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(output(".record.json")).unwrap()).unwrap();
    let parts = record["predicate"]["components"].as_array().unwrap();
    let part = parts.iter().find(|part| part["name"] == name).unwrap();
    Content {
        size: part["size"].as_u64().unwrap(),
        digest: part["sha256"].as_str().unwrap().parse().unwrap(),
    }
}

fn content(path: &Path) -> Content {
    let (digest, size) = Digest::of_reader(&mut fs::File::open(path).unwrap()).unwrap();
    Content { size, digest }
}

/// Takes `inside` out of the ISO with xorriso; `None` without xorriso.
fn extract(inside: &str, to: &Path) -> Option<()> {
    let mut command = Command::new("xorriso");
    command.args(["-osirrox", "on", "-indev"]).arg(output(".iso")).args(["-extract", inside]).arg(to);
    oracle_text(&mut command).map(drop)
}

/// What the kernel says lies below `dir`, captured like a build captures its layers.
pub(crate) fn captured(dir: &Path) -> Tree {
    capture(dir, IdShift::NONE, NonZero::new(2).unwrap(), CaptureLimits::default()).unwrap().0
}

fn seen(dir: &Path) -> String {
    let mut tree = captured(dir);
    tree.compact();
    text::to_string(&tree)
}

/// # Panics
/// With the first lines that differ.
#[track_caller]
pub(crate) fn assert_same(left: &str, right: &str) {
    let differing: Vec<_> = left.lines().zip(right.lines()).filter(|(l, r)| l != r).take(5).collect();
    assert!(
        left == right,
        "{} and {} lines; first: {differing:#?}",
        left.lines().count(),
        right.lines().count()
    );
}

#[test]
fn unsquashfs_unpacks_exactly_the_manifest() {
    // Owners can be set by root only.
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let squashfs = dir.path().join("squashfs");
    let Some(()) = extract("/live/filesystem.squashfs", &squashfs) else { return };
    assert_eq!(content(&squashfs), component("squashfs"));
    let root = dir.path().join("root");
    let unpacked = oracle(Command::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&root).arg(&squashfs));
    assert!(unpacked.unwrap().status.success());
    assert_same(&seen(&root), &text::to_string(&manifest()));
    dpkg_verifies(&root);
}

/// `dpkg --verify` inside the image: the contents of every package are as its own checksums say.
fn dpkg_verifies(root: &Path) {
    let output = Command::new("chroot").arg(root).args(["dpkg", "--verify"]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    // Changed on purpose by the recipe's own overlay; a configuration file, which dpkg marks with `c`.
    let listed = ["??5?????? c /etc/issue"];
    let odd: Vec<&str> = lines.lines().filter(|line| !listed.contains(line)).collect();
    assert!(odd.is_empty(), "dpkg --verify: {odd:#?}");
}

#[test]
fn the_kernel_mounts_exactly_the_manifest() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let squashfs = dir.path().join("squashfs");
    let Some(()) = extract("/live/filesystem.squashfs", &squashfs) else { return };
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let mount =
        Command::new("mount").args(["-t", "squashfs", "-o", "loop,ro"]).arg(&squashfs).arg(&root).status();
    assert!(mount.unwrap().success());
    let result = std::panic::catch_unwind(|| seen(&root));
    // A process that another test is just starting has a copy of every open file until its program runs.
    let gone = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        Command::new("umount").arg(&root).status().unwrap().success()
    });
    assert!(gone, "cannot unmount {}", root.display());
    assert_same(&result.unwrap(), &text::to_string(&manifest()));
}

/// Each path that `isoinfo -l` lists, and its mode, owner, group, size and date.
fn listed_by_isoinfo() -> Option<BTreeSet<(String, String)>> {
    let listing = oracle_text(Command::new("isoinfo").args(["-R", "-l", "-i"]).arg(output(".iso")))?;
    let (mut dir, mut listed) = (String::new(), BTreeSet::new());
    for line in listing.lines().filter(|line| !line.is_empty()) {
        if let Some(path) = line.strip_prefix("Directory listing of ") {
            dir = path.to_owned();
            continue;
        }
        let (left, name) = line.split_once("] ").unwrap();
        let words: Vec<&str> = left.split_whitespace().collect();
        let [mode, _links, uid, gid, size, month, day, year] = words[..8] else { panic!("{line}") };
        let path = match name.trim() {
            ".." => continue,
            "." if dir == "/" => "/".to_owned(),
            "." => continue,
            name => format!("{dir}{name}"),
        };
        listed.insert((path, format!("{mode} {uid} {gid} {size} {month} {day} {year}")));
    }
    Some(listed)
}

#[test]
fn xorriso_and_isoinfo_list_exactly_the_image() {
    let iso = fs::File::open(output(".iso")).unwrap();
    let volume = iso9660::open(&iso).unwrap();
    let tree = iso9660::read_tree(&iso, &volume, iso9660::Names::RockRidge).unwrap();
    // Where each file begins and how long it is, as xorriso says it; and all that `ls -l` says, as isoinfo says it.
    let (mut places, mut entries, mut paths) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    tree.walk(|path, entry| {
        let path = format!("/{}", String::from_utf8(path.to_vec()).unwrap());
        // The epoch of the example, 2026-08-01T00:00:00Z.
        assert_eq!(entry.meta.mtime, 1_785_542_400, "{path}");
        let mut kind = ("d", 2048);
        if let Item::Leaf(_, Kind::File(extents)) = entry.item {
            let size: u64 = extents.iter().map(|extent| extent.len).sum();
            kind = ("-", size);
            places.insert((path.clone(), extents[0].at / 2048, size));
        }
        let bits = (0..9).rev().map(|bit| if entry.meta.mode >> bit & 1 == 1 { bit % 3 } else { 3 });
        let mode: String = bits.map(|bit| ["x", "w", "r", "-"][bit]).collect();
        let (kind, size) = kind;
        let line = format!("{kind}{mode} {} {} {size} Aug 1 2026", entry.meta.uid, entry.meta.gid);
        entries.insert((path.clone(), line));
        paths.insert(path);
        Ok::<(), ()>(())
    })
    .unwrap();
    assert!(places.len() == 8 && entries.len() == 14, "{entries:?}");

    let mut xorriso = Command::new("xorriso");
    xorriso.arg("-indev").arg(output(".iso")).args(["-find", "/", "--", "-find", "/", "-exec", "report_lba"]);
    let Some(listing) = oracle_text(&mut xorriso) else { return };
    let names = listing.lines().filter_map(|line| line.strip_prefix('\'')?.strip_suffix('\''));
    assert_eq!(names.map(str::to_owned).collect::<BTreeSet<_>>(), paths);
    let found = listing.lines().filter_map(|line| {
        let mut fields = line.strip_prefix("File data lba:")?.split(',').skip(1).map(str::trim);
        let (start, _, size) = (fields.next()?, fields.next()?, fields.next()?);
        let path = fields.next()?.trim_matches('\'').to_owned();
        Some((path, start.parse().unwrap(), size.parse().unwrap()))
    });
    assert_eq!(found.collect::<BTreeSet<_>>(), places);

    let Some(listed) = listed_by_isoinfo() else { return };
    assert_eq!(listed, entries);

    let dir = tempfile::tempdir().unwrap();
    let parts = [("/live/vmlinuz", "kernel"), ("/live/initrd.img", "initramfs")];
    for (path, name) in parts.into_iter().chain([("/live/filesystem.squashfs", "squashfs")]) {
        let to = dir.path().join(name);
        extract(path, &to);
        assert_eq!(content(&to), component(name));
    }
}

#[test]
fn partition_tools_have_no_complaint() {
    let Some(words) = oracle_text(Command::new("sgdisk").arg("-v").arg(output(".iso"))) else { return };
    assert!(words.contains("No problems found"), "{words}");
    let listing = oracle(Command::new("fdisk").arg("-l").arg(output(".iso"))).unwrap();
    let (text, errors) = (String::from_utf8_lossy(&listing.stdout), String::from_utf8_lossy(&listing.stderr));
    assert!(listing.status.success() && text.contains("Disklabel type: gpt"), "{text}{errors}");
    assert!(!text.contains("does not") && errors.trim().is_empty(), "{text}{errors}");
}

#[test]
fn cpio_lists_what_our_reader_reads_in_the_initramfs() {
    let dir = tempfile::tempdir().unwrap();
    let initrd = dir.path().join("initrd");
    let Some(()) = extract("/live/initrd.img", &initrd) else { return };
    let segments = initramfs::read(&fs::File::open(&initrd).unwrap(), 2 << 30).unwrap();
    let main = segments.last().unwrap();
    let archive = dir.path().join("cpio");
    fs::write(&archive, main.plain()).unwrap();
    let mut cpio = Command::new("cpio");
    cpio.args(["-t", "--quiet"]).stdin(fs::File::open(&archive).unwrap());
    let Some(listing) = oracle_text(&mut cpio) else { return };
    let listed: Vec<&str> = listing.lines().collect();
    let mut ours = Vec::new();
    main.trees[0]
        .walk(|path, _| {
            ours.push(if path.is_empty() { ".".into() } else { String::from_utf8_lossy(path).into_owned() });
            Ok::<(), ()>(())
        })
        .unwrap();
    assert!(ours.len() > 500 && listed == ours, "{} and {} names", listed.len(), ours.len());
}

/// What the initramfs at `path` holds, a line for each entry, without times.
fn initramfs_entries(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for segment in initramfs::read(&fs::File::open(path).unwrap(), 2 << 30).unwrap() {
        for tree in &segment.trees {
            tree.walk(|path, entry| {
                let kind = match entry.item {
                    Item::Dir(_) => "directory".to_owned(),
                    Item::Leaf(_, kind) => format!("{kind:?}"),
                };
                let (path, meta) = (String::from_utf8_lossy(path), entry.meta);
                lines.push(format!("{path} {:o} {} {} {kind}", meta.mode, meta.uid, meta.gid));
                Ok::<(), ()>(())
            })
            .unwrap();
        }
    }
    lines
}

/// Hidden places and functions that stand in for programs make mkinitramfs faster, and nothing else: without them, in
/// a plain chroot, it makes the same initramfs.
#[test]
fn mkinitramfs_in_a_chroot_makes_the_same_initramfs() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (squashfs, initrd) = (dir.path().join("squashfs"), dir.path().join("initrd"));
    let Some(()) = extract("/live/filesystem.squashfs", &squashfs) else { return };
    extract("/live/initrd.img", &initrd);
    let root = dir.path().join("root");
    oracle_text(Command::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&root).arg(&squashfs)).unwrap();
    // The one that is answered without processes is the one that is installed.
    let hooks = fs::read_to_string(root.join("usr/share/initramfs-tools/hook-functions")).unwrap();
    let start = hooks.find("\ncopy_file() {\n").unwrap() + 1;
    let end = start + hooks[start..].find("\n}\n").unwrap() + 3;
    let source = fs::read_to_string(workspace().join("crates/build/src/stages/initramfs.rs")).unwrap();
    assert!(source.contains(&Digest::of(&hooks.as_bytes()[start..end]).to_string()));
    let script = "mkinitramfs -c gzip -l 1 -o /var/tmp/initrd \"$(ls /lib/modules)\"";
    let mut plain = Command::new("chroot");
    plain.arg(&root).args(["sh", "-c", script]).env_clear().envs([
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C"),
        ("SOURCE_DATE_EPOCH", "1785542400"),
    ]);
    oracle_text(&mut plain).unwrap();
    let (ours, theirs) = (initramfs_entries(&initrd), initramfs_entries(&root.join("var/tmp/initrd")));
    assert!(ours.len() > 500, "{}", ours.len());
    assert_same(&ours.join("\n"), &theirs.join("\n"));
}

#[test]
fn our_reader_and_dpkg_deb_agree_on_every_package() {
    let lock = lock();
    assert!(LIVE.len() > 1 && lock.packages.len() > 200);
    for package in &lock.packages {
        let path = store().path(&package.file.sha256);
        let deb = Deb::open(fs::File::open(&path).unwrap()).unwrap();
        let theirs = oracle(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&path));
        let Some(theirs) = theirs else { return };
        let (ours, _) = Digest::of_reader(&mut deb.data_plain(16 << 30).unwrap()).unwrap();
        assert_eq!(ours, Digest::of(&theirs.stdout), "{}", package.name);
        let field = oracle_text(Command::new("dpkg-deb").arg("-f").arg(&path)).unwrap();
        let control = deb.control().unwrap();
        let plain = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(
            plain(&String::from_utf8_lossy(control.stanza())).trim(),
            plain(&field).trim(),
            "{}",
            package.name
        );
    }
}

/// mmdebstrap takes `usrmerge`, the first alternative that init-system-helpers names, and what only that one needs.
/// Our root has merged directories from the start, so the lock asks apt for the other, `usr-is-merged`.
const USRMERGE: [&str; 8] = [
    "libfile-find-rule-perl",
    "libgdbm-compat4",
    "libnumber-compare-perl",
    "libperl5.36",
    "libtext-glob-perl",
    "perl",
    "perl-modules-5.36",
    "usrmerge",
];

/// Whoever asks the same of a stock apt in a stock chroot gets the packages of the lock.
#[test]
fn the_lock_is_apts_own_choice() {
    if !is_root() {
        return;
    }
    let lock = lock();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(mirror) = mirror("bookworm") else {
        skip("this machine has no APT source for bookworm");
        return;
    };
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        .args(["--quiet", "--variant=apt", "--skip=cleanup/apt", "--include=usr-is-merged", "bookworm"])
        .arg(&root);
    bootstrap.arg(format!("deb {mirror} bookworm main"));
    let Some(_) = oracle_text(&mut bootstrap) else { return };
    let manual: BTreeSet<&str> = lock.request.include.iter().map(String::as_str).collect();
    let important = important(&root);
    let mut simulate = Command::new("chroot");
    simulate
        .arg(&root)
        .args(["apt-get", "-s", "--no-install-recommends", "install"])
        .args(&manual)
        .args(&important);
    let simulated = oracle_text(&mut simulate).unwrap();
    let mut theirs: BTreeMap<String, String> = simulated
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            let version = rest.split_once('(').unwrap().1.split(' ').next().unwrap();
            (name.to_owned(), version.to_owned())
        })
        .collect();
    let query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n"];
    let installed = oracle_text(Command::new("chroot").arg(&root).args(query)).unwrap();
    theirs.extend(
        installed.lines().map(|line| line.split_once(' ').unwrap()).map(|(n, v)| (n.into(), v.into())),
    );
    theirs.retain(|name, _| !USRMERGE.contains(&name.as_str()));
    let ours: BTreeMap<String, String> = lock
        .packages
        .iter()
        .filter(|package| package.role == Role::Image)
        .map(|package| (package.name.clone(), package.version.clone()))
        .collect();
    assert_eq!(ours, theirs);
}

/// Names of all packages of priority required and important, as the chroot's apt knows them.
fn important(root: &Path) -> Vec<String> {
    let list = oracle_text(Command::new("chroot").arg(root).args(["apt-cache", "dumpavail"])).unwrap();
    let mut names = Vec::new();
    for stanza in list.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        if matches!(field("Priority: "), Some("required" | "important")) {
            names.extend(field("Package: ").map(str::to_owned));
        }
    }
    names
}

/// The machine's own mirror of a suite, or the one that tests are told to use, which has bookworm only.
pub(super) fn mirror(suite: &str) -> Option<String> {
    if let Ok(mirror) = std::env::var("SELFSAME_TEST_MIRROR") {
        return (suite == "bookworm").then_some(mirror);
    }
    let sources = selfsame_apt::mirrors::read_system_sources(Path::new("/")).ok()?;
    let mirrors = selfsame_apt::mirrors::auto_mirrors(&sources, suite);
    mirrors.first().map(|mirror| mirror.as_str().to_owned())
}

#[test]
fn a_tree_in_a_tar_is_the_tree_that_tar_unpacks() {
    let find = |extension: &str| -> PathBuf {
        TINY.keys().find(|path| path.to_string_lossy().ends_with(extension)).unwrap().clone()
    };
    let tree = text::parse(&fs::read(find(".manifest")).unwrap()).unwrap();
    let Some(listing) = oracle_text(Command::new("tar").arg("-tf").arg(find(".tar"))) else { return };
    let mut ours = 0;
    tree.walk(|path, entry| {
        ours += usize::from(!path.is_empty() || matches!(entry.item, Item::Dir(_)));
        if let Item::Leaf(_, Kind::Socket) = entry.item {
            panic!("{path:?}");
        }
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_eq!(listing.lines().count(), ours);
}

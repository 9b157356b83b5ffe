//! EROFS as mkfs.erofs makes it: whose each byte is, held against dump.erofs and against what Linux mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use selfsame_image::compare::{Leaf, Name, Options, compare as compared};
use selfsame_image::extent::{self, Extent, Label, Parsed, Room, Source};
use selfsame_testkit::{is_root, may_skip, oracle_text, skip};

use crate::compare;
use crate::support::{load, noise, scratch};

/// Kinds of file system, by the arguments that make them.
const KINDS: [&[&str]; 7] = [
    &[],
    &["--chunksize=4096"],
    &["-zlz4hc"],
    &["-zlz4hc", "-C65536"],
    &["-zlz4hc", "-Elegacy-compress"],
    &["-zlz4hc", "-Eztailpacking"],
    &["-zlz4hc", "-C16384", "-Efragments"],
];

/// Files and what they hold.
fn files(motd: &str) -> BTreeMap<String, Vec<u8>> {
    let mut text: Vec<u8> = (0..60_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    text.extend(&noise(40_000)[9..]);
    let mut files = BTreeMap::from([
        ("etc/motd".to_owned(), motd.as_bytes().to_vec()),
        // Not the same as the start of another one: mkfs.erofs would notice.
        ("etc/large".to_owned(), noise(300_005)[5..].to_vec()),
        ("etc/long".to_owned(), text),
        ("etc/hole".to_owned(), [noise(5_000), vec![0; 200_000], noise(4_097)].concat()),
        ("etc/block".to_owned(), noise(8_202)[10..].to_vec()),
        ("one".to_owned(), vec![1]),
        ("empty".to_owned(), Vec::new()),
    ]);
    for number in 0..200 {
        files.insert(format!("many/a file with quite a long name, number {number}"), vec![b'x'; number]);
    }
    files
}

#[allow(clippy::disallowed_methods)] // A test hands files to other programs; the crate itself never does.
fn image(dir: &Path, kind: &[&str], motd: &str, same_time: bool) -> Option<Vec<u8>> {
    let (root, image) = (dir.join("root"), dir.join("image"));
    let _ = std::fs::remove_dir_all(&root);
    for (path, bytes) in files(motd) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::hard_link(root.join("one"), root.join("etc/also")).unwrap();
    std::os::unix::fs::symlink("etc/motd", root.join("short")).unwrap();
    std::os::unix::fs::symlink("x/".repeat(100), root.join("long")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    if is_root() {
        let null = makedev(0x123, 0x4_5678);
        mknodat(CWD, root.join("device"), FileType::CharacterDevice, Mode::from(0o620), null).unwrap();
        std::os::unix::fs::chown(root.join("one"), Some(100_000), Some(7)).unwrap();
    }
    // One that many files have is shared.
    for (number, path) in files(motd).into_keys().enumerate() {
        let path = root.join(path);
        let set = |name: &str, value: &[u8]| lsetxattr(&path, name, value, XattrFlags::empty());
        if set("user.all", b"the same everywhere").is_err() {
            break;
        }
        set("user.own", format!("of {number}").as_bytes()).unwrap();
    }
    let _ = std::fs::remove_file(&image);
    let mut make = Command::new("mkfs.erofs");
    make.args(["--quiet", "-U6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c"]).args(kind);
    if same_time {
        make.args(["-T1600000000", "--all-root"]);
    }
    oracle_text(make.arg(&image).arg(&root))?;
    Some(load(&image))
}

fn parsed(bytes: &[u8]) -> Parsed {
    extent::parse(&(Arc::new(bytes.to_vec()) as Source), &Room::new(0, 0)).unwrap().unwrap()
}

fn path_of(parsed: &Parsed, extent: &Extent) -> String {
    String::from_utf8(parsed.map.path(extent.owner).to_vec()).unwrap()
}

fn cut<'a>(bytes: &'a [u8], extent: &Extent) -> &'a [u8] {
    &bytes[usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap()]
}

/// What the files inside hold, by path.
fn contents(parsed: &Parsed) -> BTreeMap<String, Vec<u8>> {
    let one = |member| {
        let Label::Path(path) = parsed.members.label(member) else { panic!() };
        let source = parsed.members.open(member).unwrap().source;
        let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
        source.read_exact_at(&mut bytes, 0).unwrap();
        (String::from_utf8(path[1..].to_vec()).unwrap(), bytes)
    };
    (0..parsed.members.count()).map(one).collect()
}

/// Physical ranges of a file, as dump.erofs tells them.
fn dumped(image: &Path, path: &str) -> Option<Vec<(u64, u64)>> {
    let mut dump = Command::new("dump.erofs");
    let text = oracle_text(dump.arg("-e").arg(format!("--path=/{path}")).arg(image))?;
    let row = |line: &str| {
        let (start, rest) = line.split(" : ").nth(1)?.split_once("..")?;
        let (_, len) = rest.split_once('|')?;
        Some((start.trim().parse().ok()?, len.trim().parse().ok()?))
    };
    Some(text.lines().filter_map(row).collect())
}

#[test]
fn files_are_found_with_their_bytes_and_every_byte_has_an_owner() {
    let dir = scratch();
    let mut text = String::new();
    for kind in KINDS {
        let Some(image) = image(dir.path(), kind, "Welcome.\n", true) else { return };
        let parsed = parsed(&image);
        assert_eq!(parsed.faults, [], "{kind:?}");
        let (mut names, mut at) = (BTreeSet::new(), 0);
        for extent in parsed.map.extents() {
            assert_eq!(extent.start, at);
            at = extent.end();
            names.insert(extent.structure.name);
            if extent.structure.name == "padding" {
                assert!(cut(&image, extent).iter().all(|byte| *byte == 0), "{kind:?}: {extent:?}");
            }
        }
        assert_eq!(at, u64::try_from(image.len()).unwrap());
        let mut expected = files("Welcome.\n");
        let mut found = contents(&parsed);
        // Of two names of one file the first one that is met counts.
        if let Some(bytes) = found.remove("etc/also") {
            found.insert("one".into(), bytes);
        }
        if kind.is_empty() || kind[0].starts_with("--chunk") {
            expected.retain(|_, bytes| !bytes.is_empty());
            assert!(found == expected, "{kind:?}: {:?}", found.keys());
        } else {
            // What is not worth to be compressed is a file inside.
            assert!(found.iter().all(|(path, bytes)| expected[path] == *bytes), "{kind:?}");
        }
        // Not every file system that a tree is packed from has attributes.
        names.retain(|name| !name.contains("attribute"));
        text += &format!("{}: {}\n", kind.join(" "), names.into_iter().collect::<Vec<_>>().join(", "));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn compressed_data_is_where_dump_erofs_finds_it() {
    let dir = scratch();
    for kind in &KINDS[2..] {
        let Some(image) = image(dir.path(), kind, "Welcome.\n", true) else { return };
        let parsed = parsed(&image);
        for path in ["etc/long", "etc/hole", "etc/large"] {
            let Some(ranges) = dumped(&dir.path().join("image"), path) else { return };
            assert!(!ranges.is_empty());
            let mut theirs = BTreeSet::new();
            for (start, len) in ranges {
                let mut at = start;
                while at < start + len {
                    let extent = parsed.map.extents()[parsed.map.index_at(at).unwrap()];
                    // Its end may be together with those of other files.
                    let owner = path_of(&parsed, &extent);
                    let known = owner == format!("/{path}") || owner == "<packed ends of files>";
                    assert!(known || start == 0, "{kind:?} {path}: {extent:?} {owner}");
                    theirs.insert((extent.start, extent.len));
                    at = extent.end();
                }
            }
            let ours = parsed.map.extents().iter().filter(|extent| {
                let data = matches!(extent.structure.name, "compressed data" | "data");
                data && path_of(&parsed, extent) == format!("/{path}")
            });
            for extent in ours {
                assert!(theirs.contains(&(extent.start, extent.len)), "{kind:?} {path}: {extent:?}");
            }
        }
    }
}

/// What is told of each path: number of the inode, and what is in its fields.
fn told(image: &[u8]) -> BTreeMap<String, String> {
    let parsed = parsed(image);
    let (mut fields, mut shared) = (BTreeMap::<String, BTreeMap<String, String>>::new(), BTreeMap::new());
    let (mut entries, mut targets) = (Vec::new(), BTreeMap::<String, String>::new());
    let xattr_block = u64::from(u32::from_le_bytes(*image[1024 + 44..].first_chunk().unwrap())) * 4096;
    for extent in parsed.map.extents() {
        let (path, found) = (path_of(&parsed, extent), (extent.structure.fields)(cut(image, extent)));
        match extent.structure.name {
            "directory block" => entries.extend(found.iter().filter_map(|field| {
                let name = field.name.strip_suffix(": inode")?.trim_matches('"').to_owned();
                Some((path.clone(), name, field.value.clone()))
            })),
            "inode" | "extended attributes" => {
                let all = found.into_iter().map(|field| (field.name.into_owned(), field.value));
                fields.entry(path).or_default().extend(all);
            }
            "shared extended attribute" => {
                let value = (found[0].name.clone().into_owned(), found[0].value.clone());
                shared.insert(((extent.start - xattr_block) / 4).to_string(), value);
            }
            "target" => {
                targets.insert(path, String::from_utf8(cut(image, extent).to_vec()).unwrap());
            }
            _ => {}
        }
    }
    let of_inode: BTreeMap<String, String> = entries
        .iter()
        .filter(|(_, name, _)| name != "." && name != "..")
        .map(|(dir, name, inode)| (format!("{}/{name}", dir.trim_end_matches('/')), inode.clone()))
        .collect();
    let mut first: BTreeMap<&String, &String> = BTreeMap::new();
    for (path, inode) in &of_inode {
        if fields.contains_key(path) {
            first.insert(inode, path);
        }
    }
    let one = |(path, inode): (&String, &String)| {
        let own = first.get(inode).unwrap_or_else(|| panic!("{path} {inode} {of_inode:?}"));
        let of = &fields[*own];
        let seconds = of["mtime"].split(['(', ')']).nth(1).unwrap();
        let mut text = format!(
            "{inode} {} {} {} {} {seconds}.{} {}",
            of["mode"], of["uid"], of["gid"], of["nlink"], of["mtime_nsec"], of["size"]
        );
        if let Some(device) = of.get("device") {
            text += &format!(" {}", device.split(' ').next().unwrap());
        }
        text += targets.get(*own).map_or("", String::as_str);
        let mut attributes: BTreeMap<String, String> = of
            .iter()
            .filter(|(name, _)| name.starts_with("user."))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect();
        let named = of.iter().filter(|(name, _)| name.starts_with("shared attribute "));
        attributes.extend(
            named.map(|(_, id)| shared.get(id).unwrap_or_else(|| panic!("{id}: {shared:?} {of:?}")).clone()),
        );
        attributes.iter().for_each(|(name, value)| text += &format!(" {name}={value}"));
        (path.clone(), text)
    };
    of_inode.iter().map(one).collect()
}

/// The same of what is mounted.
#[allow(clippy::disallowed_methods)] // As above.
fn mounted(root: &Path, below: &str, all: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(root).unwrap() {
        let host = entry.unwrap().path();
        let path = format!("{below}/{}", host.file_name().unwrap().to_str().unwrap());
        let meta = std::fs::symlink_metadata(&host).unwrap();
        let mut text = format!(
            "{} {:#o} {} {} {} {}.{} {}",
            meta.ino(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.size()
        );
        if meta.rdev() != 0 {
            text += &format!(" {}:{}", rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        }
        if meta.is_symlink() {
            text += std::fs::read_link(&host).unwrap().to_str().unwrap();
        }
        for name in ["user.all", "user.own"] {
            let mut value = [0; 100];
            if let Ok(len) = rustix::fs::lgetxattr(&host, name, &mut value[..]) {
                text += &format!(" {name}={:?}", String::from_utf8_lossy(&value[..len]));
            }
        }
        all.insert(path.clone(), text);
        if meta.is_dir() {
            mounted(&host, &path, all);
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // As above.
fn linux_mounts_the_tree_that_is_told() {
    if !is_root() || !Path::new("/dev/loop-control").exists() {
        return skip("only root can mount, and not every container has loop devices");
    }
    let dir = scratch();
    let root = dir.path().join("mounted");
    std::fs::create_dir(&root).unwrap();
    for kind in [KINDS[0], KINDS[1], KINDS[3]] {
        let Some(image) = image(dir.path(), kind, "Welcome.\n", false) else { return };
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "erofs", "-o", "loop,ro"]).arg(dir.path().join("image")).arg(&root);
        let Ok(output) = mount.output() else { return skip("there is no mount") };
        if !output.status.success() && may_skip() {
            return skip("this kernel has no EROFS");
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mount:?}: {complaint}");
        let mut theirs = BTreeMap::new();
        mounted(&root, "", &mut theirs);
        assert!(Command::new("umount").arg(&root).status().unwrap().success());
        let ours = told(&image);
        assert_eq!(ours, theirs, "{kind:?}");
    }
}

#[test]
fn one_bit_anywhere_is_named_with_its_structure() {
    let dir = scratch();
    for (seed, kind) in (5..).zip(KINDS) {
        let Some(image) = image(dir.path(), kind, "Welcome.\n", true) else { return };
        compare::flips(&format!("erofs {kind:?}"), &image, seed);
    }
}

#[test]
fn no_damage_makes_reading_panic_or_leave_something_out() {
    let dir = scratch();
    for kind in KINDS {
        let Some(image) = image(dir.path(), kind, "Welcome.\n", true) else { return };
        compare::damaged(&format!("erofs {kind:?}"), &image, 500);
    }
}

#[test]
fn a_file_that_differs_is_named() {
    let dir = scratch();
    let of = |motd| image(dir.path(), KINDS[0], motd, true).map(|image| Arc::new(image) as Source);
    let (Some(a), Some(b)) = (of("Welcome.\n"), of("Welcome!\n")) else { return };
    let report = compared(&a, &b, &Options::new(NonZero::new(2).unwrap())).unwrap();
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    assert_eq!(root.formats, [Some("erofs"); 2]);
    let names: Vec<_> = root.members.iter().map(|member| member.name.clone()).collect();
    assert_eq!(names, [Name::Path(b"/etc/motd".to_vec())]);
    assert!(matches!(&root.members[0].leaf, Some(Leaf::Text(lines)) if lines.lines.len() == 2));
}

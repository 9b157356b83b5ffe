use std::process::Command;

use selfsame_image::Epoch;
use selfsame_image::tar::{Dialect, read_tree, write};
use selfsame_image::tree::{Kind, Leaf, Meta, Tree};

use crate::host::{assert_same, capture, oracle, root, sample, unpack_tar};

fn written(tree: &Tree, memory: &selfsame_image::tree::Memory) -> Vec<u8> {
    let mut archive = Vec::new();
    write(tree, memory, Epoch(u32::MAX), &mut archive).unwrap();
    archive
}

/// GNU tar unpacks what was put in, and packs it again to the same bytes.
#[test]
fn gnu_tar_unpacks_the_tree_and_packs_the_same_bytes() {
    let (tree, memory) = sample();
    let dir = tempfile::tempdir().unwrap();
    let Some(ours) = unpack_tar(&tree, &memory, dir.path()) else { return };
    assert_same(&tree, &capture(dir.path()).0, "unpacked by GNU tar");
    let mut pack = Command::new("tar");
    pack.arg("-C").arg(dir.path()).args(["--create", "--sort=name", "--format=posix", "--numeric-owner"]);
    pack.args(["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "--file=-", "."]);
    if !root() {
        pack.args(["--owner=0", "--group=0"]);
    }
    let theirs = oracle(&mut pack, b"").unwrap();
    for (index, (ours, theirs)) in ours.chunks(512).zip(theirs.chunks(512)).enumerate() {
        assert!(
            ours == theirs,
            "block {index}:\n{}\n{}",
            String::from_utf8_lossy(ours),
            String::from_utf8_lossy(theirs)
        );
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Every form that GNU tar writes comes back as the same tree.
#[test]
fn forms_of_gnu_tar_are_read_as_the_same_tree() {
    let (tree, memory) = sample();
    let dir = tempfile::tempdir().unwrap();
    if unpack_tar(&tree, &memory, dir.path()).is_none() {
        return;
    }
    for (format, dialects) in [
        ("gnu", &[Dialect::Dpkg, Dialect::Any][..]),
        ("oldgnu", &[Dialect::Dpkg]),
        ("posix", &[Dialect::Any]),
    ] {
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(dir.path()).args(["--create", "--file=-", &format!("--format={format}"), "."]);
        if !root() {
            pack.args(["--owner=0", "--group=0"]);
        }
        let theirs = oracle(&mut pack, b"").unwrap();
        for dialect in dialects {
            let (mut back, _) = read_tree(&theirs[..], *dialect).unwrap();
            back.compact();
            assert_same(&back, &tree, format);
        }
    }
}

/// GNU tar takes extended attributes from our records and writes the same records. Only root may set capabilities.
#[test]
fn gnu_tar_understands_extended_attributes() {
    if !root() {
        return;
    }
    let (mut tree, mut memory) = sample();
    // CAP_NET_RAW, permitted and effective, in the form of VFS_CAP_REVISION_2.
    let mut capability = [0; 20];
    (capability[0], capability[3], capability[5]) = (1, 2, 0x20);
    let mut meta = Meta { uid: 3_000_000, ..Meta::root(0o755, 1_600_000_000) };
    meta.xattrs.insert(b"security.capability".as_slice().into(), capability.as_slice().into());
    let ping = Leaf { meta, kind: Kind::File(memory.add("ping")) };
    tree.set_file(format!("usr/{}", "p".repeat(100)).as_bytes(), ping).unwrap();
    let ours = written(&tree, &memory);
    let dir = tempfile::tempdir().unwrap();
    let xattrs = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--file=-"];
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(dir.path()).args(xattrs).args(["--extract", "--preserve-permissions"]);
    if oracle(&mut unpack, &ours).is_none() {
        return;
    }
    let mut pack = Command::new("tar");
    pack.arg("-C").arg(dir.path()).args(xattrs).args(["--create", "--sort=name", "--format=posix"]);
    pack.args(["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "."]);
    let theirs = oracle(&mut pack, b"").unwrap();
    let (mut back, _) = read_tree(&theirs[..], Dialect::Any).unwrap();
    back.compact();
    tree.compact();
    assert_same(&back, &tree, "packed by GNU tar");
    assert!(ours == theirs, "the bytes differ");
}

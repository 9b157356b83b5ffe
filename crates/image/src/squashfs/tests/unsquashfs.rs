//! unsquashfs lists and extracts what was written.

use std::fmt::Write;
use std::process::Command;

use super::host::{capture, is_root, oracle};
use super::{as_read, assert_same, codecs, crowd, image, sample};
use crate::epoch::civil;
use crate::tree::{Item, Kind, Memory, Tree};

#[test]
fn unsquashfs_extracts_the_same_tree() {
    for block_size in [4 << 10, 128 << 10, 1 << 20] {
        let (tree, memory) = sample(usize::try_from(block_size).unwrap(), is_root());
        for options in codecs(block_size) {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("image");
            std::fs::write(&file, image(&tree, &memory, &options)).unwrap();
            let root = directory.path().join("root");
            let mut unsquashfs = Command::new("unsquashfs");
            unsquashfs.args(["-no-progress", "-strict-errors", "-d"]).arg(&root).arg(&file);
            if oracle(&mut unsquashfs).is_none() {
                return;
            }
            let mut expected = as_read(&tree);
            if !is_root() {
                give_away(&mut expected);
            }
            assert_same(&capture(&root).0, &expected);
        }
    }
}

/// Everything belongs to whoever extracts it.
fn give_away(tree: &mut Tree) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    tree.root.for_each_dir_mut(&mut |meta| (meta.uid, meta.gid) = (uid, gid));
    for leaf in tree.leaves_mut() {
        (leaf.meta.uid, leaf.meta.gid) = (uid, gid);
    }
}

#[test]
fn unsquashfs_lists_modes_owners_sizes_devices_and_times() {
    let (mut tree, memory) = sample(4096, true);
    // Its listing prints numbers beyond 255 wrongly, and wraps at line breaks; extraction is right.
    for path in [&b"far"[..], b"disk", b"new\nline \\ \""] {
        tree.remove(path).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image");
    std::fs::write(&file, image(&tree, &memory, &codecs(4096)[0])).unwrap();
    let mut unsquashfs = Command::new("unsquashfs");
    let Some(output) = oracle(unsquashfs.args(["-UTC", "-lln"]).arg(&file)) else {
        return;
    };
    // The size of a directory is that of its listing, which is not part of a tree.
    let without_dir_sizes = |text: String| {
        let lines = text.lines().map(|line| match line.starts_with('d') {
            true => line.split_whitespace().enumerate().filter(|(i, _)| *i != 2).map(|(_, w)| w).collect(),
            false => line.split_whitespace().collect::<Vec<_>>(),
        });
        // Device numbers are aligned with blanks.
        lines.map(|words| words.join(" ").replace(", ", ",")).collect::<Vec<_>>()
    };
    let found = without_dir_sizes(String::from_utf8_lossy(&output.stdout).into_owned());
    let expected = without_dir_sizes(listing(&as_read(&tree)));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

/// The listing that unsquashfs shall print.
fn listing(tree: &Tree) -> String {
    let mut text = String::new();
    tree.walk(|path, entry| {
        let meta = entry.meta;
        let (kind, size, target) = match entry.item {
            Item::Dir(_) => ('d', "0".to_owned(), String::new()),
            Item::Leaf(_, kind) => match kind {
                Kind::File(content) => ('-', content.size.to_string(), String::new()),
                Kind::Symlink(target) => {
                    ('l', target.len().to_string(), format!(" -> {}", String::from_utf8_lossy(target)))
                }
                Kind::Block { major, minor } => ('b', format!("{major},{minor}"), String::new()),
                Kind::Char { major, minor } => ('c', format!("{major},{minor}"), String::new()),
                Kind::Fifo => ('p', "0".to_owned(), String::new()),
                Kind::Socket => ('s', "0".to_owned(), String::new()),
            },
        };
        let time = civil(u32::try_from(meta.mtime).unwrap()).to_string();
        let time = &time.replace('T', " ")[..16];
        let slash = if path.is_empty() { "" } else { "/" };
        let path = String::from_utf8_lossy(path);
        let (mode, uid, gid) = (mode(kind, meta.mode), meta.uid, meta.gid);
        writeln!(text, "{mode} {uid}/{gid} {size} {time} squashfs-root{slash}{path}{target}").unwrap();
        Ok::<(), ()>(())
    })
    .unwrap();
    text
}

fn mode(kind: char, mode: u16) -> String {
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[test]
fn unsquashfs_finds_names_in_a_large_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image");
    std::fs::write(&file, image(&crowd(5000), &Memory::new(), &codecs(4096)[0])).unwrap();
    let mut unsquashfs = Command::new("unsquashfs");
    let Some(output) = oracle(unsquashfs.args(["-l"]).arg(&file)) else {
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5002);
}

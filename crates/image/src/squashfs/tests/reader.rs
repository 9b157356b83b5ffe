//! What the reader promises: contents, bounds, errors with a position.

use std::io::Read;

use super::{
    PLAIN, assert_same, codecs, empty, file, image, jobs, leaf, noisy_name, options, prose, read, round_trip,
    sample,
};
use crate::ReadAt;
use crate::io::Cursor;
use crate::squashfs::{Image, ProblemKind, check};
use crate::tree::{Content, Contents, Item, Kind, Memory};

/// A small image whose metadata is stored as it is, so that its fields can be changed.
fn plain() -> Vec<u8> {
    let (mut tree, mut memory) = (empty(), Memory::new());
    tree.insert(b"a", file(&mut memory, "aaaa")).unwrap();
    image(&tree, &memory, &options("zstd:15", 4096))
}

/// The message of the first error when everything is read.
fn refusal(image: &[u8]) -> String {
    let all = || Image::open(image)?.to_content_tree(jobs(1));
    all().map(|_| ()).unwrap_err().to_string()
}

fn changed(at: usize, bytes: &[u8]) -> String {
    let mut image = plain();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    refusal(&image)
}

#[test]
fn each_field_of_the_superblock_is_checked() {
    for (at, bytes, text) in [
        (0, &b"hsqt"[..], "corrupt at byte 0x0: magic is [68, 73, 71, 74]"),
        (0, b"sqsh", "unsupported feature at byte 0x0: big-endian images"),
        (12, &[0, 32, 0, 0], "corrupt at byte 0xc: block size 8192 does not match log2 12"),
        (20, &[7, 0], "unsupported feature at byte 0x14: unknown codec"),
        (22, &[77, 0], "corrupt at byte 0xc: block size 4096 does not match log2 77"),
        (28, &[3, 0], "unsupported feature at byte 0x1c: versions other than 4.0"),
        (40, &[0xff; 8], "corrupt at byte 0x28: needs 18446744073709551615 bytes, image has 4096"),
        (48, &[0xff; 8], "corrupt at byte 0x30: id table at 0xffffffffffffffff lies outside of 237 bytes"),
        (64, &[1; 8], "corrupt at byte 0x40: inode table at 0x101010101010101 lies outside of 237 bytes"),
    ] {
        assert_eq!(changed(at, bytes), text);
    }
    assert_eq!(refusal(&plain()[..95]), "corrupt at byte 0x0: needs 96 bytes, image has 95");
    assert_eq!(refusal(&plain()[..200]), "corrupt at byte 0x28: needs 237 bytes, image has 200");
}

#[test]
fn contents_are_read_at_any_place() {
    let (tree, memory) = sample(4096, true);
    for options in codecs(4096) {
        let image = Image::open(image(&tree, &memory, &options)).unwrap();
        let (found, files) = image.to_content_tree(jobs(3)).unwrap();
        let mut checked = 0;
        found
            .walk(|path, entry| {
                let Item::Leaf(_, Kind::File(content)) = entry.item else {
                    return Ok::<(), ()>(());
                };
                let (file, original) = (files.open(content).unwrap(), memory.open(content).unwrap());
                let size = usize::try_from(content.size).unwrap();
                let mut bytes = vec![0; size];
                original.read_exact_at(&mut bytes, 0).unwrap();
                for at in (0..size).step_by(997) {
                    let mut part = vec![1; (size - at).min(5000)];
                    file.read_exact_at(&mut part, u64::try_from(at).unwrap()).unwrap();
                    assert!(part == bytes[at..at + part.len()], "{} at {at}", path.escape_ascii());
                }
                assert!(file.read_exact_at(&mut [0], content.size).is_err());
                let mut whole = Vec::new();
                Cursor::new(file, 0).read_to_end(&mut whole).unwrap();
                assert!(whole == bytes);
                checked += 1;
                Ok(())
            })
            .unwrap();
        assert!(checked > 20);
        let missing = files.open(&Content::of(b"not in there")).err().unwrap();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    }
}

#[test]
fn an_image_is_written_again_from_itself() {
    let (tree, memory) = sample(4096, true);
    let first = image(&tree, &memory, &options("zstd:3", 4096));
    let (tree, files) = Image::open(first.clone()).unwrap().to_content_tree(jobs(2)).unwrap();
    let mut out = std::io::Cursor::new(Vec::new());
    crate::squashfs::write(&tree, &files, &options("zstd:3", 4096), jobs(2), &mut out).unwrap();
    assert!(out.into_inner() == first);
}

#[test]
fn check_finds_what_reading_does_not() {
    let problems = |image: &[u8]| {
        let list: Vec<_> = check(image).unwrap().iter().map(ToString::to_string).collect();
        list
    };
    assert_eq!(problems(PLAIN), Vec::<String>::new());
    let changed = |at: usize, byte: u8| {
        let mut image = PLAIN.to_vec();
        image[at] = byte;
        problems(&image)
    };
    let has = |problems: Vec<String>, text: &str| {
        assert!(problems.iter().any(|problem| problem == text), "{problems:#?}");
    };
    // Offsets in a metadata block count from behind its header.
    let (inodes, directories, export) = (0xb9 + 2, 0x3d0 + 2, 0x664 + 2);
    let root = inodes + 0x305;
    assert_eq!(changed(4095, 1), ["byte 0x832: padding is not zero"]);
    assert_eq!(problems(&PLAIN[..0x832]), ["byte 0x832: image of 2098 bytes is no multiple of 4096"]);
    assert_eq!(changed(4, 23), ["byte 0x4: superblock says 23 inodes, 22 have names"]);
    assert_eq!(changed(root + 4, 4), ["/ at byte 0xb9: link count 4, 3 by its names"]);
    assert_eq!(changed(inodes + 0x1f4 + 24, 3), ["/small at byte 0xb9: link count 3, 2 by its names"]);
    assert_eq!(
        changed(inodes + 0x1d4 + 12, 9),
        ["/dir/below at byte 0x3d0: entry says parent 2, its inode 9"]
    );
    has(
        changed(inodes + 0x44 + 12, 5),
        "/dir/below/a name of some length, number 1 at byte 0x3d0: entry says number 4, its inode 5",
    );
    has(
        changed(inodes + 0x44 + 12, 5),
        "/dir/below/a name of some length, number 10 at byte 0xb9: inode number 5 is used twice",
    );
    has(changed(directories + 0x235, b'z'), "/link at byte 0x3d0: \"link\" is out of order");
    assert_eq!(changed(directories + 0x239 + 4, 5), ["/link at byte 0x3d0: entry says type 5, its inode 3"]);
    assert_eq!(changed(export, 1), ["byte 0x716: export table has 0x1 for inode 1, which is at 0x0"]);
    // The length of the fragment, which is stored as it is: one byte less is too short for the last file.
    has(changed(0x654, 20), "byte 0xa4: block holds 20 bytes, not 21");
    has(changed(0x654, 20), "byte 0xb8: 1 bytes belong to nothing");
    // The first block of the first file begins one byte later.
    has(changed(inodes + 0x10, 0x61), "byte 0x60: 1 bytes belong to nothing");
    has(changed(inodes + 0x10, 0x61), "byte 0xa4: overlaps what ends at byte 0xa5");
    // The attributes begin one byte after the list of owners ends.
    has(changed(0x81a, 0x2d), "byte 0x724: id table ends at 0x72c, what follows begins at 0x72d");
}

#[test]
fn check_follows_directory_indices() {
    // Names that do not compress, so that listings are stored as they are.
    let mut tree = empty();
    let mut names: Vec<_> = (0..60).map(|number| noisy_name(number, 200)).collect();
    names.sort();
    for name in &names {
        tree.insert(name, leaf(Kind::Fifo)).unwrap();
    }
    let mut image = round_trip(&tree, &Memory::new(), &options("zstd:1", 4096));
    // Entries have 208 bytes after a header of 12: the 41st begins in the second metadata block, with a header.
    let first = names[40].clone();
    let at = image.windows(200).rposition(|window| window == first).unwrap();
    image[at + 199] ^= 1;
    let problems = check(&image[..]).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].kind, ProblemKind::DirIndex { entry: 0 });
}

#[test]
fn check_names_the_file_whose_block_is_broken() {
    let (mut tree, mut memory) = (empty(), Memory::new());
    tree.insert(b"good", file(&mut memory, prose(1, 8192))).unwrap();
    tree.insert(b"hurt", file(&mut memory, prose(2, 8192))).unwrap();
    let mut image = round_trip(&tree, &memory, &options("zstd:15", 4096));
    // The last frame before the inodes is the second block of the second file. There is no checksum: damage inside
    // a frame may give other bytes of the right length, which only a digest can tell.
    let inode_table = u64::from_le_bytes(image[64..72].try_into().unwrap());
    let data = &image[..usize::try_from(inode_table).unwrap()];
    let last = data.windows(4).rposition(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    image[last] = 0;
    let problems = check(&image[..]).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].path.as_ref().unwrap().to_string(), "/hurt");
    assert!(refusal(&image).contains("block of"), "{}", refusal(&image));
}

#[test]
fn check_knows_the_window_that_linux_grants() {
    // A block that is compressed as part of a stream of unknown length: what one writer did.
    let (mut tree, mut memory) = (empty(), Memory::new());
    let bytes = prose(1, 4096);
    tree.insert(b"file", file(&mut memory, bytes.clone())).unwrap();
    let mut image = image(&tree, &memory, &options("zstd:15", 4096));
    let ours = crate::codec::Codec::Zstd { level: 15 }.compress(&bytes).unwrap().len();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x70, 3, 0, 0];
    // One raw block that is the last: header of three bytes, then nothing; it holds no bytes, which is found too.
    frame[6..9].copy_from_slice(&[1, 0, 0]);
    frame.resize(ours, 0);
    image[96..96 + ours].copy_from_slice(&frame);
    let problems = check(&image[..]).unwrap();
    let window = ProblemKind::Window { window: 16 << 20, limit: 8192 };
    assert!(problems.iter().any(|problem| problem.kind == window), "{problems:?}");
}

#[test]
fn reading_twice_gives_the_same() {
    let (tree, memory) = sample(4096, true);
    let image = image(&tree, &memory, &options("gzip:9", 4096));
    assert_same(&read(&image), &read(&image));
}

#[test]
fn lz4_without_its_options_is_noticed() {
    let (mut tree, mut memory) = (empty(), crate::tree::Memory::new());
    tree.insert(b"file", file(&mut memory, prose(1, 5000))).unwrap();
    let good = image(&tree, &memory, &options("lz4", 4096));
    // The flag in the superblock, and the version behind the header of the options' block.
    for (at, value) in [(25, 0), (98, 2)] {
        let mut bad = good.clone();
        bad[at] = if at == 25 { bad[at] & !4 } else { value };
        let problems = check(&bad[..]).unwrap();
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(text.contains(&"byte 0x60: lz4 needs codec options of version 1".to_owned()), "{text:?}");
        assert_same(
            &Image::open(&bad[..]).unwrap().to_content_tree(jobs(1)).unwrap().0,
            &super::as_read(&tree),
        );
    }
}

//! What the reader promises: contents, bounds, errors with a position.

use std::io::Read;

use super::{assert_same, codecs, empty, file, image, jobs, options, prose, read, round_trip, sample};
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
        (20, &[2, 0], "unsupported feature at byte 0x14: codec lzma"),
        (20, &[3, 0], "unsupported feature at byte 0x14: codec lzo"),
        (20, &[5, 0], "unsupported feature at byte 0x14: codec lz4"),
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
                let Item::Leaf(_, Kind::File(content)) = entry.item else { return Ok::<(), ()>(()) };
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
    let good = plain();
    assert_eq!(problems(&good), Vec::<String>::new());
    let mut padding = good.clone();
    *padding.last_mut().unwrap() = 1;
    assert_eq!(problems(&padding), ["byte 0xed: padding is not zero"]);
    assert_eq!(problems(&good[..237]), ["byte 0xed: image of 237 bytes is no multiple of 4096"]);
    // The count of inodes: it also moves the end of the export table's list.
    let mut count = good.clone();
    count[4] = 3;
    assert_eq!(problems(&count), ["byte 0x4: superblock says 3 inodes, 2 have names"]);
    // The link count of the root, which has no directory in it.
    let mut links = good.clone();
    let root = 96 + 4 + 2 + 32;
    links[root + 16 + 4] = 3;
    assert_eq!(problems(&links), ["/ at byte 0x64: link count 3, 2 by its names"]);
    let mut parent = good.clone();
    parent[root + 12] = 9;
    assert!(problems(&parent).iter().any(|problem| problem.contains("inode 9 of 2")), "{:?}", problems(&parent));
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

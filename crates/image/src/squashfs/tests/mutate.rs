//! Whatever is done to an image, reading it ends, and never with a panic.

use super::{PLAIN, codecs, image, jobs, noise, noisy_name, options, prose};
use crate::squashfs::{Image, check, dump};
use crate::tree::{Kind, Memory, Meta};

fn try_all(bytes: &[u8]) {
    if let Ok(image) = Image::open(bytes) {
        let _ = image.to_content_tree(jobs(1));
    }
    let _ = dump(bytes);
    let _ = check(bytes);
}

fn mutations(good: &[u8], used: usize, count: u64) {
    let mut bytes = good.to_vec();
    for round in 0..count {
        let dice: Vec<usize> = noise(round + 1, 24)
            .chunks(6)
            .map(|six| six.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)))
            .collect();
        // Half of the changes hit the superblock, whose fields lead everywhere.
        let range = if dice[0].is_multiple_of(8) { 96 } else { used };
        let at = dice[1] % range;
        match dice[2] % 4 {
            0 => bytes[at] ^= 1 << (dice[3] % 8),
            1 => bytes[at] = [0, 0xff, 0x7f, 0x80, 1][dice[3] % 5],
            2 => {
                let end = (at + 1 + dice[3] % 8).min(bytes.len());
                bytes[at..end].fill([0, 0xff][dice[3] / 8 % 2]);
            }
            _ => {
                try_all(&bytes[..at]);
                continue;
            }
        }
        try_all(&bytes);
        // Changes add up for a while, then everything is good again.
        if !dice[3].is_multiple_of(3) {
            bytes.copy_from_slice(good);
        }
    }
}

#[test]
fn changed_images_of_others_are_survived() {
    assert_eq!(check(PLAIN).unwrap(), []);
    mutations(PLAIN, 2098, 6000);
}

#[test]
fn changed_images_of_ours_are_survived() {
    let (mut tree, mut memory) = (super::empty(), Memory::new());
    tree.insert_dir(b"dir", Meta::root(0o755, 0)).unwrap();
    for number in 0..30 {
        let path = format!("dir/{number}");
        tree.insert(path.as_bytes(), super::file(&mut memory, prose(number, 500))).unwrap();
    }
    // Names that do not compress, so that listings are stored as they are, and enough of them for an index.
    for number in 0..60 {
        tree.insert(&[&b"dir/"[..], &noisy_name(number, 200)].concat(), super::leaf(Kind::Fifo)).unwrap();
    }
    tree.insert(b"big", super::file(&mut memory, prose(99, 20_000))).unwrap();
    tree.insert(b"pipe", super::with_xattrs(super::leaf(Kind::Fifo), &[("user.a", b"b")])).unwrap();
    for options in codecs(4096) {
        let image = image(&tree, &memory, &options);
        mutations(&image, image.len(), 1000);
    }
}

#[test]
fn every_truncation_is_refused() {
    let (mut tree, mut memory) = (super::empty(), Memory::new());
    tree.insert(b"a", super::file(&mut memory, "a")).unwrap();
    let image = image(&tree, &memory, &options("zstd:15", 4096));
    let used = usize::from(u16::from_le_bytes([image[40], image[41]]));
    for length in 0..used {
        assert!(Image::open(&image[..length]).is_err(), "{length}");
    }
    assert!(Image::open(&image[..used]).is_ok());
}

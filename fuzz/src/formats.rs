//! Readers of images and archives.

use std::io::Read;
use std::num::NonZero;

use selfsame_image::tar::Dialect;
use selfsame_image::{
    Epoch, ar, cpio, deb, elf, erofs, ext4, fat, fontconfig, gpt, initramfs, iso9660, mo, pe, png, pyc,
    qcow2, sqlite, squashfs, tar, tree, zip,
};

use super::structure::{structure, walk};

/// Plain bytes that a compressed part may have.
const PLAIN: u64 = 4 << 20;
/// The latest time there is.
const LAST: Epoch = Epoch(u32::MAX);

pub(crate) fn iso9660(bytes: &[u8]) {
    structure(bytes, |source, _| iso9660::extents(source));
    let _problems = iso9660::check(bytes);
    let _text = iso9660::dump(bytes);
    let Ok(volume) = iso9660::open(bytes) else { return };
    for names in [iso9660::Names::RockRidge, iso9660::Names::Joliet, iso9660::Names::Plain] {
        if let Ok(tree) = iso9660::read_tree(bytes, &volume, names) {
            walk(&tree);
        }
    }
    let _images = iso9660::boot_images(bytes, &volume);
}

pub(crate) fn fat(bytes: &[u8]) {
    structure(bytes, |source, _| fat::extents(source));
    let _problems = fat::check(bytes);
    let _text = fat::dump(bytes);
    let Ok(volume) = fat::open(bytes) else { return };
    if let Ok(tree) = fat::read_tree(bytes, &volume) {
        walk(&tree);
    }
}

/// Tables of partitions, once as they are and once with their sums put right, so that what is behind them is read, too.
pub(crate) fn gpt(bytes: &[u8]) {
    for bytes in [bytes, &with_sums(bytes)] {
        structure(bytes, |source, _| gpt::extents(source));
        let _problems = gpt::check(bytes);
        let _text = gpt::dump(bytes);
        let _disk = gpt::read(bytes);
        for copy in [gpt::Copy::Primary, gpt::Copy::Backup] {
            let Ok(table) = gpt::read_copy(bytes, copy) else { continue };
            // What is refused here is what no firmware should meet.
            if let (Ok(primary), Ok(backup)) = (table.primary(), table.backup()) {
                assert_eq!(primary.len(), backup.len(), "both copies are as long");
            }
        }
    }
}

/// A disk whose tables have the sums that belong to them (UEFI 2.10, 5.3.2).
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut disk = bytes.to_vec();
    for at in [512, disk.len().saturating_sub(512)] {
        let field = |disk: &[u8], offset: usize, len: usize| {
            let bytes = disk.get(at + offset..at + offset + len)?;
            Some(bytes.iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte)))
        };
        let sums = || {
            let (first, count) = (field(&disk, 72, 8)?.checked_mul(512)?, field(&disk, 80, 4)?);
            let entries = disk.get(first..first.checked_add(count.checked_mul(field(&disk, 84, 4)?)?)?)?;
            let mut header = disk.get(at..at.checked_add(field(&disk, 12, 4)?)?)?.to_vec();
            let list = crc32(entries);
            header.get_mut(88..92)?.copy_from_slice(&list.to_le_bytes());
            header.get_mut(16..20)?.fill(0);
            Some((list, crc32(&header)))
        };
        if let Some((list, header)) = sums() {
            disk[at + 88..at + 92].copy_from_slice(&list.to_le_bytes());
            disk[at + 16..at + 20].copy_from_slice(&header.to_le_bytes());
        }
    }
    disk
}

/// The sum of UEFI, by a table: it is most of what this target does.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            // Lossless: it is below 256.
            let (mut sum, mut bit) = (index as u32, 0);
            while bit < 8 {
                sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
                bit += 1;
            }
            table[index] = sum;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

pub(crate) fn squashfs(bytes: &[u8]) {
    structure(bytes, |source, _| squashfs::extents(source));
    let _problems = squashfs::check(bytes);
    let _text = squashfs::dump(bytes);
    let Ok(image) = squashfs::Image::open(bytes) else { return };
    let Ok(tree) = image.tree() else { return };
    walk(&tree);
    let files = tree.leaves().iter().filter_map(|leaf| match &leaf.kind {
        tree::Kind::File(file) => Some(file.size()),
        _ => None,
    });
    // Files without end are not hashed: that takes as long as they are.
    if files.fold(0, u64::saturating_add) <= PLAIN
        && let Ok((tree, _)) = image.to_content_tree(NonZero::<usize>::MIN)
    {
        let _text = text_of(&tree);
    }
}

/// The text of a tree, which must be that of the same one.
fn text_of(tree: &tree::Tree) -> String {
    let text = tree::text::to_string(tree);
    let again = tree::text::parse(text.as_bytes()).expect("the text of a tree is that of one");
    assert_eq!(tree::text::to_string(&again), text, "and of the same one");
    text
}

pub(crate) fn erofs(bytes: &[u8]) {
    structure(bytes, |source, _| erofs::extents(source));
}

pub(crate) fn ext4(bytes: &[u8]) {
    structure(bytes, |source, _| ext4::extents(source));
}

pub(crate) fn qcow2(bytes: &[u8]) {
    structure(bytes, qcow2::extents);
}

pub(crate) fn cpio(bytes: &[u8]) {
    structure(bytes, |source, _| cpio::extents(source));
    let _text = cpio::dump(&bytes, 0);
    let Ok(archive) = cpio::read(&bytes, 0) else { return };
    assert!(archive.end <= u64::try_from(bytes.len()).expect("64 bits"), "it ends inside");
    walk(&archive.tree);
    let mut memory = tree::Memory::new();
    let tree = archive.tree.try_map(|file| {
        let start = usize::try_from(file.at).map_err(|_| ())?;
        let end = start + usize::try_from(file.size).map_err(|_| ())?;
        Ok::<_, ()>(memory.add(bytes.get(start..end).expect("a file lies inside of its archive")))
    });
    let tree = tree.expect("what is in memory has a length");
    let _text = text_of(&tree);
    let mut again = Vec::new();
    if cpio::write(&tree, &memory, LAST, &mut again).is_ok() {
        let archive = cpio::read(&again, 0).expect("what was written is read");
        assert_eq!(archive.tree.leaves().len(), tree.leaves().len(), "with all that is in it");
    }
}

pub(crate) fn initramfs(bytes: &[u8]) {
    let _text = initramfs::dump(&bytes, PLAIN);
    for segment in initramfs::read(&bytes, PLAIN).into_iter().flatten() {
        assert!(segment.plain().len() as u64 <= PLAIN, "no more than the limit");
        segment.trees.iter().for_each(walk);
    }
}

pub(crate) fn tar(bytes: &[u8]) {
    structure(bytes, |source, _| tar::extents(source));
    for dialect in [Dialect::Dpkg, Dialect::Any, Dialect::Stored] {
        let _text = tar::dump(bytes, dialect);
        let mut reader = tar::Reader::new(bytes, dialect);
        let mut body = Vec::new();
        while let Ok(Some(_)) = reader.next() {
            body.clear();
            if reader.body().read_to_end(&mut body).is_err() {
                break;
            }
        }
        assert!(reader.position() <= bytes.len() as u64, "it reads what there is");
    }
    let Ok((tree, memory)) = tar::read_tree(bytes, Dialect::Any) else { return };
    walk(&tree);
    let _text = text_of(&tree);
    let mut again = Vec::new();
    if tar::write(&tree, &memory, LAST, &mut again).is_ok() {
        let (read, _) = tar::read_tree(&again[..], Dialect::Any).expect("what was written is read");
        assert_eq!(text_of(&read).lines().count(), text_of(&tree).lines().count(), "with all that is in it");
    }
}

pub(crate) fn ar(bytes: &[u8]) {
    structure(bytes, |source, _| ar::extents(source));
    let Ok(mut members) = ar::Members::new(bytes) else { return };
    while let Ok(Some(member)) = members.next_member() {
        let end = member.start.checked_add(member.size);
        assert!(end.is_some_and(|end| end <= bytes.len() as u64), "{} lies inside", member.name);
    }
}

pub(crate) fn deb(bytes: &[u8]) {
    structure(bytes, |source, _| ar::extents(source));
    let _text = deb::dump(&bytes, PLAIN);
    let Ok(package) = deb::Deb::open(bytes) else { return };
    let _control = package.control();
    let Ok(mut reader) = package.data(PLAIN) else { return };
    let mut body = Vec::new();
    while let Ok(Some(_)) = reader.next() {
        body.clear();
        if reader.body().read_to_end(&mut body).is_err() {
            break;
        }
        assert!(body.len() as u64 <= PLAIN, "no more than the limit");
    }
}

pub(crate) fn zip(bytes: &[u8]) {
    structure(bytes, zip::extents);
}

pub(crate) fn elf(bytes: &[u8]) {
    structure(bytes, |source, _| elf::extents(source));
}

pub(crate) fn pe(bytes: &[u8]) {
    structure(bytes, |source, _| pe::extents(source));
}

pub(crate) fn mo(bytes: &[u8]) {
    structure(bytes, |source, _| mo::extents(source));
}

pub(crate) fn png(bytes: &[u8]) {
    structure(bytes, |source, _| png::extents(source));
}

pub(crate) fn fontconfig(bytes: &[u8]) {
    structure(bytes, |source, _| fontconfig::extents(source));
}

pub(crate) fn old_cpio(bytes: &[u8]) {
    structure(bytes, |source, _| cpio::old_extents(source));
}

pub(crate) fn pyc(bytes: &[u8]) {
    structure(bytes, |source, _| pyc::extents(source));
}

pub(crate) fn sqlite(bytes: &[u8]) {
    structure(bytes, |source, _| sqlite::extents(source));
}

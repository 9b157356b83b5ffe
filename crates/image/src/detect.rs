//! Which format a sequence of bytes is of, told by its content.

use std::io;

use crate::io::{ReadAt, wide};

/// A format with a signature of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// ISO 9660, with or without partition tables in its system area.
    Iso9660,
    /// SquashFS, version 4 little-endian.
    Squashfs,
    /// ext2, ext3 or ext4.
    Ext4,
    /// EROFS.
    Erofs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// A disk with a GUID partition table in sectors of 512 bytes.
    Gpt,
    /// A disk with a master boot record and no GUID partition table.
    Mbr,
    /// A disk image of QEMU.
    Qcow2,
    /// cpio of the new ASCII format, uncompressed: an initramfs begins so if it has early firmware.
    Cpio,
    /// cpio of the formats before that: binary, or octal digits.
    OldCpio,
    /// A tar archive with a POSIX or GNU header.
    Tar,
    /// A Debian binary package.
    Deb,
    /// An ar archive that is no Debian package.
    Ar,
    /// An ELF file of 32 or 64 bits.
    Elf,
    /// A PE file: a program of UEFI, a unified kernel image, or a Linux kernel with an EFI stub.
    Pe,
    /// An SQLite 3 database.
    Sqlite,
    /// A ZIP archive, also by the names of JAR, WHL or ODT.
    Zip,
    /// A Zstandard frame.
    Zstd,
    /// An xz stream.
    Xz,
    /// A gzip member.
    Gzip,
    /// A bzip2 stream.
    Bzip2,
    /// An lz4 frame.
    Lz4,
    /// LZMA data with the header of lzma(1), which came before xz.
    Lzma,
    /// A PNG image.
    Png,
    /// A message catalog of GNU gettext.
    Mo,
    /// Compiled Python, 3.9 or later.
    Pyc,
    /// A cache of fontconfig.
    Fontconfig,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 27] = [
        Self::Iso9660,
        Self::Squashfs,
        Self::Ext4,
        Self::Erofs,
        Self::Fat,
        Self::Gpt,
        Self::Mbr,
        Self::Qcow2,
        Self::Cpio,
        Self::OldCpio,
        Self::Tar,
        Self::Deb,
        Self::Ar,
        Self::Elf,
        Self::Pe,
        Self::Sqlite,
        Self::Zip,
        Self::Zstd,
        Self::Xz,
        Self::Gzip,
        Self::Bzip2,
        Self::Lz4,
        Self::Lzma,
        Self::Png,
        Self::Mo,
        Self::Pyc,
        Self::Fontconfig,
    ];

    /// The name of the format: lower case, stable, one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iso9660 => "iso9660",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
            Self::Fat => "fat",
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
            Self::Qcow2 => "qcow2",
            Self::Cpio => "cpio",
            Self::OldCpio => "oldcpio",
            Self::Tar => "tar",
            Self::Deb => "deb",
            Self::Ar => "ar",
            Self::Elf => "elf",
            Self::Pe => "pe",
            Self::Sqlite => "sqlite",
            Self::Zip => "zip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Png => "png",
            Self::Mo => "mo",
            Self::Pyc => "pyc",
            Self::Fontconfig => "fontconfig",
        }
    }
}

/// Signatures that are looked for behind that of ISO 9660, the first one that fits: place, bytes, format.
static SIGNATURES: &[(u64, &[u8], Format)] = &[
    (0, b"hsqs", Format::Squashfs),
    // docs/interop/qcow2.txt of QEMU: signature and version.
    (0, b"QFI\xfb\0\0\0\x02", Format::Qcow2),
    (0, b"QFI\xfb\0\0\0\x03", Format::Qcow2),
    (0, b"070701", Format::Cpio),
    (0, b"070702", Format::Cpio),
    (0, b"070707", Format::OldCpio),
    (0, b"!<arch>\ndebian-binary", Format::Deb),
    (0, b"!<arch>\n", Format::Ar),
    (0, b"!<thin>\n", Format::Ar),
    // gABI, chapter 4: class, byte order and version follow the signature.
    (0, b"\x7fELF\x01\x01\x01", Format::Elf),
    (0, b"\x7fELF\x01\x02\x01", Format::Elf),
    (0, b"\x7fELF\x02\x01\x01", Format::Elf),
    (0, b"\x7fELF\x02\x02\x01", Format::Elf),
    // APPNOTE 4.3.7 and 4.3.16: the first entry, or the end of an archive that has none.
    (0, b"PK\x03\x04", Format::Zip),
    (0, b"PK\x05\x06", Format::Zip),
    // Behind the version of a Java module, and behind the length that Mozilla's programs read ahead.
    (0, b"JM\x01\0PK\x03\x04", Format::Zip),
    (4, b"PK\x01\x02", Format::Zip),
    (0, b"SQLite format 3\0", Format::Sqlite),
    (0, b"\x28\xb5\x2f\xfd", Format::Zstd),
    (0, b"\xfd7zXZ\0", Format::Xz),
    (0, b"\x1f\x8b\x08", Format::Gzip),
    (0, &crate::codec::LZ4_FRAME, Format::Lz4),
    (0, b"\x89PNG\r\n\x1a\n", Format::Png),
    // In either byte order.
    (0, b"\xde\x12\x04\x95", Format::Mo),
    (0, b"\x95\x04\x12\xde", Format::Mo),
    (257, b"ustar", Format::Tar),
    // UEFI 2.10, 5.3.2: the header in the second sector.
    (512, b"EFI PART", Format::Gpt),
];

/// The format of `image`, or nothing if no signature fits. Reads at most a few hundred bytes.
///
/// A file that carries several signatures gets the outermost meaning: a hybrid ISO is an ISO though it begins with a
/// boot record. Signatures only: a file of that format may still be damaged.
pub fn format(image: &(impl ReadAt + ?Sized)) -> io::Result<Option<Format>> {
    let size = image.size()?;
    // ECMA-119 8.1.2: the identifier of the first volume descriptor, in sector 16 of 2048 bytes.
    if has(image, size, 32_769, b"CD001")? {
        return Ok(Some(Format::Iso9660));
    }
    for &(at, magic, format) in SIGNATURES {
        if has(image, size, at, magic)? {
            return Ok(Some(format));
        }
    }
    if is_pe(image, size)? {
        return Ok(Some(Format::Pe));
    }
    // As with ext4 below, the bytes before may hold a boot loader; four bytes are no chance.
    if has(image, size, 1024, b"\xe2\xe1\xf5\xe0")? {
        return Ok(Some(Format::Erofs));
    }
    // A boot sector of FAT and a master boot record end alike; FAT begins with a jump and has 512 to 4096 bytes in a
    // sector (Microsoft FAT specification 1.03, section 3.1).
    // A Linux kernel has that too, and its own signature behind it (Documentation/arch/x86/boot.rst).
    if has(image, size, 510, b"\x55\xaa")? && !has(image, size, 514, b"HdrS")? {
        let mut start = [0; 13];
        image.read_exact_at(&mut start, 0)?;
        let jump = start[0] == 0xe9 || (start[0] == 0xeb && start[2] == 0x90);
        let sector = u16::from_le_bytes([start[11], start[12]]);
        let fat = jump && [512, 1024, 2048, 4096].contains(&sector);
        return Ok(Some(if fat { Format::Fat } else { Format::Mbr }));
    }
    // The superblock is at 1024, its signature at 0x38 in it; the bytes before may hold a boot loader.
    if has(image, size, 1024 + 0x38, b"\x53\xef")? {
        return Ok(Some(Format::Ext4));
    }
    weak(image, size)
}

/// Formats without a signature that is long enough to be looked at alone.
fn weak(image: &(impl ReadAt + ?Sized), size: u64) -> io::Result<Option<Format>> {
    let mut start = [0; 17];
    if size < wide(start.len()) {
        return Ok(None);
    }
    image.read_exact_at(&mut start, 0)?;
    if start.first_chunk().is_some_and(crate::codec::is_bzip2) {
        return Ok(Some(Format::Bzip2));
    }
    if crate::cpio::is_binary(image, size)? {
        return Ok(Some(Format::OldCpio));
    }
    if crate::fontconfig::is_cache(&start) {
        return Ok(Some(Format::Fontconfig));
    }
    let lzma = start.first_chunk().is_some_and(crate::codec::is_lzma);
    Ok(if crate::pyc::is_pyc(&start) { Some(Format::Pyc) } else { lzma.then_some(Format::Lzma) })
}

/// Whether a DOS header leads to the signature of PE: a disk may begin with the letters of DOS, too.
fn is_pe(image: &(impl ReadAt + ?Sized), size: u64) -> io::Result<bool> {
    if size < crate::pe::POINTER + 4 || !has(image, size, 0, b"MZ")? {
        return Ok(false);
    }
    let mut at = [0; 4];
    image.read_exact_at(&mut at, crate::pe::POINTER)?;
    has(image, size, u32::from_le_bytes(at).into(), crate::pe::SIGNATURE)
}

fn has(image: &(impl ReadAt + ?Sized), size: u64, at: u64, magic: &[u8]) -> io::Result<bool> {
    let mut found = [0; 24];
    let Some(found) = found.get_mut(..magic.len()) else {
        return Ok(false);
    };
    if size.saturating_sub(at) < magic.len() as u64 {
        return Ok(false);
    }
    image.read_exact_at(found, at)?;
    Ok(found == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(parts: &[(usize, &[u8])]) -> Option<Format> {
        let mut bytes = vec![0; 40_000];
        for (at, part) in parts {
            bytes[*at..*at + part.len()].copy_from_slice(part);
        }
        format(&bytes).unwrap()
    }

    #[test]
    fn each_signature_is_known() {
        for (at, magic, expected) in [
            (32_769, &b"CD001"[..], Format::Iso9660),
            (0, b"hsqs", Format::Squashfs),
            (1080, b"\x53\xef", Format::Ext4),
            (1024, b"\xe2\xe1\xf5\xe0", Format::Erofs),
            (512, b"EFI PART", Format::Gpt),
            (510, b"\x55\xaa", Format::Mbr),
            (0, b"QFI\xfb\0\0\0\x03", Format::Qcow2),
            (0, b"070701", Format::Cpio),
            (0, b"070707", Format::OldCpio),
            (0, b"\xc7\x71\0\0\0\0\xa4\x81\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0a", Format::OldCpio),
            (0, b"\x71\xc7\0\0\0\0\x81\xa4\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0a", Format::OldCpio),
            (257, b"ustar\x0000", Format::Tar),
            (257, b"ustar  \0", Format::Tar),
            (0, b"!<arch>\ndebian-binary   ", Format::Deb),
            (0, b"!<arch>\n", Format::Ar),
            (0, b"!<thin>\n", Format::Ar),
            (0, b"\x7fELF\x01\x02\x01", Format::Elf),
            (0, b"\x7fELF\x02\x01\x01", Format::Elf),
            (0, b"PK\x03\x04", Format::Zip),
            (0, b"PK\x05\x06", Format::Zip),
            (0, b"SQLite format 3\0", Format::Sqlite),
            (0, b"\x28\xb5\x2f\xfd", Format::Zstd),
            (0, b"\xfd7zXZ\0", Format::Xz),
            (0, b"\x1f\x8b\x08", Format::Gzip),
            (0, b"BZh91AY&SY", Format::Bzip2),
            (0, b"BZh1\x17\x72\x45\x38\x50\x90", Format::Bzip2),
            (0, b"\x04\x22\x4d\x18", Format::Lz4),
            (0, b"\x89PNG\r\n\x1a\n", Format::Png),
            (0, b"\xde\x12\x04\x95", Format::Mo),
            (0, b"\x95\x04\x12\xde", Format::Mo),
            (0, b"\xa7\x0d\r\n\0\0\0\0\0\0\0\0\0\0\0\0\xe3", Format::Pyc),
            (0, b"\x04\xfc\x02\xfc\x09\0\0\0", Format::Fontconfig),
            (0, b"\xfc\x02\xfc\x04\0\0\0\x09", Format::Fontconfig),
            (0, b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", Format::Lzma),
            (0, b"\x5d\0\0\x80\0\x10\0\0\0\0\0\0\0\0", Format::Lzma),
        ] {
            assert_eq!(with(&[(at, magic)]), Some(expected));
        }
        let boot_sector = b"\xeb\x3c\x90mkfs.fat\x00\x02";
        assert_eq!(with(&[(0, boot_sector), (510, b"\x55\xaa")]), Some(Format::Fat));
        assert_eq!(with(&[]), None);
        // An older Python, another flag, no code; an odd dictionary, more than there can be, no range coder.
        for (start, at, byte) in [
            (&b"\xa7\x0d\r\n\0\0\0\0\0\0\0\0\0\0\0\0\xe3"[..], 1, 0x0c),
            (b"\xa7\x0d\r\n\0\0\0\0\0\0\0\0\0\0\0\0\xe3", 4, 2),
            (b"\xa7\x0d\r\n\0\0\0\0\0\0\0\0\0\0\0\0\xe3", 16, b'('),
            (b"\x5d\0\0\x80\0\x10\0\0\0\0\0\0\0\0", 2, 1),
            (b"\x5d\0\0\x80\0\x10\0\0\0\0\0\0\0\0", 12, 1),
            (b"\x5d\0\0\x80\0\x10\0\0\0\0\0\0\0\0", 13, 1),
        ] {
            assert_eq!(with(&[(0, start), (at, &[byte])]), None, "{start:?}");
        }
        // A Linux kernel is a program and has the end of a boot record; a disk has letters of DOS and no program.
        let kernel: [(usize, &[u8]); 5] =
            [(0, b"MZ"), (0x3c, b"\x40"), (0x40, b"PE\0\0"), (510, b"\x55\xaa"), (514, b"HdrS")];
        assert_eq!(with(&kernel), Some(Format::Pe));
        assert_eq!(with(&[(0, b"MZ"), (0x3c, b"\xff\xff\xff\xff"), (510, b"\x55\xaa")]), Some(Format::Mbr));
    }

    #[test]
    fn a_hybrid_image_is_an_iso() {
        let parts: [(usize, &[u8]); 3] = [(510, b"\x55\xaa"), (512, b"EFI PART"), (32_769, b"CD001")];
        assert_eq!(with(&parts), Some(Format::Iso9660));
    }

    #[test]
    fn short_files_are_of_no_format() {
        for length in 0..600 {
            assert_eq!(format(&vec![0_u8; length]).unwrap(), None);
        }
        assert_eq!(format(&b"hsq"[..]).unwrap(), None);
        assert_eq!(format(&b"hsqs"[..]).unwrap(), Some(Format::Squashfs));
    }

    #[test]
    fn names_are_unique() {
        let mut names = Format::ALL.map(Format::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Format::ALL.len());
    }
}

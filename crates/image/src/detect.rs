//! Which format a sequence of bytes is of, told by its content.

use std::io;

use crate::io::ReadAt;

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
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 19] = [
        Self::Iso9660,
        Self::Squashfs,
        Self::Ext4,
        Self::Erofs,
        Self::Fat,
        Self::Gpt,
        Self::Mbr,
        Self::Qcow2,
        Self::Cpio,
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
        }
    }
}

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
    for (at, magic, format) in [
        (0, &b"hsqs"[..], Format::Squashfs),
        // docs/interop/qcow2.txt of QEMU: signature and version.
        (0, b"QFI\xfb\0\0\0\x02", Format::Qcow2),
        (0, b"QFI\xfb\0\0\0\x03", Format::Qcow2),
        (0, b"070701", Format::Cpio),
        (0, b"070702", Format::Cpio),
        (0, b"!<arch>\ndebian-binary", Format::Deb),
        (0, b"!<arch>\n", Format::Ar),
        // gABI, chapter 4: class, byte order and version follow the signature.
        (0, b"\x7fELF\x01\x01\x01", Format::Elf),
        (0, b"\x7fELF\x01\x02\x01", Format::Elf),
        (0, b"\x7fELF\x02\x01\x01", Format::Elf),
        (0, b"\x7fELF\x02\x02\x01", Format::Elf),
        // APPNOTE 4.3.7 and 4.3.16: the first entry, or the end of an archive that has none.
        (0, b"PK\x03\x04", Format::Zip),
        (0, b"PK\x05\x06", Format::Zip),
        (0, b"SQLite format 3\0", Format::Sqlite),
        (0, b"\x28\xb5\x2f\xfd", Format::Zstd),
        (0, b"\xfd7zXZ\0", Format::Xz),
        (0, b"\x1f\x8b\x08", Format::Gzip),
        (257, b"ustar", Format::Tar),
        // UEFI 2.10, 5.3.2: the header in the second sector.
        (512, b"EFI PART", Format::Gpt),
    ] {
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
    Ok(has(image, size, 1024 + 0x38, b"\x53\xef")?.then_some(Format::Ext4))
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
            (257, b"ustar\x0000", Format::Tar),
            (257, b"ustar  \0", Format::Tar),
            (0, b"!<arch>\ndebian-binary   ", Format::Deb),
            (0, b"!<arch>\n", Format::Ar),
            (0, b"\x7fELF\x01\x02\x01", Format::Elf),
            (0, b"\x7fELF\x02\x01\x01", Format::Elf),
            (0, b"PK\x03\x04", Format::Zip),
            (0, b"PK\x05\x06", Format::Zip),
            (0, b"SQLite format 3\0", Format::Sqlite),
            (0, b"\x28\xb5\x2f\xfd", Format::Zstd),
            (0, b"\xfd7zXZ\0", Format::Xz),
            (0, b"\x1f\x8b\x08", Format::Gzip),
        ] {
            assert_eq!(with(&[(at, magic)]), Some(expected));
        }
        let boot_sector = b"\xeb\x3c\x90mkfs.fat\x00\x02";
        assert_eq!(with(&[(0, boot_sector), (510, b"\x55\xaa")]), Some(Format::Fat));
        assert_eq!(with(&[]), None);
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

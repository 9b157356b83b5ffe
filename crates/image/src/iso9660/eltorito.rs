//! The boot catalog, and what isolinux wants to know about itself.

use zerocopy::IntoBytes;

use super::layout::{
    BLOCK, EL_TORITO, RawBootEntry, RawBootInfo, RawBootRecord, RawSection, RawValidation, STANDARD_ID,
};

/// Platform of BIOSes.
pub(super) const X86: u8 = 0;
/// Platform of UEFI.
pub(super) const UEFI: u8 = 0xef;
/// Sectors of 512 bytes that a BIOS loads of isolinux.bin; it loads the rest itself.
pub(super) const BIOS_SECTORS: u16 = 4;
/// Smallest image that has room for a boot info table.
pub(super) const INFO_TABLE_END: usize = 64;

/// A bootable image in the catalog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bootable {
    pub(super) platform: u8,
    /// First block.
    pub(super) block: u32,
    /// Sectors of 512 bytes to load.
    pub(super) sectors: u16,
}

/// The sector count of an EFI system partition of `bytes`.
///
/// 0 stands for "to the end of the medium" (UEFI 2.10, 13.3.2.1): the count has 16 bits only, and 32 MiB are soon
/// full. Firmware finds the true size in the FAT file system.
pub(super) fn esp_sectors(bytes: u64) -> u16 {
    u16::try_from(bytes.div_ceil(512)).unwrap_or(0)
}

/// The descriptor that leads to the catalog.
pub(super) fn boot_record(catalog: u32) -> Vec<u8> {
    let raw = RawBootRecord {
        kind: 0,
        id: STANDARD_ID,
        version: 1,
        system: EL_TORITO,
        unused: [0; 32],
        catalog: catalog.into(),
        rest: [0; 1973],
    };
    raw.as_bytes().to_vec()
}

/// One block: validation entry, default entry, and a section for each further image.
pub(super) fn catalog(images: &[Bootable]) -> Vec<u8> {
    let Some((default, others)) = images.split_first() else {
        return Vec::new();
    };
    let mut validation = RawValidation {
        header: 1,
        platform: default.platform,
        reserved: 0.into(),
        maker: [0; 24],
        checksum: 0.into(),
        key: [0x55, 0xaa],
    };
    validation.checksum = word_sum(validation.as_bytes()).wrapping_neg().into();
    let mut bytes = [validation.as_bytes(), entry(default).as_bytes()].concat();
    for (index, image) in others.iter().enumerate() {
        let header = if index + 1 == others.len() { 0x91 } else { 0x90 };
        let section = RawSection { header, platform: image.platform, entries: 1.into(), section_id: [0; 28] };
        bytes.extend_from_slice(section.as_bytes());
        bytes.extend_from_slice(entry(image).as_bytes());
    }
    bytes.resize(usize::try_from(BLOCK).unwrap_or(0), 0);
    bytes
}

fn entry(image: &Bootable) -> RawBootEntry {
    RawBootEntry {
        bootable: 0x88,
        media: 0,
        load_segment: 0.into(),
        system: 0,
        unused: 0,
        sectors: image.sectors.into(),
        block: image.block.into(),
        criteria_kind: 0,
        criteria: [0; 19],
    }
}

/// Sum of all 16 bit words; 0 for a valid validation entry.
pub(super) fn word_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    words.fold(0, u16::wrapping_add)
}

/// The boot info table of an image whose first byte lies in `block`: 56 bytes for its byte 8.
pub(super) fn info_table(image: &[u8], block: u32) -> Vec<u8> {
    let raw = RawBootInfo {
        descriptor: 16.into(),
        block: block.into(),
        length: u32::try_from(image.len()).unwrap_or(u32::MAX).into(),
        checksum: long_sum(image).into(),
        reserved: [0; 40],
    };
    raw.as_bytes().to_vec()
}

/// Sum of the 32 bit words from byte 64 on; what is left of a word counts as if zeros followed.
fn long_sum(image: &[u8]) -> u32 {
    let tail = image.get(INFO_TABLE_END..).unwrap_or_default();
    tail.chunks(4).fold(0, |sum: u32, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_has_the_bytes_of_el_torito() {
        let bios = Bootable { platform: X86, block: 0x1234, sectors: BIOS_SECTORS };
        let esp = Bootable { platform: UEFI, block: 0x5678, sectors: esp_sectors(4 << 20) };
        let bytes = catalog(&[bios, esp]);
        assert_eq!(bytes.len(), 2048);
        assert_eq!(bytes[..4], [1, 0, 0, 0]);
        assert_eq!(bytes[28..40], [0xaa, 0x55, 0x55, 0xaa, 0x88, 0, 0, 0, 0, 0, 4, 0]);
        assert_eq!(bytes[40..44], [0x34, 0x12, 0, 0]);
        assert_eq!(bytes[64..68], [0x91, 0xef, 1, 0]);
        assert_eq!(bytes[96..108], [0x88, 0, 0, 0, 0, 0, 0, 0x20, 0x78, 0x56, 0, 0]);
        assert!(bytes[108..].iter().all(|byte| *byte == 0));
        assert_eq!(word_sum(&bytes[..32]), 0);
    }

    #[test]
    fn large_partitions_reach_to_the_end_of_the_medium() {
        assert_eq!(esp_sectors(65_535 * 512), 65_535);
        assert_eq!(esp_sectors(65_536 * 512), 0);
    }

    #[test]
    fn the_info_table_sums_the_rest_of_the_image() {
        let mut image = vec![0xff; 64];
        image.extend_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 7]);
        let table = info_table(&image, 0x63);
        assert_eq!(table[..16], [16, 0, 0, 0, 0x63, 0, 0, 0, 73, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(table[16..], [0; 40]);
    }
}

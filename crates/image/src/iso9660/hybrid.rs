//! The system area: MBR and GPT in front of the ISO 9660 data, and the backup GPT behind it.

use super::layout::BLOCK;
use super::{Iso, WriteError};
use crate::gpt::{Gpt, Guid, Mbr, MbrPartition, Partition, SECTOR, guid_from, seed};

/// Blocks in front of the partition that holds the ISO 9660 data. A second set of descriptors and directories
/// counts blocks from there, so that the partition can be mounted as well as the whole disk.
pub(super) const PARTITION_BLOCK: u64 = 16;
/// Bytes of the boot code; what follows belongs to us.
const CODE: usize = 432;
/// Alignment of the EFI system partition in bytes: a page, and two blocks.
pub(super) const ESP_ALIGNMENT: u64 = 4096;
/// Attribute of a basic data partition: read-only.
const READ_ONLY: u64 = 1 << 60;

/// What makes a disk of an image: boot code and names. Nothing here is ever random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hybrid {
    /// MBR code that starts the BIOS boot image from a disk: `isohdpfx.bin`, at most 432 bytes; empty for none.
    pub code: Vec<u8>,
    /// Signature of the disk in the MBR.
    pub disk_id: u32,
    /// GPT name of the disk.
    pub disk: Guid,
    /// GPT name of the partition with the ISO 9660 data.
    pub data: Guid,
    /// GPT name of the EFI system partition.
    pub esp: Guid,
}

impl Hybrid {
    /// Names derived from the tree, the epoch and the EFI system partition of `iso`.
    pub fn derived(code: &[u8], iso: &Iso<'_>) -> Self {
        let mut seed = seed(iso.tree, iso.epoch);
        if let Some(esp) = &iso.esp {
            seed.extend_from_slice(&esp.digest.0);
        }
        let [a, b, c, d, ..] = guid_from("mbr disk signature", &seed).0;
        Self {
            code: code.to_vec(),
            disk_id: u32::from_le_bytes([a, b, c, d]),
            disk: guid_from("iso disk", &seed),
            data: guid_from("iso data partition", &seed),
            esp: guid_from("iso esp partition", &seed),
        }
    }

    pub(super) fn validate(&self, has_boot_image: bool) -> Result<(), WriteError> {
        if self.code.len() > CODE {
            return Err(WriteError::BootCode(self.code.len()));
        }
        if !self.code.is_empty() && !has_boot_image {
            return Err(WriteError::NoBootImage);
        }
        Ok(())
    }

    /// The 32 KiB in front of the volume descriptors.
    pub(super) fn system_area(&self, place: &Place) -> Result<Vec<u8>, WriteError> {
        let mut mbr = Mbr::protective(place.size / SECTOR);
        mbr.code[..self.code.len()].copy_from_slice(&self.code);
        if !self.code.is_empty() {
            mbr.code[CODE..].copy_from_slice(&(place.boot_image / SECTOR).to_le_bytes());
        }
        mbr.disk_id = self.disk_id;
        mbr.partitions[1] = MbrPartition::ACTIVE_DUMMY;
        let mut bytes = mbr.to_bytes().to_vec();
        bytes.extend(self.gpt(place).primary().map_err(WriteError::Gpt)?);
        bytes.resize(32_768, 0);
        Ok(bytes)
    }

    /// The last 33 sectors of the image.
    pub(super) fn backup(&self, place: &Place) -> Result<Vec<u8>, WriteError> {
        self.gpt(place).backup().map_err(WriteError::Gpt)
    }

    fn gpt(&self, place: &Place) -> Gpt {
        let mut gpt = Gpt::new(self.disk, place.size / SECTOR);
        gpt.first_usable = PARTITION_BLOCK * BLOCK / SECTOR;
        let data_end = place.esp.map_or(place.data_end, |(start, _)| start);
        gpt.partitions.push(Partition {
            number: 1,
            kind: Guid::BASIC_DATA,
            id: self.data,
            first: gpt.first_usable,
            last: data_end / SECTOR - 1,
            attributes: READ_ONLY,
            name: "ISO9660".to_owned(),
        });
        gpt.last_usable = data_end / SECTOR - 1;
        if let Some((start, end)) = place.esp {
            gpt.last_usable = end / SECTOR - 1;
            gpt.partitions.push(Partition {
                number: 2,
                kind: Guid::ESP,
                id: self.esp,
                first: start / SECTOR,
                last: gpt.last_usable,
                attributes: 0,
                name: "ESP".to_owned(),
            });
        }
        gpt
    }
}

/// What the system area has to say about the rest of the image, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The whole image.
    pub(super) size: u64,
    /// First byte of the BIOS boot image.
    pub(super) boot_image: u64,
    /// End of the ISO 9660 data.
    pub(super) data_end: u64,
    /// Start and end of the EFI system partition, both on block boundaries.
    pub(super) esp: Option<(u64, u64)>,
}

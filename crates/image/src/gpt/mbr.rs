//! The master boot record: boot code for old machines, and the fence around a GPT.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{RawMbr, RawMbrPartition};

/// Sector 0 of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mbr {
    /// Boot code, padded by zeros.
    pub code: [u8; 440],
    /// Disk signature; 0 if there is none.
    pub disk_id: u32,
    /// The four entries; [`MbrPartition::UNUSED`] where there is none.
    pub partitions: [MbrPartition; 4],
}

/// An entry of the MBR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MbrPartition {
    /// Whether a BIOS may boot from it (status 0x80).
    pub active: bool,
    /// Type: 0xee protects a GPT, 0xef is an EFI system partition, 0 none.
    pub kind: u8,
    /// First sector.
    pub first: u32,
    /// Number of sectors.
    pub sectors: u32,
}

impl MbrPartition {
    /// A free entry: all zero.
    pub const UNUSED: Self = Self { active: false, kind: 0, first: 0, sectors: 0 };
    /// Occupies nothing, but is active: some old BIOSes refuse disks without an active entry (layout C of
    /// `docs/formats/iso9660.md`).
    pub const ACTIVE_DUMMY: Self = Self { active: true, kind: 0, first: 0, sectors: 1 };

    /// Covers a disk of `sectors` for programs that know no GPT (UEFI 2.10, section 5.2.3).
    pub fn protective(sectors: u64) -> Self {
        let sectors = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
        Self { active: false, kind: 0xee, first: 1, sectors }
    }

    fn to_raw(self) -> RawMbrPartition {
        if self == Self::UNUSED {
            return RawMbrPartition {
                status: 0,
                first_chs: [0; 3],
                kind: 0,
                last_chs: [0; 3],
                first: 0.into(),
                sectors: 0.into(),
            };
        }
        let last = u64::from(self.first) + u64::from(self.sectors.max(1)) - 1;
        RawMbrPartition {
            status: if self.active { 0x80 } else { 0 },
            first_chs: chs(self.first.into()),
            kind: self.kind,
            last_chs: chs(last),
            first: self.first.into(),
            sectors: self.sectors.into(),
        }
    }
}

/// Cylinder, head and sector with 255 heads and 63 sectors, the geometry every BIOS since 1995 assumes. Sectors
/// beyond cylinder 1023 get the highest address there is, as UEFI asks.
fn chs(sector: u64) -> [u8; 3] {
    let (track, in_track) = (sector / 63, sector % 63);
    let (cylinder, head) = (track / 255, track % 255);
    match (u16::try_from(cylinder), u8::try_from(head), u8::try_from(in_track)) {
        (Ok(cylinder @ 0..1024), Ok(head), Ok(in_track)) => {
            let [low, high] = cylinder.to_le_bytes();
            [head, (in_track + 1) | (high << 6), low]
        }
        _ => [0xff; 3],
    }
}

impl Mbr {
    /// The fence around a GPT on a disk of `sectors`, without boot code.
    pub fn protective(sectors: u64) -> Self {
        let mut partitions = [MbrPartition::UNUSED; 4];
        partitions[0] = MbrPartition::protective(sectors);
        Self { code: [0; 440], disk_id: 0, partitions }
    }

    /// The bytes of sector 0.
    pub fn to_bytes(&self) -> [u8; 512] {
        let raw = RawMbr {
            code: self.code,
            disk_id: self.disk_id.into(),
            reserved: 0.into(),
            partitions: self.partitions.map(MbrPartition::to_raw),
            signature: [0x55, 0xaa],
        };
        let mut bytes = [0; 512];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads sector 0; `None` if it does not end in 55 aa. Cylinders, heads and sectors are not looked at.
    pub fn from_bytes(sector: &[u8; 512]) -> Option<Self> {
        let raw = RawMbr::read_from_bytes(sector).ok().filter(|raw| raw.signature == [0x55, 0xaa])?;
        let partitions = raw.partitions.map(|entry| MbrPartition {
            active: entry.status & 0x80 != 0,
            kind: entry.kind,
            first: entry.first.get(),
            sectors: entry.sectors.get(),
        });
        Some(Self { code: raw.code, disk_id: raw.disk_id.get(), partitions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protective_record_has_the_bytes_of_the_specification() {
        let bytes = Mbr::protective(2048).to_bytes();
        // Status, CHS 0/0/2, type ee, CHS of sector 2047, sector 1, 2047 sectors.
        assert_eq!(bytes[446..462], [0, 0, 2, 0, 0xee, 0x20, 0x20, 0, 1, 0, 0, 0, 0xff, 7, 0, 0]);
        assert_eq!(bytes[462..510], [0; 48]);
        assert_eq!(bytes[510..], [0x55, 0xaa]);
        let huge = Mbr::protective(1 << 40).to_bytes();
        assert_eq!(huge[451..462], [0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn bytes_round_trip() {
        let mut mbr = Mbr::protective(4096);
        mbr.code[..3].copy_from_slice(b"\x33\xed\x90");
        mbr.disk_id = 42;
        mbr.partitions[1] = MbrPartition::ACTIVE_DUMMY;
        assert_eq!(Mbr::from_bytes(&mbr.to_bytes()), Some(mbr));
        assert_eq!(Mbr::from_bytes(&[0; 512]), None);
    }

    #[test]
    fn addresses_beyond_the_geometry_saturate() {
        assert_eq!(chs(0), [0, 1, 0]);
        assert_eq!(chs(1023 * 255 * 63 + 254 * 63 + 62), [254, 63 | 0xc0, 0xff]);
        assert_eq!(chs(1024 * 255 * 63), [0xff; 3]);
    }
}

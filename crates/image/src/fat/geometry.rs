//! How many sectors go where.

use super::layout::{ENTRY, SECTOR};
use super::{Size, WriteError};

/// Bits of an entry of the file allocation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// Below 4085 clusters.
    Fat12,
    /// Below 65525 clusters.
    Fat16,
    /// Anything above.
    Fat32,
}

impl Width {
    /// The width that a file system of `clusters` has. Nothing else decides it.
    pub(super) fn of(clusters: u64) -> Self {
        match clusters {
            0..4085 => Self::Fat12,
            4085..65_525 => Self::Fat16,
            _ => Self::Fat32,
        }
    }

    /// Bytes of a table for `clusters`, with the two entries that come first.
    pub(super) fn table_bytes(self, clusters: u64) -> u64 {
        let entries = clusters + 2;
        match self {
            Self::Fat12 => (entries * 3).div_ceil(2),
            Self::Fat16 => entries * 2,
            Self::Fat32 => entries * 4,
        }
    }
}

/// Sizes in sectors of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: Width,
    pub(super) sectors: u64,
    pub(super) cluster_sectors: u64,
    pub(super) reserved: u64,
    pub(super) table: u64,
    /// Of the root directory; 0 for FAT32.
    pub(super) root: u64,
    /// Clusters that can hold data.
    pub(super) clusters: u64,
}

impl Geometry {
    /// Bytes of a cluster.
    pub(super) fn cluster(&self) -> u64 {
        self.cluster_sectors * SECTOR
    }

    /// A file system of `bytes` with clusters of `cluster_sectors`; `None` if that is no valid one.
    fn new(bytes: u64, cluster_sectors: u64, wide: bool, root_entries: u64) -> Option<Self> {
        let sectors = u32::try_from(bytes / SECTOR).ok().map(u64::from)?;
        let width = |clusters| if wide { Width::Fat32 } else { Width::of(clusters) };
        let root = if wide { 0 } else { (root_entries * ENTRY).div_ceil(SECTOR) };
        let least = if wide { 32 } else { 1 };
        let clusters = |table: u64| Some(sectors.checked_sub(least + 2 * table + root)? / cluster_sectors);
        // A table that is large enough for all sectors is too large, and the one for the sectors that are left then
        // may be too small by one.
        let mut table = 0;
        for _ in 0..2 {
            let clusters = clusters(table)?;
            table = width(clusters).table_bytes(clusters).div_ceil(SECTOR);
        }
        let (reserved, clusters) = loop {
            // Files shall lie on whole clusters of the medium, so the data area is aligned to them.
            let used = least + 2 * table + root;
            let data = used.next_multiple_of(cluster_sectors);
            let clusters = sectors.checked_sub(data)? / cluster_sectors;
            if width(clusters).table_bytes(clusters) <= table * SECTOR {
                break (least + data - used, clusters);
            }
            table += 1;
        };
        let width = width(clusters);
        // Microsoft advises to stay 16 clusters away from where the width changes: drivers differ by some.
        let safe = match width {
            Width::Fat12 => (1..=4068).contains(&clusters),
            Width::Fat16 => (4101..=65_508).contains(&clusters),
            Width::Fat32 => (65_541..=0x0fff_fff4).contains(&clusters),
        };
        safe.then_some(Self { width, sectors, cluster_sectors, reserved, table, root, clusters })
    }

    /// The geometry for a file system of `bytes`.
    ///
    /// Below 36 MiB FAT12 or FAT16 with 1 KiB clusters where possible, above FAT32, whose smallest form has about
    /// 33 MiB; clusters of FAT32 as mkfs.fat has them.
    fn of(bytes: u64, root_entries: u64) -> Option<Self> {
        const MIB: u64 = 1 << 20;
        if bytes < 36 * MIB {
            return [2, 4, 1, 8]
                .into_iter()
                .find_map(|sectors| Self::new(bytes, sectors, false, root_entries));
        }
        let sectors = match bytes / MIB {
            0..=260 => 1,
            261..=8_192 => 8,
            8_193..=16_384 => 16,
            16_385..=32_768 => 32,
            _ => 64,
        };
        [sectors, sectors / 2]
            .into_iter()
            .filter(|s| *s > 0)
            .find_map(|s| Self::new(bytes, s, true, root_entries))
    }
}

/// Finds the geometry for `size`. `need` counts the clusters that the tree takes up in a geometry.
pub(super) fn choose(
    size: Size,
    root_entries: u64,
    content: u64,
    need: impl Fn(&Geometry) -> u64,
) -> Result<Geometry, WriteError> {
    const MIB: u64 = 1 << 20;
    match size {
        Size::Exact(bytes) => {
            let geometry = (bytes % SECTOR == 0).then(|| Geometry::of(bytes, root_entries)).flatten();
            let geometry = geometry.ok_or(WriteError::Size(bytes))?;
            let need = need(&geometry);
            if need > geometry.clusters {
                return Err(WriteError::Full {
                    need: need.saturating_mul(geometry.cluster()),
                    have: geometry.clusters * geometry.cluster(),
                });
            }
            Ok(geometry)
        }
        Size::Fit { free } => {
            let mut bytes = content.saturating_add(free).max(1).next_multiple_of(MIB);
            while bytes <= u64::from(u32::MAX) * SECTOR {
                if let Some(geometry) = Geometry::of(bytes, root_entries) {
                    let need = need(&geometry).saturating_add(free.div_ceil(geometry.cluster()));
                    if need <= geometry.clusters {
                        return Ok(geometry);
                    }
                }
                bytes += MIB;
            }
            Err(WriteError::Size(content.saturating_add(free)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_consistent_geometry() {
        for mib in (1..300).chain([1_000, 8_192, 8_193, 20_000, 40_000, 100_000]) {
            let bytes = mib << 20;
            let geometry = Geometry::of(bytes, 512).unwrap_or_else(|| panic!("{mib} MiB"));
            assert_eq!(Width::of(geometry.clusters), geometry.width, "{mib} MiB");
            assert_eq!(geometry.width == Width::Fat32, mib >= 36, "{mib} MiB");
            let data = geometry.reserved + 2 * geometry.table + geometry.root;
            assert_eq!(data % geometry.cluster_sectors, 0);
            let end = data + geometry.clusters * geometry.cluster_sectors;
            assert!(
                end <= geometry.sectors && geometry.sectors - end < geometry.cluster_sectors,
                "{mib} MiB"
            );
            assert!(geometry.width.table_bytes(geometry.clusters) <= geometry.table * 512);
        }
    }

    #[test]
    fn sizes_where_the_width_is_in_doubt_change_the_cluster_size() {
        for sectors in 1..40_000 {
            if let Some(geometry) = Geometry::of(sectors * 512, 512) {
                assert!(!(4069..=4100).contains(&geometry.clusters), "{sectors} sectors: {geometry:?}");
            } else {
                assert!(sectors < 40, "{sectors} sectors");
            }
        }
    }
}

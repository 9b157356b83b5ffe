//! Volume descriptors, path tables and directories, once their addresses are known.

use zerocopy::IntoBytes;
use zerocopy::byteorder::{BE, LE, U16, U32};

use super::layout::{BLOCK, Both16, Both32, JOLIET_ESCAPE, RawRecord, RawRoot, RawVolume, STANDARD_ID};
use super::plan::{Record, Space, SpaceDir, Target, place_record};
use super::{Labels, WriteError, time};
use crate::epoch::Epoch;
use crate::io::wide;

/// Where things lie, in blocks of the view that is being written.
pub(super) trait Addresses {
    /// First block of a directory.
    fn dir(&self, index: usize) -> u32;
    /// First block of a file.
    fn file(&self, index: usize) -> u32;
    /// Block for things without bytes.
    fn nothing(&self) -> u32;
}

/// What a volume descriptor says beside its labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) blocks: u32,
    pub(super) path_table_size: u32,
    pub(super) path_table_l: u32,
    pub(super) path_table_m: u32,
    pub(super) root: u32,
    pub(super) root_size: u32,
    pub(super) root_mtime: u32,
}

/// Primary or, with `joliet`, supplementary volume descriptor.
pub(super) fn descriptor(
    labels: &Labels,
    epoch: Epoch,
    numbers: &Numbers,
    joliet: bool,
) -> Result<Vec<u8>, WriteError> {
    let mut escape = [0; 32];
    if joliet {
        escape[..3].copy_from_slice(&JOLIET_ESCAPE);
    }
    let record = RawRecord {
        length: 34,
        xattr_blocks: 0,
        block: Both32::new(numbers.root),
        size: Both32::new(numbers.root_size),
        time: time::short(numbers.root_mtime),
        flags: super::layout::FLAG_DIRECTORY,
        unit: 0,
        gap: 0,
        volume: Both16::new(1),
        id_length: 1,
    };
    let raw = RawVolume {
        kind: if joliet { 2 } else { 1 },
        id: STANDARD_ID,
        version: 1,
        flags: 0,
        system: text("system", &labels.system, joliet)?,
        volume: text("volume", &labels.volume, joliet)?,
        unused: [0; 8],
        blocks: Both32::new(numbers.blocks),
        escape,
        set_size: Both16::new(1),
        sequence: Both16::new(1),
        block_size: Both16::new(2048),
        path_table_size: Both32::new(numbers.path_table_size),
        path_table_l: numbers.path_table_l.into(),
        path_table_l_copy: 0.into(),
        path_table_m: numbers.path_table_m.into(),
        path_table_m_copy: 0.into(),
        root: RawRoot { record, id: 0 },
        volume_set: text("volume set", &labels.volume_set, joliet)?,
        publisher: text("publisher", &labels.publisher, joliet)?,
        preparer: text("preparer", &labels.preparer, joliet)?,
        application: text("application", &labels.application, joliet)?,
        copyright_file: text("copyright file", "", joliet)?,
        abstract_file: text("abstract file", "", joliet)?,
        bibliographic_file: text("bibliographic file", "", joliet)?,
        created: time::long(epoch.0),
        modified: time::long(epoch.0),
        expires: time::NONE,
        effective: time::NONE,
        structure_version: 1,
        reserved: 0,
        application_use: [0; 512],
        rest: [0; 653],
    };
    Ok(raw.as_bytes().to_vec())
}

/// Printable ASCII padded by spaces; in Joliet big-endian UCS-2, cut to what fits.
fn text<const N: usize>(field: &'static str, value: &str, joliet: bool) -> Result<[u8; N], WriteError> {
    let wrong = || WriteError::Label { field, value: value.to_owned(), most: N };
    if value.len() > N || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(wrong());
    }
    let mut bytes = [b' '; N];
    if joliet {
        // An odd last byte, in the fields of 37 bytes, is zero.
        bytes.fill(0);
        let units = value.encode_utf16().chain(std::iter::repeat(u16::from(b' ')));
        for (pair, unit) in bytes.chunks_exact_mut(2).zip(units) {
            pair.copy_from_slice(&unit.to_be_bytes());
        }
    } else {
        bytes[..value.len()].copy_from_slice(value.as_bytes());
    }
    Ok(bytes)
}

/// The descriptor that ends the list.
pub(super) fn terminator() -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[0] = 255;
    bytes[1..6].copy_from_slice(&STANDARD_ID);
    bytes[6] = 1;
    bytes
}

/// Bytes of a path table.
pub(super) fn path_table_size(space: &Space) -> u64 {
    space.dirs.iter().map(|dir| wide(8 + dir.id.len().next_multiple_of(2))).sum()
}

/// The path table of `space`, little- or big-endian, padded to whole blocks.
pub(super) fn path_table(
    space: &Space,
    big: bool,
    addresses: &impl Addresses,
) -> Result<Vec<u8>, WriteError> {
    let mut bytes = Vec::new();
    for (index, dir) in space.dirs.iter().enumerate() {
        let parent =
            u16::try_from(dir.parent + 1).map_err(|_| WriteError::TooManyDirectories(space.dirs.len()))?;
        bytes.extend_from_slice(&[id_length(&dir.id)?, 0]);
        if big {
            bytes.extend_from_slice(U32::<BE>::new(addresses.dir(index)).as_bytes());
            bytes.extend_from_slice(U16::<BE>::new(parent).as_bytes());
        } else {
            bytes.extend_from_slice(U32::<LE>::new(addresses.dir(index)).as_bytes());
            bytes.extend_from_slice(U16::<LE>::new(parent).as_bytes());
        }
        bytes.extend_from_slice(&dir.id);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
    }
    bytes.resize(bytes.len().next_multiple_of(2048), 0);
    Ok(bytes)
}

/// The records of a directory and the continuation area behind them.
pub(super) fn directory(
    space: &Space,
    index: usize,
    addresses: &impl Addresses,
) -> Result<Vec<u8>, WriteError> {
    let dir: &SpaceDir = &space.dirs[index];
    let area = addresses.dir(index).saturating_add(dir.size / 2048);
    let mut bytes = Vec::new();
    for record in &dir.records {
        let at = place_record(wide(bytes.len()), record);
        bytes.resize(usize::try_from(at).map_err(|_| WriteError::TooLarge)?, 0);
        write_record(&mut bytes, space, record, area, addresses)?;
    }
    bytes.resize(usize::try_from(dir.size).map_err(|_| WriteError::TooLarge)?, 0);
    bytes.extend(dir.continuation.bytes(area));
    Ok(bytes)
}

fn write_record(
    bytes: &mut Vec<u8>,
    space: &Space,
    record: &Record,
    area: u32,
    addresses: &impl Addresses,
) -> Result<(), WriteError> {
    let (block, size) = match record.target {
        Target::Dir(index) => (addresses.dir(index), space.dirs[index].size),
        Target::Section { file, skip, size } => {
            let skip = u32::try_from(skip / BLOCK).map_err(|_| WriteError::TooLarge)?;
            (addresses.file(file).saturating_add(skip), size)
        }
        Target::Nothing => (addresses.nothing(), 0),
    };
    let end = bytes.len() + record.length();
    let raw = RawRecord {
        length: u8::try_from(record.length()).map_err(|_| WriteError::TooLarge)?,
        xattr_blocks: 0,
        block: Both32::new(block),
        size: Both32::new(size),
        time: time::short(record.mtime),
        flags: record.flags,
        unit: 0,
        gap: 0,
        volume: Both16::new(1),
        id_length: id_length(&record.id)?,
    };
    bytes.extend_from_slice(raw.as_bytes());
    bytes.extend_from_slice(&record.id);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend_from_slice(&record.area.inline);
    if let Some(reference) = record.area.more {
        bytes.extend_from_slice(&reference.entry(area));
    }
    bytes.resize(end, 0);
    Ok(())
}

fn id_length(id: &[u8]) -> Result<u8, WriteError> {
    u8::try_from(id.len()).map_err(|_| WriteError::TooLarge)
}

/// Blocks of a directory with its continuation area.
pub(super) fn directory_size(dir: &SpaceDir) -> u64 {
    u64::from(dir.size) + wide(dir.continuation.blocks()) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_padded_and_checked() {
        assert_eq!(text::<5>("volume", "LIVE", false).unwrap(), *b"LIVE ");
        assert_eq!(text::<7>("volume", "LIVE", true).unwrap(), *b"\0L\0I\0V\0");
        for bad in ["123456", "ä", "a\n"] {
            let error = text::<5>("volume", bad, false).unwrap_err().to_string();
            assert!(error.starts_with(&format!("volume {bad:?} is not")), "{error}");
        }
    }
}

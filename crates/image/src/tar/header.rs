//! The header block.

use super::number;
use super::{Corruption, TarError};
use crate::io::{ReadError, wide};

/// The fields of a header block that matter, checked each for itself.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// The name, with the prefix of ustar in front.
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) flag: u8,
    pub(super) user: Vec<u8>,
    pub(super) group: Vec<u8>,
    pub(super) major: u64,
    pub(super) minor: u64,
}

impl Header {
    /// Decodes the block that lies at byte `at` of the archive.
    pub(super) fn parse(block: &[u8; 512], at: u64) -> Result<Self, TarError> {
        Self::decode(block).map_err(|kind| ReadError::Corrupt { at, kind })
    }

    fn decode(block: &[u8; 512]) -> Result<Self, Corruption> {
        let stored: u64 = number_at(block, "chksum", 148, 8)?;
        let computed = checksum(block);
        if stored != computed {
            return Err(Corruption::Checksum { computed, stored });
        }
        let magic: [u8; 8] = std::array::from_fn(|index| block[257 + index]);
        let (ustar, gnu) = (magic.starts_with(b"ustar\0"), magic.starts_with(b"ustar "));
        // v7 has nothing after the link name. dpkg would read owner names there whatever the magic is.
        if !ustar && !gnu && block[257..].iter().any(|byte| *byte != 0) {
            return Err(Corruption::Magic(magic));
        }
        let mut name = Vec::new();
        if ustar && block[345] != 0 {
            name.extend_from_slice(text(&block[345..500]));
            name.push(b'/');
        }
        name.extend_from_slice(text(&block[..100]));
        let flag = if block[156] == 0 { b'0' } else { block[156] };
        let device = matches!(flag, b'3' | b'4');
        Ok(Self {
            name,
            link: text(&block[157..257]).to_vec(),
            mode: number_at(block, "mode", 100, 8)?,
            uid: number_at(block, "uid", 108, 8)?,
            gid: number_at(block, "gid", 116, 8)?,
            size: number_at(block, "size", 124, 12)?,
            mtime: number_at(block, "mtime", 136, 12)?,
            flag,
            user: text(&block[265..297]).to_vec(),
            group: text(&block[297..329]).to_vec(),
            major: if device { number_at(block, "devmajor", 329, 8)? } else { 0 },
            minor: if device { number_at(block, "devminor", 337, 8)? } else { 0 },
        })
    }

    /// The flag as it is shown to people.
    pub(super) fn shown(&self) -> char {
        char::from(self.flag)
    }
}

/// The sum of all bytes, those of the checksum field itself taken as spaces.
pub(super) fn checksum(block: &[u8; 512]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().copied().map(u64::from).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

/// The bytes of a field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn number_at<N: TryFrom<i128>>(
    block: &[u8; 512],
    field: &'static str,
    start: usize,
    length: usize,
) -> Result<N, Corruption> {
    let bytes = &block[start..start + length];
    number::parse(bytes)
        .and_then(|value| N::try_from(value).ok())
        .ok_or_else(|| Corruption::Number { field, value: bytes.to_vec() })
}

/// How many bytes of padding follow `size` bytes of data.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % wide(512)
}

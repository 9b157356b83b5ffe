//! What Linux asks of compressed blocks, and a decoder in user space never notices: it prepares a decoder once, by the
//! codec's options, and refuses blocks that need more memory.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{LZ4_VERSION, Lz4Options, META_BLOCK, SuperBlock, XzOptions, flag, wide};
use super::read::{Compression, Inner, Region};
use crate::io::ReadAt;

/// Bytes of history that Linux makes room for: one block, at least a metadata block, or what the codec's options say.
pub(super) fn window_limit<R: ReadAt>(inner: &Inner<R>) -> u64 {
    let limit = u64::from(inner.head.block_size.get()).max(wide(META_BLOCK));
    match inner.compression {
        Compression::Xz => options(inner).map_or(limit, |raw: XzOptions| u64::from(raw.dictionary.get())),
        _ => limit,
    }
}

/// Whether Linux knows how the blocks were made, if they are lz4.
pub(super) fn lz4_is_readable<R: ReadAt>(inner: &Inner<R>) -> bool {
    let known = |raw: Lz4Options| raw.version.get() == LZ4_VERSION;
    inner.compression != Compression::Lz4 || options(inner).is_some_and(known)
}

/// The codec's options, if there are any that can be read.
fn options<R: ReadAt, T: FromBytes + IntoBytes>(inner: &Inner<R>) -> Option<T> {
    let start = wide(size_of::<SuperBlock>());
    let region = Region { table: "codec options", start, end: inner.head.bytes_used.get() };
    let there = inner.head.flags.get() & flag::CODEC_OPTIONS != 0;
    there.then(|| inner.cursor(region, 0).raw().ok()).flatten()
}

/// Bytes of history the decoder of `stored` must keep; `None` if its header does not say.
pub(super) fn window(compression: Compression, stored: &[u8]) -> Option<u64> {
    match compression {
        Compression::Gzip | Compression::Lz4 | Compression::Lzma | Compression::Lzo => None,
        Compression::Zstd => zstd(stored),
        Compression::Xz => xz(stored),
    }
}

/// RFC 8878, section 3.1.1.1.
fn zstd(stored: &[u8]) -> Option<u64> {
    let rest = stored.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (&descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let (exponent, mantissa) = (rest.first()? >> 3, rest.first()? & 7);
        let base = 1u64 << (10 + u32::from(exponent));
        return Some(base + base / 8 * u64::from(mantissa));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let rest = rest.get(dictionary..)?;
    let size = |length: usize| {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(rest.get(..length)?);
        Some(u64::from_le_bytes(bytes))
    };
    match descriptor >> 6 {
        0 => size(1),
        1 => Some(size(2)? + 256),
        2 => size(4),
        _ => size(8),
    }
}

/// The .xz File Format 1.1.0, sections 2.1.1 and 3.1, and 5.3.1 for the dictionary of LZMA2.
fn xz(stored: &[u8]) -> Option<u64> {
    let block = stored.strip_prefix(&[0xfd, b'7', b'z', b'X', b'Z', 0])?.get(6..)?;
    let flags = *block.get(1)?;
    let mut rest = block.get(2..)?;
    // Sizes before the filters, if they are there.
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            number(&mut rest)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (id, length) = (number(&mut rest)?, usize::try_from(number(&mut rest)?).ok()?);
        let properties = rest.get(..length)?;
        rest = &rest[length..];
        if id == 0x21 {
            let bits = u32::from(*properties.first()? & 0x3f);
            return (bits <= 40).then(|| u64::from(2 | bits & 1) << (bits / 2 + 11));
        }
    }
    None
}

/// A number of variable length: seven bits a byte, the lowest first, all but the last with the top bit.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    #[test]
    fn our_blocks_ask_for_no_more_than_a_block() {
        for size in [1, 255, 256, 8192, 100_000, 131_072, 1 << 20] {
            let plain = vec![b'x'; size];
            let packed = Codec::Zstd { level: 15 }.compress(&plain).unwrap();
            assert_eq!(window(Compression::Zstd, &packed), Some(u64::try_from(size).unwrap()));
            for (dict_size, x86) in [(1 << 17, false), (1 << 20, true), (12288, true)] {
                let packed = Codec::Xz { preset: 6, x86, dict_size }.compress(&plain).unwrap();
                assert_eq!(window(Compression::Xz, &packed), Some(u64::from(dict_size)));
            }
        }
    }

    #[test]
    fn frames_without_a_size_name_their_window() {
        // 16 MiB, as one writer made it that Linux could not read.
        assert_eq!(zstd(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x70]), Some(16 << 20));
        assert_eq!(zstd(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x71]), Some(18 << 20));
        for short in [&b""[..], b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\xe0", b"\xfd7zXZ\0\0\0"] {
            assert_eq!((zstd(short), xz(short)), (None, None));
        }
    }
}

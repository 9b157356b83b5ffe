//! The one place where a block becomes its stored form.

use std::io;

use crate::codec::Codec;

/// A block as it is stored.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    /// The bytes are plain, because the codec did not make them fewer.
    pub(super) raw: bool,
}

/// The stored form of `plain`: a pure function of its arguments and of [`crate::codec::LIBRARIES`], so that a cache
/// can stand in for it.
///
/// `code` says that the block comes from an x86 program. Only then is the branch filter of xz tried, beside the plain
/// form; the smaller one stays, the plain one if they are equal.
pub(super) fn pack(codec: Codec, plain: Vec<u8>, code: bool) -> io::Result<Packed> {
    let mut best = match codec {
        Codec::Xz { preset, x86: true, dict_size } => {
            let unfiltered = Codec::Xz { preset, x86: false, dict_size }.compress(&plain)?;
            if code {
                let filtered = codec.compress(&plain)?;
                if filtered.len() < unfiltered.len() { filtered } else { unfiltered }
            } else {
                unfiltered
            }
        }
        _ => codec.compress(&plain)?,
    };
    if best.len() >= plain.len() {
        return Ok(Packed { bytes: plain, raw: true });
    }
    // Codecs reserve for the worst case; blocks wait in the queue.
    best.shrink_to_fit();
    Ok(Packed { bytes: best, raw: false })
}

/// Whether a file that begins with `start` is an x86 program: ELF for 386 or x86-64, or PE (EFI, kernels).
pub(super) fn is_code(start: &[u8]) -> bool {
    match start {
        [0x7f, b'E', b'L', b'F', ..] => matches!(start.get(18..20), Some([3 | 62, 0])),
        [b'M', b'Z', ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        for codec in ["zstd:3", "gzip:9", "xz:6:dict=8192:x86"] {
            let codec: Codec = codec.parse().unwrap();
            let packed = pack(codec, b"abc".to_vec(), true).unwrap();
            assert!(packed.raw && packed.bytes == b"abc", "{codec}");
            let packed = pack(codec, vec![7; 5000], false).unwrap();
            assert!(!packed.raw && packed.bytes.len() < 100, "{codec}");
        }
    }

    #[test]
    fn the_branch_filter_is_used_for_code_where_it_helps() {
        // Calls of one function from many places: absolute after the filter, so they repeat.
        let calls: Vec<u8> = (0..1500u32)
            .flat_map(|n| {
                let target = 100_000u32.wrapping_sub(n * 9 + 5).to_le_bytes();
                [[0xe8, target[0], target[1], target[2]], [target[3], 0x90, (n % 251).to_le_bytes()[0], 0x90]]
            })
            .flat_map(|part| part.into_iter())
            .collect();
        let codec: Codec = "xz:6:dict=131072:x86".parse().unwrap();
        let [code, data] = [true, false].map(|code| pack(codec, calls.clone(), code).unwrap().bytes.len());
        assert!(code < data, "{code} with the filter, {data} without");
    }

    #[test]
    fn programs_are_known_by_their_header() {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
        assert!(is_code(&elf) && is_code(b"MZ\x90") && !is_code(b"#!/bin/sh") && !is_code(b""));
        elf[18] = 0xb7;
        assert!(!is_code(&elf) && !is_code(&elf[..19]));
    }
}

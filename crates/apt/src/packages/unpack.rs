//! From compressed bytes to plain ones that are known to be right.

use std::io::{self, Read};

use selfsame_image::Digest;
use selfsame_image::codec::Wrapping;
use selfsame_image::tree::Content;

/// Most bytes an index may have when no signed size says how many: 1 GiB. Debian's largest has about 60 MB.
pub const MAX_PLAIN: u64 = 1 << 30;

/// Why the plain bytes cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The compressed bytes are not the ones that are signed.
    #[error("packed bytes are {have:?}, not {want:?}")]
    Packed {
        /// What is signed.
        want: Content,
        /// What is there.
        have: Content,
    },
    /// The plain bytes are not the ones that are signed.
    #[error("plain bytes are {have:?}, not {want:?}")]
    Plain {
        /// What is signed.
        want: Content,
        /// What is there.
        have: Content,
    },
    /// More plain bytes than there may be.
    #[error("decompresses to more than {limit} bytes")]
    TooLong {
        /// The most there may be.
        limit: u64,
    },
    /// Not what its first bytes promise.
    #[error("cannot decompress")]
    Corrupt(#[source] io::Error),
}

/// Checks size and digest of `packed`, decompresses it by its first bytes, and checks the outcome.
///
/// Not one byte is decompressed before `packed` is known to be what is signed. If `plain` is not known, the outcome is only
/// limited to [`MAX_PLAIN`].
pub fn unpack(packed: &[u8], want: &Content, plain: Option<&Content>) -> Result<Vec<u8>, UnpackError> {
    let have = Content { size: packed.len() as u64, digest: Digest::of(packed) };
    if have != *want {
        return Err(UnpackError::Packed { want: *want, have });
    }
    let limit = plain.map_or(MAX_PLAIN, |plain| plain.size.min(MAX_PLAIN));
    let mut out = Vec::new();
    let reader = Wrapping::detect(packed).reader(packed).map_err(UnpackError::Corrupt)?;
    reader.take(limit + 1).read_to_end(&mut out).map_err(UnpackError::Corrupt)?;
    if out.len() as u64 > limit {
        return Err(UnpackError::TooLong { limit });
    }
    match plain {
        Some(want) if *want != Content::of(&out) => {
            Err(UnpackError::Plain { want: *want, have: Content::of(&out) })
        }
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use selfsame_testkit::archive::Index;

    use super::*;

    #[test]
    fn only_signed_bytes_come_out() {
        let index = Index::of(b"Package: a\n".repeat(1000));
        let plain = Content::of(&index.plain);
        for packed in [&index.plain, &index.xz, &index.gz] {
            let want = Content::of(packed);
            assert_eq!(unpack(packed, &want, Some(&plain)).unwrap(), index.plain);
            assert_eq!(unpack(packed, &want, None).unwrap(), index.plain);
            let mut bad = packed.clone();
            bad[5] ^= 1;
            assert!(matches!(unpack(&bad, &want, Some(&plain)), Err(UnpackError::Packed { .. })));
            let longer = Content { size: want.size + 1, ..want };
            assert!(matches!(unpack(packed, &longer, Some(&plain)), Err(UnpackError::Packed { .. })));
            let shorter = Content { size: plain.size - 1, ..plain };
            let error = unpack(packed, &want, Some(&shorter)).unwrap_err();
            assert_eq!(error.to_string(), "decompresses to more than 10999 bytes");
            let longer = Content { size: plain.size + 1, ..plain };
            assert!(matches!(unpack(packed, &want, Some(&longer)), Err(UnpackError::Plain { .. })));
        }
    }

    #[test]
    fn signed_nonsense_is_an_error() {
        let index = Index::of(b"Package: a\n".repeat(1000));
        for packed in [&index.xz, &index.gz] {
            for end in 6..packed.len() {
                let cut = &packed[..end];
                assert!(unpack(cut, &Content::of(cut), Some(&Content::of(&index.plain))).is_err());
                let mut bad = packed.clone();
                bad[end] ^= 0x10;
                let _ = unpack(&bad, &Content::of(&bad), None);
            }
        }
    }
}

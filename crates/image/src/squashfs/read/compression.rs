//! How the blocks of an image are compressed, as far as reading them goes.

use std::fmt;
use std::io;

use crate::codec::{self, Codec};
use crate::squashfs::layout::codec as number;

/// What the blocks of an image are compressed with. Its text form is the name that mksquashfs has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zlib streams (RFC 1950).
    Gzip,
    /// LZMA data behind 13 bytes of header, which Linux itself does not read.
    Lzma,
    /// Blocks of LZO1X.
    Lzo,
    /// xz streams.
    Xz,
    /// Blocks of lz4 without a frame.
    Lz4,
    /// zstd frames.
    Zstd,
}

impl Compression {
    /// By the number that a superblock has for it.
    pub(super) fn from_number(found: u16) -> Option<Self> {
        Some(match found {
            number::GZIP => Self::Gzip,
            number::LZMA => Self::Lzma,
            number::LZO => Self::Lzo,
            number::XZ => Self::Xz,
            number::LZ4 => Self::Lz4,
            number::ZSTD => Self::Zstd,
            _ => return None,
        })
    }

    /// Decompresses one block that may not be longer than `limit` bytes; a longer one is an error.
    pub(super) fn decompress(self, stored: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        // A decoder takes no parameters: they are those of the block.
        let codec = match self {
            Self::Lzma => return codec::decompress_lzma(stored, limit),
            Self::Lzo => return codec::decompress_lzo(stored, limit),
            Self::Gzip => Codec::Gzip { level: 9 },
            Self::Xz => Codec::Xz { preset: 6, x86: false, dict_size: 1 << 20 },
            Self::Lz4 => Codec::Lz4 { level: 12 },
            Self::Zstd => Codec::Zstd { level: 15 },
        };
        codec.decompress(stored, limit)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

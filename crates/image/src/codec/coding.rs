//! How a stream is compressed that is only read, to be compared: besides what packages and images use, bzip2, frames of lz4
//! and LZMA data as lzma(1) writes it.

use std::io::{self, Read, Write};

use super::Wrapping;
use super::stream::{Bounded, Tail, XZ_MEMORY, copy_xz};
use crate::io::{ReadAt, wide};

/// First bytes of an lz4 frame ("LZ4 Frame Format Description").
pub(crate) const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// In a form that says itself what it is.
    Wrapped(Wrapping),
    /// As deflate data (RFC 1951) without anything around it.
    Deflate,
    /// By bzip2.
    Bzip2,
    /// As a frame of lz4.
    Lz4,
    /// As LZMA data behind 13 bytes of header.
    Lzma,
}

impl Coding {
    /// By the first bytes of a stream.
    pub(super) fn detect(start: &[u8]) -> Option<Self> {
        match Wrapping::detect(start) {
            Wrapping::None if start.first_chunk().is_some_and(is_bzip2) => Some(Self::Bzip2),
            Wrapping::None if start.starts_with(&LZ4_FRAME) => Some(Self::Lz4),
            Wrapping::None if start.first_chunk().is_some_and(is_lzma) => Some(Self::Lzma),
            Wrapping::None => None,
            wrapping => Some(Self::Wrapped(wrapping)),
        }
    }

    /// Writes the plain bytes of the one stream that starts at byte `at`; the offset of the first byte after it. More than
    /// `limit` are an error.
    pub(super) fn copy_one(
        self,
        source: &impl ReadAt,
        at: u64,
        limit: u64,
        out: &mut impl Write,
    ) -> io::Result<u64> {
        let packed = Tail::new(source, at);
        Ok(match self {
            Self::Wrapped(wrapping) => return wrapping.copy_one(source, at, limit, out),
            Self::Deflate => {
                let mut reader = Bounded::new(flate2::bufread::DeflateDecoder::new(packed), limit);
                io::copy(&mut reader, out)?;
                reader.into_inner().into_inner().at
            }
            Self::Bzip2 => {
                let mut reader = Bounded::new(bzip2::bufread::BzDecoder::new(packed), limit);
                io::copy(&mut reader, out)?;
                reader.into_inner().into_inner().at
            }
            Self::Lz4 => {
                let mut reader = Bounded::new(lz4::Decoder::new(packed)?, limit);
                io::copy(&mut reader, out)?;
                // The decoder takes the end of its input for the end of the frame.
                let (rest, whole) = reader.into_inner().finish();
                whole.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                rest.at
            }
            Self::Lzma => {
                copy_xz(packed, liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)?, limit, out)?.at
            }
        })
    }

    /// A reader of the `plain` bytes of a stream.
    pub(super) fn plain<'a>(
        self,
        packed: impl Read + Send + 'a,
        plain: u64,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Wrapped(wrapping) => Box::new(wrapping.plain(packed, plain)?),
            Self::Deflate => Box::new(Inflate::new(packed, plain)),
            Self::Bzip2 => Box::new(Bounded::new(bzip2::read::BzDecoder::new(packed), plain)),
            Self::Lz4 => Box::new(Bounded::new(lz4::Decoder::new(packed)?, plain)),
            Self::Lzma => {
                let stream = liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)?;
                Box::new(Bounded::new(liblzma::read::XzDecoder::new_stream(packed, stream), plain))
            }
        })
    }
}

/// The plain bytes of deflate data that has to hold as many as was said elsewhere: it has no length or checksum of its own.
struct Inflate<R> {
    plain: Bounded<flate2::read::DeflateDecoder<R>>,
    left: u64,
}

impl<R: Read> Inflate<R> {
    fn new(packed: R, plain: u64) -> Self {
        Self { plain: Bounded::new(flate2::read::DeflateDecoder::new(packed), plain), left: plain }
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buf)?;
        self.left -= wide(count);
        if self.left == 0 && count > 0 {
            // Nobody reads on behind the last byte, and would see that there are more.
            self.plain.read(&mut [0])?;
        }
        Ok(count)
    }
}

/// Whether a file that begins so is a stream of bzip2: signature, size of blocks, and what its first block or its end begins with.
pub(crate) fn is_bzip2(start: &[u8; 10]) -> bool {
    let block =
        matches!(start[4..], [0x31, 0x41, 0x59, 0x26, 0x53, 0x59] | [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]);
    start.starts_with(b"BZh") && matches!(start[3], b'1'..=b'9') && block
}

/// Whether a file that begins so is LZMA data: there is no signature, and all fields must be what programs write. The dictionary
/// is 2^n or 2^n + 2^(n-1) bytes, the length below 256 GiB or unknown, as liblzma has it (`alone_decoder.c`); the properties
/// are those of every preset, and the range coder begins with a zero.
pub(crate) fn is_lzma(start: &[u8; 14]) -> bool {
    let [properties, a, b, c, d, length @ .., coder] = start;
    let (dictionary, length) = (u32::from_le_bytes([*a, *b, *c, *d]), u64::from_le_bytes(*length));
    let lowest = dictionary & dictionary.wrapping_neg();
    let round =
        dictionary >= 1 << 12 && (dictionary == lowest || u64::from(dictionary) == 3 * u64::from(lowest));
    *properties == 0x5d && round && (length == u64::MAX || length < 1 << 38) && *coder == 0
}

//! Compression with fixed parameters and a name for each choice.
//!
//! One call compresses one block on one thread. libzstd and liblzma give other bytes when they split the work
//! themselves, so parallelism is over blocks only ([`crate::par`]).

mod coding;
mod extents;
mod kept;
mod lzo;
pub mod patch;
pub mod remake;
mod rewind;
pub mod stream;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use liblzma::stream::{Action, Status};
use lz4::block::CompressionMode;

pub(crate) use coding::{LZ4_FRAME, is_bzip2, is_lzma};
pub use extents::extents;
pub(crate) use lzo::decompress as decompress_lzo;
pub(crate) use rewind::inflated;

/// A codec and its parameters. Its text form is its identity in locks and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// zlib streams (RFC 1950), as SquashFS stores them. Level 1 to 9.
    Gzip {
        /// Effort, 1 (fast) to 9 (small).
        level: u8,
    },
    /// One xz stream with CRC32, as the kernel's decoder wants it. Preset 0 to 9.
    Xz {
        /// Preset of liblzma, 0 (fast) to 9 (small).
        preset: u8,
        /// Whether the x86 branch filter runs before LZMA2.
        x86: bool,
        /// Dictionary size in bytes, 4 KiB to 64 MiB. SquashFS uses its block size.
        dict_size: u32,
    },
    /// One zstd frame with a declared content size. Level 1 to 22.
    Zstd {
        /// Effort, 1 (fast) to 22 (small).
        level: u8,
    },
    /// One lz4 block without a frame, made by the high compression variant. Level 2 to 12. For blocks only: see
    /// [`Codec::takes_streams`].
    Lz4 {
        /// Effort, 2 (fast) to 12 (small).
        level: u8,
    },
}

/// Versions of the libraries behind the codecs, as they appear in a record: they shape bytes.
pub const LIBRARIES: &[(&str, &str)] = &[
    ("gzip", "zlib-rs via flate2 1.1.11"),
    ("xz", "liblzma 0.4.9"),
    ("zstd", "zstd 0.14.3"),
    ("lz4", "liblz4 1.10.0 via lz4 1.28.1"),
];

impl fmt::Display for Codec {
    /// `zstd:15`, `gzip:9`, `lz4:12`, `xz:6:dict=131072`, `xz:6:dict=1048576:x86`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Xz { preset, x86, dict_size } => {
                write!(f, "xz:{preset}:dict={dict_size}{}", if *x86 { ":x86" } else { "" })
            }
            Self::Zstd { level } => write!(f, "zstd:{level}"),
            Self::Lz4 { level } => write!(f, "lz4:{level}"),
        }
    }
}

/// The text does not name a codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a codec: use zstd:1..22, gzip:1..9, lz4:2..12 or xz:0..9[:dict=BYTES][:x86]")]
pub struct NotACodec(pub String);

impl FromStr for Codec {
    type Err = NotACodec;

    /// Reads the text form; the level may be left out (`zstd` is `zstd:15`, `gzip` is `gzip:9`, `lz4` is `lz4:9`,
    /// `xz` is `xz:6`).
    fn from_str(text: &str) -> Result<Self, NotACodec> {
        let wrong = || NotACodec(text.to_owned());
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let level =
            |parts: &mut std::str::Split<'_, char>, default: u8, range: std::ops::RangeInclusive<u8>| {
                let level = parts.next().map_or(Ok(default), |part| part.parse().map_err(|_| wrong()))?;
                if range.contains(&level) { Ok(level) } else { Err(wrong()) }
            };
        let codec = match name {
            "zstd" => Self::Zstd { level: level(&mut parts, 15, 1..=22)? },
            "gzip" => Self::Gzip { level: level(&mut parts, 9, 1..=9)? },
            "lz4" => Self::Lz4 { level: level(&mut parts, 9, 2..=12)? },
            "xz" => {
                let preset = level(&mut parts, 6, 0..=9)?;
                let (mut x86, mut dict_size) = (false, 1 << 20);
                for part in parts.by_ref() {
                    match part.strip_prefix("dict=") {
                        Some(size) => dict_size = size.parse().map_err(|_| wrong())?,
                        None if part == "x86" => x86 = true,
                        None => return Err(wrong()),
                    }
                }
                if !(4096..=64 << 20).contains(&dict_size) {
                    return Err(wrong());
                }
                Self::Xz { preset, x86, dict_size }
            }
            _ => return Err(wrong()),
        };
        if parts.next().is_some() { Err(wrong()) } else { Ok(codec) }
    }
}

impl Codec {
    /// The library that does the work and its version: one of [`LIBRARIES`].
    pub fn library(self) -> &'static str {
        let index = match self {
            Self::Gzip { .. } => 0,
            Self::Xz { .. } => 1,
            Self::Zstd { .. } => 2,
            Self::Lz4 { .. } => 3,
        };
        LIBRARIES[index].1
    }

    /// Whether there is a form of this codec for whole streams, such as an initramfs ([`Codec::stream_writer`]).
    pub fn takes_streams(self) -> bool {
        !matches!(self, Self::Lz4 { .. })
    }

    /// Compresses `block` on this thread. The bytes depend on `self`, `block` and [`LIBRARIES`] alone.
    pub fn compress(self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip { level } => {
                let level = flate2::Compression::new(u32::from(level));
                let mut out = Vec::with_capacity(block.len() / 2);
                flate2::read::ZlibEncoder::new(block, level).read_to_end(&mut out)?;
                Ok(out)
            }
            Self::Xz { .. } => finish_stream(self.xz_stream()?, block),
            Self::Zstd { level } => zstd_compress(block, level),
            Self::Lz4 { level } => {
                lz4::block::compress(block, Some(CompressionMode::HIGHCOMPRESSION(level.into())), false)
            }
        }
    }

    /// The encoder of liblzma with these parameters.
    fn xz_stream(self) -> io::Result<liblzma::stream::Stream> {
        let Self::Xz { preset, x86, dict_size } = self else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut options = liblzma::stream::LzmaOptions::new_preset(u32::from(preset))?;
        options.dict_size(dict_size);
        let mut filters = liblzma::stream::Filters::new();
        if x86 {
            filters.x86();
        }
        filters.lzma2(&options);
        Ok(liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32)?)
    }

    /// Decompresses one block that may not be longer than `limit` bytes; a longer one is an error.
    pub fn decompress(self, packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        // A frame that says how long its content is, as ours do, needs no window beside the output.
        if let Self::Zstd { .. } = self
            && let Ok(Some(size)) = zstd::zstd_safe::get_frame_content_size(packed)
        {
            let Some(size) = usize::try_from(size).ok().filter(|size| *size <= limit) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Oversized { limit }));
            };
            return zstd_decompress(packed, size);
        }
        let mut reader: Box<dyn Read + '_> = match self {
            // A block has no end of its own: it is decoded as a whole.
            Self::Lz4 { .. } => return lz4_decompress(packed, limit),
            Self::Gzip { .. } => Box::new(flate2::read::ZlibDecoder::new(packed)),
            Self::Xz { .. } => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
                Box::new(liblzma::read::XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd { .. } => Box::new(zstd::stream::read::Decoder::new(packed)?.single_frame()),
        };
        read_up_to(&mut reader, limit)
    }
}

/// Decompresses one block of LZMA data behind 13 bytes of header; more than `limit` bytes are an error.
pub(crate) fn decompress_lzma(packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let stream = liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)?;
    read_up_to(&mut liblzma::read::XzDecoder::new_stream(packed, stream), limit)
}

/// All that `reader` gives; more than `limit` bytes are an error.
fn read_up_to(reader: &mut dyn Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(limit.saturating_add(1) as u64).read_to_end(&mut out)?;
    match out.len() > limit {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, Oversized { limit })),
        false => Ok(out),
    }
}

/// A byte of an lz4 block stands for at most 255, so room for `limit` is only made where that many can come.
fn lz4_decompress(packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let room = packed.len().saturating_mul(255).min(limit);
    let size = i32::try_from(room).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    lz4::block::decompress(packed, Some(size))
}

/// Room for what xz adds to a block that does not shrink.
const XZ_FRAME: usize = 1 << 12;

/// Most memory that a block of xz may ask for: the largest dictionary of [`Codec::Xz`] and what goes with it.
const XZ_MEMORY: u64 = 80 << 20;

thread_local! {
    /// The level and tables of the last compression on this thread. Setting up new tables costs a small block of a
    /// low level as much as compressing it. What they held before does not change bytes: a test holds that.
    static ZSTD: RefCell<Option<(u8, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
}

fn zstd_decompress(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    thread_local! {
        static TABLES: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    TABLES.with_borrow_mut(|kept| {
        let mut tables = kept.take().map_or_else(zstd::bulk::Decompressor::new, Ok)?;
        // One frame and nothing else: the buffer has no room for more.
        let out = tables.decompress(packed, size)?;
        *kept = Some(tables);
        Ok(out)
    })
}

/// What an encoder makes of all of `block`.
fn finish_stream(mut stream: liblzma::stream::Stream, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len() + XZ_FRAME);
    // Mostly one call: what does not shrink may need more room.
    loop {
        let done = usize::try_from(stream.total_in()).expect("no more than the block");
        let status = stream.process_vec(&block[done..], &mut out, Action::Finish)?;
        if matches!(status, Status::StreamEnd) {
            return Ok(out);
        }
        out.reserve(XZ_FRAME);
    }
}

fn zstd_compress(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    ZSTD.with_borrow_mut(|kept| {
        let mut tables = match kept.take() {
            Some((old, tables)) if old == level => tables,
            _ => zstd::bulk::Compressor::new(i32::from(level))?,
        };
        // After an error the tables are dropped.
        let packed = tables.compress(block)?;
        *kept = Some((level, tables));
        Ok(packed)
    })
}

/// A block decompresses to more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decompresses to more than {limit} bytes")]
pub struct Oversized {
    /// The most bytes the caller allowed.
    pub limit: usize,
}

/// How a whole stream (a `.deb` member, an index, an initramfs) is compressed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// gzip members (RFC 1952), possibly several.
    Gzip,
    /// xz streams, possibly several.
    Xz,
    /// zstd frames, possibly several.
    Zstd,
    /// Not compressed, or by nothing that is known here.
    None,
}

impl Wrapping {
    /// Recognises the wrapping from the first six bytes of a stream.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// A reader of the plain bytes. It yields what the stream holds: callers bound how much they take.
    pub fn reader<'a, R: Read + Send + 'a>(self, packed: R) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(packed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
            Self::None => Box::new(packed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 6] = [
        Codec::Gzip { level: 9 },
        Codec::Xz { preset: 6, x86: false, dict_size: 1 << 17 },
        Codec::Xz { preset: 6, x86: true, dict_size: 1 << 20 },
        Codec::Zstd { level: 15 },
        Codec::Lz4 { level: 2 },
        Codec::Lz4 { level: 12 },
    ];

    fn sample() -> Vec<u8> {
        (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    #[test]
    fn each_codec_names_its_own_library() {
        for codec in ["gzip:1", "xz:1", "zstd:1", "lz4:2"] {
            let library = codec.parse::<Codec>().unwrap().library();
            let (name, _) = LIBRARIES.iter().find(|(_, known)| *known == library).unwrap();
            assert!(codec.starts_with(name), "{codec}: {library}");
        }
    }

    #[test]
    fn blocks_round_trip_and_the_limit_holds() {
        let block = sample();
        for codec in ALL {
            let packed = codec.compress(&block).unwrap();
            assert!(packed.len() < block.len(), "{codec}");
            assert_eq!(codec.decompress(&packed, block.len()).unwrap(), block, "{codec}");
            assert!(codec.decompress(&packed, block.len() - 1).is_err(), "{codec}");
        }
    }

    #[test]
    fn what_was_compressed_before_changes_no_bytes() {
        let text = sample();
        let mut noise = 1u32;
        let mixed: Vec<u8> = text
            .chunks(50)
            .flat_map(|part| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                [part, &noise.to_le_bytes()].concat()
            })
            .collect();
        let blocks: Vec<&[u8]> =
            [1, 100, 8192, 131_072, 70_000].iter().flat_map(|size| mixed.chunks(*size).take(6)).collect();
        for level in [1, 2, 3, 5, 7, 9, 12, 15, 18, 22] {
            let fresh = |block: &&[u8]| zstd::bulk::compress(block, i32::from(level)).unwrap();
            let expected: Vec<_> = blocks.iter().map(fresh).collect();
            let codec = Codec::Zstd { level };
            for (block, expected) in blocks.iter().zip(&expected).chain(blocks.iter().zip(&expected).rev()) {
                assert_eq!(codec.compress(block).unwrap(), *expected, "{codec}");
            }
        }
    }

    #[test]
    fn damaged_lz4_blocks_are_errors_or_other_bytes_within_the_limit() {
        let codec = Codec::Lz4 { level: 12 };
        let packed = codec.compress(&sample()).unwrap();
        let small = codec.compress(&sample()[..3000]).unwrap();
        for at in 0..small.len() {
            for value in [0, 1, 0x0f, 0xf0, 0xff, small[at] ^ 0x80] {
                let mut small = small.clone();
                small[at] = value;
                let _ = codec.decompress(&small, 3000).map(|plain| assert!(plain.len() <= 3000));
            }
            assert!(codec.decompress(&small[..at], 3000).map_or(true, |plain| plain.len() < 3000));
        }
        // A block that claims more than there can be gets no room for it.
        assert!(codec.decompress(&packed, 1 << 20).is_ok());
        for (bytes, limit) in [(&b""[..], 8192), (b"\xff\xff\xff", 1 << 20), (&[0xff; 4096], 1 << 20)] {
            assert!(codec.decompress(bytes, limit).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_xz_block_cannot_ask_for_gigabytes() {
        let mut packed = Codec::Xz { preset: 0, x86: false, dict_size: 4096 }.compress(b"abc").unwrap();
        // The dictionary byte of the block header, set to 1.5 GiB, and the header's checksum.
        assert_eq!(packed[12..18], [2, 0, 0x21, 1, 0, 0]);
        packed[16] = 37;
        let checksum = crc32(&packed[12..20]).to_le_bytes();
        packed[20..24].copy_from_slice(&checksum);
        let limit =
            Codec::Xz { preset: 0, x86: false, dict_size: 4096 }.decompress(&packed, 100).unwrap_err();
        assert!(limit.to_string().contains("memory"), "{limit}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    #[test]
    fn text_form_round_trips() {
        for codec in ALL {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        for text in [
            "",
            "zstd:0",
            "zstd:23",
            "gzip:10",
            "xz:6:dict=1",
            "xz:6:arm",
            "zstd:3:4",
            "lzma",
            "lz4:1",
            "lz4:13",
        ] {
            assert_eq!(text.parse::<Codec>(), Err(NotACodec(text.into())));
        }
    }
}

//! Readers of compressed streams.

use std::io::Read;
use std::num::NonZero;

use selfsame_image::codec::{self, Codec, Wrapping, patch, remake::Shape};

use super::structure::structure;

/// Plain bytes that a stream may have.
const PLAIN: u64 = 1 << 20;

/// Files that are one or several streams.
pub(crate) fn packed(bytes: &[u8]) {
    structure(bytes, codec::extents);
}

/// Blocks and streams as packages, indexes and images hold them.
pub(crate) fn stream(bytes: &[u8]) {
    let size = u64::try_from(bytes.len()).expect("64 bits");
    let limit = usize::try_from(PLAIN).expect("a MiB");
    for codec in ["gzip:9", "xz:6:dict=1048576", "zstd:15", "lz4:12"] {
        let codec: Codec = codec.parse().expect("it names a codec");
        if let Ok(plain) = codec.decompress(bytes, limit) {
            assert!(plain.len() <= limit, "{codec}: no more than the limit");
        }
    }
    let wrapping = Wrapping::detect(bytes);
    if let Ok(mut reader) = wrapping.plain(bytes, PLAIN) {
        let mut plain = Vec::new();
        let _result = reader.read_to_end(&mut plain);
        assert!(plain.len() <= limit, "{wrapping:?}: no more than the limit");
    }
    for at in [0, size.min(3)] {
        if let Ok((plain, end)) = wrapping.unpack_one(&bytes, at, PLAIN) {
            assert!(plain.len() <= limit && (at..=size).contains(&end), "{wrapping:?}: it ends inside");
        }
    }
}

/// What makes a text of an older one: four bytes say how long it shall be.
pub(crate) fn patch(bytes: &[u8]) {
    let Some((size, patch)) = bytes.split_first_chunk() else { return };
    let size = usize::try_from(u32::from_le_bytes(*size)).expect("32 bits");
    // Whoever asks knows the size from a signed file; a MiB is as good as any.
    let size = size % (1 << 20);
    let old: Vec<u8> = (0..4096_u32).flat_map(|number| (number / 5).to_le_bytes()).collect();
    if let Ok(new) = patch::apply(&old, patch, size) {
        assert_eq!(new.len(), size, "as long as asked for");
    }
}

/// How an `.xz` file was made: its plain bytes are what comes out of it.
pub(crate) fn shape(bytes: &[u8]) {
    let mut plain = Vec::new();
    let Ok(mut reader) = Wrapping::Xz.plain(bytes, 64 << 10) else { return };
    let _result = reader.read_to_end(&mut plain);
    if let Some(shape) = Shape::of(bytes, &plain) {
        assert_eq!(shape.to_string().parse(), Ok(shape), "its text is its own");
        let _packed = shape.make(&plain, NonZero::<usize>::MIN);
    }
}

use std::process::Command;

use selfsame_image::codec::Codec;
use selfsame_image::initramfs::{Part, read, write};
use selfsame_image::tree::text::to_string;
use selfsame_image::{Epoch, cpio};

use crate::host::{oracle, sample};

/// The usual programs see valid streams, and in them the archive that the kernel is to unpack.
#[test]
fn other_decompressors_find_the_archive() {
    let (tree, memory) = sample();
    let mut plain = Vec::new();
    cpio::write(&tree, &memory, Epoch(u32::MAX), &mut plain).unwrap();
    for (codec, program) in [("gzip:9", "gzip"), ("xz:6:dict=1048576:x86", "xz"), ("zstd:19", "zstd")] {
        let codec: Codec = codec.parse().unwrap();
        let mut packed = Vec::new();
        let part = Part { tree: &tree, contents: &memory, codec: Some(codec) };
        write(&[part], Epoch(u32::MAX), &mut packed).unwrap();
        let Some(found) = oracle(Command::new(program).args(["-d", "-c"]), &packed) else { continue };
        assert!(found == plain, "{codec}");
    }
}

/// What other programs put together is read: a plain archive, then one compressed by another compressor.
#[test]
fn segments_of_other_compressors_are_read() {
    let (tree, memory) = sample();
    let mut plain = Vec::new();
    cpio::write(&tree, &memory, Epoch(u32::MAX), &mut plain).unwrap();
    for (program, options) in
        [("gzip", &["-9", "-n"][..]), ("xz", &["--check=crc32", "-T1"]), ("zstd", &["-19", "-q"])]
    {
        let Some(packed) = oracle(Command::new(program).args(["-c"]).args(options), &plain) else { continue };
        let segments = read(&[&plain[..], &packed, &[0; 7]].concat(), 1 << 24).unwrap();
        assert_eq!(segments.len(), 2, "{program}");
        assert_eq!(segments[1].packed, u64::try_from(packed.len()).unwrap(), "{program}");
        for segment in &segments {
            assert_eq!(to_string(&segment.trees[0]), to_string(&tree), "{program}");
        }
    }
}

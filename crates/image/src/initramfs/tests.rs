use super::*;
use crate::codec::{Codec, Wrapping};
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::io::wide;
use crate::tree::text::to_string;
use crate::tree::{Contents, Item, Kind, Leaf, Memory, Meta, Tree};

const CODECS: [Codec; 4] = [
    Codec::Gzip { level: 9 },
    Codec::Xz { preset: 6, x86: true, dict_size: 1 << 20 },
    Codec::Zstd { level: 3 },
    Codec::Zstd { level: 22 },
];

fn microcode() -> (Tree, Memory) {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 7));
    for dir in ["kernel", "kernel/x86", "kernel/x86/microcode"] {
        tree.insert_dir(dir.as_bytes(), Meta::root(0o755, 7)).unwrap();
    }
    let kind = Kind::File(memory.add([0xca; 3_000]));
    tree.insert(b"kernel/x86/microcode/AuthenticAMD.bin", Leaf { meta: Meta::root(0o644, 7), kind }).unwrap();
    tree.compact();
    (tree, memory)
}

fn main_tree() -> (Tree, Memory) {
    let (mut tree, mut memory) = crate::tar::sample();
    let noise: Vec<u8> = (0..70_000u32).flat_map(|n| Digest::of(&n.to_le_bytes()).0[0..1].to_vec()).collect();
    let kind = Kind::File(memory.add(noise));
    tree.insert(b"etc/noise", Leaf { meta: Meta::root(0o644, 7), kind }).unwrap();
    tree.compact();
    (tree, memory)
}

fn written(codec: Option<Codec>) -> Vec<u8> {
    let ((early, early_memory), (main, memory)) = (microcode(), main_tree());
    let parts = [
        Part { tree: &early, contents: &early_memory, codec: None },
        Part { tree: &main, contents: &memory, codec },
        Part { tree: &early, contents: &early_memory, codec },
    ];
    let mut out = Vec::new();
    let length = write(&parts, Epoch(u32::MAX), &mut out).unwrap();
    assert_eq!(length, wide(out.len()));
    out
}

#[test]
fn segments_come_back_with_their_contents() {
    let wanted = [to_string(&microcode().0), to_string(&main_tree().0), to_string(&microcode().0)];
    for codec in [None].into_iter().chain(CODECS.map(Some)) {
        let bytes = written(codec);
        let segments = read(&bytes, 1 << 24).unwrap();
        let texts: Vec<_> = segments.iter().map(|segment| to_string(&segment.trees[0])).collect();
        assert_eq!(texts, wanted, "{codec:?}");
        assert_eq!(segments[0].wrapping, Wrapping::None);
        let main = &segments[1];
        let Some(Item::Leaf(_, Kind::File(content))) = main.trees[0].get(b"etc/motd").map(|e| e.item) else {
            panic!("{codec:?}")
        };
        let mut found = [0; 6];
        main.open(content).unwrap().read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"hello\n");
        let packed: u64 = segments.iter().map(|segment| segment.packed).sum();
        assert!(wide(bytes.len()) - packed < 3 * 512, "{codec:?}");
        let plain: usize = segments.iter().map(|segment| segment.plain().len()).sum();
        assert!(read(&bytes, wide(plain)).is_ok());
        assert!(read(&bytes, wide(plain) - 1).is_err());
    }
}

#[test]
fn the_bytes_are_pinned() {
    let digests = CODECS.map(|codec| Digest::of(&written(Some(codec))).to_string());
    assert_eq!(
        digests,
        [
            "2c5b52f65a43675454ee39ecc90289afcd98612f1d8774b2570b252cb4117ec2",
            "32bc3aa9c557ce889fd28f98c24cc6f7db8056bb9a83f45463858600816c06f1",
            "acfa696bb66c83afe6bcab775276f3a1b915a6ff96812d300be5f784c5cc3f3f",
            "918a0873b06fd90671bfa4ab2a4c18d6b65a628f3938e598a19702eb864382a9",
        ],
        "bytes changed: if intended, update and say why in the commit"
    );
}

#[test]
fn a_dump_shows_segments_and_headers() {
    let text = dump(&written(Some(Codec::Zstd { level: 3 })), 1 << 24).unwrap();
    let segments: Vec<_> = text.lines().filter(|line| line.starts_with("segment")).collect();
    assert_eq!(segments.len(), 3, "{text}");
    assert_eq!(segments[0], "segment at 0x0: 3760 bytes, None, 3760 plain");
    assert!(segments[1].starts_with("segment at 0x1000: ") && segments[1].contains(", Zstd, "));
    assert_eq!(text.lines().filter(|line| line.contains("TRAILER!!!")).count(), 3);
}

#[test]
fn what_the_kernel_would_not_take_is_named() {
    let message = |bytes: &[u8]| read(&bytes.to_vec(), 1 << 24).unwrap_err().to_string();
    let good = written(None);
    assert_eq!(
        message(b"\0\0\0\0\x02\x21\x4c\x18"),
        "the segment at byte 0x4 is compressed with lz4, which is not supported"
    );
    assert_eq!(message(b"BZh9"), "the segment at byte 0x0 is compressed with bzip2, which is not supported");
    assert_eq!(
        message(b"hello"),
        "at byte 0x0 there is neither a cpio archive nor a known compression: [68, 65, 6c, 6c, 6f]"
    );
    assert_eq!(
        message(&[b"\0", &good[..]].concat()),
        "a cpio archive starts at byte 0x1, which is no multiple of 4"
    );
    assert_eq!(message(b"\x1f\x8b\x08"), "cannot decompress the segment at byte 0x0");
    assert_eq!(message(b"070701"), "cannot read the archive in the segment at byte 0x0");
    let mut packer = Codec::Gzip { level: 1 }.stream_writer(Vec::new(), None).unwrap();
    std::io::Write::write_all(&mut packer, b"\0\0\0\0junk").unwrap();
    assert_eq!(
        message(&packer.finish().unwrap()),
        "the segment at byte 0x0 holds no archive at plain byte 0x4: [6a, 75, 6e, 6b]"
    );
    assert!(read(&Vec::new(), 0).unwrap().is_empty());
}

#[test]
fn mutated_initramfs_never_panic() {
    let small = |codec| {
        let (tree, memory) = microcode();
        let mut out = Vec::new();
        let part = |codec| Part { tree: &tree, contents: &memory, codec };
        write(&[part(None), part(Some(codec)), part(Some(codec))], Epoch(7), &mut out).unwrap();
        out
    };
    for codec in CODECS {
        let good = small(codec);
        crate::mutation::mutations(&good, 1_000, |bytes| {
            let bytes = bytes.to_vec();
            if let Ok(segments) = read(&bytes, 1 << 20) {
                assert!(segments.iter().all(|segment| segment.at + segment.packed <= wide(bytes.len())));
            }
        });
    }
}

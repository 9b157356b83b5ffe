//! What the writer promises: bytes, structure, errors.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex};

use super::{
    CAPABILITY, as_read, assert_same, codecs, crowd, empty, file, image, jobs, leaf, noise, options, prose,
    read, round_trip, sample, try_image, with_xattrs,
};
use crate::squashfs::{Options, codec_for, dump, write};
use crate::tree::{Content, Contents, Kind, Memory, Meta};
use crate::{Digest, ReadAt};

fn error(result: Result<Vec<u8>, super::WriteError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn one_of_each_in_full() {
    let (mut tree, mut memory) = (empty(), Memory::new());
    tree.insert_dir(b"dev", Meta { gid: 5, ..Meta::root(0o1750, 7) }).unwrap();
    tree.insert(b"dev/null", leaf(Kind::Char { major: 1, minor: 3 })).unwrap();
    tree.insert(b"dev/sda", leaf(Kind::Block { major: 8, minor: 0 })).unwrap();
    let mut late = file(&mut memory, prose(1, 4096 + 20));
    late.meta.mtime = i64::MAX;
    let id = tree.insert(b"file", late).unwrap();
    tree.link(b"dev/link", id).unwrap();
    tree.insert(b"same", file(&mut memory, prose(1, 4096 + 20))).unwrap();
    tree.insert(b"small", file(&mut memory, "hello\n")).unwrap();
    tree.insert(b"empty", file(&mut memory, "")).unwrap();
    tree.insert(b"sparse", file(&mut memory, [vec![0; 8192], prose(2, 4096), vec![0; 100]].concat()))
        .unwrap();
    tree.insert(b"to\xff", leaf(Kind::Symlink((*b"small").into()))).unwrap();
    tree.insert(b"pipe", leaf(Kind::Fifo)).unwrap();
    let xattrs: [(&str, &[u8]); 2] = [("security.capability", CAPABILITY), ("user.long", &[b'v'; 65])];
    tree.insert(b"capable", with_xattrs(file(&mut memory, "cap"), &xattrs)).unwrap();
    let repeated = [("user.again", &[b'v'; 65][..])];
    tree.insert(b"socket", with_xattrs(leaf(Kind::Socket), &repeated)).unwrap();
    let image = round_trip(&tree, &memory, &options("zstd:15", 4096));
    insta::assert_snapshot!(dump(&image[..]).unwrap());
    assert_eq!(
        Digest::of(&image).to_string(),
        "ff61b309513c43998eddfd39ee65636f06d666f73cc7c1b96b5c7cc673164038",
        "bytes changed: if that is intended, update the digest and say why in the commit"
    );
}

#[test]
fn a_small_lz4_image_in_full() {
    let (mut tree, mut memory) = (empty(), Memory::new());
    // A block that shrinks, one that does not, and an end.
    let bytes = [prose(1, 4096), noise(2, 4096), prose(3, 500)].concat();
    tree.insert(b"file", file(&mut memory, bytes)).unwrap();
    tree.insert(b"noise", file(&mut memory, noise(4, 3000))).unwrap();
    let image = round_trip(&tree, &memory, &options("lz4:12", 4096));
    insta::assert_snapshot!(dump(&image[..]).unwrap());
}

#[test]
fn bytes_of_the_sample_are_pinned() {
    let (tree, memory) = sample(128 << 10, true);
    for (options, digest) in codecs(128 << 10).iter().zip([
        "a1e225107effbfdeaf99da9cfe28b9a80c1f66b88b37d4196bf43c33d4f78287",
        "5c255b3e747141c12031eccf61d285ea4a6adf0624158161f45c440301399ba3",
        "f07b019901dda237be71c4397c7ed98c644da5bbb4a0cbc611120e94a7e30c02",
        "1cc8dce0bbbec4a6aeafe670ecec5363411f73ffba78986ceabf327db1912a49",
    ]) {
        let image = image(&tree, &memory, options);
        assert_eq!(
            Digest::of(&image).to_string(),
            digest,
            "{}: bytes changed: if that is intended, update the digest and say why in the commit",
            options.codec
        );
    }
}

#[test]
fn job_count_changes_nothing() {
    let (mut tree, mut memory) = sample(4096, true);
    tree.insert(b"more", file(&mut memory, prose(9, 300_000))).unwrap();
    for number in 0..200 {
        let path = format!("small-{number}");
        tree.insert(path.as_bytes(), file(&mut memory, prose(number, 700))).unwrap();
    }
    for options in codecs(4096) {
        let serial = try_image(&tree, &memory, &options, 1).unwrap();
        for jobs in [2, 3, 8] {
            assert!(try_image(&tree, &memory, &options, jobs).unwrap() == serial, "jobs = {jobs}");
        }
    }
}

#[test]
fn all_codecs_and_block_sizes_round_trip() {
    for log in [12, 13, 17, 20] {
        let (tree, memory) = sample(1 << log, true);
        for options in codecs(1 << log) {
            let export_table = log % 2 == 1;
            round_trip(&tree, &memory, &Options { export_table, ..options });
        }
    }
}

#[test]
fn an_empty_tree_is_one_page() {
    assert_eq!(round_trip(&empty(), &Memory::new(), &options("zstd:15", 1 << 17)).len(), 4096);
}

#[test]
fn a_hole_of_10_mb_takes_no_room() {
    let (mut tree, mut memory) = (empty(), Memory::new());
    tree.insert(b"hole", file(&mut memory, vec![0; 10 << 20])).unwrap();
    tree.insert(b"end", file(&mut memory, [vec![0; 10 << 20], vec![1]].concat())).unwrap();
    let image = round_trip(&tree, &memory, &options("zstd:15", 1 << 17));
    assert_eq!(image.len(), 4096);
}

#[test]
fn equal_contents_are_stored_and_read_once() {
    struct Counting(Memory, Mutex<u32>);
    impl Contents for Counting {
        fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
            *self.1.lock().unwrap() += 1;
            self.0.open(content)
        }
    }
    let (mut one, mut three, mut memory) = (empty(), empty(), Memory::new());
    for (name, trees) in [("a", 2), ("b", 1), ("c", 1)] {
        for tree in [&mut three, &mut one].into_iter().take(trees) {
            tree.insert(name.as_bytes(), file(&mut memory, noise(1, 50_000))).unwrap();
        }
    }
    let contents = Counting(memory, Mutex::new(0));
    let size = |tree| {
        let mut out = io::Cursor::new(Vec::new());
        write(tree, &contents, &options("zstd:15", 4096), jobs(2), &mut out).unwrap()
    };
    let (one, three) = (size(&one), size(&three));
    assert_eq!((one.content_bytes, three.content_bytes), (50_000, 50_000));
    assert!(three.bytes_used - one.bytes_used < 100, "{one:?} {three:?}");
    assert_eq!(*contents.1.lock().unwrap(), 4, "one run and one end for each image");
}

#[test]
fn large_directories_have_an_index() {
    let tree = crowd(5000);
    let image = round_trip(&tree, &Memory::new(), &options("gzip:9", 4096));
    let text = dump(&image[..]).unwrap();
    // 5000 entries of 27 bytes and their headers take 17 metadata blocks; all but the first are in the index.
    assert_eq!(text.matches(" DirIndex ").count(), 16);
    let image = self::image(&crowd(200), &Memory::new(), &options("gzip:9", 4096));
    assert_eq!(dump(&image[..]).unwrap().matches(" DirIndex ").count(), 0);
}

#[test]
fn images_can_begin_anywhere_in_the_output() {
    let (tree, memory) = sample(4096, true);
    let options = options("zstd:3", 4096);
    let alone = image(&tree, &memory, &options);
    let mut out = io::Cursor::new(vec![7; 100]);
    out.set_position(100);
    let written = write(&tree, &memory, &options, jobs(1), &mut out).unwrap();
    assert_eq!(out.position(), 100 + written.size);
    assert!(out.get_ref()[..100] == [7; 100] && out.get_ref()[100..] == alone);
}

#[test]
fn progress_reaches_the_total() {
    let (tree, memory) = sample(4096, true);
    let steps = RefCell::new(Vec::new());
    let note = |done, total| steps.borrow_mut().push((done, total));
    let options = Options { progress: Some(&note), ..options("zstd:1", 4096) };
    let mut out = io::Cursor::new(Vec::new());
    let written = write(&tree, &memory, &options, jobs(2), &mut out).unwrap();
    let steps = steps.into_inner();
    assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == pair[1].1));
    assert_eq!(steps.last(), Some(&(written.content_bytes, written.content_bytes)));
}

#[test]
fn codec_options_are_stored_when_they_are_not_the_defaults() {
    let options_line = |codec| {
        let image = image(&empty(), &Memory::new(), &options(codec, 1 << 17));
        let text = dump(&image[..]).unwrap();
        text.lines().find(|line| line.contains("Options {")).map(|line| line[14..].to_owned())
    };
    assert_eq!(options_line("zstd:15"), None);
    assert_eq!(options_line("gzip:9"), None);
    assert_eq!(options_line("xz:6:dict=131072"), None);
    assert_eq!(options_line("xz:0"), None);
    let line = |text: &str| Some(text.to_owned());
    assert_eq!(options_line("zstd:3"), line("ZstdOptions { +00 level: 3 }"));
    assert_eq!(
        options_line("gzip:1"),
        line("GzipOptions { +00 level: 1, +04 window: 15, +06 strategies: 0 }")
    );
    assert_eq!(options_line("xz:6:dict=8192"), line("XzOptions { +00 dictionary: 8192, +04 filters: 0 }"));
    assert_eq!(
        options_line("xz:6:dict=131072:x86"),
        line("XzOptions { +00 dictionary: 131072, +04 filters: 1 }")
    );
    for codec in ["lz4:2", "lz4:12"] {
        assert_eq!(options_line(codec), line("Lz4Options { +00 version: 1, +04 flags: 0x1 }"));
    }
}

#[test]
fn options_that_linux_cannot_read_are_refused() {
    let refused = |codec: &str, block_size| {
        let options = Options { block_size, codec: codec.parse().unwrap(), ..options("zstd", 4096) };
        let text = error(try_image(&empty(), &Memory::new(), &options, 1));
        assert_eq!(codec_for(codec, block_size).unwrap_err().to_string(), text);
        text
    };
    for size in [0, 2048, 4097, 3 << 17, 2 << 20] {
        assert_eq!(
            refused("zstd", size),
            format!("block size {size} is no power of two from 4096 to 1048576")
        );
    }
    for dict in ["4096", "10000", "40960", "1048576"] {
        let text = refused(&format!("xz:6:dict={dict}"), 1 << 17);
        assert!(text.starts_with(&format!("xz dictionary of {dict} bytes: it must be")), "{text}");
    }
}

#[test]
fn contents_other_than_the_tree_says_are_refused_by_name() {
    struct Liar(Vec<u8>);
    impl Contents for Liar {
        fn open(&self, _: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
            Ok(Arc::new(self.0.clone()))
        }
    }
    let mut tree = empty();
    tree.insert_dir(b"etc", Meta::root(0o755, 0)).unwrap();
    tree.insert(b"etc/passwd", leaf(Kind::File(Content::of(b"root\n")))).unwrap();
    let refused = |contents: &dyn Contents| {
        let mut out = io::Cursor::new(Vec::new());
        let error = write(&tree, contents, &options("zstd", 4096), jobs(2), &mut out).unwrap_err();
        assert!(out.get_ref().iter().take(96).all(|byte| *byte == 0), "what is left is no image");
        error.to_string()
    };
    assert_eq!(refused(&Memory::new()), "cannot read the content of /etc/passwd");
    assert_eq!(refused(&Liar(b"root".to_vec())), "the content of /etc/passwd has 4 bytes, not 5");
    assert_eq!(
        refused(&Liar(b"toor\n".to_vec())),
        format!(
            "the content of /etc/passwd has the digest {}, not {}",
            Digest::of(b"toor\n"),
            Digest::of(b"root\n")
        )
    );
    let mut tree = empty();
    let content = Content { size: 0, digest: Digest::of(b"x") };
    tree.insert(b"empty", leaf(Kind::File(content))).unwrap();
    let text = error(try_image(&tree, &Memory::new(), &options("zstd", 4096), 1));
    assert!(text.starts_with("the content of /empty has the digest e3b0c442"), "{text}");
}

#[test]
fn output_errors_say_where() {
    struct Full(io::Cursor<Vec<u8>>);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.position() {
                0..20_000 => self.0.write(bytes),
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl io::Seek for Full {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let (mut tree, mut memory) = (empty(), Memory::new());
    tree.insert(b"noise", file(&mut memory, noise(1, 100_000))).unwrap();
    for count in [1, 3] {
        let mut out = Full(io::Cursor::new(Vec::new()));
        let error = write(&tree, &memory, &options("zstd", 4096), jobs(count), &mut out).unwrap_err();
        // 96 bytes and five blocks that do not compress are written, the sixth is not.
        assert_eq!(error.to_string(), "cannot write at byte 0x5060 of the image");
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused_by_name() {
    let refused = |leaf| {
        let mut tree = empty();
        tree.insert(b"x", leaf).unwrap();
        error(try_image(&tree, &Memory::new(), &options("zstd", 4096), 1))
    };
    let xattr = |name: &str, size| with_xattrs(leaf(Kind::Fifo), &[(name, &vec![0; size])]);
    let mode = super::Leaf { meta: Meta::root(0o10644, 0), kind: Kind::Fifo };
    for (leaf, text) in [
        (mode, "/x: mode 0o10644 is beyond 0o7777"),
        (
            leaf(Kind::Symlink(vec![b'x'; 4096].into())),
            "/x: a target of 4096 bytes: it needs 1 to 4095 without NUL",
        ),
        (leaf(Kind::Symlink((*b"").into())), "/x: a target of 0 bytes: it needs 1 to 4095 without NUL"),
        (leaf(Kind::Symlink((*b"\0").into())), "/x: a target of 1 bytes: it needs 1 to 4095 without NUL"),
        (leaf(Kind::Block { major: 4096, minor: 0 }), "/x: device 4096:0 is beyond 4095:1048575"),
        (leaf(Kind::Char { major: 0, minor: 1 << 20 }), "/x: device 0:1048576 is beyond 4095:1048575"),
        (
            xattr("system.posix_acl_access", 1),
            "/x: attribute \"system.posix_acl_access\" needs a name of at most 255 bytes in user., trusted. or \
             security.",
        ),
        (
            xattr("user.", 1),
            "/x: attribute \"user.\" needs a name of at most 255 bytes in user., trusted. or security.",
        ),
        (xattr("user.x", 65537), "/x: attribute \"user.x\" has 65537 bytes, more than 65536"),
    ] {
        assert_eq!(refused(leaf), text);
    }
    let (mut tree, mut path) = (empty(), Vec::new());
    for _ in 0..513 {
        path.extend_from_slice(if path.is_empty() { b"d" } else { b"/d" });
        tree.insert_dir(&path, Meta::root(0o755, 0)).unwrap();
    }
    let text = error(try_image(&tree, &Memory::new(), &options("zstd", 4096), 1));
    assert!(text.ends_with("/d: directories may be nested 512 deep"), "{text}");
    tree.remove(&path).unwrap();
    round_trip(&tree, &Memory::new(), &options("zstd", 4096));
}

#[test]
fn more_than_65535_owners_are_refused() {
    let tree = |count: u32| {
        let mut tree = empty();
        for uid in 0..count {
            let mut leaf = leaf(Kind::Fifo);
            leaf.meta.uid = uid;
            tree.insert(uid.to_string().as_bytes(), leaf).unwrap();
        }
        tree
    };
    let options = options("zstd:1", 4096);
    let text = error(try_image(&tree(65536), &Memory::new(), &options, 1));
    assert_eq!(text, "id needs 65536, the format ends at 65535");
    let most = tree(65535);
    assert_same(&read(&image(&most, &Memory::new(), &options)), &as_read(&most));
}

#[test]
fn attributes_of_the_largest_size_round_trip() {
    let (mut tree, mut memory) = (empty(), Memory::new());
    let large = noise(1, 65536);
    let name = format!("user.{}", "n".repeat(250));
    for path in ["a", "b"] {
        let own = format!("trusted.{path}");
        let xattrs: [(&str, &[u8]); 2] = [(&name, &large), (&own, b"")];
        tree.insert(path.as_bytes(), with_xattrs(file(&mut memory, path), &xattrs)).unwrap();
    }
    let image = round_trip(&tree, &memory, &options("zstd:1", 4096));
    assert!(image.len() < 80_000, "the value is stored once");
}

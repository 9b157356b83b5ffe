//! What we write, read back by ourselves: trees, structures, refusals, damage.

use selfsame_image::fat::{self, Fat, Size};
use selfsame_image::iso9660::{self, BiosBoot, Extent, Hybrid, Iso, Labels, Names, Problem, Written};
use selfsame_image::tree::{Content, Contents, Item, Kind, Leaf, Memory, Meta, Tree};
use selfsame_image::{Digest, Epoch, ReadAt};

use crate::support::{EPOCH, join, mutations, noise, put, tree};

/// Everything that ISO 9660 and Rock Ridge can hold, beside what a live system has.
pub(crate) fn fixture() -> (Tree, Memory) {
    let mut isolinux = noise(40_000);
    // By these bytes xorriso tells an isolinux.bin that boots from disk.
    isolinux[64..68].copy_from_slice(&[0xfb, 0xc0, 0x78, 0x70]);
    let (mut tree, mut memory) = tree(&[
        ("isolinux/isolinux.bin", &isolinux),
        ("isolinux/isolinux.cfg", b"DEFAULT live\n"),
        ("isolinux/ldlinux.c32", &noise(5_000)),
        (".disk/info", b"fixture\n"),
        ("live/filesystem.squashfs", &noise(300_001)),
        ("live/filesystem.packages", b"bash 5\n"),
        ("README", b"upper\n"),
        ("readme", b"lower\n"),
        ("empty", b""),
        ("copy of readme", b"lower\n"),
        ("Grüße aus Köln \u{1f600}.txt", b"umlauts\n"),
    ]);
    let deep: Vec<String> = (1..=14).map(|level| format!("level-{level}")).collect();
    let content = memory.add("deep\n");
    let deep = put(&mut tree, &format!("{}/bottom.txt", deep.join("/")), Kind::File(content));
    tree.link(b"hard link", deep).unwrap();
    for number in 0..200 {
        let content = memory.add(format!("{number}\n"));
        put(&mut tree, &format!("many/a file with a long name, number {number}.txt"), Kind::File(content));
    }
    let long = "n".repeat(255);
    put(&mut tree, &long, Kind::File(memory.add("long\n")));
    for (path, target) in [
        ("links/relative", "../live/filesystem.squashfs".to_owned()),
        ("links/absolute", "/usr/./lib/../bin/true".to_owned()),
        ("links/root", "/".to_owned()),
        ("links/slashes", "//a//b/".to_owned()),
        ("links/long part", format!("a/{}/b", "x".repeat(700))),
        ("links/longest", ["part"; 819].join("/")),
        (&*format!("links/{}", "s".repeat(250)), ["../"; 600].concat()),
    ] {
        put(&mut tree, path, Kind::Symlink(target.into_bytes().into()));
    }
    owners(&mut tree);
    (tree, memory)
}

/// Owners, modes and times that are not the usual ones; the last is after the epoch.
fn owners(tree: &mut Tree) {
    let meta = |mode, uid, gid, mtime| Meta { uid, gid, ..Meta::root(mode, mtime) };
    let Some(Item::Leaf(id, _)) = tree.get(b"README").map(|entry| entry.item) else { panic!() };
    tree.leaves_mut()[id.index()].meta = meta(0o4755, 1000, 4_000_000_000, 0);
    let Some(Item::Leaf(id, _)) = tree.get(b"readme").map(|entry| entry.item) else { panic!() };
    tree.leaves_mut()[id.index()].meta = meta(0o000, 65_534, 5, i64::from(EPOCH.0) + 5);
    tree.dir_mut(b"live").unwrap().meta = meta(0o1777, 7, 8, 86_400);
}

/// Devices and the like, which only root can unpack.
fn devices(tree: &mut Tree) {
    put(tree, "dev/null", Kind::Char { major: 1, minor: 3 });
    put(tree, "dev/vda", Kind::Block { major: 254, minor: 1_048_575 });
    put(tree, "dev/fifo", Kind::Fifo);
    put(tree, "dev/socket", Kind::Socket);
}

/// A FAT file system with something in the place of a boot loader.
fn esp(memory: &mut Memory) -> Content {
    let (tree, files) = tree(&[("EFI/BOOT/BOOTX64.EFI", b"MZ")]);
    let size = Size::Fit { free: 0 };
    let fat = Fat { tree: &tree, epoch: EPOCH, label: "ESP".into(), serial: 1, size, hidden_sectors: 0 };
    let mut bytes = Vec::new();
    fat::write(&fat, &files, &mut bytes).unwrap();
    memory.add(bytes)
}

pub(crate) fn labels() -> Labels {
    let text = str::to_owned;
    Labels {
        volume: text("SELFSAME TEST"),
        system: text("LINUX"),
        publisher: text("PUBLISHER"),
        preparer: text("PREPARER"),
        application: text("APPLICATION"),
        ..Labels::default()
    }
}

/// The first 432 bytes of a disk, as good as isohdpfx.bin for everybody who does not run them.
pub(crate) fn code() -> Vec<u8> {
    let mut code = noise(432);
    code[..4].copy_from_slice(&[0x33, 0xed, 0x90, 0x90]);
    code
}

/// An image of everything: both trees, both firmwares, CD and disk.
pub(crate) fn hybrid(tree: &Tree, memory: &mut Memory) -> (Vec<u8>, Written) {
    let esp = esp(memory);
    write(&hybrid_iso(tree, esp), memory)
}

fn hybrid_iso(tree: &Tree, esp: Content) -> Iso<'_> {
    let mut iso = Iso {
        tree,
        epoch: EPOCH,
        labels: labels(),
        joliet: true,
        bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(esp),
        hybrid: None,
    };
    iso.hybrid = Some(Hybrid::derived(&code(), &iso));
    iso
}

/// The least there is: for optical media, without boot.
fn plain<'a>(tree: &'a Tree) -> Iso<'a> {
    Iso { tree, epoch: EPOCH, labels: Labels::default(), joliet: false, bios: None, esp: None, hybrid: None }
}

fn write(iso: &Iso<'_>, memory: &Memory) -> (Vec<u8>, Written) {
    let mut out = Vec::new();
    let written = iso9660::write(iso, memory, &mut out).unwrap();
    assert_eq!(usize::try_from(written.size), Ok(out.len()));
    (out, written)
}

/// The tree as it comes back: times limited, every file by what it holds.
fn expected(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.clamp_times(EPOCH);
    tree.compact();
    tree
}

/// A tree of an image by what its files hold. The boot image is taken for `unpatched`.
pub(crate) fn contents(image: &[u8], names: Names, patched: Option<(&Written, Content)>) -> Tree {
    let volume = iso9660::open(image).unwrap();
    let tree = iso9660::read_tree(image, &volume, names).unwrap();
    let boot = patched.and_then(|(written, content)| {
        let placed = written.files.iter().find(|placed| placed.patched)?;
        Some((placed.extent, content))
    });
    let mut tree = tree
        .try_map(|extents: Vec<Extent>| match boot {
            Some((extent, content)) if extents == [extent] => Ok::<_, ()>(content),
            _ => Ok(Content::of(&join(image, &extents))),
        })
        .unwrap();
    tree.compact();
    tree
}

fn content_of(tree: &Tree, path: &[u8]) -> Content {
    match tree.get(path).map(|entry| entry.item) {
        Some(Item::Leaf(_, Kind::File(content))) => *content,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rock_ridge_gives_back_the_whole_tree() {
    let (mut tree, mut memory) = fixture();
    devices(&mut tree);
    let (image, written) = hybrid(&tree, &mut memory);
    let boot = content_of(&tree, b"isolinux/isolinux.bin");
    assert_eq!(contents(&image, Names::RockRidge, Some((&written, boot))), expected(&tree));
    let volume = iso9660::open(&image).unwrap();
    assert_eq!((volume.names, volume.joliet, volume.labels), (Names::RockRidge, true, labels()));
    assert_eq!(u64::from(volume.blocks) * 2048, written.size);
    let problems = iso9660::check(&image).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_partition_is_a_volume_of_its_own() {
    let (tree, mut memory) = fixture();
    let (image, written) = hybrid(&tree, &mut memory);
    let partition = &image[32_768..usize::try_from(written.esp.unwrap().at).unwrap()];
    let boot = content_of(&tree, b"isolinux/isolinux.bin");
    let whole = contents(&image, Names::RockRidge, Some((&written, boot)));
    let mut moved = written.clone();
    moved.files.iter_mut().for_each(|placed| placed.extent.at -= 32_768);
    assert_eq!(contents(partition, Names::RockRidge, Some((&moved, boot))), whole);
    assert_eq!(contents(partition, Names::Joliet, None), contents(&image, Names::Joliet, None));
    let volume = iso9660::open(partition).unwrap();
    assert_eq!(usize::try_from(volume.blocks).unwrap() * 2048, partition.len());
    assert_eq!(volume.catalog, None);
}

#[test]
fn joliet_and_plain_names_are_what_the_rules_make_of_them() {
    let (tree, memory) = tree(&[
        ("isolinux/isolinux.cfg", b"1"),
        ("live/vmlinuz", b"2"),
        ("Grüße.txt", b"3"),
        ("README", b"4"),
        ("readme", b"5"),
        ("a;b", b"6"),
    ]);
    let (image, _) = write(&Iso { joliet: true, ..plain(&tree) }, &memory);
    let names = |names| {
        let mut paths = Vec::new();
        let tree = contents(&image, names, None);
        let walked = tree.walk(|path, entry| {
            if let Item::Leaf(_, Kind::File(content)) = entry.item {
                let number = ('1'..='6').find(|n| Content::of(n.to_string().as_bytes()) == *content).unwrap();
                paths.push(format!("{} {number}", String::from_utf8_lossy(path)));
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = walked;
        paths
    };
    assert_eq!(
        names(Names::Joliet),
        ["Grüße.txt 3", "README 4", "a_b 6", "isolinux/isolinux.cfg 1", "live/vmlinuz 2", "readme000 5"]
    );
    assert_eq!(
        names(Names::Plain),
        ["A_B 6", "GR__E.TXT 3", "ISOLINUX/ISOLINUX.CFG 1", "LIVE/VMLINUZ 2", "README 4", "README000 5"]
    );
}

#[test]
fn equal_bytes_lie_in_the_image_once() {
    let (tree, mut memory) = fixture();
    let (image, written) = hybrid(&tree, &mut memory);
    let paths: Vec<Vec<&str>> = written
        .files
        .iter()
        .map(|placed| placed.paths.iter().map(|path| std::str::from_utf8(path).unwrap()).collect())
        .collect();
    assert!(paths.contains(&vec!["copy of readme", "readme"]), "{paths:?}");
    assert!(paths.iter().any(|paths| paths.len() == 2 && paths[0] == "hard link"), "{paths:?}");
    // In the order of the image, which is that of the tree.
    assert!(written.files.windows(2).all(|pair| pair[0].extent.at < pair[1].extent.at));
    assert!(paths.windows(2).all(|pair| pair[0] < pair[1]), "{paths:?}");
    for placed in &written.files {
        let content = content_of(&tree, &placed.paths[0]);
        assert_eq!(Content::of(&join(&image, &[placed.extent])) == content, !placed.patched);
    }
}

#[test]
fn a_file_that_is_in_its_place_already_gives_the_same_image() {
    let (tree, mut memory) = fixture();
    let (image, _) = hybrid(&tree, &mut memory);
    let (path, esp) = (b"live/filesystem.squashfs", esp(&mut memory));
    let content = content_of(&tree, path);
    // Neither its length nor that of a file behind it has to be known for the place.
    let mut unknown = tree.clone();
    for (path, size) in [(&path[..], 1), (b"readme", 77)] {
        let Some(Item::Leaf(id, _)) = unknown.get(path).map(|entry| entry.item) else { panic!() };
        unknown.leaves_mut()[id.index()].kind = Kind::File(Content { size, digest: Digest::of(path) });
    }
    let at = iso9660::place(&hybrid_iso(&unknown, esp), path).unwrap();
    let bytes = noise(usize::try_from(content.size).unwrap());
    assert_eq!(Content::of(&bytes), content);
    let mut out = std::io::Cursor::new(Vec::new());
    std::io::Seek::seek(&mut out, std::io::SeekFrom::Start(at)).unwrap();
    std::io::Write::write_all(&mut out, &bytes).unwrap();
    // Nobody asks for the bytes again.
    let all: Vec<_> = tree.leaves().iter().map(|leaf| leaf.kind.clone()).collect();
    let mut others = Memory::new();
    for kind in all {
        if let Kind::File(file) = kind
            && file != content
        {
            let mut bytes = vec![0; usize::try_from(file.size).unwrap()];
            memory.open(&file).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            others.add(bytes);
        }
    }
    let mut bytes = vec![0; usize::try_from(esp.size).unwrap()];
    memory.open(&esp).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    others.add(bytes);
    iso9660::write_around(&hybrid_iso(&tree, esp), &others, path, at, &mut out).unwrap();
    assert!(out.into_inner() == image);
}

#[test]
fn a_file_elsewhere_than_in_its_place_is_refused() {
    let (tree, memory) = tree(&[("a", b"1"), ("b", b"2")]);
    let around = |path: &[u8], at| {
        let mut out = std::io::Cursor::new(Vec::new());
        let error = iso9660::write_around(&plain(&tree), &memory, path, at, &mut out).unwrap_err();
        assert!(out.into_inner().is_empty());
        error.to_string()
    };
    let at = iso9660::place(&plain(&tree), b"b").unwrap();
    let elsewhere = format!("b was written at byte {}, but belongs at byte {at}", at + 2048);
    assert_eq!(around(b"b", at + 2048), elsewhere);
    assert_eq!(around(b"x/y", 0), "file in place x/y is not a file of the tree");
}

#[test]
fn a_boot_image_with_a_twin_is_patched_alone() {
    let boot = noise(3000);
    let (tree, memory) = tree(&[("isolinux.bin", &boot), ("twin", &boot)]);
    let bios = Some(BiosBoot { image: b"isolinux.bin", info_table: true });
    let (image, written) = write(&Iso { bios, ..plain(&tree) }, &memory);
    let [patched, twin] = &written.files[..] else { panic!("{written:?}") };
    assert_eq!((patched.patched, twin.patched), (true, false));
    assert_eq!(join(&image, &[twin.extent]), boot);
    let bytes = join(&image, &[patched.extent]);
    assert_eq!((&bytes[..8], &bytes[64..]), (&boot[..8], &boot[64..]));
    let block = u32::try_from(patched.extent.at / 2048).unwrap();
    assert_eq!(bytes[8..20], [16_u32.to_le_bytes(), block.to_le_bytes(), 3000_u32.to_le_bytes()].concat());
}

#[test]
fn boot_images_are_found_in_the_catalog() {
    let (tree, mut memory) = fixture();
    let (image, written) = hybrid(&tree, &mut memory);
    let images = iso9660::boot_images(&image, &iso9660::open(&image).unwrap()).unwrap();
    let isolinux = written.files.iter().find(|placed| placed.patched).unwrap();
    let short: Vec<_> = images.iter().map(|image| (image.platform, image.at, image.sectors)).collect();
    assert_eq!(short, [(0, isolinux.extent.at, 4), (0xef, written.esp.unwrap().at, 2048)]);
    assert!(images.iter().all(|image| image.bootable && image.media == 0));
    // What the boot code reads: the sector of isolinux.bin.
    assert_eq!(image[432..440], (isolinux.extent.at / 512).to_le_bytes());
    assert_eq!(image[..432], code());
}

#[test]
fn bytes_are_pinned() {
    let (mut tree, mut memory) = fixture();
    devices(&mut tree);
    let image = hybrid(&tree, &mut memory).0;
    assert_eq!(
        Digest::of(&image).to_string(),
        "ae69694cb305aec877a87669171e91df9811e2e6c96476d1fe5e0d12519e588f",
        "bytes changed: if intended, update and say why in the commit"
    );
}

#[test]
fn the_order_of_insertion_changes_nothing() {
    let files: [(&str, &[u8]); 4] =
        [("b/x", b"1"), ("a", b"2"), ("isolinux/isolinux.bin", &[7; 99]), ("b/a", b"2")];
    let mut reversed = files;
    reversed.reverse();
    let image = |files: &[(&str, &[u8])]| {
        let (mut tree, mut memory) = tree(files);
        // A leaf that no name refers to any more.
        tree.insert(b"gone", Leaf { meta: Meta::root(0o644, 0), kind: Kind::File(Content::of(b"gone")) })
            .unwrap();
        tree.remove(b"gone");
        tree.insert(b"live", Leaf { meta: Meta::root(0o644, 0), kind: Kind::Fifo }).unwrap();
        let mut iso = Iso {
            bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
            ..plain(&tree)
        };
        iso.esp = Some(esp(&mut memory));
        iso.hybrid = Some(Hybrid::derived(&code(), &iso));
        write(&iso, &memory)
    };
    assert_eq!(image(&files), image(&reversed));
}

#[test]
fn identifiers_follow_content_and_epoch() {
    let (tree_1, _) = tree(&[("a", b"1")]);
    let (tree_2, _) = tree(&[("a", b"2")]);
    let derive = |tree, epoch| Hybrid::derived(&[], &Iso { epoch, ..plain(tree) });
    let base = derive(&tree_1, EPOCH);
    assert_eq!(base, derive(&tree_1, EPOCH));
    for other in [derive(&tree_2, EPOCH), derive(&tree_1, Epoch(EPOCH.0 + 1))] {
        assert!(base.disk != other.disk && base.disk_id != other.disk_id);
    }
    assert!(base.disk != base.data && base.data != base.esp && base.esp != base.disk);
}

#[test]
fn dump_shows_every_structure_with_its_place() {
    let (mut tree, mut memory) = tree(&[("isolinux/isolinux.bin", &noise(100)), ("a name.txt", b"x")]);
    put(&mut tree, "link", Kind::Symlink((*b"/a name.txt").into()));
    let mut iso = Iso {
        joliet: true,
        bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(esp(&mut memory)),
        ..plain(&tree)
    };
    iso.hybrid = Some(Hybrid::derived(&code(), &iso));
    insta::assert_snapshot!(iso9660::dump(&write(&iso, &memory).0).unwrap());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let (tree, memory) = tree(&[("a", b"1"), ("boot.bin", &noise(63))]);
    let refused = |iso: Iso<'_>| iso9660::write(&iso, &memory, &mut std::io::sink()).unwrap_err().to_string();
    let bios = |image, info_table| Some(BiosBoot { image, info_table });
    let iso = || plain(&tree);
    assert_eq!(refused(Iso { bios: bios(b"b", false), ..iso() }), "boot image b is not a file of the tree");
    assert_eq!(
        refused(Iso { bios: bios(b"boot.bin", true), ..iso() }),
        "boot image of 63 bytes is not between 64 bytes and 16 MiB"
    );
    let labels = Labels { volume: "x".repeat(33), ..Labels::default() };
    assert!(refused(Iso { labels, ..iso() }).ends_with("is not at most 32 characters of printable ASCII"));
    let hybrid = Some(Hybrid::derived(&[1; 433], &iso()));
    assert_eq!(refused(Iso { hybrid, ..iso() }), "boot code of 433 bytes does not fit into 432 bytes");
    let hybrid = Some(Hybrid::derived(&[1], &iso()));
    assert_eq!(refused(Iso { hybrid, ..iso() }), "boot code without a boot image for BIOSes");
    let mut other = tree.clone();
    other.leaves_mut()[0].meta.xattrs.insert((*b"user.x").into(), (*b"").into());
    assert_eq!(refused(plain(&other)), "a has extended attributes");
    let huge = Content { size: 1 << 45, ..Content::of(b"") };
    put(&mut other, "b", Kind::File(huge));
    other.leaves_mut()[0].meta.xattrs.clear();
    assert_eq!(refused(plain(&other)), "image is larger than ISO 9660 can address");
}

#[test]
fn a_source_of_the_wrong_length_is_refused() {
    struct Short(Memory);
    impl Contents for Short {
        fn open(&self, _: &Content) -> std::io::Result<std::sync::Arc<dyn ReadAt + Send>> {
            self.0.open(&Content::of(b"x"))
        }
    }
    let (tree, _) = tree(&[("a", b"longer")]);
    let mut memory = Memory::new();
    memory.add("x");
    let error = iso9660::write(&plain(&tree), &Short(memory), &mut std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "content of a has 1 bytes, not 6");
    let error = iso9660::write(&plain(&tree), &Memory::new(), &mut std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the content of a");
}

#[test]
fn check_names_each_damage() {
    let (tree, mut memory) = fixture();
    let (good, written) = hybrid(&tree, &mut memory);
    let problems = |at: u64, bytes: &[u8]| -> String {
        let mut bad = good.clone();
        let at = usize::try_from(at).unwrap();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        iso9660::check(&bad).unwrap().iter().map(|problem: &Problem| problem.to_string() + "\n").collect()
    };
    let isolinux = written.files.iter().find(|placed| placed.patched).unwrap().extent;
    assert_eq!(
        problems(isolinux.at + 100, &[good[usize::try_from(isolinux.at).unwrap() + 100] ^ 1]),
        format!("boot info table at byte {:#x} does not describe its image\n", isolinux.at + 8)
    );
    assert_eq!(
        problems(432, &513_u64.to_le_bytes()),
        format!("boot code starts sector 513, the boot image is in sector {}\n", isolinux.at / 512)
    );
    assert!(problems(512 + 20, &[1]).starts_with("partition tables\n"));
    assert!(
        problems(16 * 2048 + 84, &[0xff]).starts_with("byte 0x8000: number differs in its two byte orders\n")
    );
    let catalog = written.catalog.unwrap().at;
    assert!(
        problems(catalog + 4, &[1]).contains("boot catalog starts with [01, 00, aa, 55]"),
        "{}",
        problems(catalog + 4, &[1])
    );
    let volume = iso9660::open(&good).unwrap();
    assert_eq!(volume.catalog.map(|block| u64::from(block) * 2048), Some(catalog));
    // The first path table, one block behind the catalog: the root lies elsewhere.
    assert!(problems(catalog + 2048 + 2, &[9]).contains("differs from the directories at entry 1"));
}

#[test]
fn no_damage_makes_a_reader_panic() {
    let (mut tree, mut memory) = tree(&[
        ("isolinux/isolinux.bin", &noise(100)),
        ("a name.txt", b"x"),
        (&*format!("d/{}", "n".repeat(255)), b"y"),
    ]);
    put(&mut tree, "link", Kind::Symlink("../".repeat(200).into_bytes().into()));
    devices(&mut tree);
    let mut iso = Iso {
        joliet: true,
        bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(memory.add("esp")),
        ..plain(&tree)
    };
    iso.hybrid = Some(Hybrid::derived(&[], &iso));
    let good = write(&iso, &memory).0;
    let mut read = 0;
    mutations(&good, 3000, |bad| {
        if let Ok(volume) = iso9660::open(bad) {
            for names in [Names::RockRidge, Names::Joliet, Names::Plain] {
                read += u32::from(iso9660::read_tree(bad, &volume, names).is_ok());
            }
            let _ = iso9660::boot_images(bad, &volume);
        }
        let _ = (iso9660::check(bad), iso9660::dump(bad));
    });
    assert!((1..9000).contains(&read), "{read} of 9000 damaged trees were read");
}

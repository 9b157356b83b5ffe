use std::process::Command;

use selfsame_image::fat::{self, Chain, Fat, Problem, Size, Width, WriteError};
use selfsame_image::tree::{Content, Item, Kind, Memory, Tree};
use selfsame_image::{Digest, Epoch};
use selfsame_testkit::oracle_text;

use crate::support::{EPOCH, join, mutations, noise, put, save, scratch, tree};

/// What an EFI system partition holds, and names that need more than that.
pub(crate) fn fixture() -> (Tree, Memory) {
    let (mut tree, mut memory) = tree(&[
        ("EFI/BOOT/BOOTX64.EFI", &noise(70_001)),
        ("EFI/BOOT/grubx64.efi", &noise(1024)),
        ("EFI/BOOT/mmx64.efi", &noise(1)),
        ("EFI/debian/grub.cfg", b"search --set=root --file /.disk/info\n"),
        ("empty.txt", b""),
        (".disk/info", b"fixture"),
        ("Grüße aus Köln, mit einem recht langen Namen.tar.xz", b"hello"),
    ]);
    for number in 0..70 {
        let content = memory.add(format!("{number}\n"));
        put(&mut tree, &format!("many/file number {number}.txt"), Kind::File(content));
    }
    (tree, memory)
}

fn options(tree: &Tree, size: Size) -> Fat<'_> {
    let serial = fat::serial(tree, EPOCH);
    Fat { tree, epoch: EPOCH, label: "SELFSAMEESP".into(), serial, size, hidden_sectors: 0 }
}

pub(crate) fn image(tree: &Tree, memory: &Memory, size: Size) -> (Vec<u8>, fat::Written) {
    let mut out = Vec::new();
    let written = fat::write(&options(tree, size), memory, &mut out).unwrap();
    assert_eq!(usize::try_from(written.size), Ok(out.len()));
    (out, written)
}

const FIT: Size = Size::Fit { free: 0 };
/// One size for each width.
pub(crate) const SIZES: [(Size, Width); 3] =
    [(FIT, Width::Fat12), (Size::Exact(9_000_448), Width::Fat16), (Size::Exact(40 << 20), Width::Fat32)];
/// Clusters have 4 KiB from 260 MiB on.
const LARGE: Size = Size::Exact(261 << 20);

/// Paths and bytes of all files.
fn files(image: &[u8], tree: &Tree<Chain>) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let walked = tree.walk(|path, entry| {
        if let Item::Leaf(_, Kind::File(chain)) = entry.item {
            files.push((String::from_utf8(path.to_vec()).unwrap(), join(image, &chain.extents)));
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = walked;
    files
}

#[test]
fn what_was_written_is_read_in_every_width() {
    let (tree, memory) = fixture();
    for (size, width) in SIZES {
        let (image, written) = image(&tree, &memory, size);
        let volume = fat::open(&image).unwrap();
        assert_eq!((written.width, volume.width), (width, width), "{size:?}");
        assert_eq!((volume.serial, &*volume.label), (fat::serial(&tree, EPOCH), "SELFSAMEESP"));
        let read = fat::read_tree(&image, &volume).unwrap();
        // FAT has neither owners nor permissions but keeps times, here even ones, to the second.
        let found =
            read.clone().try_map(|chain| Ok::<_, ()>(Content::of(&join(&image, &chain.extents)))).unwrap();
        let (mut found, mut expected) = (found, tree.clone());
        found.compact();
        expected.compact();
        found.root.meta = expected.root.meta.clone();
        assert_eq!(found, expected, "{size:?}");
        let problems = fat::check(&image).unwrap();
        assert!(problems.is_empty(), "{size:?}: {problems:?}");
        for (path, extent) in &written.files {
            assert_eq!(extent.at % 512, 0);
            let path = String::from_utf8(path.clone()).unwrap();
            let (_, bytes) = files(&image, &read).into_iter().find(|(name, _)| *name == path).unwrap();
            assert_eq!(join(&image, &[*extent]), bytes, "{path}");
        }
    }
}

#[test]
fn fsck_finds_nothing_to_mend() {
    let (tree, memory) = fixture();
    let dir = scratch();
    for (size, width) in SIZES.into_iter().chain([(LARGE, Width::Fat32)]) {
        let path = save(dir.path(), "fat.img", &image(&tree, &memory, size).0);
        let Some(text) = oracle_text(Command::new("fsck.fat").args(["-n", "-v"]).arg(&path)) else {
            return;
        };
        let bits = match width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        };
        assert!(text.contains(&format!("{bits} bit entries")), "{text}");
        assert!(text.contains(" 83 files, "), "{text}");
        for word in ["differ", "dirty", "orphan", "wrong", "Reclaim", "bad", "lost"] {
            assert!(!text.to_lowercase().contains(&word.to_lowercase()), "{size:?} {word}: {text}");
        }
    }
}

#[test]
fn mtools_list_and_copy_the_same() {
    let (tree, memory) = fixture();
    let dir = scratch();
    for (size, _) in SIZES {
        let (bytes, _) = image(&tree, &memory, size);
        let path = save(dir.path(), "fat.img", &bytes);
        let Some(text) = oracle_text(Command::new("mdir").arg("-i").arg(&path).arg("::/EFI/BOOT")) else {
            return;
        };
        assert!(text.contains("is SELFSAMEESP"), "{text}");
        let serial = format!("{:08X}", fat::serial(&tree, EPOCH));
        assert!(text.contains(&format!("{}-{}", &serial[..4], &serial[4..])), "{text}");
        assert!(text.contains("BOOTX64  EFI     70001 2023-11-14  21:13 \n"), "{text}");
        assert!(text.contains("GRUBX6~1 EFI      1024 2023-11-14  21:13  grubx64.efi\n"), "{text}");
        assert!(text.contains("Directory for ::/EFI/BOOT"), "{text}");
        let target = scratch();
        let to = target.path().to_str().unwrap();
        // mtools translates names into the character set of the locale.
        let mut copy = Command::new("env");
        copy.args(["LC_ALL=C.UTF-8", "mcopy", "-s", "-n", "-i"]).arg(&path).args(["::/*", to]);
        oracle_text(&mut copy).unwrap();
        let read = fat::read_tree(&bytes, &fat::open(&bytes).unwrap()).unwrap();
        let files = files(&bytes, &read);
        assert_eq!(files.len(), 77);
        for (name, content) in files {
            #[allow(clippy::disallowed_methods)] // The test looks at what another program wrote.
            let copied =
                std::fs::read(target.path().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(copied == content, "{name}");
        }
    }
}

#[test]
fn bytes_are_pinned() {
    let (tree, memory) = fixture();
    let digests = SIZES.map(|(size, _)| Digest::of(&image(&tree, &memory, size).0).to_string());
    let expected = [
        "b011a2b8322c2130f669ed2466387f0328e341fcdfe3f21db3e9cc09daa94629",
        "104883104221ae08c82da276dcfad625932b192b4691db9fc95d5ec302c0639b",
        "74496eaf44afa398ae5105f4d4c0a584fafa1f52b4405aaf68ad16f55de0644b",
    ];
    assert_eq!(digests, expected, "bytes changed: if intended, update and say why in the commit");
}

#[test]
fn the_order_of_insertion_changes_nothing() {
    let files: [(&str, &[u8]); 3] = [("b/x", b"1"), ("a", b"2"), ("b/a", b"3")];
    let (tree_1, memory_1) = tree(&files);
    let mut reversed = files;
    reversed.reverse();
    let (tree_2, memory_2) = tree(&reversed);
    assert_eq!(image(&tree_1, &memory_1, FIT), image(&tree_2, &memory_2, FIT));
}

#[test]
fn dump_shows_every_field_with_its_place() {
    let (tree, memory) = tree(&[("EFI/BOOT/BOOTX64.EFI", &noise(3000)), ("EFI/grub.cfg", b"x")]);
    insta::assert_snapshot!("fat_12", fat::dump(&image(&tree, &memory, FIT).0).unwrap());
    let (small, memory) = crate::support::tree(&[("a-long-name.txt", &noise(700))]);
    insta::assert_snapshot!("fat_32", fat::dump(&image(&small, &memory, Size::Exact(36 << 20)).0).unwrap());
}

#[test]
fn room_is_found_for_what_shall_stay_free() {
    let (tree, memory) = fixture();
    let size = |free| image(&tree, &memory, Size::Fit { free }).1.size;
    assert_eq!((size(0), size(1 << 20), size(100 << 20)), (1 << 20, 2 << 20, 102 << 20));
}

#[test]
fn what_fat_cannot_hold_is_refused() {
    let refused = |path: &str, kind: Kind| {
        let (mut tree, memory) = tree(&[("GRUB", b"x")]);
        put(&mut tree, path, kind);
        fat::write(&options(&tree, FIT), &memory, &mut std::io::sink()).unwrap_err().to_string()
    };
    let empty = || Kind::File(Content::of(b""));
    assert_eq!(refused("link", Kind::Symlink((*b"x").into())), "link is neither a file nor a directory");
    assert_eq!(refused("a/fifo", Kind::Fifo), "a/fifo is neither a file nor a directory");
    assert_eq!(refused("grub", empty()), "grub differs from another name in case only");
    assert_eq!(refused("a:b", empty()), "a:b cannot be a name in FAT");
    let big = Content { size: 1 << 32, ..Content::of(b"") };
    assert_eq!(refused("big", Kind::File(big)), "big is larger than a file in FAT can be");
    let (mut tree, memory) = fixture();
    let full = fat::write(&options(&tree, Size::Exact(100 << 10)), &memory, &mut std::io::sink());
    assert!(matches!(full, Err(WriteError::Full { .. })), "{full:?}");
    let odd = fat::write(&options(&tree, Size::Exact(1_000_000)), &memory, &mut std::io::sink());
    assert!(matches!(odd, Err(WriteError::Size(1_000_000))), "{odd:?}");
    tree.leaves_mut()[0].meta.xattrs.insert((*b"user.x").into(), (*b"").into());
    let error = fat::write(&options(&tree, FIT), &memory, &mut std::io::sink()).unwrap_err().to_string();
    assert_eq!(error, "EFI/BOOT/BOOTX64.EFI has extended attributes");
}

#[test]
fn times_before_1980_become_its_first_day() {
    let (tree, memory) = tree(&[("A", b"x")]);
    let mut out = Vec::new();
    fat::write(&Fat { epoch: Epoch(5), ..options(&tree, FIT) }, &memory, &mut out).unwrap();
    let read = fat::read_tree(&out, &fat::open(&out).unwrap()).unwrap();
    assert_eq!(read.get(b"A").unwrap().meta.mtime, 315_532_800);
}

#[test]
fn check_names_each_damage() {
    let (tree, memory) = fixture();
    let problems = |size, change: &dyn Fn(&mut Vec<u8>, &fat::Volume)| -> Vec<String> {
        let mut image = image(&tree, &memory, size).0;
        let volume = fat::open(&image).unwrap();
        change(&mut image, &volume);
        fat::check(&image).unwrap().iter().map(Problem::to_string).collect()
    };
    let at = |value: u64| usize::try_from(value).unwrap();
    let large = Size::Exact(40 << 20);
    assert!(problems(large, &|_, _| {}).is_empty());
    assert_eq!(
        problems(FIT, &|image, _| image[511] = 0),
        ["corrupt at byte 0x0: sector 0 does not end in 55 aa"]
    );
    assert_eq!(
        problems(FIT, &|image, volume| image[at(volume.table_at + volume.table_len) + 200] ^= 0x10),
        ["allocation tables differ at cluster 133"]
    );
    assert_eq!(problems(large, &|image, _| image[6 * 512 + 100] ^= 1), ["copy of the boot sector differs"]);
    let free = problems(large, &|image, _| image[512 + 488] ^= 1);
    assert!(free.len() == 1 && free[0].ends_with(" are"), "{free:?}");
    let lost = problems(large, &|image, volume| {
        for table in [0, 1] {
            // The last cluster of the file system, which nothing uses.
            let entry = at(volume.table_at + table * volume.table_len + (volume.clusters + 1) * 4);
            image[entry..entry + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
        }
    });
    assert_eq!(lost[1..], ["1 clusters belong to no file"]);
    let dirty = problems(Size::Exact(9_000_448), &|image, volume| {
        image[at(volume.table_at) + 3] = 0x7f;
        image[at(volume.table_at + volume.table_len) + 3] = 0x7f;
    });
    assert_eq!(dirty, ["volume is marked dirty"]);
    // The first file's chain leads back to its own first cluster.
    let looped = problems(Size::Exact(9_000_448), &|image, volume| {
        let (tree, file) = (fat::read_tree(&*image, volume).unwrap(), b"EFI/BOOT/BOOTX64.EFI");
        let Some(Item::Leaf(_, Kind::File(chain))) = tree.get(file).map(|entry| entry.item) else { panic!() };
        let cluster = u16::try_from((chain.extents[0].at - volume.data_at) / volume.cluster + 2).unwrap();
        for table in [0, 1] {
            let entry = at(volume.table_at + table * volume.table_len) + usize::from(cluster) * 2;
            image[entry..entry + 2].copy_from_slice(&cluster.to_le_bytes());
        }
    });
    assert!(looped[0].contains(" is used twice"), "{looped:?}");
}

#[test]
fn no_damage_makes_a_reader_panic() {
    let (tree, memory) = tree(&[("EFI/BOOT/BOOTX64.EFI", &noise(3000)), ("EFI/a long name.cfg", b"x")]);
    let good = image(&tree, &memory, Size::Exact(64 << 10)).0;
    let mut read = 0;
    mutations(&good, 4000, |bad| {
        if let Ok(volume) = fat::open(bad) {
            read += u32::from(fat::read_tree(bad, &volume).is_ok());
        }
        let _ = (fat::check(bad), fat::dump(bad));
    });
    assert!((1..4000).contains(&read), "{read} of 4000 damaged file systems were read");
}

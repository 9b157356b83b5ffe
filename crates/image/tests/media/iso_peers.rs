//! What we write, seen by other programs; and what other programs write, read by us.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use selfsame_image::iso9660::{self, Names, Problem};
use selfsame_image::tree::{Content, Item, Kind, Tree};
use selfsame_testkit::{oracle, oracle_text};

use crate::iso::{contents, fixture, hybrid};
use crate::support::{EPOCH, load, noise, save, scratch};

/// Runs xorriso quietly; its own words go to standard error.
fn xorriso(arguments: &[&str]) -> Option<String> {
    oracle_text(
        Command::new("xorriso").args(["-abort_on", "FAILURE", "-report_about", "SORRY"]).args(arguments),
    )
}

/// One line for each name of a tree.
fn lines(tree: &Tree) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let walked = tree.walk(|path, entry| {
        let meta = entry.meta;
        let kind = match entry.item {
            Item::Dir(_) => "dir".to_owned(),
            Item::Leaf(_, Kind::File(content)) => format!("file {} {}", content.size, content.digest),
            Item::Leaf(_, Kind::Symlink(target)) => format!("link {}", String::from_utf8_lossy(target)),
            Item::Leaf(_, other) => format!("{other:?}"),
        };
        let mode = if kind.starts_with("link") { 0o777 } else { meta.mode };
        let mtime = EPOCH.clamp(meta.mtime);
        lines.insert(format!("{:?} {mode:o} {mtime} {kind}", String::from_utf8_lossy(path)));
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = walked;
    lines
}

/// The same of a directory of this machine.
#[allow(clippy::disallowed_methods)] // The test looks at what another program unpacked.
fn lines_of_directory(root: &Path) -> BTreeSet<String> {
    fn add(lines: &mut BTreeSet<String>, root: &Path, path: &Path) {
        let meta = std::fs::symlink_metadata(path).unwrap();
        let kind = if meta.is_dir() {
            "dir".to_owned()
        } else if meta.is_symlink() {
            format!("link {}", std::fs::read_link(path).unwrap().display())
        } else {
            let content = Content::of(&std::fs::read(path).unwrap());
            format!("file {} {}", content.size, content.digest)
        };
        let mode = meta.permissions().mode() & 0o7777;
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        lines.insert(format!("{name:?} {mode:o} {} {kind}", meta.mtime()));
        if meta.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                add(lines, root, &entry.unwrap().path());
            }
        }
    }
    let mut lines = BTreeSet::new();
    add(&mut lines, root, root);
    lines
}

/// Drops what an unprivileged user cannot read or keep, and what other programs do not represent.
fn simplified() -> (Tree, selfsame_image::tree::Memory) {
    let (mut tree, memory) = fixture();
    tree.root.for_each_dir_mut(&mut |meta| (meta.mode, meta.uid, meta.gid) = (0o755, 0, 0));
    for leaf in tree.leaves_mut() {
        (leaf.meta.mode, leaf.meta.uid, leaf.meta.gid) = (0o644, 0, 0);
    }
    // xorriso leaves out empty components of targets.
    tree.remove(b"links/slashes");
    without_long_links(&mut tree);
    (tree, memory)
}

/// xorriso 1.5.4 reads no image that has a target above 1023 bytes; Linux follows them up to 4095.
fn without_long_links(tree: &mut Tree) {
    tree.remove(b"links/longest");
    tree.remove(format!("links/{}", "s".repeat(250)).as_bytes());
}

#[test]
fn xorriso_unpacks_the_same_tree() {
    let (tree, mut memory) = simplified();
    let (image, written) = hybrid(&tree, &mut memory);
    let dir = scratch();
    let iso = save(dir.path(), "image.iso", &image);
    let target = dir.path().join("out");
    let (from, to) = (iso.to_str().unwrap(), target.to_str().unwrap());
    if xorriso(&["-osirrox", "on", "-indev", from, "-extract", "/", to]).is_none() {
        return;
    }
    let unpacked = without_link_times(lines_of_directory(&target));
    let isolinux = written.files.iter().find(|placed| placed.patched).unwrap().extent;
    let patched = Content::of(&crate::support::join(&image, &[isolinux]));
    let unpatched = content(&tree, b"isolinux/isolinux.bin");
    let ours = lines(&tree)
        .into_iter()
        .map(|line| line.replace(&unpatched.digest.to_string(), &patched.digest.to_string()));
    let ours = without_link_times(ours.collect());
    let (missing, added) = (ours.difference(&unpacked), unpacked.difference(&ours));
    assert_eq!(missing.collect::<Vec<_>>(), added.collect::<Vec<_>>());
}

/// xorriso gives links the time at which it unpacks them.
fn without_link_times(lines: BTreeSet<String>) -> BTreeSet<String> {
    let cut = |line: String| match line.split_once(" 777 ") {
        Some((name, rest)) => format!("{name} {}", rest.split_once(' ').unwrap().1),
        None => line,
    };
    lines.into_iter().map(cut).collect()
}

fn content(tree: &Tree, path: &[u8]) -> Content {
    match tree.get(path).map(|entry| entry.item) {
        Some(Item::Leaf(_, Kind::File(content))) => *content,
        other => panic!("{other:?}"),
    }
}

#[test]
fn xorriso_sees_owners_and_boot_equipment() {
    let (mut tree, mut memory) = fixture();
    without_long_links(&mut tree);
    let (image, written) = hybrid(&tree, &mut memory);
    let dir = scratch();
    let iso = save(dir.path(), "image.iso", &image);
    let from = iso.to_str().unwrap();
    let Some(text) = xorriso(&["-indev", from, "-find", "/", "-maxdepth", "1", "-exec", "lsdl"]) else {
        return;
    };
    assert!(text.contains("-rwsr-xr-x    1 1000     4000000000        6 Jan  1  1970 '/README'"), "{text}");
    assert!(text.contains("----------    1 65534    5               6 Nov 14  2023 '/readme'"), "{text}");
    assert!(text.contains("drwxrwxrwt    1 7        8               0 Jan  2  1970 '/live'"), "{text}");
    let isolinux = written.files.iter().find(|placed| placed.patched).unwrap().extent.at / 2048;
    let esp = written.esp.unwrap();
    let text =
        xorriso(&["-indev", from, "-report_el_torito", "plain", "-report_system_area", "plain"]).unwrap();
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        &format!("El Torito catalog : {} 1", written.catalog.unwrap().at / 2048),
        &format!("El Torito boot img : 1 BIOS y none 0x0000 0x00 4 {isolinux}"),
        &format!("El Torito boot img : 2 UEFI y none 0x0000 0x00 2048 {}", esp.at / 2048),
        "El Torito img path : 1 /isolinux/isolinux.bin",
        "El Torito img opts : 1 boot-info-table isohybrid-suitable",
        "cyl-align-off GPT",
        &format!("ISO image size/512 : {}", written.size / 512),
        "Partition offset : 16",
        &format!("MBR partition : 1 0x00 0xee 1 {}", written.size / 512 - 1),
        "MBR partition : 2 0x80 0x00 0 1",
        "GPT partname local : 1 ISO9660",
        &format!("GPT start and size : 1 64 {}", esp.at / 512 - 64),
        "GPT partname local : 2 ESP",
        &format!("GPT start and size : 2 {} 2048", esp.at / 512),
    ] {
        assert!(squeezed.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn isoinfo_lists_both_trees() {
    let (tree, mut memory) = simplified();
    let dir = scratch();
    let iso = save(dir.path(), "image.iso", &hybrid(&tree, &mut memory).0);
    let list = |option: &str| {
        let text = oracle_text(Command::new("isoinfo").args(["-f", option, "-i"]).arg(&iso))?;
        Some(text.lines().map(|line| line.trim_start_matches('/').to_owned()).collect::<BTreeSet<_>>())
    };
    let Some(rock_ridge) = list("-R") else { return };
    let paths = |tree: &Tree, keep: fn(&Kind) -> bool| {
        let mut paths = BTreeSet::new();
        let walked = tree.walk(|path, entry| {
            match entry.item {
                Item::Leaf(_, kind) if !keep(kind) => {}
                Item::Dir(_) if path.is_empty() => {}
                _ => {
                    paths.insert(String::from_utf8(path.to_vec()).unwrap());
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = walked;
        paths
    };
    // isoinfo cuts names of 255 bytes, and writes Joliet names in the character set of the locale.
    let cut = |paths: BTreeSet<String>| -> BTreeSet<String> {
        paths.into_iter().filter(|path| !path.contains("nnnn") && !path.starts_with("Gr")).collect()
    };
    assert_eq!(cut(rock_ridge), cut(paths(&tree, |_| true)));
    let image = hybrid(&tree, &mut memory).0;
    let joliet = list("-J").unwrap();
    let joliet =
        joliet.into_iter().map(|path| path.trim_end_matches(";1").to_owned()).collect::<BTreeSet<_>>();
    let ours = paths(&contents(&image, Names::Joliet, None), |kind| matches!(kind, Kind::File(_)));
    assert_eq!(cut(joliet), cut(ours));
}

#[test]
fn sgdisk_and_fdisk_find_a_valid_table() {
    let (tree, mut memory) = fixture();
    let dir = scratch();
    let (image, written) = hybrid(&tree, &mut memory);
    let iso = save(dir.path(), "image.iso", &image);
    if let Some(text) = oracle_text(Command::new("sgdisk").arg("-v").arg(&iso)) {
        let expected = "No problems found. 0 free sectors (0 bytes) available in 0\nsegments";
        assert!(text.contains(expected), "{text}");
    }
    if let Some(output) = oracle(Command::new("fdisk").arg("-l").arg(&iso)) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(text.contains("Disklabel type: gpt") && text.contains("EFI System"), "{text}");
    }
    let esp = save(dir.path(), "esp", &crate::support::join(&image, &[written.esp.unwrap()]));
    if let Some(text) = oracle_text(Command::new("fsck.fat").arg("-n").arg(esp)) {
        assert!(text.contains("4 files, 3/1004 clusters"), "{text}");
    }
}

/// A directory for other programs to pack.
#[allow(clippy::disallowed_methods)]
fn sources(root: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("isolinux/isolinux.bin", &noise(40_000));
    write("a/b/c/d/e/f/g/h/i/j/k/deep.txt", b"deep\n");
    write(&"n".repeat(240), b"long\n");
    write("Grüße.txt", b"umlauts\n");
    write("README", b"upper\n");
    write("empty", b"");
    for number in 0..100 {
        write(&format!("many/a file with a long name, number {number}"), format!("{number}\n").as_bytes());
    }
    std::os::unix::fs::symlink("../../etc/./passwd", root.join("link")).unwrap();
    std::os::unix::fs::symlink("/", root.join("a/root")).unwrap();
    std::fs::hard_link(root.join("README"), root.join("hard link")).unwrap();
}

/// Without modes of links, without times, and without what the boot info table changed.
fn comparable(lines: BTreeSet<String>) -> BTreeSet<String> {
    let without_time = |line: String| {
        let (name, rest) = line.rsplit_once("\" ").unwrap();
        let fields: Vec<&str> = rest.splitn(3, ' ').collect();
        if name.contains("isolinux.bin") {
            format!("{name} {}", fields[0])
        } else {
            format!("{name} {} {}", fields[0], fields[2])
        }
    };
    lines.into_iter().map(without_time).collect()
}

/// The way in which Ubuntu makes its images, with isolinux.
fn xorriso_as_mkisofs(code: &Path, esp: &Path, root: &Path, iso: &Path) -> Command {
    let mut command = Command::new("xorriso");
    command
        .args(["-as", "mkisofs", "-quiet", "-J", "-R", "-V", "PEER", "-o"])
        .arg(iso)
        .arg("-isohybrid-mbr")
        .arg(code);
    command.args([
        "-c",
        "isolinux/boot.cat",
        "-b",
        "isolinux/isolinux.bin",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
    ]);
    command.args(["-boot-info-table", "-eltorito-alt-boot", "-append_partition", "2", "0xef"]).arg(esp);
    command.args(["-appended_part_as_gpt", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]);
    command.args(["-partition_offset", "16", "-partition_cyl_align", "off"]).arg(root);
    command
}

#[test]
fn an_image_of_xorriso_is_read() {
    let dir = scratch();
    let root = dir.path().join("root");
    sources(&root);
    // genisoimage 1.1.11 never comes to an end with such a link, and xorriso takes no more than 1023 bytes.
    std::os::unix::fs::symlink(["part"; 200].join("/"), root.join("long link")).unwrap();
    let esp = save(dir.path(), "esp.img", &noise(1 << 20));
    let code = save(dir.path(), "code", &crate::iso::code());
    let iso = dir.path().join("out.iso");
    let mut command = xorriso_as_mkisofs(&code, &esp, &root, &iso);
    if oracle_text(&mut command).is_none() {
        return;
    }
    let image = load(&iso);
    let volume = iso9660::open(&image).unwrap();
    assert_eq!((&*volume.labels.volume, volume.names, volume.joliet), ("PEER", Names::RockRidge, true));
    let mut read = contents(&image, Names::RockRidge, None);
    read.remove(b"isolinux/boot.cat");
    assert_eq!(comparable(lines(&read)), comparable(lines_of_directory(&root)));
    let images = iso9660::boot_images(&image, &volume).unwrap();
    assert_eq!(
        images.iter().map(|image| (image.platform, image.sectors)).collect::<Vec<_>>(),
        [(0, 4), (0xef, 2048)]
    );
    // In the Joliet tree of libisofs 1.5.4 every .. leads to its own directory. Nobody looks, but it is wrong.
    let problems = iso9660::check(&image).unwrap();
    let others: Vec<_> =
        problems.iter().filter(|problem| !matches!(problem, Problem::Special { .. })).collect();
    assert!(others.is_empty(), "{others:?}");
    let joliet = contents(&image, Names::Joliet, None);
    assert!(joliet.get(b"README").is_some() && joliet.get(b"link").is_none());
}

#[test]
fn relocated_directories_of_genisoimage_are_put_back() {
    let dir = scratch();
    let root = dir.path().join("root");
    sources(&root);
    let iso = dir.path().join("out.iso");
    let mut command = Command::new("genisoimage");
    command.args(["-quiet", "-R", "-V", "PEER", "-o"]).arg(&iso).arg(&root);
    if oracle_text(&mut command).is_none() {
        return;
    }
    let image = load(&iso);
    let mut read = contents(&image, Names::RockRidge, None);
    // It keeps the empty place from which it moved the directories.
    let Some(Item::Dir(moved)) = read.get(b"rr_moved").map(|entry| entry.item) else { panic!() };
    assert_eq!(moved.entries().len(), 0);
    read.remove(b"rr_moved");
    let plain = |lines: BTreeSet<String>| -> BTreeSet<String> {
        // It writes modes without write permission.
        lines.into_iter().filter(|line| !line.starts_with("\"\" ")).collect()
    };
    assert_eq!(plain(comparable(lines(&read))), plain(comparable(lines_of_directory(&root))));
    let problems: Vec<String> =
        iso9660::check(&image).unwrap().iter().map(|problem| problem.to_string()).collect();
    assert_eq!(problems, [""; 0]);
}

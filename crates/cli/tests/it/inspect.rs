//! `selfsame inspect`

use std::io::Cursor;
use std::num::NonZero;
use std::process::Command;

use selfsame_image::Epoch;
use selfsame_image::codec::Codec;
use selfsame_image::fat::{self, Fat};
use selfsame_image::initramfs;
use selfsame_image::iso9660::{self, BiosBoot, Hybrid, Iso, Labels};
use selfsame_image::squashfs;
use selfsame_image::tree::{Leaf, Memory, Meta, Tree};
use selfsame_testkit::oracle_text;

use crate::{pipe, world};

const EPOCH: Epoch = Epoch(1_700_000_000);

/// A tree with these files, and their contents.
fn tree(files: &[(&str, &[u8])]) -> (Tree, Memory) {
    let (mut tree, mut memory) = (Tree::new(Meta::root(0o755, 0)), Memory::new());
    for (path, bytes) in files {
        for (at, _) in path.match_indices('/') {
            // A directory that is there already stays.
            let _ = tree.insert_dir(&path.as_bytes()[..at], Meta::root(0o755, 0));
        }
        let content = memory.add(*bytes);
        tree.insert(path.as_bytes(), Leaf::file(Meta::root(0o644, 0), content)).unwrap();
    }
    (tree, memory)
}

fn small_initramfs() -> Vec<u8> {
    let (early, early_bytes) = tree(&[("kernel/x86/microcode/AuthenticAMD.bin", b"microcode")]);
    let (main, main_bytes) = tree(&[("init", b"#!/bin/sh\n"), ("bin/sh", b"shell")]);
    let zstd = "zstd:3".parse::<Codec>().unwrap();
    let parts = [
        initramfs::Part { tree: &early, contents: &early_bytes, codec: None },
        initramfs::Part { tree: &main, contents: &main_bytes, codec: Some(zstd) },
    ];
    let mut out = Vec::new();
    initramfs::write(&parts, EPOCH, &mut out).unwrap();
    out
}

/// A SquashFS with these files.
pub(crate) fn squashfs_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (tree, contents) = tree(files);
    let codec = "zstd:15".parse::<Codec>().unwrap();
    let options = squashfs::Options {
        block_size: 1 << 17,
        codec,
        epoch: EPOCH,
        export_table: false,
        sort: None,
        cache: None,
        progress: None,
    };
    let mut out = Cursor::new(Vec::new());
    squashfs::write(&tree, &contents, &options, NonZero::<usize>::MIN, &mut out).unwrap();
    out.into_inner()
}

fn small_squashfs(hostname: &[u8]) -> Vec<u8> {
    let status = b"Package: nano\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.2-1\n\n\
                   Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n";
    squashfs_of(&[("etc/hostname", hostname), ("var/lib/dpkg/status", status)])
}

fn small_esp() -> Vec<u8> {
    let (tree, contents) = tree(&[("EFI/BOOT/BOOTX64.EFI", b"MZ")]);
    let fat = Fat {
        tree: &tree,
        epoch: EPOCH,
        label: "EFI".into(),
        serial: 0x1234_abcd,
        size: fat::Size::Fit { free: 0 },
        hidden_sectors: 0,
    };
    let mut out = Vec::new();
    fat::write(&fat, &contents, &mut out).unwrap();
    out
}

fn hybrid_iso() -> Vec<u8> {
    live_iso(b"selfsame\n")
}

/// A hybrid image with a live system in which this is `/etc/hostname`.
pub(crate) fn live_iso(hostname: &[u8]) -> Vec<u8> {
    let (initrd, root) = (small_initramfs(), small_squashfs(hostname));
    let (tree, mut contents) = tree(&[
        ("isolinux/isolinux.bin", &[1; 3000]),
        ("live/filesystem.squashfs", &root),
        ("live/initrd.img", &initrd),
        ("live/vmlinuz", b"kernel"),
    ]);
    let esp = contents.add(small_esp());
    let mut iso = Iso {
        tree: &tree,
        epoch: EPOCH,
        labels: Labels { volume: "SELFSAME_LIVE".into(), ..Labels::default() },
        joliet: true,
        bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(esp),
        hybrid: None,
    };
    iso.hybrid = Some(Hybrid::derived(&[0x90; 432], &iso));
    let mut out = Vec::new();
    iso9660::write(&iso, &contents, &mut out).unwrap();
    out
}

#[test]
fn what_is_no_image_is_refused_with_the_list_of_formats() {
    let world = world();
    let message = world.run(["inspect", "nowhere"]).failure(3);
    assert!(message.starts_with("error: cannot read nowhere\ncause: "), "{message}");
    world.write("text", "just text");
    let message = world.run(["inspect", "text"]).failure(3);
    let expected = "error: text is of no format that selfsame knows\nhint: it knows iso9660, ";
    assert!(message.starts_with(expected), "{message}");
    pipe(&world, "pipe");
    let message = world.run(["inspect", "pipe"]).failure(3);
    assert!(message.starts_with("error: cannot read pipe\ncause: it is not a regular file"), "{message}");
}

#[test]
fn a_hybrid_iso_shows_its_tables_boot_images_and_what_is_inside() {
    let world = world();
    world.write("live.iso", hybrid_iso());
    let text = world.run(["inspect", "live.iso"]).success();
    // Made of the digest of everything else: pinned where it is made.
    let id = |line: &&str| line.starts_with("    disk id: ") && line.len() == 49;
    assert_eq!(text.lines().filter(id).count(), 1, "{text}");
    let text: Vec<&str> = text.lines().filter(|line| !id(line)).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    live.iso: iso9660, 1.4 MiB
      volume: SELFSAME_LIVE
      modified: 2023-11-14 22:13:20
      names: Rock Ridge and Joliet
      files: 4
      content: 8.1 KiB
      directories: 3
      symbolic links: 0
      master boot record
        boot code: yes
        partition 1: 1.4 MiB, at 0x200
          kind: 0xee (protects a GUID partition table)
        partition 2: 512 B, at 0x0
          kind: 0x00 (none)
          active: yes
      GUID partition table
        partition 1: 96.0 KiB, at 0x8000
          kind: ebd0a0a2-b9e5-4433-87c0-68b6b72699c7 (basic data)
          label: ISO9660
        partition 2: 1.0 MiB, at 0x20000
          kind: c12a7328-f81f-11d2-ba4b-00a0c93ec93b (EFI system partition)
          label: ESP
      boot image 1: at 0x1d000
        firmware: BIOS
        sectors to load: 4
      boot image 2: fat, 1.0 MiB, at 0x20000
        firmware: UEFI
        width: FAT12
        label: EFI
        serial: 1234abcd
        files: 1
        content: 2 B
        directories: 3
        symbolic links: 0
      /live/filesystem.squashfs: squashfs, 4.0 KiB, at 0x1e000
        compression: zstd
        block size: 128.0 KiB
        time: 2023-11-14T22:13:20Z
        used: 430 B
        files: 2
        content: 166 B
        directories: 5
        symbolic links: 0
        packages: 1
      /live/initrd.img: initramfs, 1.1 KiB, at 0x1f000
        segment 1: 772 B, at 0x0
          compression: none
          plain: 772 B
          files: 1
          content: 9 B
          directories: 4
          symbolic links: 0
        segment 2: 140 B, at 0x400
          compression: zstd
          plain: 1.0 KiB
          files: 2
          content: 15 B
          directories: 2
          symbolic links: 0
    ");
    let json = world.run(["inspect", "live.iso", "--json"]).success();
    assert!(json.contains("\"volume\": \"SELFSAME_LIVE\""), "{json}");
    assert!(json.contains("\"packages\": [\n          \"nano 7.2-1 amd64\"\n"), "{json}");
}

#[test]
fn an_initramfs_shows_its_segments() {
    let world = world();
    world.write("initrd", small_initramfs());
    insta::assert_snapshot!(world.run(["inspect", "initrd"]).success(), @r"
    initrd: initramfs, 1.1 KiB
      segment 1: 772 B, at 0x0
        compression: none
        plain: 772 B
        files: 1
        content: 9 B
        directories: 4
        symbolic links: 0
      segment 2: 140 B, at 0x400
        compression: zstd
        plain: 1.0 KiB
        files: 2
        content: 15 B
        directories: 2
        symbolic links: 0
    ");
}

#[test]
fn a_damaged_image_is_named_with_the_place() {
    let world = world();
    let mut iso = hybrid_iso();
    iso.truncate(36_000);
    world.write("half.iso", iso);
    let message = world.run(["inspect", "half.iso"]).failure(3);
    assert!(
        message.starts_with("error: half.iso is a damaged iso9660\ncause: corrupt at byte 0x"),
        "{message}"
    );
}

#[test]
fn a_package_and_a_tar_are_described() {
    let world = world();
    let control = "Package: demo\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n\
                   Description: a package for a test\n";
    world.write("demo/DEBIAN/control", control);
    world.write("demo/usr/share/demo/text", "text");
    // dpkg-deb insists on usual permissions; the umask of the tests may be anything.
    let make = "chmod -R u=rwX,go=rX demo && dpkg-deb --root-owner-group -Zxz --build demo demo.deb && tar -cf demo.tar demo";
    let Some(_) = oracle_text(Command::new("sh").args(["-ec", make]).current_dir(world.root())) else {
        return;
    };
    let text = world.run(["inspect", "demo.deb"]).success();
    for line in
        ["package: demo", "version: 1.0-1", "summary: a package for a test", "files: 1", "compression: xz"]
    {
        assert!(text.lines().any(|found| found.trim() == line), "no {line:?} in\n{text}");
    }
    let text = world.run(["inspect", "demo.tar"]).success();
    assert!(text.starts_with("demo.tar: tar, 10.0 KiB\n  files: 2\n"), "{text}");
}

use std::process::Command;

use selfsame_image::Digest;
use selfsame_image::gpt::{self, Copy, Gpt, Guid, Mbr, Partition, Problem, WriteError, guid_from};
use selfsame_testkit::oracle_text;

use crate::support::{save, scratch};

fn partition(number: u32, first: u64, last: u64) -> Partition {
    let id = guid_from("test partition", &number.to_le_bytes());
    Partition { number, kind: Guid::LINUX, id, first, last, attributes: 0, name: format!("part {number}") }
}

pub(crate) fn table() -> Gpt {
    let mut gpt = Gpt::new(guid_from("test disk", b""), 8192);
    let esp = Partition { kind: Guid::ESP, attributes: 0b101, ..partition(1, 2048, 4095) };
    gpt.partitions = vec![esp, partition(3, 6144, 8158), partition(7, 4096, 4096)];
    gpt
}

pub(crate) fn disk(gpt: &Gpt) -> Vec<u8> {
    let mut out = Vec::new();
    let esp = vec![0xe5; 100];
    let size = gpt::write(&Mbr::protective(gpt.sectors), gpt, &[(1, &esp)], &mut out).unwrap();
    assert_eq!(size, selfsame_image::ReadAt::size(&out).unwrap());
    out
}

#[test]
fn what_was_written_is_read_from_both_copies() {
    let image = disk(&table());
    let read = gpt::read(&image).unwrap();
    assert_eq!(read.gpt.as_ref(), Some(&table()));
    assert_eq!(read.mbr, Some(Mbr::protective(8192)));
    assert_eq!(gpt::read_copy(&image, Copy::Backup).unwrap(), table());
    assert!(gpt::check(&image).unwrap().is_empty());
    assert_eq!(image[2048 * 512..2048 * 512 + 101], [&[0xe5; 100][..], &[0]].concat());
}

#[test]
fn sgdisk_and_fdisk_agree() {
    let (dir, gpt) = (scratch(), table());
    let path = save(dir.path(), "disk", &disk(&gpt));
    if let Some(text) = oracle_text(Command::new("sgdisk").arg("-v").arg(&path)) {
        assert!(text.contains("No problems found"), "{text}");
    }
    if let Some(text) = oracle_text(Command::new("sgdisk").args(["-p", "-i1", "-i3", "-i7"]).arg(&path)) {
        assert!(text.contains(&format!("Disk identifier (GUID): {}", upper(gpt.disk))), "{text}");
        for partition in &gpt.partitions {
            assert!(text.contains(&format!("Partition unique GUID: {}", upper(partition.id))), "{text}");
            assert!(text.contains(&format!("First sector: {} ", partition.first)), "{text}");
            assert!(text.contains(&format!("Last sector: {} ", partition.last)), "{text}");
            assert!(text.contains(&format!("Partition name: '{}'", partition.name)), "{text}");
        }
        assert!(text.contains("Attribute flags: 0000000000000005"), "{text}");
        assert!(text.contains("C12A7328-F81F-11D2-BA4B-00A0C93EC93B (EFI system partition)"), "{text}");
    }
    if let Some(text) = oracle_text(Command::new("fdisk").arg("-l").arg(&path)) {
        assert!(text.contains("Disklabel type: gpt"), "{text}");
        assert!(!text.to_lowercase().contains("corrupt") && !text.contains("mismatch"), "{text}");
    }
}

fn upper(guid: Guid) -> String {
    guid.to_string().to_uppercase()
}

#[test]
fn bytes_are_pinned() {
    let digest = Digest::of(&disk(&table())).to_string();
    assert_eq!(
        digest, "7dab58904e3764443413c90f834b04d77b8b90e931d889d557e0b3b3d35c214a",
        "bytes changed: if intended, update and say why in the commit"
    );
}

#[test]
fn dump_shows_every_field_with_its_place() {
    let mut gpt = Gpt::new(guid_from("test disk", b""), 100);
    gpt.partitions = vec![Partition { name: "EFI".into(), ..partition(2, 40, 47) }];
    insta::assert_snapshot!(gpt::dump(&disk_of(&gpt)).unwrap());
}

fn disk_of(gpt: &Gpt) -> Vec<u8> {
    let mut out = Vec::new();
    gpt::write(&Mbr::protective(gpt.sectors), gpt, &[], &mut out).unwrap();
    out
}

#[test]
fn tables_that_no_firmware_should_meet_are_not_written() {
    let refused = |change: &dyn Fn(&mut Gpt)| {
        let mut gpt = table();
        change(&mut gpt);
        gpt.primary().unwrap_err().to_string()
    };
    assert_eq!(refused(&|gpt| gpt.partitions[2].first = 4095), "partitions 1 and 7 overlap");
    assert_eq!(
        refused(&|gpt| gpt.partitions[1].number = 1),
        "partition number 1 does not follow 1 or is not in 1 to 128"
    );
    assert_eq!(
        refused(&|gpt| gpt.partitions[2].number = 129),
        "partition number 129 does not follow 3 or is not in 1 to 128"
    );
    assert_eq!(
        refused(&|gpt| gpt.partitions[1].last = 8159),
        "partition 3 from sector 6144 to 8159 is not inside the usable sectors"
    );
    assert_eq!(
        refused(&|gpt| gpt.first_usable = 33),
        "usable sectors 33 to 8158 reach into the table of a disk of 8192 sectors"
    );
    assert_eq!(refused(&|gpt| gpt.sectors = 67), "a disk of 67 sectors has no room for a partition table");
    let long = "x".repeat(37);
    assert_eq!(
        refused(&|gpt| gpt.partitions[0].name.clone_from(&long)),
        format!("partition 1 cannot be called {long:?}")
    );
}

#[test]
fn content_that_is_too_long_is_refused() {
    let (gpt, esp) = (table(), vec![0; 2048 * 512 + 1]);
    let result = gpt::write(&Mbr::protective(gpt.sectors), &gpt, &[(1, &esp)], &mut std::io::sink());
    assert!(matches!(result, Err(WriteError::TooLong { number: 1, size: 1_048_577 })), "{result:?}");
}

#[test]
fn no_damage_makes_a_reader_panic() {
    let good =
        disk_of(&Gpt { sectors: 100, last_usable: 66, partitions: vec![partition(2, 40, 47)], ..table() });
    let mut read = 0;
    crate::support::mutations(&good, 4000, |bad| {
        read += u32::from(gpt::read(bad).is_ok());
        let _ = (gpt::check(bad), gpt::dump(bad), gpt::read_copy(bad, Copy::Backup));
    });
    assert!((1..4000).contains(&read), "{read} of 4000 damaged tables were read");
}

#[test]
fn check_names_each_damage() {
    let problems = |change: &dyn Fn(&mut Vec<u8>)| -> Vec<String> {
        let mut image = disk(&table());
        change(&mut image);
        gpt::check(&image).unwrap().iter().map(Problem::to_string).collect()
    };
    assert_eq!(problems(&|image| image[510] = 0), ["sector 0 does not end in 55 aa"]);
    assert_eq!(problems(&|image| image[450] = 0x0c), ["the MBR does not protect the GPT"]);
    assert_eq!(
        problems(&|image| image.truncate(8191 * 512)).first().map(String::as_str),
        Some("the protective entry covers 8191 sectors, the disk has 8191")
    );
    let damaged = problems(&|image| image[512 + 40] ^= 1);
    assert_eq!(damaged.len(), 1);
    assert!(damaged[0].starts_with("Primary table: corrupt at byte 0x200: header checksum"), "{damaged:?}");
    let damaged = problems(&|image| image[8191 * 512 - 1] ^= 1);
    assert!(
        damaged[0].starts_with("Backup table: corrupt at byte 0x3fbe00: checksum of the entries"),
        "{damaged:?}"
    );
}

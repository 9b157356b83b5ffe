//! Real firmware starts what we write: from CD and from a stick, with BIOS and with UEFI.
//!
//! Nothing but isolinux comes from elsewhere. It says a word when it has found its configuration, which proves boot
//! catalog, boot info table, boot code and the names of the primary tree. The EFI program says another one, which
//! proves catalog, partition table and FAT.

use std::path::Path;
use std::time::Duration;

use selfsame_image::fat::{self, Fat, Size, Width};
use selfsame_image::iso9660::{self, BiosBoot, Hybrid, Iso};
use selfsame_testkit::vm::{Firmware, Medium, Vm};
use selfsame_testkit::{may_skip, oracle::which};

use crate::iso::labels;
use crate::support::{EPOCH, load, save, scratch, tree};

const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const MBR_CODE: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";
const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

/// What firmware has time for on a slow machine without hardware virtualisation.
const LIMIT: Duration = Duration::from_secs(300);

const SAYS_ISOLINUX: &str = "isolinux found its configuration";
const SAYS_UEFI: &str = "the EFI program runs";

/// A program for UEFI that says `text` and stops: one section of position-independent code, no imports, no
/// relocations. PE/COFF specification, and UEFI 2.10, 4.3 for the offsets.
fn efi_program(text: &str) -> Vec<u8> {
    let code: &[u8] = &[
        0x48, 0x83, 0xec, 0x28, // sub rsp, 0x28
        0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx + 0x40]: ConOut of the system table
        0x48, 0x8d, 0x15, 0x06, 0, 0, 0, // lea rdx, [rip + 6]: the text
        0xff, 0x51, 0x08, // call [rcx + 8]: OutputString
        0xf4, // stop: hlt
        0xeb, 0xfd, // jmp stop
    ];
    let mut section = code.to_vec();
    section.extend(format!("\r\n{text}\r\n\0").encode_utf16().flat_map(u16::to_le_bytes));
    assert!(section.len() <= 512);
    let mut file = vec![0; 0x200];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &[0xf0, 0, 0x06, 0x02]); // Size of the optional header; executable, no debug information.
    let optional = 0x58;
    put(optional, &[0x0b, 0x02]);
    put(optional + 4, &512_u32.to_le_bytes());
    put(optional + 16, &0x1000_u32.to_le_bytes()); // Entry point.
    put(optional + 20, &0x1000_u32.to_le_bytes());
    put(optional + 32, &0x1000_u32.to_le_bytes()); // Alignment of sections in memory and in the file.
    put(optional + 36, &0x200_u32.to_le_bytes());
    put(optional + 56, &0x2000_u32.to_le_bytes()); // Sizes of image and headers.
    put(optional + 60, &0x200_u32.to_le_bytes());
    put(optional + 68, &[10]); // EFI application.
    put(optional + 108, &[16]);
    let header = optional + 0xf0;
    put(header, b".text");
    put(header + 8, &512_u32.to_le_bytes());
    put(header + 12, &0x1000_u32.to_le_bytes());
    put(header + 16, &0x200_u32.to_le_bytes());
    put(header + 20, &0x200_u32.to_le_bytes());
    put(header + 36, &0x6000_0020_u32.to_le_bytes()); // Code, to be executed and read.
    section.resize(0x200, 0);
    file.extend(section);
    file
}

/// A hybrid image with isolinux and an EFI program; `None` if isolinux is not installed.
fn image(esp_size: Size, width: Width) -> Option<Vec<u8>> {
    if !Path::new(ISOLINUX).exists() && may_skip() {
        eprintln!("skipped: {ISOLINUX} is not installed");
        return None;
    }
    let (esp_tree, esp_files) = tree(&[("EFI/BOOT/BOOTX64.EFI", &efi_program(SAYS_UEFI))]);
    let serial = fat::serial(&esp_tree, EPOCH);
    let fat =
        Fat { tree: &esp_tree, epoch: EPOCH, label: "ESP".into(), serial, size: esp_size, hidden_sectors: 0 };
    let mut esp = Vec::new();
    assert_eq!(fat::write(&fat, &esp_files, &mut esp).unwrap().width, width);
    let config = format!("SERIAL 0 115200\nSAY {SAYS_ISOLINUX}\nPROMPT 1\n");
    let (tree, mut memory) = tree(&[
        ("isolinux/isolinux.bin", &load(Path::new(ISOLINUX))),
        ("isolinux/ldlinux.c32", &load(Path::new(LDLINUX))),
        ("isolinux/isolinux.cfg", config.as_bytes()),
    ]);
    let mut iso = Iso {
        tree: &tree,
        epoch: EPOCH,
        labels: labels(),
        joliet: true,
        bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(memory.add(esp)),
        hybrid: None,
        last: None,
    };
    iso.hybrid = Some(Hybrid::derived(&load(Path::new(MBR_CODE)), &iso));
    let mut out = Vec::new();
    iso9660::write(&iso, &memory, &mut out).unwrap();
    Some(out)
}

fn boots(medium: Medium, firmware: Firmware, esp: (Size, Width)) {
    if which("qemu-system-x86_64").is_none() && may_skip() {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return;
    }
    let Some(image) = image(esp.0, esp.1) else { return };
    let dir = scratch();
    let path = save(dir.path(), "image.iso", &image);
    let Some(mut vm) = Vm::boot(&path, medium, firmware, 256) else { return };
    let word = match firmware {
        Firmware::Bios => SAYS_ISOLINUX,
        Firmware::Uefi => SAYS_UEFI,
    };
    vm.wait_for(word, LIMIT);
}

const SMALL: (Size, Width) = (Size::Fit { free: 0 }, Width::Fat12);
const MIDDLE: (Size, Width) = (Size::Exact(8 << 20), Width::Fat16);
/// So large that the boot catalog has no room for its size.
const LARGE: (Size, Width) = (Size::Exact(40 << 20), Width::Fat32);

#[test]
fn bios_starts_the_cd() {
    boots(Medium::Cd, Firmware::Bios, SMALL);
}

#[test]
fn bios_starts_the_stick() {
    boots(Medium::Usb, Firmware::Bios, SMALL);
}

#[test]
fn uefi_starts_the_cd() {
    boots(Medium::Cd, Firmware::Uefi, SMALL);
}

#[test]
fn uefi_starts_the_cd_with_a_large_partition() {
    boots(Medium::Cd, Firmware::Uefi, LARGE);
}

#[test]
fn uefi_starts_the_stick() {
    boots(Medium::Usb, Firmware::Uefi, MIDDLE);
}

#[test]
fn uefi_starts_the_stick_with_a_large_partition() {
    boots(Medium::Usb, Firmware::Uefi, LARGE);
}

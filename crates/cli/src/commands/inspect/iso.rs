//! ISO 9660 images: volumes, boot images, and the images inside.

use selfsame_image::ReadAt;
use selfsame_image::detect::{self, Format};
use selfsame_image::io::Window;
use selfsame_image::iso9660::{self, BootImage, Extent, Names};
use selfsame_image::tree::{Item, Kind};

use super::part::Part;
use super::{Error, disk, tree, within};

/// The platform of UEFI in a boot catalog (UEFI 2.10, section 13.3.2.1).
const UEFI: u8 = 0xef;

/// Describes an ISO, hybrid or not.
pub fn describe(source: &dyn ReadAt, part: Part, depth: u32) -> Result<Part, Error> {
    let volume = iso9660::open(source)?;
    let names = match volume.names {
        Names::RockRidge if volume.joliet => "Rock Ridge and Joliet",
        Names::RockRidge => "Rock Ridge",
        Names::Joliet => "Joliet",
        Names::Plain => "plain ISO 9660",
    };
    let files = iso9660::read_tree(source, &volume, volume.names)?;
    let part = part.fact("volume", volume.labels.volume.as_str());
    let part = part.fact("application", volume.labels.application.as_str());
    let part = part.fact("publisher", volume.labels.publisher.as_str());
    let part = part.fact("modified", date(&volume.modified)).fact("names", names);
    let length =
        |extents: &Vec<Extent>| extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.len));
    let mut part = tree::describe(&files, length, part);
    part = match disk::tables(source) {
        Ok(tables) => tables.into_iter().fold(part, Part::part),
        Err(error) => part.problem(&*error),
    };
    let boot_images = iso9660::boot_images(source, &volume)?;
    for (number, image) in (1..).zip(&boot_images) {
        part = part.part(boot_image(source, number, image, depth));
    }
    // The visitor never fails, so neither does the walk.
    let mut images = Vec::new();
    let _ = files.walk(|path, entry| {
        if let Item::Leaf(_, Kind::File(extents)) = entry.item
            && let [extent] = extents[..]
        {
            images.push((String::from_utf8_lossy(path).into_owned(), extent));
        }
        Ok::<(), ()>(())
    });
    for (path, extent) in images {
        let window = Window::new(source, extent.at, extent.len);
        let shown = boot_images.iter().any(|image| image.at == extent.at);
        if !shown && worth_a_look(&path, &window) {
            let inner = Part::new(format!("/{path}")).at(extent.at).size(extent.len);
            part = part.part(within(&window, inner, depth + 1));
        }
    }
    Ok(part)
}

/// The date of a volume descriptor (ECMA-119 8.4.26.1), its digits set apart.
fn date(raw: &[u8; 17]) -> String {
    let text = String::from_utf8_lossy(&raw[..14]).into_owned();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    let [year, month, day] = [&text[..4], &text[4..6], &text[6..8]];
    format!("{year}-{month}-{day} {}:{}:{}", &text[8..10], &text[10..12], &text[12..14])
}

/// Describes an image of the boot catalog, and the file system in that for UEFI.
fn boot_image(source: &dyn ReadAt, number: u32, image: &BootImage, depth: u32) -> Part {
    let firmware = match image.platform {
        0 => "BIOS".to_owned(),
        UEFI => "UEFI".to_owned(),
        other => format!("{other:#04x}"),
    };
    let part = Part::new(format!("boot image {number}")).at(image.at);
    let part = part.fact("firmware", firmware);
    let part = if image.bootable { part } else { part.fact("bootable", "no") };
    if image.platform != UEFI {
        return part.fact("sectors to load", u64::from(image.sectors));
    }
    let size = u64::from(image.sectors) * 512;
    within(&Window::new(source, image.at, size), part.size(size), depth + 1)
}

/// Whether a file is a file system or an initramfs. An archive beside them is just a file.
fn worth_a_look(path: &str, file: &impl ReadAt) -> bool {
    match detect::format(file) {
        Ok(Some(
            Format::Squashfs | Format::Fat | Format::Ext4 | Format::Erofs | Format::Iso9660 | Format::Cpio,
        )) => true,
        Ok(Some(Format::Zstd | Format::Xz | Format::Gzip)) => {
            path.rsplit('/').next().is_some_and(|name| name.starts_with("initr"))
        }
        _ => false,
    }
}

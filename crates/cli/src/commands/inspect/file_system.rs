//! File systems: SquashFS with the packages in it, and FAT.

use selfsame_image::ReadAt;
use selfsame_image::epoch::civil;
use selfsame_image::fat;
use selfsame_image::squashfs::Image;
use selfsame_image::tree::{Item, Kind};

use super::part::{Fact, Part};
use super::{Error, tree};

/// Where dpkg writes down what is installed.
const STATUS: &[u8] = b"var/lib/dpkg/status";
/// The longest status file that is read: 64 MiB, for tens of thousands of packages.
const LONGEST_STATUS: u64 = 64 << 20;

/// Describes a SquashFS and counts the packages that are installed in it.
pub fn squashfs(source: &dyn ReadAt, part: Part) -> Result<Part, Error> {
    let image = Image::open(source)?;
    let part = part
        .fact("compression", image.compression().to_string())
        .fact("block size", Fact::Bytes(image.block_size().into()))
        .fact("time", civil(image.mkfs_time()).to_string())
        .fact("used", Fact::Bytes(image.bytes_used()));
    let files = image.tree()?;
    let part = tree::describe(&files, |file| file.size(), part);
    let Some(Item::Leaf(_, Kind::File(status))) = files.get(STATUS).map(|entry| entry.item) else {
        return Ok(part);
    };
    if status.size() > LONGEST_STATUS {
        return Ok(part);
    }
    let mut text = Vec::new();
    image.file(status)?.for_each_block(|block| text.extend_from_slice(block))?;
    Ok(part.fact("packages", Fact::List(tree::packages(&text))))
}

/// Describes a FAT file system.
pub fn fat(source: &dyn ReadAt, part: Part) -> Result<Part, Error> {
    let volume = fat::open(source)?;
    let files = fat::read_tree(source, &volume)?;
    let part = part
        .fact("width", format!("{:?}", volume.width).to_uppercase())
        .fact("label", volume.label.as_str())
        .fact("serial", format!("{:08x}", volume.serial));
    let length =
        |chain: &fat::Chain| chain.extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.len));
    Ok(tree::describe(&files, length, part))
}

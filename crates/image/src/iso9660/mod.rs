//! ISO 9660 images with Rock Ridge, Joliet and El Torito, bootable from CD and from disk.
//!
//! `docs/formats/iso9660.md` holds the layout and the reason for each free choice. Rules: ECMA-119 (4th edition),
//! SUSP and RRIP 1.12, the Joliet specification, El Torito 1.0, UEFI 2.10 (12.3.4 and 13.3.2).

mod attributes;
mod check;
mod dump;
mod eltorito;
mod emit;
mod extents;
mod hybrid;
mod layout;
mod names;
mod plan;
mod read;
mod susp;
mod tables;
mod time;
mod volume;
mod write;

pub use check::{Problem, check};
pub use dump::dump;
pub use extents::extents;
pub use hybrid::Hybrid;
pub use read::{Corruption, Names, Volume, open, read_tree};
pub use tables::{BootImage, boot_images};
pub use write::{WriteError, place, write, write_around};

use crate::epoch::Epoch;
use crate::tree::{Content, Tree};

/// What an image shall be.
#[derive(Clone, Debug)]
pub struct Iso<'a> {
    /// The files. Extended attributes have no place in ISO 9660 and are refused.
    pub tree: &'a Tree,
    /// Latest time in the image, and the time of the volume itself.
    pub epoch: Epoch,
    /// Texts of the volume descriptors.
    pub labels: Labels,
    /// Whether to add a second set of directories for systems that know no Rock Ridge (Windows).
    pub joliet: bool,
    /// Boot image for BIOSes, if any.
    pub bios: Option<BiosBoot<'a>>,
    /// EFI system partition: a FAT image that is put behind the files, if any.
    pub esp: Option<Content>,
    /// MBR and GPT, so that the image boots from a stick as well; `None` for optical media only.
    pub hybrid: Option<Hybrid>,
}

/// Boot image for BIOSes.
#[derive(Clone, Copy, Debug)]
pub struct BiosBoot<'a> {
    /// Path of `isolinux.bin` in the tree.
    pub image: &'a [u8],
    /// Whether to patch the place of the image into its bytes 8 to 63, as isolinux and GRUB ask for. The file in
    /// the image then differs from the file in the tree in these bytes.
    pub info_table: bool,
}

/// Texts of the volume descriptors: printable ASCII, empty for not specified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Name of the volume, at most 32 characters; Joliet keeps the first 16.
    pub volume: String,
    /// Name of the system that may use the system area, at most 32 characters.
    pub system: String,
    /// Name of the set of volumes, at most 128 characters.
    pub volume_set: String,
    /// Who publishes, at most 128 characters.
    pub publisher: String,
    /// Who or what prepared the data, at most 128 characters.
    pub preparer: String,
    /// What the data is for, at most 128 characters.
    pub application: String,
}

/// Where everything went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the image, a multiple of 2048.
    pub size: u64,
    /// The bytes of files, in the order of the image. Empty files have none.
    pub files: Vec<Placed>,
    /// The EFI system partition.
    pub esp: Option<Extent>,
    /// The boot catalog.
    pub catalog: Option<Extent>,
}

/// The place of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// All paths with these bytes, in byte order: hard links and files that are equal.
    pub paths: Vec<Vec<u8>>,
    /// The bytes.
    pub extent: Extent,
    /// Whether a boot info table replaced bytes 8 to 63.
    pub patched: bool,
}

/// A range of bytes in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// First byte.
    pub at: u64,
    /// Length in bytes.
    pub len: u64,
}

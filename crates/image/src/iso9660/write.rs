//! Tree to bytes: measure, then emit.

use std::io::{self, Write};

use super::emit::{Measure, Writer, emit};
use super::layout::LARGEST_SECTION;
use super::plan::plan;
use super::{Extent, Iso, Placed, Written};
use crate::gpt;
use crate::tree::Contents;

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A path that has to be a regular file is not.
    #[error("{what} {} is not a file of the tree", String::from_utf8_lossy(.path))]
    NoFile {
        /// What the path is for.
        what: &'static str,
        /// The path.
        path: Vec<u8>,
    },
    /// ISO 9660 has no place for extended attributes.
    #[error("{} has extended attributes", String::from_utf8_lossy(.0))]
    Xattrs(Vec<u8>),
    /// A label is too long or not printable ASCII.
    #[error("{field} {value:?} is not at most {most} characters of printable ASCII")]
    Label {
        /// Which label.
        field: &'static str,
        /// Its text.
        value: String,
        /// Most characters.
        most: usize,
    },
    /// The boot code does not fit into the MBR.
    #[error("boot code of {0} bytes does not fit into 432 bytes")]
    BootCode(usize),
    /// There is boot code in the MBR, but nothing that it could start.
    #[error("boot code without a boot image for BIOSes")]
    NoBootImage,
    /// The boot image cannot hold a boot info table, or is larger than any boot image.
    #[error("boot image of {0} bytes is not between 64 bytes and 16 MiB")]
    BootImage(u64),
    /// The path table can count 65535 directories.
    #[error("{0} directories are more than the path table can hold")]
    TooManyDirectories(usize),
    /// An address or size does not fit into 32 bits.
    #[error("image is larger than ISO 9660 can address")]
    TooLarge,
    /// The partition table does not work out.
    #[error("cannot write the partition table")]
    Gpt(#[source] gpt::WriteError),
    /// The bytes of a file cannot be read.
    #[error("cannot read the content of {}", String::from_utf8_lossy(.path))]
    Content {
        /// One path of the file.
        path: Vec<u8>,
        /// What the source said.
        source: io::Error,
    },
    /// The source of a file has another size than the tree says.
    #[error("content of {} has {found} bytes, not {expected}", String::from_utf8_lossy(.path))]
    Size {
        /// One path of the file.
        path: Vec<u8>,
        /// Size in the tree.
        expected: u64,
        /// Size of the source.
        found: u64,
    },
    /// The output cannot be written.
    #[error("cannot write the image")]
    Output(#[source] io::Error),
}

/// Writes `iso` from front to back and returns where everything went. The bytes depend on the arguments alone.
pub fn write(iso: &Iso<'_>, contents: &dyn Contents, out: &mut impl Write) -> Result<Written, WriteError> {
    write_sections(iso, contents, out, LARGEST_SECTION)
}

/// As [`write`], with files in sections of at most `section` bytes: what happens to files above 4 GiB can be tested
/// with small ones.
pub(super) fn write_sections(
    iso: &Iso<'_>,
    contents: &dyn Contents,
    out: &mut impl Write,
    section: u64,
) -> Result<Written, WriteError> {
    if let Some(hybrid) = &iso.hybrid {
        hybrid.validate(iso.bios.is_some())?;
    }
    let plan = plan(iso, section)?;
    let mut measure = Measure::default();
    emit(&mut measure, iso, &plan)?;
    let marks = measure.finish()?;
    let mut writer = Writer::new(out, contents, &marks);
    emit(&mut writer, iso, &plan)?;
    let files = plan.files.iter().enumerate().map(|(index, file)| Placed {
        paths: file.paths.clone(),
        extent: Extent { at: marks.file(index), len: file.content.size },
        patched: file.boot && iso.bios.is_some_and(|bios| bios.info_table),
    });
    Ok(Written {
        size: marks.size(),
        files: files.collect(),
        esp: iso.esp.map(|esp| Extent { at: marks.esp(), len: esp.size }),
        catalog: marks.catalog().map(|at| Extent { at, len: 2048 }),
    })
}

//! Tree to bytes: measure, then emit.

use std::io::{self, Seek, SeekFrom, Write};

use super::emit::{Marks, Measure, Present, Writer, emit};
use super::layout::LARGEST_SECTION;
use super::plan::{Plan, plan};
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
    /// A file that is in the output already does not lie where the image needs it.
    #[error("{} was written at byte {found}, but belongs at byte {expected}", String::from_utf8_lossy(.path))]
    Elsewhere {
        /// The path of the file.
        path: Vec<u8>,
        /// Where it belongs.
        expected: u64,
        /// Where it lies.
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

/// Where the bytes of the file at `path` will lie, so that they can be written there before [`write_around`] is called.
///
/// It depends on all names, and on the contents of files whose paths come before in byte order. The contents of this
/// file and of those behind it may still be any, as long as each is another one and none is empty. Files above 4 GiB have
/// several directory records, which can make a directory longer; [`write_around`] refuses it then.
pub fn place(iso: &Iso<'_>, path: &[u8]) -> Result<u64, WriteError> {
    let (plan, marks) = measure(iso, LARGEST_SECTION)?;
    Ok(marks.file(index(&plan, path)?))
}

/// As [`write()`], but the bytes of the file at `path` lie at byte `at` of `out` already; `at` came from [`place`], and the
/// image begins at byte 0 of `out`.
///
/// # Errors
/// As [`write()`], and [`WriteError::Elsewhere`] before anything is written.
pub fn write_around<W: Write + Seek>(
    iso: &Iso<'_>,
    contents: &dyn Contents,
    path: &[u8],
    at: u64,
    out: &mut W,
) -> Result<Written, WriteError> {
    let (plan, marks) = measure(iso, LARGEST_SECTION)?;
    let index = index(&plan, path)?;
    let expected = marks.file(index);
    if expected != at {
        return Err(WriteError::Elsewhere { path: path.to_vec(), expected, found: at });
    }
    out.seek(SeekFrom::Start(0)).map_err(WriteError::Output)?;
    let pass = |out: &mut W, length| {
        let length = i64::try_from(length).map_err(io::Error::other)?;
        out.seek(SeekFrom::Current(length)).map(drop)
    };
    let present = Present { content: plan.files[index].content, pass };
    emit(&mut Writer::new(out, contents, Some(present), &marks), iso, &plan)?;
    Ok(written(iso, &plan, &marks))
}

fn measure(iso: &Iso<'_>, section: u64) -> Result<(Plan, Marks), WriteError> {
    if let Some(hybrid) = &iso.hybrid {
        hybrid.validate(iso.bios.is_some())?;
    }
    let plan = plan(iso, section)?;
    let mut measure = Measure::default();
    emit(&mut measure, iso, &plan)?;
    Ok((plan, measure.finish()?))
}

/// Which of the files in `plan` has the bytes of `path`.
fn index(plan: &Plan, path: &[u8]) -> Result<usize, WriteError> {
    let has = |file: &super::plan::File| !file.boot && file.paths.iter().any(|one| one == path);
    let missing = || WriteError::NoFile { what: "file in place", path: path.to_vec() };
    plan.files.iter().position(has).ok_or_else(missing)
}

/// As [`write`], with files in sections of at most `section` bytes: what happens to files above 4 GiB can be tested
/// with small ones.
pub(super) fn write_sections(
    iso: &Iso<'_>,
    contents: &dyn Contents,
    out: &mut impl Write,
    section: u64,
) -> Result<Written, WriteError> {
    let (plan, marks) = measure(iso, section)?;
    emit(&mut Writer::new(out, contents, None, &marks), iso, &plan)?;
    Ok(written(iso, &plan, &marks))
}

fn written(iso: &Iso<'_>, plan: &Plan, marks: &Marks) -> Written {
    let files = plan.files.iter().enumerate().map(|(index, file)| Placed {
        paths: file.paths.clone(),
        extent: Extent { at: marks.file(index), len: file.content.size },
        patched: file.boot && iso.bios.is_some_and(|bios| bios.info_table),
    });
    Written {
        size: marks.size(),
        files: files.collect(),
        esp: iso.esp.map(|esp| Extent { at: marks.esp(), len: esp.size }),
        catalog: marks.catalog().map(|at| Extent { at, len: 2048 }),
    }
}

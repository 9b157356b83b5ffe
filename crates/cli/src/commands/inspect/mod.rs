//! `selfsame inspect`

use std::fs::File;
use std::path::PathBuf;

use selfsame_image::ReadAt;
use selfsame_image::detect::{self, Format};

use super::{Context, given};
use crate::failure::{Failure, Status};
use crate::ui::Output;
use part::Part;

mod archive;
mod disk;
mod file_system;
mod iso;
mod part;
mod tree;

/// Show what is inside an image, archive or package
///
/// Lists partitions, boot images, file systems and packages, also those inside each other. The format is found by
/// content, not by name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame inspect out/live.iso
  selfsame inspect out/live.squashfs --json")]
pub struct Args {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let path = args.file.display();
    let unreadable = |error| Failure::input(error).context(format!("cannot read {path}"));
    given::regular(&args.file).map_err(unreadable)?;
    let file = File::open(&args.file).map_err(unreadable)?;
    let size = file.size().map_err(unreadable)?;
    let Some(format) = detect::format(&file).map_err(unreadable)? else {
        return Err(Failure::input(format!("{path} is of no format that selfsame knows"))
            .hint(format!("it knows {}", Format::ALL.map(Format::name).join(", "))));
    };
    let part = Part::new(args.file.to_string_lossy()).format(format.name()).size(size);
    let part = describe(&file, format, part, 0)
        .map_err(|error| Failure::input(error).context(format!("{path} is a damaged {}", format.name())))?;
    cx.ui.result(args.output, &part)?;
    Ok(Status::Success)
}

/// Why a part could not be described.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// How deep parts are looked into: a file system in an image in a file system.
const DEEPEST: u32 = 3;

/// Adds to `part` what `source`, which is of `format`, says about itself.
fn describe(source: &dyn ReadAt, format: Format, part: Part, depth: u32) -> Result<Part, Error> {
    match format {
        Format::Iso9660 => iso::describe(source, part, depth),
        Format::Gpt | Format::Mbr => disk::describe(source, part, depth),
        Format::Cpio => archive::initramfs(source, part),
        Format::Tar => archive::tar(source, part),
        Format::Deb => archive::deb(source, part),
        Format::Zstd | Format::Xz | Format::Gzip => archive::compressed(source, part),
        Format::Squashfs => file_system::squashfs(source, part),
        Format::Fat => file_system::fat(source, part),
        Format::Ext4 | Format::Erofs | Format::Qcow2 | Format::Ar | Format::Zip => Ok(part),
        Format::Elf | Format::Pe | Format::Sqlite | Format::Png | Format::Mo | Format::Pyc => Ok(part),
        Format::Fontconfig | Format::OldCpio => Ok(part),
        Format::Bzip2 | Format::Lz4 | Format::Lzma => Ok(part),
    }
}

/// Looks into something inside something else. What cannot be read is told as a fact about it: the rest may be sound.
fn within(source: &dyn ReadAt, part: Part, depth: u32) -> Part {
    if depth >= DEEPEST {
        return part;
    }
    match detect::format(source) {
        Ok(None) => part,
        Err(error) => part.problem(&error),
        Ok(Some(format)) => {
            let part = part.format(format.name());
            describe(source, format, part.clone(), depth).unwrap_or_else(|error| part.problem(&*error))
        }
    }
}

//! `selfsame inspect`

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_image::ReadAt;
use selfsame_image::detect::{self, Format};
use serde::Serialize;

use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, binary_size};

/// Show what is inside an image, archive or package
///
/// The format is found by content, not by name.
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

/// What a file is and what it is made of.
#[derive(Debug, PartialEq, Serialize)]
struct Inspection {
    path: PathBuf,
    size: u64,
    format: &'static str,
}

impl Present for Inspection {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(
            to,
            "{}: {}, {}",
            self.path.display(),
            self.format,
            binary_size(self.size)
        )
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let path = &args.file;
    let cannot = |error: io::Error| Failure::input(error).context(format!("cannot read {}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let size = file.size().map_err(cannot)?;
    let Some(format) = detect::format(&file).map_err(cannot)? else {
        return Err(
            Failure::input(format!("{} is of no format that selfsame knows", path.display()))
                .hint(format!("it knows {}", Format::ALL.map(Format::name).join(", "))),
        );
    };
    let inspection = Inspection {
        path: path.clone(),
        size,
        format: format.name(),
    };
    cx.ui.result(args.output, &inspection)?;
    Ok(Status::Success)
}

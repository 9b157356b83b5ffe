//! `selfsame store`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_store::Store;
use serde::Serialize;

use super::{Context, gc, store_check, store_key, store_pull, store_push};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, binary_size};

/// Look after the store: the directory of downloads and finished stages
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Stat(StatArgs),
    Check(store_check::Args),
    Gc(gc::Args),
    Key(store_key::Args),
    Push(store_push::Args),
    Pull(store_pull::Args),
}

/// Say where the store is and how much is in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame store stat
  selfsame store stat --store /srv/selfsame --json")]
struct StatArgs {
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// How full a store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Stat {
    path: PathBuf,
    files: u64,
    /// Disk space in use, in bytes.
    bytes: u64,
    /// The directories directly inside the store, by name.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Part {
    name: String,
    files: u64,
    bytes: u64,
}

impl Present for Stat {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}: {} in {} files", self.path.display(), binary_size(self.bytes), self.files)?;
        self.parts.iter().try_for_each(|part| {
            writeln!(to, "{:>12}  {:>10} files  {}", binary_size(part.bytes), part.files, part.name)
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    match &args.command {
        Command::Stat(args) => run_stat(args, cx),
        Command::Check(args) => store_check::run(args, cx),
        Command::Gc(args) => gc::run(args, cx),
        Command::Key(args) => store_key::run(args, cx),
        Command::Push(args) => store_push::run(args, cx),
        Command::Pull(args) => store_pull::run(args, cx),
    }
}

fn run_stat(args: &StatArgs, cx: &Context) -> Result<Status, Failure> {
    let path = cx.settings.store(args.store.as_ref())?;
    if path.exists() {
        // Refuses what is no store, or one of a newer selfsame; sweeps what killed processes left.
        Store::open(&path).map_err(|error| {
            Failure::environment(error).context(format!("cannot open the store {}", path.display()))
        })?;
    }
    let stat = stat(&path).map_err(|error| {
        Failure::environment(error).context(format!("cannot read the store {}", path.display()))
    })?;
    cx.ui.result(args.output, &stat)?;
    Ok(Status::Success)
}

/// Counts what is below `path`. A store that does not exist yet is an empty one.
fn stat(path: &Path) -> io::Result<Stat> {
    let mut stat = Stat { path: path.to_owned(), files: 0, bytes: 0, parts: Vec::new() };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(stat),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (files, bytes) = usage(&entry.path())?;
        stat.files += files;
        stat.bytes += bytes;
        if entry.file_type()?.is_dir() {
            stat.parts.push(Part { name: entry.file_name().to_string_lossy().into_owned(), files, bytes });
        }
    }
    stat.parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stat)
}

/// Files (anything but directories) and allocated bytes at and below `path`; links are not followed. What another
/// process removes meanwhile does not count.
pub(super) fn usage(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut total = (0, 0);
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = match std::fs::symlink_metadata(&path) {
            Err(error) if gone(&error) => continue,
            meta => meta?,
        };
        // st_blocks counts units of 512 bytes whatever the file system, stat(2).
        total.1 += meta.blocks() * 512;
        if !meta.is_dir() {
            total.0 += 1;
            continue;
        }
        match std::fs::read_dir(&path) {
            Err(error) if gone(&error) => {}
            entries => {
                for entry in entries? {
                    todo.push(entry?.path());
                }
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_counted_by_part_and_a_missing_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = stat(&dir.path().join("none")).unwrap();
        assert_eq!((nothing.files, nothing.bytes, nothing.parts.len()), (0, 0, 0));

        std::fs::create_dir_all(dir.path().join("blobs/ab")).unwrap();
        std::fs::create_dir(dir.path().join("a-part")).unwrap();
        std::fs::write(dir.path().join("blobs/ab/cd"), [1; 5000]).unwrap();
        std::fs::write(dir.path().join("version"), "1").unwrap();
        let full = stat(dir.path()).unwrap();
        let parts: Vec<_> = full.parts.iter().map(|part| (part.name.as_str(), part.files)).collect();
        assert_eq!((full.files, parts), (2, vec![("a-part", 0), ("blobs", 1)]));
        assert!(full.parts[1].bytes >= 5000, "{full:?}");
    }
}

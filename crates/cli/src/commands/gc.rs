//! `selfsame store gc`

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use selfsame_build::stages::{Unused, Why, sweep};
use selfsame_build::{blocks, host, output, vm};
use selfsame_store::Store;
use serde::Serialize;

use super::Context;
use super::store::usage;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, binary_size};

/// Remove what no build used for a while
///
/// Removes results of stages, outputs, packages for virtual machines and compressed blocks that were not used for some time, results of stages from
/// before this machine was started, what stopped builds left, and the compressed blocks that were used longest ago, above
/// a limit. Downloads, snapshots and records stay, and so does what a running build uses. All of what goes can be made
/// again; images in output directories are not touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame store gc --dry-run      say what would go
  selfsame store gc --older-than 7 --cache 2GiB")]
pub struct Args {
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// How much of the compressed blocks stays, in bytes or with KiB, MiB, GiB or TiB; more than the default does not
    /// outlive the next build that compresses much
    #[arg(long, value_name = "SIZE", default_value_t = Size(blocks::LIMIT))]
    cache: Size,
    /// Results of stages, outputs and compressed blocks that were not used for this many days go
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    older_than: u32,
    /// Remove nothing; say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// A number of bytes: the value of `--cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

/// The value of `--cache` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number of bytes, or one with KiB, MiB, GiB or TiB")]
struct SizeError;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = (1 << 30, self.0);
        if size % unit == 0 { write!(f, "{}GiB", size / unit) } else { write!(f, "{size}") }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1_u64 << 40)];
        let unit = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
        let (number, unit) = unit.unwrap_or((text, 1));
        let number: u64 = number.trim_end().parse().map_err(|_| SizeError)?;
        number.checked_mul(unit).map(Self).ok_or(SizeError)
    }
}

/// What `store gc` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    /// Whether nothing was removed in fact.
    dry_run: bool,
    /// Directories and files of `work/`.
    removed: Vec<Removed>,
    /// Builds whose outputs were removed.
    builds: u64,
    output_bytes: u64,
    /// Compressed blocks.
    blocks: u64,
    block_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Removed {
    path: PathBuf,
    /// Disk space, in bytes.
    bytes: u64,
    why: &'static str,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Removed { path, bytes, why } in &self.removed {
            writeln!(to, "{:>10}  {}: {why}", binary_size(*bytes), path.display())?;
        }
        if self.builds > 0 {
            writeln!(to, "{:>10}  outputs of {} builds", binary_size(self.output_bytes), self.builds)?;
        }
        if self.blocks > 0 {
            writeln!(to, "{:>10}  {} compressed blocks", binary_size(self.block_bytes), self.blocks)?;
        }
        let all = self.output_bytes
            + self.block_bytes
            + self.removed.iter().map(|removed| removed.bytes).sum::<u64>();
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        writeln!(to, "{:>10}  {verb} in all", binary_size(all))
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let path = cx.settings.store(args.store.as_ref())?;
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    if path.exists() {
        // Layers belong to the users of images, whom only this power can remove.
        let host = cx.host()?;
        let store = Store::open(&path)?;
        let age = Duration::from_secs(86_400 * u64::from(args.older_than));
        let mut found = |unused: &Unused| {
            let why = match unused.why {
                Why::Old => "not used for long",
                Why::Lost => "from before this machine was started",
                Why::Leftover => "left by a stopped build",
                Why::Lock => "lock of nothing",
            };
            // How much it was is good to know, and no reason to fail.
            let bytes = usage(&unused.path).map_or(0, |(_, bytes)| bytes);
            report.removed.push(Removed { path: unused.path.clone(), bytes, why });
        };
        sweep(&store, &host, (SystemTime::now(), age), args.dry_run, &mut found).map_err(|error| {
            if host::interrupted() { Failure::interrupted() } else { Failure::environment(error) }
        })?;
        let Size(limit) = args.cache;
        let since = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut found = |path: &Path| {
            let bytes = usage(path).map_or(0, |(_, bytes)| bytes);
            let why = "packages for virtual machines, not used for long";
            report.removed.push(Removed { path: path.to_owned(), bytes, why });
        };
        vm::sweep(&store, since, args.dry_run, &mut found).map_err(Failure::environment)?;
        let outputs = output::sweep(&store, since, args.dry_run)?;
        (report.builds, report.output_bytes) = (outputs.builds, outputs.bytes);
        let blocks = match args.dry_run {
            true => store.cache_excess(limit, Some(since)),
            false => store.cache_trim(limit, Some(since)),
        }?;
        (report.blocks, report.block_bytes) = (blocks.removed, blocks.removed_bytes);
    }
    cx.ui.result(args.output, &report)?;
    Ok(Status::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_of_binary_units() {
        for (text, bytes) in [("0", 0), ("17", 17), ("2KiB", 2048), ("10 GiB", 10 << 30), ("1TiB", 1 << 40)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "1GB", "99999999TiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
    }

    #[test]
    fn the_text_says_what_went_and_how_much_it_was() {
        let removed = Removed { path: "s/work/install-1".into(), bytes: 3 << 20, why: "not used for long" };
        let report = Report {
            dry_run: true,
            removed: vec![removed],
            builds: 3,
            output_bytes: 5 << 20,
            blocks: 2,
            block_bytes: 1 << 20,
        };
        let mut text = Vec::new();
        report.text(&mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
           3.0 MiB  s/work/install-1: not used for long
           5.0 MiB  outputs of 3 builds
           1.0 MiB  2 compressed blocks
           9.0 MiB  would be removed in all
        ");
    }
}

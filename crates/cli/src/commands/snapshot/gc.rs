//! `selfsame snapshot gc`

use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;

use selfsame_build::snapshots::{self, Rules};
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, binary_size};

/// Keep old snapshots in little space, and remove those that are too old
///
/// Of all but the newest snapshots the store then has the differences: what makes an index of the one before, and the
/// parameters that give its compressed bytes again. Both are tried before the file itself goes, and each file that is made
/// again is checked against its digest. What cannot be repeated stays as it is.
///
/// With --older-than, snapshots that were taken longer ago are removed, but not the newest of an archive, and none that a
/// lock needs which was made with this store and is still there. Packages are never removed, nor is what was seen. An
/// interrupted run leaves every snapshot whole or gone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot gc
  selfsame snapshot gc --older-than 90 --dry-run")]
pub struct Args {
    /// Remove snapshots that were taken for the first time more than this many days ago
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// How many of the newest snapshots of each archive stay as they are, so that they are served without being made again
    #[arg(long, value_name = "N", default_value_t = 2)]
    whole: usize,
    /// Change nothing; say which snapshots would go
    #[arg(long)]
    dry_run: bool,
    /// How many threads work at once [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot gc` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// Whether nothing was changed in fact.
    dry_run: bool,
    /// Archive and serial of the snapshots that went.
    expired: Vec<(String, String)>,
    /// How many were old enough, but are needed by a lock.
    needed: usize,
    /// Files that are kept as differences, their length as they came and that of the differences, in bytes.
    thin: u64,
    thin_bytes: u64,
    patch_bytes: u64,
    /// Files that are kept as they came, and their length.
    whole: u64,
    whole_bytes: u64,
    /// Bytes that were freed now.
    freed: u64,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        for (archive, serial) in &self.expired {
            writeln!(to, "{archive} {serial} {verb}")?;
        }
        if self.needed > 0 {
            writeln!(to, "{} old snapshots stay: locks need them", self.needed)?;
        }
        if self.dry_run {
            return Ok(());
        }
        let [thin, patches, whole, freed] =
            [self.thin_bytes, self.patch_bytes, self.whole_bytes, self.freed].map(binary_size);
        writeln!(to, "{} files of {thin} are kept as differences of {patches}", self.thin)?;
        writeln!(to, "{} files of {whole} are kept as they came", self.whole)?;
        writeln!(to, "{freed} freed")
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let now = super::now();
    let rules = Rules {
        before: args.older_than.map(|days| now - i64::from(days) * 86_400),
        whole: args.whole,
        jobs: args
            .jobs
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZero::<usize>::MIN),
        dry_run: args.dry_run,
    };
    let done = snapshots::collect(&store, &rules)?;
    let report = Report {
        dry_run: args.dry_run,
        expired: done.expired,
        needed: done.needed,
        thin: done.thin,
        thin_bytes: done.thin_bytes,
        patch_bytes: done.patch_bytes,
        whole: done.whole,
        whole_bytes: done.whole_bytes,
        freed: done.freed,
    };
    cx.ui.result(args.output, &report)?;
    Ok(Status::Success)
}

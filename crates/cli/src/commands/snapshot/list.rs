//! `selfsame snapshot list`

use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_apt::date;
use selfsame_build::snapshots::Kept;
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// List the snapshots in the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot list
  selfsame snapshot list debian --json")]
pub struct Args {
    /// Those of this archive only
    archive: Option<String>,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Debug, Serialize)]
struct Report {
    snapshots: Vec<Kept>,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.snapshots.iter().try_for_each(|Kept { snapshot, .. }| {
            let suites: Vec<_> = snapshot.suites.iter().map(|suite| suite.suite.as_str()).collect();
            let (archive, serial) = (&snapshot.archive, &snapshot.serial);
            writeln!(to, "{archive} {serial}  {}, taken {}", suites.join(" "), date::serial(snapshot.at))
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let snapshots = super::kept(&store, args.archive.as_deref(), None)?;
    cx.ui.result(args.output, &Report { snapshots })?;
    Ok(Status::Success)
}

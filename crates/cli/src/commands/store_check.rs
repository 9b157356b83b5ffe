//! `selfsame store check`

use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_store::{Depth, Store};
use serde::Serialize;

use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// Look at every file of the store
///
/// Reads and hashes all that is kept, and names what is not what it was. A damaged file is moved to the store's directory
/// `damaged`, a damaged cache entry is removed: whatever needs them fetches or makes them again. The exit status is 0 if
/// nothing is wrong, and 1 if something was found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame store check
  selfsame store check --names     only look at names and kinds of files")]
pub struct Args {
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Read no file
    #[arg(long)]
    names: bool,
    #[command(flatten)]
    output: Output,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Checked {
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Problem {
    /// Below the store's directory.
    path: PathBuf,
    fault: String,
    /// Where it is now.
    moved_to: Option<PathBuf>,
}

impl Present for Checked {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.problems.iter().try_for_each(|problem| {
            write!(to, "{}: {}", problem.path.display(), problem.fault)?;
            match &problem.moved_to {
                Some(path) => writeln!(to, "; moved to {}", path.display()),
                None => writeln!(to),
            }
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let path = cx.settings.store(args.store.as_ref())?;
    if !path.exists() {
        return Err(Failure::environment(format!("there is no store at {}", path.display())));
    }
    let failed =
        |error| Failure::environment(error).context(format!("cannot check the store {}", path.display()));
    let store = Store::open(&path).map_err(failed)?;
    let found = store.check(if args.names { Depth::Names } else { Depth::Bytes }).map_err(failed)?;
    let problem = |problem: selfsame_store::Problem| Problem {
        path: problem.path,
        fault: problem.fault.to_string(),
        moved_to: problem.moved_to,
    };
    let checked = Checked { problems: found.into_iter().map(problem).collect() };
    cx.ui.result(args.output, &checked)?;
    Ok(if checked.problems.is_empty() { Status::Success } else { Status::Negative })
}

//! `selfsame vm`

use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_build::vm::{self, State};
use selfsame_image::epoch::civil;
use selfsame_store::Store;
use serde::Serialize;

use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// Look after virtual machines that are kept running
///
/// `selfsame build --in vm --keep-running` leaves its machine for further builds of the same branch of the same recipe. It
/// runs until it is stopped here, or this computer is.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Stop(StopArgs),
}

/// List the machines that are kept
///
/// A line for each: its name, what it does, how many builds ended in it, when it was started, its branch and recipe.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame vm list
  selfsame vm list --json")]
struct ListArgs {
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Stop machines, whatever they are doing
///
/// All that is in them is gone then; images that were built stay where they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame vm stop 1f0c3a5e
  selfsame vm stop --all

Exit status: 1 if there is no machine of a name.")]
struct StopArgs {
    /// Their names, as `selfsame vm list` has them
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// What `vm list` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    machines: Vec<Machine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Machine {
    name: String,
    /// What its first build called it.
    builder: String,
    recipe: PathBuf,
    branch: String,
    /// `kvm` or `tcg`.
    accel: String,
    /// When it was started: `2026-07-11T12:00:00Z`.
    since: String,
    /// How many builds ended in it, well or not.
    builds: u32,
    /// Whether one is running.
    busy: bool,
    /// The process that keeps it.
    pid: u32,
}

impl Machine {
    fn of(state: State) -> Self {
        let State { name, builder, recipe, branch, accel, since, builds, busy, pid, .. } = state;
        let since = civil(u32::try_from(since).unwrap_or(u32::MAX)).to_string();
        Self { name, builder, recipe, branch, accel, since, builds, busy, pid }
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.machines.iter().try_for_each(|one| {
            let does = if one.busy { "builds" } else { "waits" };
            let builds = if one.builds == 1 { "1 build".into() } else { format!("{} builds", one.builds) };
            let (name, since, branch) = (&one.name, &one.since, &one.branch);
            writeln!(to, "{name}  {does}, {builds} since {since}, {branch} of {}", one.recipe.display())
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    match &args.command {
        Command::List(args) => {
            let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
            let machines = vm::list(&store)?.into_iter().map(Machine::of).collect();
            cx.ui.result(args.output, &Report { machines })?;
            Ok(Status::Success)
        }
        Command::Stop(args) => {
            let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
            let names = match args.all {
                true => vm::list(&store)?.into_iter().map(|state| state.name).collect(),
                false => args.names.clone(),
            };
            let mut status = Status::Success;
            for name in names {
                if vm::stop(&store, &name)? {
                    cx.ui.note(&format!("{name} is gone"));
                } else {
                    cx.ui
                        .warn(&format!("no machine {name} is kept; `selfsame vm list` names those that are"));
                    status = Status::Negative;
                }
            }
            Ok(status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_list_are_as_promised() {
        let machine = Machine {
            name: "1f0c3a5e".into(),
            builder: "builder-20260711-6c7bbed450ea".into(),
            recipe: "/srv/r".into(),
            branch: "branch main".into(),
            accel: "tcg".into(),
            since: "2026-07-11T12:00:00Z".into(),
            builds: 1,
            busy: false,
            pid: 77,
        };
        let report = Report { machines: vec![machine] };
        let mut text = Vec::new();
        report.text(&mut text).unwrap();
        let line = "1f0c3a5e  waits, 1 build since 2026-07-11T12:00:00Z, branch main of /srv/r\n";
        assert_eq!(String::from_utf8(text).unwrap(), line);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"machines":[{"name":"1f0c3a5e","builder":"builder-20260711-6c7bbed450ea","recipe":"/srv/r","branch":"branch main","accel":"tcg","since":"2026-07-11T12:00:00Z","builds":1,"busy":false,"pid":77}]}"#
        );
    }
}

//! The selfsame program: system images that anybody can rebuild to the same bytes.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "a program exports nothing: pub is what other modules may use")]

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;

mod commands;
mod explain;
mod failure;
mod interrupt;
mod markup;
mod moment;
mod progress;
mod replace;
mod settings;
mod source;
mod timeline;
mod ui;

use commands::{
    Context, boot, build, check, diff, init, inspect, lock, normalise, report, reproduce, snapshot, store,
    verify, vm,
};
use failure::{Failure, Kind, Status};
use interrupt::Interrupt;
use settings::Settings;
use ui::Ui;

/// Build Debian system images that come out the same, bit for bit, for anybody
///
/// A recipe (a directory with a selfsame.toml) says what the image shall be, `selfsame lock` writes down exactly
/// which packages it is made of, and `selfsame build` makes it.
#[derive(Debug, Parser)]
#[command(name = "selfsame", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "Examples:
  selfsame init my-image           write a recipe to start from
  selfsame lock my-image           choose the packages and pin them
  selfsame build my-image          build; the images are in ./out
  selfsame boot out/live.iso       try the image in a virtual machine

Exit status: 0 done, 1 the answer is no, 2 wrong command line, 3 wrong input, 4 trouble with this
machine, 5 not all could be told, 70 a bug in selfsame, 130 interrupted.")]
struct Cli {
    /// Print results, warnings and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Args),
    Lock(lock::Args),
    Build(build::Args),
    Check(check::Args),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Explain(commands::explain::Args),
    Normalise(normalise::Args),
    Report(report::Args),
    Boot(boot::Args),
    Reproduce(reproduce::Args),
    Verify(verify::Args),
    Snapshot(snapshot::Args),
    Store(store::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    // Before anything else: the inside of the sandbox has no terminal, no settings and no threads.
    if std::env::args_os().nth(1).is_some_and(|first| first == selfsame_build::sandbox::CHILD_ARGUMENT) {
        selfsame_build::sandbox::child_main();
    }
    match std::env::args_os().nth(1).as_deref().and_then(|first| first.to_str()) {
        Some(selfsame_build::vm::LAUNCH_ARGUMENT) => selfsame_build::vm::launch_main(),
        Some(selfsame_build::vm::KEEPER_ARGUMENT) => selfsame_build::vm::keeper_main(),
        Some(selfsame_build::vm::GUEST_ARGUMENT) => selfsame_build::vm::guest_main(explain::refusal),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return command_line_error(&error),
    };
    let settings = Settings::from_environment();
    let ui = Ui::new(&settings, cli.quiet);
    match guarded(|| run(&cli.command, settings, &ui)) {
        Ok(status) => status.into(),
        Err(failure) => {
            ui.failure(&failure);
            failure.exit_code()
        }
    }
}

fn run(command: &Command, settings: Settings, ui: &Ui) -> Result<Status, Failure> {
    let interrupt = match command {
        // They look at no flag: a signal ends them at once. What can be left of them is the unfinished copy of a page
        // beside its place, as of any program that is killed (`replace`).
        Command::Diff(_) | Command::Explain(_) | Command::Inspect(_) => Interrupt::default(),
        _ => Interrupt::install()
            .map_err(|error| Failure::environment(error).context("cannot arrange to be interrupted"))?,
    };
    let cx = Context { settings, ui: ui.clone(), interrupt };
    match command {
        Command::Init(args) => init::run(args, &cx),
        Command::Lock(args) => lock::run(args, &cx),
        Command::Build(args) => build::run(args, &cx),
        Command::Check(args) => check::run(args, &cx),
        Command::Inspect(args) => inspect::run(args, &cx),
        Command::Diff(args) => diff::run(args, &cx),
        Command::Explain(args) => commands::explain::run(args, &cx),
        Command::Normalise(args) => normalise::run(args, &cx),
        Command::Report(args) => report::run(args, &cx),
        Command::Boot(args) => boot::run(args, &cx),
        Command::Reproduce(args) => reproduce::run(args, &cx),
        Command::Verify(args) => verify::run(args, &cx),
        Command::Snapshot(args) => snapshot::run(args, &cx),
        Command::Store(args) => store::run(args, &cx),
        Command::Vm(args) => vm::run(args, &cx),
    }
}

/// Runs `work`; a panic becomes a failure of kind [`Kind::Internal`] instead of a status nobody documented.
fn guarded(work: impl FnOnce() -> Result<Status, Failure>) -> Result<Status, Failure> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Failure::internal(format!("selfsame stopped in the middle of its work: {text}")))
    })
}

/// Help and version go to standard output with status 0, mistakes to standard error with the status of their kind.
fn command_line_error(error: &clap::Error) -> ExitCode {
    let status = if error.use_stderr() { Kind::Usage.exit_status() } else { failure::SUCCESS };
    // Nobody is left to tell if the terminal is gone.
    let _ = error.print();
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_panic_is_an_internal_failure() {
        let failure = guarded(|| panic!("at {}", 1)).unwrap_err();
        assert_eq!(failure.kind(), Kind::Internal);
        assert!(failure.to_string().contains("at 1"), "{failure}");
    }
}

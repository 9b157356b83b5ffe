//! `selfsame snapshot`

mod create;
mod list;
mod serve;
mod tag;
mod verify;

use selfsame_build::snapshots::Kept;
use selfsame_store::Store;

use super::Context;
use crate::failure::{Failure, Status};

/// Keep states of archives, with the archives' own signatures
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    List(list::Args),
    Verify(verify::Args),
    Tag(tag::Args),
    Serve(serve::Args),
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    match &args.command {
        Command::Create(args) => create::run(args, cx),
        Command::List(args) => list::run(args, cx),
        Command::Verify(args) => verify::run(args, cx),
        Command::Tag(args) => tag::run(args, cx),
        Command::Serve(args) => serve::run(args, cx),
    }
}

/// The kept snapshots of `archive`, or of all archives; with `serial` those of that name.
fn kept(store: &Store, archive: Option<&str>, serial: Option<&str>) -> Result<Vec<Kept>, Failure> {
    let mut all = Kept::all(store)?;
    all.retain(|kept| {
        archive.is_none_or(|name| kept.snapshot.archive == name)
            && serial.is_none_or(|serial| kept.snapshot.serial == serial)
    });
    if all.is_empty() && archive.is_some() {
        let what = [archive, serial].into_iter().flatten().collect::<Vec<_>>().join(" ");
        return Err(Failure::input(format!("the store has no snapshot {what}")).hint(
            "`selfsame snapshot list` shows those it has, `selfsame snapshot create RECIPE` takes one",
        ));
    }
    Ok(all)
}

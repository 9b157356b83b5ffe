//! `selfsame snapshot`

mod against;
pub mod create;
mod gc;
mod import;
mod list;
mod pin;
mod serve;
mod show;
mod tag;
mod verify;

use std::time::SystemTime;

use selfsame_build::recipe::Recipe;
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
    Show(show::Args),
    Verify(verify::Args),
    Import(import::Args),
    Tag(tag::Args),
    Serve(serve::Args),
    /// Pin the archives of a recipe to the newest snapshots in the store
    Freeze(pin::FreezeArgs),
    /// Move the archives of a recipe that are pinned to the newest snapshots in the store
    Bump(pin::BumpArgs),
    /// Let the archives of a recipe follow the present state again
    Thaw(pin::ThawArgs),
    Gc(gc::Args),
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    match &args.command {
        Command::Create(args) => create::run(args, cx),
        Command::List(args) => list::run(args, cx),
        Command::Show(args) => show::run(args, cx),
        Command::Import(args) => import::run(args, cx),
        Command::Verify(args) => verify::run(args, cx),
        Command::Tag(args) => tag::run(args, cx),
        Command::Serve(args) => serve::run(args, cx),
        Command::Freeze(args) => pin::freeze(args, cx),
        Command::Bump(args) => pin::bump(args, cx),
        Command::Thaw(args) => pin::thaw(args, cx),
        Command::Gc(args) => gc::run(args, cx),
    }
}

/// The present time in seconds since 1970-01-01 UTC.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
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

/// Refuses names of archives that the recipe does not have.
fn known(recipe: &Recipe, names: &[String]) -> Result<(), Failure> {
    match names.iter().find(|name| !recipe.archives.contains_key(*name)) {
        None => Ok(()),
        Some(odd) => {
            let names: Vec<&str> = recipe.archives.keys().map(String::as_str).collect();
            Err(Failure::usage(format!("the recipe has no archive {odd:?}"))
                .hint(format!("its archives are: {}", names.join(", "))))
        }
    }
}

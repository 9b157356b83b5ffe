//! `selfsame snapshot freeze`, `bump` and `thaw`: which state the recipe names.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_build::recipe::{self, Archive, Recipe, with_serial};
use selfsame_build::snapshots::Kept;
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::{Context, recipe_dir};
use crate::failure::{Failure, Status};
use crate::replace::replace;
use crate::ui::{Output, Present};

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Pin the archives of a recipe to the newest snapshots in the store

Writes `serial` into the table of each archive of selfsame.toml that has none. `selfsame lock` then takes that state, \
                  however long ago it was. The rest of the file stays as it is.",
    after_help = "Examples:
  selfsame snapshot create my-image && selfsame snapshot freeze my-image && selfsame lock my-image
  selfsame snapshot freeze my-image --archive debian --serial 20260711T101637Z"
)]
pub struct FreezeArgs {
    #[command(flatten)]
    which: Which,
    /// Take this snapshot, also for archives that are pinned already
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Move the archives of a recipe that are pinned to the newest snapshots in the store

Archives that are not pinned stay so. `selfsame lock` then tells which packages change.",
    after_help = "Examples:
  selfsame snapshot create my-image && selfsame snapshot bump my-image && selfsame lock my-image"
)]
pub struct BumpArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Let the archives of a recipe follow the present state again

Takes `serial` out of the table of each archive of selfsame.toml.",
    after_help = "Examples:
  selfsame snapshot thaw my-image
  selfsame snapshot thaw my-image --archive debian-security"
)]
pub struct ThawArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    recipe: PathBuf,
    /// Change this archive of the recipe only; may be given more than once
    #[arg(long = "archive", value_name = "NAME")]
    archives: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Reach {
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What the commands give. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    archives: Vec<Pinned>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Pinned {
    archive: String,
    /// What the recipe named before; absent for the present state.
    before: Option<String>,
    /// What it names now.
    after: Option<String>,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let name = |serial: &Option<String>| serial.clone().unwrap_or_else(|| "latest".to_owned());
        self.archives.iter().try_for_each(|Pinned { archive, before, after }| match before == after {
            true => writeln!(to, "{archive}: {} as before", name(after)),
            false => writeln!(to, "{archive}: {} -> {}", name(before), name(after)),
        })
    }
}

/// Runs `snapshot freeze`.
pub fn freeze(args: &FreezeArgs, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.reach.store.as_ref())?)?;
    let kept = Kept::all(&store)?;
    change(&args.which, cx, args.reach.output, |name, archive| match (&args.serial, &archive.serial) {
        (None, Some(pinned)) => Ok(Some(pinned.clone())),
        (wanted, _) => newest(&kept, name, archive, wanted.as_deref()).map(Some),
    })
}

/// Runs `snapshot bump`.
pub fn bump(args: &BumpArgs, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.reach.store.as_ref())?)?;
    let kept = Kept::all(&store)?;
    change(&args.which, cx, args.reach.output, |name, archive| match &archive.serial {
        Some(_) => newest(&kept, name, archive, None).map(Some),
        None => Ok(None),
    })
}

/// Runs `snapshot thaw`.
pub fn thaw(args: &ThawArgs, cx: &Context) -> Result<Status, Failure> {
    change(&args.which, cx, args.output, |_, _| Ok(None))
}

/// The newest snapshot of all suites of an archive, or the one that is wanted.
fn newest(kept: &[Kept], name: &str, archive: &Archive, wanted: Option<&str>) -> Result<String, Failure> {
    let fits = |one: &&Kept| {
        let has = |suite: &String| one.snapshot.suites.iter().any(|state| state.suite == *suite);
        one.snapshot.archive == name
            && archive.suites.iter().all(has)
            && wanted.is_none_or(|wanted| one.snapshot.serial == wanted)
    };
    let newest = kept.iter().filter(fits).map(|one| one.snapshot.serial.as_str()).max();
    newest.map(str::to_owned).ok_or_else(|| {
        let serial = wanted.map_or_else(String::new, |serial| format!(" {serial}"));
        Failure::input(format!("the store has no snapshot{serial} of all suites of {name}")).hint(
            "`selfsame snapshot create RECIPE` takes one, `selfsame snapshot list` shows those there are",
        )
    })
}

/// Gives archives of the recipe the serial that `choose` says, all or none, and tells what changed.
fn change(
    which: &Which,
    cx: &Context,
    output: Output,
    choose: impl Fn(&str, &Archive) -> Result<Option<String>, Failure>,
) -> Result<Status, Failure> {
    let (directory, _) = recipe_dir::find(&which.recipe)?;
    let recipe = recipe::load(&directory)?;
    let path = directory.join(recipe::FILE);
    let old = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    let mut text = old.clone();
    let mut archives = Vec::new();
    for (name, archive) in chosen(&recipe, &which.archives)? {
        let after = choose(name, archive)?;
        if after != archive.serial {
            text = with_serial(&text, name, after.as_deref()).ok_or_else(|| {
                let line =
                    after.as_ref().map_or("no serial".to_owned(), |serial| format!("serial = \"{serial}\""));
                Failure::input(format!(
                    "{} has no table [archives.{name}] that can be edited safely",
                    path.display()
                ))
                .hint(format!("write it by hand: {line} for archive {name}"))
            })?;
        }
        archives.push(Pinned { archive: name.clone(), before: archive.serial.clone(), after });
    }
    if text != old {
        replace(&path, &text).map_err(|error| failed(&path, error))?;
    }
    cx.ui.result(output, &Report { archives })?;
    Ok(Status::Success)
}

/// The archives of those names, or all.
fn chosen<'r>(recipe: &'r Recipe, names: &[String]) -> Result<Vec<(&'r String, &'r Archive)>, Failure> {
    super::known(recipe, names)?;
    Ok(recipe.archives.iter().filter(|(name, _)| names.is_empty() || names.contains(name)).collect())
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::environment(error).context(format!("cannot change {}", path.display()))
}

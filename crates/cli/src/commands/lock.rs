//! `selfsame lock`

use std::path::PathBuf;

use super::{Context, recipe_dir};
use crate::commands::build::Reach;
use crate::failure::{Failure, Status};
use crate::ui::Output;

/// Choose the packages and pin everything that shapes the image
///
/// Takes the present state of the recipe's archives, checks its signatures, lets the image's own apt choose the
/// packages and writes selfsame.lock into the recipe's directory. The lock belongs into version control: with it
/// anybody gets the same image.
///
/// Without --update a lock that fits the recipe is left as it is, and one that does not fit keeps the archive
/// state it names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame lock                    lock the recipe in this directory
  selfsame lock my-image --update  take today's state of the archives
  selfsame lock my-image --mirror debian=file:/srv/mirror/debian")]
pub struct Args {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    pub recipe: PathBuf,
    /// Take the present state of the archives even if the lock names an earlier one
    #[arg(long)]
    pub update: bool,
    #[command(flatten)]
    pub reach: Reach,
    #[command(flatten)]
    pub output: Output,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let (directory, recipe) = recipe_dir::find(&args.recipe)?;
    let store = cx.settings.store(args.reach.store.as_ref())?;
    // >>> LEAD: hand over to selfsame_build with (directory, recipe, store, args.update, args.reach, cx) <<<
    Err(Failure::internal(format!(
        "{} {} {}",
        directory.display(),
        recipe.display(),
        store.display()
    )))
}

//! `selfsame store push`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_apt::fetch;
use selfsame_apt::remote::{PushError, Sent, push};
use selfsame_build::{blocks, host, lock, pull};
use selfsame_store::Store;
use serde::Serialize;

use super::{Context, build, recipe_dir, remote, store_key};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, Task, Unit, binary_size};

/// Give packages and compressed blocks to other machines
///
/// Writes to the remote what it does not have: the packages in the locks of the recipes that are named, and with --key all
/// compressed blocks of this store, signed. The remote is a directory (file:), or whatever takes `PUT` (http:, https:),
/// such as a web server with WebDAV or a bucket that lets this machine write. If it asks who is there, the environment
/// variable SELFSAME_REMOTE_AUTH has the answer, as the value of an `Authorization` header: `Bearer TOKEN`.
///
/// Nothing is pushed twice: what was interrupted goes on where it was. Any number of machines may push at the same time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame store key ~/.config/selfsame.key                 once: make a key, and see its public half
  selfsame store push my-image --remote file:/srv/selfsame --key ~/.config/selfsame.key
  selfsame store push my-image --remote https://cache.example/selfsame      packages only")]
pub struct Args {
    /// Directories of recipes
    recipes: Vec<PathBuf>,
    /// Address of the shared store [default: SELFSAME_REMOTE]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Push compressed blocks too, signed with the secret key in this file (`selfsame store key` makes one)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What was pushed. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    remote: String,
    packages: Part,
    blocks: Part,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Part {
    /// How many were written.
    pushed: u64,
    /// Their length.
    bytes: u64,
    /// How many the remote had already.
    present: u64,
    /// How many this store does not have.
    absent: u64,
}

impl Part {
    fn of(sent: &Sent) -> Self {
        let Sent { pushed, bytes, present, absent } = *sent;
        Self { pushed, bytes, present, absent }
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for (name, part) in [("packages", &self.packages), ("blocks", &self.blocks)] {
            let Part { pushed, bytes, present, absent } = *part;
            write!(to, "{name}: {pushed} pushed ({}), {present} there already", binary_size(bytes))?;
            match absent {
                0 => writeln!(to)?,
                absent => writeln!(to, ", {absent} not in this store")?,
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let url = args.remote.as_ref().or(cx.settings.remote.as_ref()).ok_or_else(remote::missing)?;
    let remote = remote::open(url, cx, false)?;
    if args.recipes.is_empty() && args.key.is_none() {
        return Err(Failure::usage("there is nothing to push")
            .hint("name recipes to push the packages of their locks")
            .hint("`--key FILE` pushes compressed blocks; `selfsame store key FILE` makes a key"));
    }
    let key = args.key.as_deref().map(secret).transpose()?;
    let mut packages = Vec::new();
    for recipe in &args.recipes {
        packages.extend(pull::packages(&locked(recipe)?));
    }
    // What recipes have in common is one object.
    packages.sort_by_key(|(_, content)| content.digest);
    packages.dedup_by_key(|(_, content)| content.digest);
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let shown = Shown(cx.ui.task("push", Unit::Things("objects"), None));
    let pushed = push(&remote, &store, &packages, key.as_ref().map(|key| (key, blocks::KIND)), &shown);
    let pushed = pushed.map_err(|error| match error {
        PushError::Stopped => Failure::interrupted(),
        PushError::Store(error) => error.into(),
        PushError::Remote { reason: fetch::Reason::Status { status: 401 | 403 }, .. } => {
            Failure::environment(error).hint(
                "SELFSAME_REMOTE_AUTH is sent as `Authorization` header: `Bearer TOKEN` or `Basic BASE64`",
            )
        }
        PushError::Remote { .. } => {
            Failure::environment(error).hint("what was pushed is there: try again, and it goes on")
        }
    })?;
    shown.0.finish("done");
    let report = Report {
        remote: remote.to_string(),
        packages: Part::of(&pushed.blobs),
        blocks: Part::of(&pushed.entries),
    };
    cx.ui.result(args.output, &report)?;
    Ok(Status::Success)
}

/// The key to sign with. A missing one is not made here: nobody would believe it yet.
fn secret(path: &Path) -> Result<selfsame_apt::remote::SecretKey, Failure> {
    store_key::read(path)?.ok_or_else(|| {
        Failure::input(format!("there is no key {}", path.display()))
            .hint(format!("`selfsame store key {}` makes one", path.display()))
    })
}

/// The lock of a recipe.
fn locked(recipe: &Path) -> Result<lock::Lock, Failure> {
    let (directory, _) = recipe_dir::find(recipe)?;
    build::read_lock(&directory)?.ok_or_else(|| build::no_lock(&directory))
}

/// Shows how many objects are done, and hears Ctrl-C.
struct Shown(Task);

impl fetch::Progress for Shown {
    fn started(&self, files: u64, _: u64) {
        self.0.set_total(files);
    }

    fn advanced(&self, amount: u64) {
        self.0.advance(amount);
    }

    fn stop(&self) -> bool {
        host::interrupted()
    }
}

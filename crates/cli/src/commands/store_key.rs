//! `selfsame store key`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use selfsame_apt::remote::SecretKey;
use serde::Serialize;

use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// Make a key for sharing compressed blocks, or show its public half
///
/// FILE is the secret half, which signs what `store push` gives to others; it is made if it is not there, and readable to
/// its owner only. What is printed is the public half: whoever gives it to `--remote-key` believes that blocks that this
/// key signed were compressed as selfsame compresses.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame store key ~/.config/selfsame.key
  selfsame store push --remote file:/srv/selfsame --key ~/.config/selfsame.key")]
pub struct Args {
    /// Where the secret key is, or will be
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Key {
    path: PathBuf,
    public: String,
}

impl Present for Key {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", self.public)
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let key = match read(&args.file)? {
        Some(key) => key,
        None => make(&args.file).map_err(|error| {
            Failure::environment(error).context(format!("cannot make the key {}", args.file.display()))
        })?,
    };
    cx.ui.result(args.output, &Key { path: args.file.clone(), public: key.public().to_string() })?;
    Ok(Status::Success)
}

/// The key in `path`; `None` if there is no such file.
pub fn read(path: &Path) -> Result<Option<SecretKey>, Failure> {
    let cannot = || format!("cannot read the key {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => {
            SecretKey::from_text(&text).map(Some).map_err(|error| Failure::input(error).context(cannot()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::input(error).context(cannot())),
    }
}

/// Never replaces a file: what somebody else put there meanwhile is an error.
fn make(path: &Path) -> io::Result<SecretKey> {
    let key = SecretKey::generate()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.to_text().as_bytes())?;
    file.sync_all()?;
    Ok(key)
}

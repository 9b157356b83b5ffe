//! `selfsame init`

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Context;
use super::recipe_dir::RECIPE;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// Write a recipe to start from
///
/// Makes a directory with a commented selfsame.toml for a small live system and an empty overlay. Nothing that
/// exists is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame init                    in this directory
  selfsame init my-image           in a new directory")]
pub struct Args {
    /// Directory of the new recipe, made if missing
    #[arg(default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// The recipe that is written: a live system, every key with its meaning.
pub const SKELETON: &str = include_str!("init.toml");

/// What was written.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Written {
    written: Vec<PathBuf>,
}

impl Present for Written {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.written.iter().try_for_each(|path| writeln!(to, "{}", path.display()))
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let written = write(&args.dir)?;
    cx.ui.result(args.output, &written)?;
    let dir = args.dir.display();
    cx.ui.note(&format!("next: edit {}, then `selfsame lock {dir}`", args.dir.join(RECIPE).display()));
    Ok(Status::Success)
}

fn write(dir: &Path) -> Result<Written, Failure> {
    let recipe = dir.join(RECIPE);
    let cannot =
        |path: &Path, error| Failure::environment(error).context(format!("cannot write {}", path.display()));
    DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(|error| cannot(dir, error))?;
    // create_new: whatever has the name stays as it is, links to nowhere included.
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&recipe) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::input(format!("{} exists already", recipe.display()))
                .hint("`init` changes nothing that exists; choose another directory"));
        }
        Err(error) => return Err(cannot(&recipe, error)),
    };
    if let Err(error) = file.write_all(SKELETON.as_bytes()).and_then(|()| file.sync_all()) {
        // A half-written recipe would stand in the way of the next try.
        let _ = std::fs::remove_file(&recipe);
        return Err(cannot(&recipe, error));
    }
    Ok(Written { written: vec![recipe] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_written_once_and_never_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/image");
        let written = write(&dir).unwrap();
        assert_eq!(written.written, [dir.join(RECIPE)]);
        assert_eq!(std::fs::read_to_string(dir.join(RECIPE)).unwrap(), SKELETON);

        std::fs::write(dir.join(RECIPE), "mine").unwrap();
        let refused = write(&dir).unwrap_err().to_string();
        assert!(refused.contains("exists already"), "{refused}");
        assert_eq!(std::fs::read_to_string(dir.join(RECIPE)).unwrap(), "mine");
    }

    /// The skeleton with what is commented out put in force: lines that look like TOML behind their `# `.
    fn everything_in_force() -> String {
        let key = |text: &str| {
            let name = text.split(" = ").next().unwrap_or("");
            text.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(text) if text.starts_with("[[") || key(text) => format!("{text}\n"),
            _ => format!("{line}\n"),
        };
        SKELETON.lines().map(line).collect()
    }

    #[test]
    fn the_skeleton_is_a_recipe_and_so_is_each_of_its_suggestions() {
        let dir = Path::new("image");
        let recipe = selfsame_build::recipe::parse(dir, SKELETON).unwrap();
        assert_eq!((recipe.name.as_str(), recipe.hooks.len()), ("live", 0));
        let full = everything_in_force();
        let recipe =
            selfsame_build::recipe::parse(dir, &full).unwrap_or_else(|error| panic!("{error}\n{full}"));
        assert_eq!((recipe.system.users.len(), recipe.hooks.len(), recipe.exclude.len()), (1, 1, 1));
    }

    #[test]
    fn a_link_to_nowhere_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join(RECIPE)).unwrap();
        write(dir.path()).unwrap_err();
        assert!(!dir.path().join("elsewhere").exists());
    }
}

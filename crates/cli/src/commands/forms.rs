//! Forms of a result that go to files, of which one may go to standard output.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::replace::replace;
use crate::ui::{Output, Present, Ui};

/// Says what cannot be written, before the work begins. Nothing goes to one of `inputs`; `printed` is whether standard output
/// is taken.
pub fn check<'a>(
    places: impl Iterator<Item = &'a Path> + Clone,
    inputs: &[&Path],
    printed: bool,
) -> Result<(), Failure> {
    let printed = usize::from(printed) + places.clone().filter(|path| is_output(path)).count();
    if printed > 1 {
        return Err(Failure::usage("only one form can go to standard output")
            .hint("name files for the others, such as `--html differences.html`"));
    }
    let mut taken: Vec<PathBuf> = inputs.iter().filter_map(|path| path.canonicalize().ok()).collect();
    for path in places.filter(|path| !is_output(path)) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize();
        let parent = parent.map_err(|error| unwritten(path, error))?;
        let place = path.canonicalize().ok();
        let place = place.or_else(|| Some(parent.join(path.file_name()?)));
        let Some(place) = place.filter(|place| !place.is_dir()) else {
            return Err(unwritten(path, io::ErrorKind::IsADirectory.into()));
        };
        if taken.contains(&place) {
            let message = format!("{} is written or compared already", path.display());
            return Err(Failure::usage(message).hint("name another file"));
        }
        // A device such as /dev/null takes all that is written.
        if place.is_file() || !place.exists() {
            taken.push(place);
        }
    }
    Ok(())
}

/// Writes a form to its place; whether that is standard output.
pub fn put(path: &Path, text: String, ui: &Ui) -> Result<bool, Failure> {
    if is_output(path) {
        ui.result(Output::default(), &Plain(text))?;
        return Ok(true);
    }
    write(path, &text).map_err(|error| unwritten(path, error))?;
    Ok(false)
}

/// Whether `path` stands for standard output.
pub fn is_output(path: &Path) -> bool {
    path == Path::new("-")
}

/// Writes a file in one step, or into a pipe or device, which cannot be replaced.
fn write(path: &Path, text: &str) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
        }
        _ => replace(path, text),
    }
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    Failure::environment(error).context(format!("cannot write {}", path.display()))
}

/// A page as a result.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Plain(String);

impl Present for Plain {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(self.0.as_bytes())
    }
}

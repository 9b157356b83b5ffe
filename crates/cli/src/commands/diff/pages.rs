//! Forms of the report for other readers: what is asked for, and where it goes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::Report;
use super::{diffoscope, html, markdown};
use crate::failure::Failure;
use crate::replace::replace;
use crate::ui::{Output, Present, Ui};

/// Pages that are asked for.
#[derive(Debug, clap::Args)]
pub struct Pages {
    /// Write one HTML page that needs nothing from elsewhere to FILE (- for standard output)
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a short report in Markdown, for a comment, to FILE (- for standard output)
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write what diffoscope can read and show to FILE (- for standard output)
    #[arg(long, value_name = "FILE")]
    diffoscope_json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Html,
    Markdown,
    Diffoscope,
}

/// A form, and where it goes.
type Page<'a> = (Form, &'a Path);

impl Pages {
    fn all(&self) -> impl Iterator<Item = Page<'_>> + Clone {
        let all = [
            (Form::Html, &self.html),
            (Form::Markdown, &self.markdown),
            (Form::Diffoscope, &self.diffoscope_json),
        ];
        all.into_iter().filter_map(|(form, path)| Some((form, path.as_deref()?)))
    }

    /// Whether any is asked for.
    pub(super) fn any(&self) -> bool {
        self.all().next().is_some()
    }

    /// Says what cannot be done before the work begins: a comparison may take long. `printed` is whether standard output is
    /// taken.
    pub(super) fn check(&self, inputs: [&Path; 2], printed: bool) -> Result<(), Failure> {
        let printed = usize::from(printed) + self.all().filter(|(_, path)| is_output(path)).count();
        if printed > 1 {
            return Err(Failure::usage("only one form can go to standard output")
                .hint("name files for the others, such as `--html differences.html`"));
        }
        let mut taken: Vec<PathBuf> = inputs.iter().filter_map(|path| path.canonicalize().ok()).collect();
        for (_, path) in self.all().filter(|(_, path)| !is_output(path)) {
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

    /// Writes them; whether one went to standard output.
    pub(super) fn write(&self, report: &Report, limit: usize, ui: &Ui) -> Result<bool, Failure> {
        let mut printed = false;
        for (form, path) in self.all() {
            let text = match form {
                Form::Html => html::page(report, limit),
                Form::Markdown => markdown::text(report, limit),
                Form::Diffoscope => diffoscope::document(report, limit)
                    .map_err(|error| Failure::internal(error).context("cannot write diffoscope's JSON"))?,
            };
            if is_output(path) {
                printed = true;
                ui.result(Output::default(), &Plain(text))?;
            } else {
                put(path, &text).map_err(|error| unwritten(path, error))?;
            }
        }
        Ok(printed)
    }
}

fn is_output(path: &Path) -> bool {
    path == Path::new("-")
}

/// Writes a file in one step, or into a pipe or device, which cannot be replaced.
fn put(path: &Path, text: &str) -> io::Result<()> {
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

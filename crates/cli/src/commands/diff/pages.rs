//! Forms of the report for other readers: what is asked for, and where it goes.

use std::path::{Path, PathBuf};

use super::report::Report;
use super::{diffoscope, html, markdown};
use crate::commands::forms;
use crate::failure::Failure;
use crate::ui::Ui;

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
        forms::check(self.all().map(|(_, path)| path), &inputs, printed)
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
            printed |= forms::put(path, text, ui)?;
        }
        Ok(printed)
    }
}

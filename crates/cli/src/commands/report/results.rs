//! Directories with results, which may be anybody's: nothing outside of them is read.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::model::Check;
use crate::commands::check::plan::REPORT;
use crate::failure::Failure;

/// Longest report that is read, in bytes: one of 50,000 findings has 10 MB.
const LONGEST_REPORT: u64 = 32 << 20;

/// One directory with results.
#[derive(Debug)]
pub(super) struct Results {
    dir: OwnedFd,
    path: PathBuf,
    /// The text of its report.
    pub(super) report: String,
    pub(super) check: Check,
}

impl Results {
    /// The results in `path`; `None` if there is no report.
    fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| Failure::input(io::Error::from(error)).context(unread(path)))?;
        let Some(report) = read(&dir, path, REPORT, LONGEST_REPORT)? else { return Ok(None) };
        let check = Check::read(&report).map_err(|problem| not_usable(&path.join(REPORT), problem))?;
        Ok(Some(Self { dir, path: path.to_owned(), report, check }))
    }

    /// The text of the file `name` of at most `limit` bytes, if it is there.
    pub(super) fn file(&self, name: &str, limit: u64) -> Result<Option<String>, Failure> {
        read(&self.dir, &self.path, name, limit)
    }

    /// Says that the file `name` is no good.
    pub(super) fn wrong(&self, name: &str, problem: String) -> Failure {
        not_usable(&self.path.join(name), problem)
    }
}

/// All results in `places`: directories of results, or of such directories. The newest come first, each once.
///
/// Also tells how many directories beside results have no report: their check did not end.
pub(super) fn all(places: &[PathBuf]) -> Result<(Vec<Results>, usize), Failure> {
    let (mut found, mut unfinished) = (Vec::new(), 0);
    for place in places {
        if let Some(results) = Results::open(place)? {
            found.push(results);
            continue;
        }
        let (inside, others) = below(place)?;
        if inside.is_empty() {
            let message = format!("there are no results in {}", place.display());
            return Err(Failure::input(message).hint(
                "name a directory that `selfsame check` wrote, with a report.json, or one that has such directories",
            ));
        }
        found.extend(inside);
        unfinished += others;
    }
    // Recipes by name, and of each the newest first.
    found.sort_by(|a: &Results, b: &Results| {
        let key = |of: &Results| (of.check.started.clone(), of.check.id.clone());
        a.check.recipe.cmp(&b.check.recipe).then_with(|| key(b).cmp(&key(a)))
    });
    found.dedup_by(|a, b| a.check.id == b.check.id);
    Ok((found, unfinished))
}

/// The results in directories of `place`, and how many other directories there are.
fn below(place: &Path) -> Result<(Vec<Results>, usize), Failure> {
    let failed = |error| Failure::input(error).context(unread(place));
    let mut names = Vec::new();
    for entry in fs::read_dir(place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link such as `latest` leads to what is there anyway, or elsewhere.
        if entry.file_type().map_err(failed)?.is_dir() {
            names.push(entry.file_name());
        }
    }
    names.sort();
    let (mut found, mut others) = (Vec::new(), 0);
    for name in names {
        match Results::open(&place.join(&name))? {
            Some(mut results) => {
                results.check.directory = Some(name.to_string_lossy().into_owned());
                found.push(results);
            }
            None => others += 1,
        }
    }
    Ok((found, others))
}

/// The text of a regular file below `dir`. No link is followed: results of others could have the reader publish its own files.
fn read(dir: &OwnedFd, path: &Path, name: &str, limit: u64) -> Result<Option<String>, Failure> {
    let full = path.join(name);
    let failed = |error: io::Error| Failure::input(error).context(unread(&full));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => {
            return Err(not_usable(&full, "it is a link, and results must have all that is theirs".into()));
        }
        Err(error) => return Err(failed(error.into())),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(not_usable(&full, "it is not a regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(not_usable(&full, format!("it is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| not_usable(&full, error.utf8_error().to_string()))
}

fn unread(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn not_usable(path: &Path, problem: String) -> Failure {
    Failure::input(problem)
        .context(format!("{} is not usable", path.display()))
        .hint("give results as `selfsame check` wrote them, or leave this directory out")
}

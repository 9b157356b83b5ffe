//! The site as a directory: whole, or what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::model::{Check, Diff};
use super::pages::{self, Extras};
use super::results::Results;
use crate::commands::Context;
use crate::commands::check::{self, plan};
use crate::commands::diff;
use crate::failure::Failure;

/// Lists the files of a site: a directory with others is not replaced.
const LIST: &str = "files.txt";
/// Longest list that is read, in bytes.
const LONGEST_LIST: u64 = 64 << 20;
/// Longest record and diff that are read, in bytes.
const LONGEST_RECORD: u64 = 1 << 20;
const LONGEST_DIFF: u64 = 64 << 20;

/// Where a site goes.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Whether there is one already.
    old: bool,
}

impl Place {
    /// Looks whether a site may be put at `path`: where nothing is, an empty directory, or an earlier site.
    pub(super) fn look(path: &Path) -> Result<Self, Failure> {
        let path = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), old: false });
            }
            found => found.map_err(unwritten(path))?,
        };
        let found = files_below(&path).map_err(unwritten(&path))?;
        let list = crate::commands::given::bytes(&path.join(LIST), LONGEST_LIST).unwrap_or_default();
        let known: BTreeSet<&[u8]> = list.split(|byte| *byte == b'\n').collect();
        let other = |file: &&PathBuf| !known.contains(file.as_os_str().as_encoded_bytes());
        match found.iter().find(other) {
            None => Ok(Self { old: true, path }),
            Some(file) => {
                let message = format!("{} is there, and is no page of an earlier report", file.display());
                Err(Failure::usage(message)
                    .context(format!("cannot write the report to {}", path.display()))
                    .hint("name another directory with --out, or remove it"))
            }
        }
    }

    /// Writes the site of `all`. Returns its first page.
    pub(super) fn fill(&self, all: &[Results], cx: &Context) -> Result<PathBuf, Failure> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(unwritten(parent))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let staged = Staged { path: parent.join(format!(".{name}.{}.new", std::process::id())) };
        fs::create_dir(&staged.path).map_err(unwritten(&staged.path))?;
        let mut site = Site { root: &staged.path, files: BTreeSet::new() };
        let checks: Vec<&Check> = all.iter().map(|one| &one.check).collect();
        for results in all {
            site.check(results, cx)?;
        }
        site.put("index.html", &pages::index(&checks))?;
        let list: String = site.files.iter().map(|file| format!("{file}\n")).collect();
        site.put(LIST, &format!("{list}{LIST}\n"))?;
        // One call for all of them: nothing has its final name yet.
        let synced = File::open(&staged.path).and_then(|open| Ok(rustix::fs::syncfs(&open)?));
        synced.map_err(unwritten(&self.path))?;
        // Of two directories in one step; the old one is removed under the name of the new one.
        let flags = if self.old { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(CWD, &staged.path, CWD, &self.path, flags) {
            // Not every file system knows these flags.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match self.old {
                true => fs::remove_dir(&self.path).and_then(|()| fs::rename(&staged.path, &self.path)),
                false => fs::rename(&staged.path, &self.path),
            },
            renamed => renamed.map_err(io::Error::from),
        }
        .map_err(unwritten(&self.path))?;
        Ok(self.path.join("index.html"))
    }
}

/// A directory that is removed unless it got its final name.
struct Staged {
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It has another name now, or nobody is left to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A site that is being written.
struct Site<'a> {
    root: &'a Path,
    files: BTreeSet<String>,
}

impl Site<'_> {
    fn put(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.root.join(name);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(self.root))?;
            File::create_new(&path)?.write_all(text.as_bytes())
        };
        write().map_err(unwritten(&path))?;
        self.files.insert(name.to_owned());
        Ok(())
    }

    /// The page of one check, and the files that it leads to.
    fn check(&mut self, results: &Results, cx: &Context) -> Result<(), Failure> {
        let check = &results.check;
        let mut extras = Extras { plan: false, record: None, diffs: BTreeMap::new() };
        self.put(&format!("{}/{}", check.id, plan::REPORT), &results.report)?;
        if let Some(text) = results.file(plan::PLAN, plan::LONGEST)? {
            let parsed = text.parse::<toml::Table>();
            parsed.map_err(|error| results.wrong(plan::PLAN, error.message().to_owned()))?;
            self.put(&format!("{}/{}", check.id, plan::PLAN), &text)?;
            extras.plan = true;
        }
        let record = check.images.iter().map(|image| &image.name).find(|name| name.ends_with(".record.json"));
        if let Some(record) = record.filter(|name| is_plain(name)) {
            let from = format!("control/{record}");
            if let Some(text) = results.file(&from, LONGEST_RECORD)? {
                let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&text);
                parsed.map_err(|error| results.wrong(&from, error.to_string()))?;
                self.put(&format!("{}/{record}", check.id), &text)?;
                extras.record = Some(record.clone());
            }
        }
        let diffs: BTreeSet<&Diff> = check.findings.iter().filter_map(|one| one.diff.as_ref()).collect();
        for one in diffs {
            cx.interrupt.check()?;
            let bytes = self.diff(results, one)?;
            extras.diffs.extend(bytes.map(|bytes| (one.clone(), bytes)));
        }
        self.put(&format!("{}/index.html", check.id), &pages::check(check, &extras))
    }

    /// Writes a diff; the length of its page, or nothing if the results do not have it any more.
    ///
    /// Only its JSON form is taken, and the page is made of that: a page of others could be anything.
    fn diff(&mut self, results: &Results, one: &Diff) -> Result<Option<usize>, Failure> {
        let from = format!("{}.json", one.place());
        let Some(json) = results.file(&from, LONGEST_DIFF)? else { return Ok(None) };
        let names = check::diffs::names(one.experiment, &one.output);
        let page = diff::page_of(&json, names).map_err(|problem| results.wrong(&from, problem))?;
        self.put(&format!("{}/{from}", results.check.id), &json)?;
        self.put(&format!("{}/{}.html", results.check.id, one.place()), &page)?;
        Ok(Some(page.len()))
    }
}

/// Whether a name can be that of a file and part of an address as it is.
fn is_plain(name: &str) -> bool {
    name.len() <= 200 && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

fn files_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

fn unwritten(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::environment(error).context(format!("cannot write {}", path.display()))
}

//! What differs between the outputs of two builds, by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use selfsame_image::compare::{self, Comparison, Name, Options};
use selfsame_image::extent::{Role, Source};

use crate::execute::BuiltFile;

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Path in the tree of the image, if it is a file of that.
    pub path: Option<Vec<u8>>,
    /// Causes that were recognised in it: names for `selfsame explain`.
    pub causes: Vec<&'static str>,
}

/// All that differs, by name: the output, then what is inside of it.
pub type Differences = BTreeMap<String, Difference>;

/// Compares outputs of the same names.
///
/// The list of packages, the manifest and the record describe the images: they are looked at only if no image differs.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn between(
    first: &[BuiltFile],
    second: &[BuiltFile],
    jobs: NonZero<usize>,
) -> io::Result<Differences> {
    let mut found = Differences::new();
    let (images, others): (Vec<_>, Vec<_>) = first.iter().partition(|file| !describes(&file.path));
    for files in [images, others] {
        for file in files {
            let name = file.path.file_name();
            let other = second.iter().find(|other| other.path.file_name() == name);
            let shown = name.unwrap_or_default().to_string_lossy().into_owned();
            match other {
                Some(other) if other.content == file.content => {}
                Some(other) => one(&shown, &file.path, &other.path, jobs, &mut found)?,
                None => drop(found.insert(shown, Difference { path: None, causes: Vec::new() })),
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn describes(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["manifest", "packages", "json"].iter().any(|one| extension == *one))
}

fn one(
    name: &str,
    first: &Path,
    second: &Path,
    jobs: NonZero<usize>,
    found: &mut Differences,
) -> io::Result<()> {
    let open = |path: &Path| File::open(path).map(|file| Arc::new(file) as Source);
    let report = compare::compare(&open(first)?, &open(second)?, &Options::new(jobs))?;
    let told = report.root.as_ref().is_some_and(|root| inside(name, root, Place::Around, found));
    if !told {
        add(found, name.to_owned(), None, &[]);
    }
    Ok(())
}

/// Where something is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Around the image's tree of files.
    Around,
    /// In a structure of the file system that has them.
    Tree,
}

/// Adds what differs in `comparison`, which is called `name` or is a part of that. False if that is nothing.
fn inside(name: &str, comparison: &Comparison, place: Place, found: &mut Differences) -> bool {
    let has_tree = || comparison.formats.iter().all(|format| matches!(format, Some("squashfs" | "tar")));
    let is_tree = place == Place::Tree || (place == Place::Around && has_tree());
    let of_parts = if is_tree { Place::Tree } else { place };
    let tree = |path: &[u8]| is_tree.then(|| path.to_vec());
    // Files of the image are the same in each output.
    let join = |path: &[u8]| match (is_tree, String::from_utf8_lossy(path)) {
        (true, path) => format!("/{}", path.trim_start_matches('/')),
        (false, path) => format!("{name}: {path}"),
    };
    let causes: Vec<_> = comparison.causes.iter().map(|finding| finding.cause).collect();
    let mut told = false;
    for change in &comparison.changes {
        // Places and checksums follow from what else differs.
        let follows = !change.fields.is_empty()
            && change.bytes.is_none()
            && change.fields.iter().all(|field| field.role != Role::Value);
        // A file that is told itself.
        let silent = change.fields.is_empty()
            && change.bytes.is_none()
            && comparison.members.iter().any(|member| member.name == Name::Path(change.path.clone()));
        if !change.path.is_empty() && !follows && !silent {
            add(found, join(&change.path), tree(&change.path), &causes);
            told = true;
        }
    }
    let mut parts = Vec::new();
    for member in &comparison.members {
        match &member.name {
            // A file of the image is told as a whole.
            Name::Path(path) => {
                let shown = join(path);
                if is_tree || !inside(&shown, member, place, found) {
                    add(found, shown, tree(path), &causes_of(member));
                }
                told = true;
            }
            // Its structures have the paths of the whole.
            Name::Part(_) if inside(name, member, of_parts, found) => told = true,
            Name::Part(part) => parts.push((format!("{name} ({part})"), causes_of(member))),
            Name::Whole => {}
        }
    }
    // What lies in no file follows from what does, mostly: it is told if there is nothing else.
    if !told {
        told = !parts.is_empty();
        parts.into_iter().for_each(|(name, causes)| add(found, name, None, &causes));
    }
    told
}

/// All causes that were recognised in a file and in what is inside of it.
fn causes_of(comparison: &Comparison) -> Vec<&'static str> {
    let own = comparison.causes.iter().map(|finding| finding.cause);
    own.chain(comparison.members.iter().flat_map(causes_of)).collect()
}

fn add(found: &mut Differences, name: String, path: Option<Vec<u8>>, causes: &[&'static str]) {
    let entry = found.entry(name).or_insert(Difference { path, causes: Vec::new() });
    for cause in causes {
        if !entry.causes.contains(cause) {
            entry.causes.push(cause);
        }
    }
}

//! Two directories, compared by path as if they were what an image holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_build::host;
use selfsame_image::compare::{self, Change, Comparison, FieldChange, Name, Options, Report};
use selfsame_image::extent::{Role, Source};

use super::report::readable;
use super::watched;
use crate::commands::Context;
use crate::failure::Failure;

/// What a path of a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    /// Permissions, in octal digits.
    mode: String,
    /// Of a symbolic link.
    target: Option<Vec<u8>>,
    /// Major and minor number of a device.
    device: Option<String>,
    /// Extended attributes, by name.
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of a regular file.
    len: u64,
}

const FILE: &str = "regular file";

impl Entry {
    fn of(path: &Path, found: &Metadata) -> std::io::Result<Self> {
        let kind = found.file_type();
        let device = || {
            let number = found.rdev();
            Some(format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
        };
        let (kind, device) = match kind {
            _ if kind.is_file() => (FILE, None),
            _ if kind.is_dir() => ("directory", None),
            _ if kind.is_symlink() => ("symbolic link", None),
            _ if kind.is_block_device() => ("block device", device()),
            _ if kind.is_char_device() => ("character device", device()),
            _ if kind.is_fifo() => ("named pipe", None),
            _ => ("socket", None),
        };
        let link = || fs::read_link(path).map(|target| target.into_os_string().into_vec());
        let target = if found.is_symlink() { Some(link()?) } else { None };
        let len = if kind == FILE { found.len() } else { 0 };
        let attributes = host::attributes(path.as_os_str().as_bytes(), |_| true)?;
        Ok(Self { kind, mode: format!("{:04o}", found.mode() & 0o7777), target, device, attributes, len })
    }

    /// What the second entry says otherwise than the first.
    fn changes(sides: [&Self; 2]) -> Vec<FieldChange> {
        let own = |text: &str| Some(text.to_owned());
        let fields = [
            ("kind", sides.map(|side| own(side.kind))),
            // All links have the same mode, which nothing looks at.
            ("mode", sides.map(|side| if side.target.is_none() { own(&side.mode) } else { None })),
            ("target", sides.map(|side| side.target.as_deref().map(readable))),
            ("device", sides.map(|side| side.device.clone())),
        ];
        let names: BTreeSet<&Vec<u8>> = sides.iter().flat_map(|side| side.attributes.keys()).collect();
        let attributes = names.into_iter().map(|name| {
            let value = |side: &Self| side.attributes.get(name).map(|value| readable(value));
            (format!("attribute {}", readable(name)), sides.map(value))
        });
        let all = fields.into_iter().map(|(name, values)| (name.to_owned(), values)).chain(attributes);
        all.filter(|(_, [a, b])| a != b)
            .map(|(name, values)| FieldChange { name, values, role: Role::Value })
            .collect()
    }
}

/// Compares two directories with all that is in them.
pub(super) fn compare(roots: [&Path; 2], options: &Options, cx: &Context) -> Result<Report, Failure> {
    let sides = [entries(roots[0])?, entries(roots[1])?];
    let shared = sides[0].iter().filter_map(|(path, entry)| Some(entry.len.min(sides[1].get(path)?.len)));
    let options = &options.clone().watched(watched::watch(cx, Some(shared.sum())));
    let total = |side: &BTreeMap<PathBuf, Entry>| side.values().map(|entry| entry.len).sum();
    let mut root = Comparison {
        sizes: sides.each_ref().map(total),
        formats: [Some("directory"); 2],
        ..Comparison::default()
    };
    let (mut differing, mut explained) = (0, 0);
    let paths: BTreeSet<&PathBuf> = sides.iter().flat_map(BTreeMap::keys).collect();
    for path in paths {
        let both = sides.each_ref().map(|side| side.get(path));
        let name = path.as_os_str().as_bytes().to_vec();
        let mut change = Change { path: name.clone(), ..Change::default() };
        match both {
            [Some(a), Some(b)] => {
                let compared = a.kind == FILE && b.kind == FILE;
                if !compared {
                    // One of them has no bytes.
                    differing += a.len + b.len;
                    explained += a.len + b.len;
                } else if let Some(found) = files(roots, path, options, cx.settings.temporary())? {
                    differing += found.differing;
                    explained += found.explained;
                    let member = found.root.map(|found| Comparison { name: Name::Path(name), ..found });
                    root.members.extend(member);
                }
                let fields = Entry::changes([a, b]);
                if !fields.is_empty() {
                    let places = [a, b].map(|entry| Some((0, if compared { 0 } else { entry.len })));
                    root.changes.push(Change { structure: "entry", fields, places, ..change });
                }
            }
            [one, other] => {
                let Some(entry) = one.or(other) else { continue };
                change.structure = entry.kind;
                change.places = [one, other].map(|side| side.map(|entry| (0, entry.len)));
                differing += entry.len;
                explained += entry.len;
                root.changes.push(change);
            }
        }
    }
    let same = root.changes.is_empty() && root.members.is_empty();
    Ok(Report { differing, explained, root: (!same).then_some(root) })
}

/// What differs in a file of both.
fn files(
    roots: [&Path; 2],
    path: &Path,
    options: &Options,
    temporary: &Path,
) -> Result<Option<Report>, Failure> {
    let paths = roots.map(|root| root.join(path));
    let open = |path: &Path| -> Result<Source, Failure> {
        let file = File::open(path).and_then(|file| super::whole(file, temporary));
        Ok(Arc::new(file.map_err(|error| unreadable(path, error))?))
    };
    let found = compare::compare(&open(&paths[0])?, &open(&paths[1])?, options);
    let found = found.map_err(|error| {
        Failure::input(error).context(format!(
            "cannot read all of {} and {}",
            paths[0].display(),
            paths[1].display()
        ))
    })?;
    Ok(found.root.is_some().then_some(found))
}

/// All paths below a directory, and what they are. Links are not followed.
fn entries(root: &Path) -> Result<BTreeMap<PathBuf, Entry>, Failure> {
    let mut all = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    let found = fs::symlink_metadata(root.join(".")).map_err(|error| unreadable(root, error))?;
    let own = Entry::of(&root.join("."), &found).map_err(|error| unreadable(root, error))?;
    all.insert(PathBuf::from("."), own);
    while let Some(directory) = open.pop() {
        let full = root.join(&directory);
        let list = fs::read_dir(&full).map_err(|error| unreadable(&full, error))?;
        for one in list {
            let one = one.map_err(|error| unreadable(&full, error))?;
            let (path, place) = (directory.join(one.file_name()), one.path());
            let found = fs::symlink_metadata(&place).map_err(|error| unreadable(&place, error))?;
            let entry = Entry::of(&place, &found).map_err(|error| unreadable(&place, error))?;
            if found.is_dir() {
                open.push(path.clone());
            }
            all.insert(path, entry);
        }
    }
    Ok(all)
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    Failure::input(error).context(format!("cannot read {}", path.display()))
}

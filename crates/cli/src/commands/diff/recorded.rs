//! A published image stands for itself by its record and manifest: what `--old-manifest` compares an image with.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use selfsame_build::record::PREDICATE_TYPE;
use selfsame_image::compare::{self, Options};
use selfsame_image::detect::{self, Format};
use selfsame_image::digest::Digest;
use selfsame_image::extent::Source;
use selfsame_image::io::{Cursor, Window};
use selfsame_image::tree::{self, Content, Item, Kind, Meta, Tree};
use selfsame_image::{iso9660, squashfs, tar};
use serde::Deserialize;

use crate::commands::given;
use crate::failure::Failure;

/// Longest record that is read: 16 MiB, some thousand times as long as an honest one.
const LONGEST_RECORD: u64 = 16 << 20;
/// Longest manifest that is read: 1 GiB, for some six million files.
const LONGEST_MANIFEST: u64 = 1 << 30;

/// Images that hold a tree.
#[derive(Clone, Copy, Debug)]
enum Image {
    Iso,
    Squashfs,
    Tar,
}

impl Image {
    /// What the name of such an output ends in.
    fn extension(self) -> &'static str {
        match self {
            Self::Iso => "iso",
            Self::Squashfs => "squashfs",
            Self::Tar => "tar",
        }
    }
}

/// What a build wrote down, as far as it is asked for.
#[derive(Debug, Deserialize)]
struct Record {
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    name: String,
    digest: BTreeMap<String, String>,
}

impl Record {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = given::text(path, LONGEST_RECORD, "the record")?;
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::input(error).context(format!("{} is no record of a build", path.display())).hint(
                "give the NAME.record.json that was published with the image, with NAME.manifest beside it",
            )
        };
        let record: Self = serde_json::from_str(&text).map_err(|error| wrong(error.into()))?;
        if record.predicate_type != PREDICATE_TYPE {
            return Err(wrong(format!("its predicateType is not {PREDICATE_TYPE:?}").into()));
        }
        Ok(record)
    }

    /// The SHA-256 of the file whose name ends in `.extension`, and its name.
    fn subject(&self, extension: &str) -> Option<(&str, Digest)> {
        let is_it = |subject: &&Subject| {
            subject.name.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && end == extension)
        };
        let subject = self.subject.iter().find(is_it)?;
        Some((&subject.name, subject.digest.get("sha256")?.parse().ok()?))
    }
}

/// Compares `image` with the image that `record` is of: first by digest, then the trees, line by line of their manifests.
pub(super) fn compare(
    record: &Path,
    image: &Source,
    name: &Path,
    options: &Options,
) -> Result<compare::Report, Failure> {
    let unreadable = |error| Failure::input(error).context(format!("cannot read {}", name.display()));
    let old = Record::read(record)?;
    let kind = match detect::format(image).map_err(unreadable)? {
        Some(Format::Iso9660) => Image::Iso,
        Some(Format::Squashfs) => Image::Squashfs,
        Some(Format::Tar) => Image::Tar,
        _ => {
            let message = format!("{} is no ISO image, SquashFS or tar", name.display());
            return Err(Failure::input(message).hint("--old-manifest compares the tree in one of these"));
        }
    };
    let extension = kind.extension();
    let (Some((published, digest)), Some(manifest)) = (old.subject(extension), old.subject("manifest"))
    else {
        let message = format!("{} is of no image with the extension .{extension}", record.display());
        return Err(
            Failure::input(message).hint("give the record that was published with this kind of image")
        );
    };
    let manifest = beside(record, manifest)?;
    let found = digest_of(image).map_err(unreadable)?;
    let [mut first, mut second] = [digest, found].map(|digest| format!("{published}: sha256 {digest}\n"));
    if found != digest {
        let tree = content_tree(image, kind, options.jobs).map_err(|error| {
            Failure::input(error).context(format!("cannot read the tree in {}", name.display()))
        })?;
        let lines = differing(&manifest, &tree::text::to_string(&tree));
        first.push_str(&lines[0]);
        second.push_str(&lines[1]);
    }
    let source = |text: String| Arc::new(text.into_bytes()) as Source;
    compare::compare(&source(first), &source(second), options).map_err(unreadable)
}

/// The manifest that lies beside the record under the name that it has there.
fn beside(record: &Path, (name, digest): (&str, Digest)) -> Result<String, Failure> {
    // A record may come from anybody; it does not choose files elsewhere.
    if name.contains('/') {
        let message = format!("{} names a manifest in another directory", record.display());
        return Err(Failure::input(message).hint("it has to lie beside the record"));
    }
    let path = record.with_file_name(name);
    let text = given::text(&path, LONGEST_MANIFEST, "the manifest")
        .map_err(|failure| failure.hint("it is looked for beside the record"))?;
    if Digest::of(text.as_bytes()) != digest {
        let message = format!("{} is not the manifest of {}", path.display(), record.display());
        return Err(Failure::input(message).hint("download both again: their digests do not fit"));
    }
    // A record may vouch for what is none, or for one of a later version of this program.
    tree::text::parse(text.as_bytes()).map_err(|error| {
        Failure::input(error).context(format!("{} is no manifest", path.display())).hint(
            "it may have been written by a later selfsame: compare with that one, or with the image itself",
        )
    })?;
    Ok(text)
}

/// The lines of both manifests, by path, that are not in the other one: nearly all of two is the same.
fn differing(old: &str, new: &str) -> [String; 2] {
    // Behind the heading, each line begins with a path of its own.
    let by_path = |text| {
        let lines = str::lines(text).skip(1);
        lines.map(|line| (line.split(' ').next().unwrap_or_default(), line)).collect::<BTreeMap<_, _>>()
    };
    let sides = [by_path(old), by_path(new)];
    [0, 1].map(|side| {
        let lines = sides[side].iter().filter(|(path, line)| sides[1 - side].get(*path) != Some(line));
        lines.flat_map(|(_, line)| [*line, "\n"]).collect()
    })
}

fn digest_of(source: &Source) -> io::Result<Digest> {
    let (digest, _) = Digest::of_reader(&mut BufReader::with_capacity(1 << 20, Cursor::new(source, 0)))?;
    Ok(digest)
}

type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// The tree that the image holds: that of the only SquashFS in an ISO image.
fn content_tree(image: &Source, kind: Image, jobs: NonZero<usize>) -> Result<Tree, Unreadable> {
    match kind {
        Image::Squashfs => Ok(squashfs::Image::open(image.clone())?.to_content_tree(jobs)?.0),
        Image::Tar => {
            let archive = BufReader::with_capacity(1 << 20, Cursor::new(image, 0));
            let mut reader = tar::Reader::new(archive, tar::Dialect::Any);
            Ok(tar::collect(&mut reader, Meta::root(0o755, 0), |_, mut body| {
                let (digest, size) = Digest::of_reader(&mut body)?;
                Ok(Content { size, digest })
            })?)
        }
        Image::Iso => {
            let volume = iso9660::open(image)?;
            let files = iso9660::read_tree(image, &volume, volume.names)?;
            let mut inside = Vec::new();
            files.walk(|_, entry| {
                if let Item::Leaf(_, Kind::File(extents)) = entry.item
                    && let [extent] = extents[..]
                {
                    let window = Window::new(image.clone(), extent.at, extent.len);
                    if detect::format(&window)? == Some(Format::Squashfs) {
                        inside.push(window);
                    }
                }
                Ok::<(), io::Error>(())
            })?;
            let count = inside.len();
            let (Some(squashfs), 1) = (inside.pop(), count) else {
                return Err(format!("it has {count} files with a SquashFS, not one").into());
            };
            Ok(squashfs::Image::open(squashfs)?.to_content_tree(jobs)?.0)
        }
    }
}

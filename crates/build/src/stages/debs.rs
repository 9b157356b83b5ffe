//! The packages with plain data archives, made side by side before anything needs them: `dpkg` unpacks them in half the
//! time, and whoever wants a file of a package reads it where it lies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_image::deb::Deb;
use selfsame_image::digest::Hasher;
use selfsame_image::io::{Cursor, ReadAt, Window};
use selfsame_image::par::map_ordered;
use selfsame_image::tar::{self, Dialect};
use selfsame_image::tree::{Content, Contents, Kind, Leaf, Meta};
use selfsame_image::{Digest, Tree};
use selfsame_store::Scratch;

use super::unpack::{LARGEST_PACKAGE, UnpackError, title};
use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder};
use crate::lock::Package;

/// Packages with plain data archives, in a directory that lasts as long as the last of those that share it.
#[derive(Clone)]
pub(crate) struct PlainDebs {
    dir: Arc<Scratch>,
    /// Place and length of the data archive in the file, by the package's digest.
    data: BTreeMap<Digest, (u64, u64)>,
}

impl PlainDebs {
    /// None yet.
    pub(crate) fn new(builder: &Builder<'_>) -> Result<Self, BuildError> {
        Ok(Self { dir: Arc::new(builder.store.scratch()?), data: BTreeMap::new() })
    }

    /// These and `packages`, which are decompressed.
    pub(crate) fn and(&self, builder: &Builder<'_>, packages: &[&Package]) -> Result<Self, BuildError> {
        let stage = Stage::Unpack;
        let mut debs = self.clone();
        let dir = debs.dir.path().to_owned();
        map_ordered(
            builder.jobs,
            packages.iter(),
            |package| {
                let data = rewrite(builder, package, &place(&dir, &package.file.sha256));
                (package.file.sha256, data)
            },
            |(digest, data)| {
                debs.data.insert(digest, data?);
                builder.observer.on(Event::Advanced { stage, amount: 1 });
                if crate::host::interrupted() { Err(BuildError::Interrupted) } else { Ok(()) }
            },
        )?;
        Ok(debs)
    }

    /// The file of a package.
    pub(crate) fn path(&self, package: &Package) -> PathBuf {
        place(self.dir.path(), &package.file.sha256)
    }

    /// The files of `package`, in order.
    pub(crate) fn reader(
        &self,
        package: &Package,
    ) -> Result<(Arc<File>, u64, tar::Reader<impl io::Read + use<>>), UnpackError> {
        let (start, length) =
            *self.data.get(&package.file.sha256).ok_or_else(|| UnpackError::Missing(title(package)))?;
        let open = |source| UnpackError::Read { package: title(package), path: "data.tar".into(), source };
        let file = Arc::new(File::open(self.path(package)).map_err(open)?);
        let window = Window::new(Arc::clone(&file), start, length);
        let plain = io::BufReader::with_capacity(1 << 16, Cursor::new(window, 0));
        Ok((file, start, tar::Reader::new(plain, Dialect::Dpkg)))
    }

    /// The tree that `packages` have together if no script of theirs changes anything, as it was on the way into a root
    /// with merged directories. A guess at what will be packed, good enough to compress most of it beforehand.
    pub(crate) fn tree(&self, packages: &[&Package]) -> Result<(Tree, DebContents), UnpackError> {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        let mut contents = DebContents::default();
        for package in packages {
            let broken = |source| UnpackError::Tar { package: title(package), source };
            let (file, start, mut reader) = self.reader(package)?;
            let number = contents.files.len();
            contents.files.push(file);
            while let Some(entry) = reader.next().map_err(broken)? {
                let path = merged(&entry.path);
                let kind = match &entry.kind {
                    tar::Kind::Dir => {
                        // A directory that is there already stays; one whose parent is missing does not matter here.
                        let _ = tree.insert_dir(&path, entry.meta());
                        continue;
                    }
                    tar::Kind::File { .. } => {
                        let at = start + reader.position();
                        let mut hasher = Hasher::new();
                        let size = io::copy(&mut reader.body(), &mut hasher).map_err(|source| {
                            UnpackError::Read {
                                package: title(package),
                                path: String::from_utf8_lossy(&path).into_owned(),
                                source,
                            }
                        })?;
                        let content = Content { size, digest: hasher.finish() };
                        contents.places.insert(content.digest, (number, at, size));
                        Kind::File(content)
                    }
                    tar::Kind::Symlink(target) => Kind::Symlink(target.as_slice().into()),
                    tar::Kind::Hardlink(target) => {
                        let Some(entry) = tree.get(&merged(target)) else { continue };
                        let selfsame_image::tree::Item::Leaf(id, _) = entry.item else { continue };
                        tree.remove(&path);
                        let _ = tree.link(&path, id);
                        continue;
                    }
                    _ => continue,
                };
                tree.remove(&path);
                let _ = tree.insert(&path, Leaf { meta: entry.meta(), kind });
            }
        }
        Ok((tree, contents))
    }
}

fn place(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(format!("{digest}.deb"))
}

/// A path as it is where `/bin`, `/lib` and the like are links into `/usr`.
fn merged(path: &[u8]) -> Vec<u8> {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    let moved = matches!(first, b"bin" | b"lib" | b"lib32" | b"lib64" | b"libx32" | b"sbin");
    if moved { [b"usr/", path].concat() } else { path.to_vec() }
}

/// Writes `package` to `target` with a plain data archive; returns where that begins and how long it is.
fn rewrite(builder: &Builder<'_>, package: &Package, target: &Path) -> Result<(u64, u64), BuildError> {
    let broken = |source| UnpackError::Deb { package: title(package), source };
    let file = builder.store.open_verified(&package.file.sha256)?;
    let deb = Deb::open(file.ok_or_else(|| UnpackError::Missing(title(package)))?).map_err(broken)?;
    let mut plain = deb.data_plain(LARGEST_PACKAGE).map_err(broken)?;
    let (control, _) = deb.control_member();
    let mut write = || -> io::Result<(u64, u64)> {
        let mut control_bytes =
            vec![0; usize::try_from(control.size).map_err(|_| io::ErrorKind::InvalidData)?];
        deb.source().read_exact_at(&mut control_bytes, control.start)?;
        let mut out = BufWriter::with_capacity(1 << 18, File::create_new(target)?);
        out.write_all(b"!<arch>\n")?;
        member(&mut out, "debian-binary", 4)?;
        out.write_all(b"2.0\n")?;
        member(&mut out, &control.name, control.size)?;
        out.write_all(&control_bytes)?;
        out.write_all(&[b'\n'][..usize::from(control.size % 2 == 1)])?;
        let header = out.stream_position()?;
        member(&mut out, "data.tar", 0)?;
        let length = io::copy(&mut plain, &mut out)?;
        out.write_all(&[b'\n'][..usize::from(length % 2 == 1)])?;
        out.seek(SeekFrom::Start(header))?;
        member(&mut out, "data.tar", length)?;
        out.flush()?;
        // The sandbox reads it as another user.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(target, mode)?;
        Ok((header + HEADER, length))
    };
    let failed = |source| BuildError::Prepare { stage: Stage::Unpack, path: target.to_owned(), source };
    write().map_err(failed)
}

/// Length of the header of a member of an ar archive.
const HEADER: u64 = 60;

/// Writes the header of a member, as deb(5) has it.
fn member(out: &mut impl Write, name: &str, size: u64) -> io::Result<()> {
    writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, "100644")
}

/// Files of packages, where they lie in the plain archives.
#[derive(Default)]
pub(crate) struct DebContents {
    files: Vec<Arc<File>>,
    places: BTreeMap<Digest, (usize, u64, u64)>,
}

impl Contents for DebContents {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let (number, at, size) = *self.places.get(&content.digest).ok_or(io::ErrorKind::NotFound)?;
        let file = Arc::clone(self.files.get(number).ok_or(io::ErrorKind::NotFound)?);
        Ok(Arc::new(Window::new(file, at, size)))
    }
}

//! Temporary.
use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use selfsame_image::tree::{Content, Contents, Kind, Leaf, LeafId, Meta};
use selfsame_image::{Digest, ReadAt, Tree};
use super::IdShift;
/// e
#[derive(Debug, thiserror::Error)]
#[error("cannot capture {}", .0.display())]
pub struct CaptureError(PathBuf, #[source] io::Error);
/// c
#[derive(Debug)]
pub struct DirContents(BTreeMap<Digest, PathBuf>);
impl Contents for DirContents {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let path = self.0.get(&content.digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(std::fs::File::open(path)?))
    }
}
/// capture
pub fn capture(root: &Path, shift: IdShift, _jobs: NonZero<usize>) -> Result<(Tree, DirContents), CaptureError> {
    let err = |p: &Path| { let p = p.to_owned(); move |e| CaptureError(p, e) };
    let m = std::fs::symlink_metadata(root).map_err(err(root))?;
    let mut tree = Tree::new(meta(&m, shift));
    let mut paths = BTreeMap::new();
    let mut links: BTreeMap<(u64, u64), LeafId> = BTreeMap::new();
    let mut stack = vec![(root.to_owned(), Vec::new())];
    while let Some((dir, at)) = stack.pop() {
        let mut names: Vec<_> = std::fs::read_dir(&dir).map_err(err(&dir))?.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let host = dir.join(&name);
            let m = std::fs::symlink_metadata(&host).map_err(err(&host))?;
            let mut path: Vec<u8> = at.clone();
            if !path.is_empty() { path.push(b'/'); }
            path.extend_from_slice(name.as_bytes());
            let mut meta = meta(&m, shift);
            if m.is_file() {
                let mut buf = [0u8; 256];
                if let Ok(n) = rustix::fs::lgetxattr(&host, "security.capability", &mut buf) {
                    let mut v = buf[..n].to_vec();
                    if v.len() == 24 { v.truncate(20); v[3] = 2; }
                    meta.xattrs.insert(b"security.capability".as_slice().into(), v.into());
                }
            }
            if m.is_dir() { tree.insert_dir(&path, meta).unwrap(); stack.push((host, path)); continue; }
            if m.nlink() > 1 && let Some(id) = links.get(&(m.dev(), m.ino())) { tree.link(&path, *id).unwrap(); continue; }
            let kind = if m.is_symlink() { Kind::Symlink(std::fs::read_link(&host).unwrap().as_os_str().as_bytes().into()) }
                else if m.is_file() {
                    let (digest, size) = Digest::of_reader(&mut std::fs::File::open(&host).map_err(err(&host))?).map_err(err(&host))?;
                    paths.insert(digest, host.clone());
                    Kind::File(Content { size, digest })
                } else { panic!("special {}", host.display()) };
            let id = tree.insert(&path, Leaf { meta, kind }).unwrap();
            links.insert((m.dev(), m.ino()), id);
        }
    }
    Ok((tree, DirContents(paths)))
}
fn meta(m: &std::fs::Metadata, shift: IdShift) -> Meta {
    Meta { mode: (m.mode() & 0o7777) as u16, uid: shift.inside(m.uid()).expect("id"), gid: shift.inside(m.gid()).expect("gid"), mtime: m.mtime(), xattrs: BTreeMap::new() }
}

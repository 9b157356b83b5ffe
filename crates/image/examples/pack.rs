//! Packs a directory of this machine into a SquashFS image: `pack DIRECTORY IMAGE CODEC BLOCK_SIZE JOBS`.
//!
//! For measuring the writer; what it leaves out (extended attributes) is captured by the build, not by images.
#![allow(clippy::disallowed_methods, reason = "an example is a program: it opens paths")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_image::squashfs::{self, Options};
use selfsame_image::tree::{Content, Contents, Kind, Leaf, LeafId, Meta};
use selfsame_image::{Digest, Epoch, ReadAt, Tree};

/// Files of the host, by digest.
#[derive(Default)]
struct Host(BTreeMap<Digest, PathBuf>);

impl Contents for Host {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let path = self.0.get(&content.digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(File::open(path)?))
    }
}

struct Capture {
    tree: Tree,
    host: Host,
    links: BTreeMap<(u64, u64), LeafId>,
}

impl Capture {
    fn directory(&mut self, host: &Path, path: &[u8]) -> Result<(), Box<dyn Error>> {
        let mut entries = fs::read_dir(host)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let (name, host) = (entry.file_name(), entry.path());
            let path = [path, if path.is_empty() { b"" } else { b"/" }, name.as_bytes()].concat();
            let meta = fs::symlink_metadata(&host)?;
            if meta.is_dir() {
                self.tree.insert_dir(&path, to_meta(&meta)?)?;
                self.directory(&host, &path)?;
            } else if let Some(id) = self.links.get(&(meta.dev(), meta.ino())) {
                self.tree.link(&path, *id)?;
            } else if let Some(kind) = self.kind(&host, &meta)? {
                let id = self.tree.insert(&path, Leaf { meta: to_meta(&meta)?, kind })?;
                self.links.insert((meta.dev(), meta.ino()), id);
            }
        }
        Ok(())
    }

    fn kind(&mut self, host: &Path, meta: &fs::Metadata) -> Result<Option<Kind>, Box<dyn Error>> {
        if meta.is_symlink() {
            return Ok(Some(Kind::Symlink(fs::read_link(host)?.as_os_str().as_bytes().into())));
        } else if !meta.is_file() {
            return Ok(None);
        }
        let (digest, size) = Digest::of_reader(&mut File::open(host)?)?;
        self.host.0.insert(digest, host.to_owned());
        Ok(Some(Kind::File(Content { size, digest })))
    }
}

fn to_meta(meta: &fs::Metadata) -> Result<Meta, Box<dyn Error>> {
    let mode = u16::try_from(meta.mode() & 0o7777)?;
    Ok(Meta { mode, uid: meta.uid(), gid: meta.gid(), mtime: meta.mtime(), xattrs: BTreeMap::new() })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, image, codec, block_size, jobs] = &arguments[..] else {
        return Err("usage: pack DIRECTORY IMAGE CODEC BLOCK_SIZE JOBS".into());
    };
    let text = |argument: &OsStr| argument.to_str().map(str::to_owned).ok_or("arguments are UTF-8");
    let options = Options {
        block_size: text(block_size)?.parse()?,
        codec: text(codec)?.parse()?,
        epoch: Epoch(u32::MAX),
        export_table: true,
        sort: None,
        cache: None,
        progress: None,
    };
    let root = to_meta(&fs::metadata(directory)?)?;
    let mut capture = Capture { tree: Tree::new(root), host: Host::default(), links: BTreeMap::new() };
    capture.directory(Path::new(directory), b"")?;
    let mut out = File::create(image)?;
    let written = squashfs::write(&capture.tree, &capture.host, &options, text(jobs)?.parse()?, &mut out)?;
    println!("{written:#?}");
    Ok(())
}

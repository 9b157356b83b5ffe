//! Pack: the tree becomes a SquashFS or a tar.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use selfsame_image::io::ReadAt;
use selfsame_image::tree::{Content, Contents};
use selfsame_image::{Digest, squashfs, tar};
use selfsame_store::Scratch;

use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder};
use crate::host;
use crate::recipe::Output;
use crate::record::Component;

use super::collect::Collected;

/// What packing gave.
pub(crate) struct Packed {
    /// The tree that was packed.
    pub(crate) collected: Collected,
    /// Outputs that are finished, all in the store.
    pub(crate) outputs: Vec<(Output, Content)>,
    /// Parts of the outputs.
    pub(crate) components: Vec<Component>,
    /// The SquashFS, if one was asked for or is a part of an output.
    pub(crate) squashfs: Option<Squashed>,
}

/// A SquashFS that is not in the store: an output that holds it is made of this file.
pub(crate) struct Squashed {
    pub(crate) content: Content,
    path: PathBuf,
    _dir: Scratch,
}

impl Contents for Squashed {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        if *content != self.content {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(File::open(&self.path)?))
    }
}

/// Writes all outputs that need nothing but the tree.
pub(crate) fn run(builder: &Builder<'_>, collected: Collected) -> Result<Packed, BuildError> {
    let mut packed = Packed { collected, outputs: Vec::new(), components: Vec::new(), squashfs: None };
    builder.stage(Stage::Pack, builder.plan.squashfs, || {
        let outputs = builder.plan.outputs.iter().map(|(output, _)| *output);
        if outputs.clone().any(|output| matches!(output, Output::Squashfs | Output::Iso)) {
            let squashed = squash(builder, &packed.collected)?;
            let Content { size, digest } = squashed.content;
            packed.components.push(Component::new("squashfs", size, digest));
            packed.squashfs = Some(squashed);
        }
        for output in outputs {
            let content = match (output, &packed.squashfs) {
                (Output::Squashfs, Some(squashed)) => keep(builder, squashed)?,
                (Output::Tar, _) => archive(builder, &packed.collected)?,
                _ => continue,
            };
            packed.outputs.push((output, content));
        }
        Ok(((), false))
    })?;
    Ok(packed)
}

fn squash(builder: &Builder<'_>, collected: &Collected) -> Result<Squashed, BuildError> {
    let stage = Stage::Pack;
    let dir = builder.store.scratch()?;
    let path = dir.path().join("squashfs");
    let io = |source| BuildError::Prepare { stage, path: path.clone(), source };
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(io)?;
    let told = std::cell::Cell::new(0);
    let progress = |done: u64, total: u64| {
        if told.get() == 0 {
            builder.observer.on(Event::Total { stage, amount: total });
        }
        builder.observer.on(Event::Advanced { stage, amount: done - told.get() });
        told.set(done);
    };
    let blocks = builder.blocks();
    blocks.prefetch(&collected.tree, &builder.squashfs(), &host::interrupted);
    let options = squashfs::Options { cache: Some(&blocks), progress: Some(&progress), ..builder.squashfs() };
    let mut out = BufWriter::with_capacity(1 << 20, Interruptible(&mut file));
    squashfs::write(&collected.tree, &collected.contents, &options, builder.jobs, &mut out)
        .map_err(write(stage))?;
    out.flush().map_err(io)?;
    drop(out);
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let (digest, size) = Digest::of_reader(&mut file).map_err(io)?;
    Ok(Squashed { content: Content { size, digest }, path, _dir: dir })
}

/// Puts a SquashFS that is an output of its own into the store.
fn keep(builder: &Builder<'_>, squashed: &Squashed) -> Result<Content, BuildError> {
    let io = |source| BuildError::Prepare { stage: Stage::Pack, path: squashed.path.clone(), source };
    let mut file = File::open(&squashed.path).map_err(io)?;
    let mut blob = Interruptible(builder.store.writer()?.announce(squashed.content.size));
    std::io::copy(&mut file, &mut blob).map_err(io)?;
    Ok(blob.0.finish(Some(squashed.content))?)
}

fn archive(builder: &Builder<'_>, collected: &Collected) -> Result<Content, BuildError> {
    let mut blob = BufWriter::with_capacity(1 << 20, Interruptible(builder.store.writer()?));
    tar::write(&collected.tree, &collected.contents, builder.epoch(), &mut blob)
        .map_err(write(Stage::Pack))?;
    let blob = blob.into_inner().map_err(|error| write(Stage::Pack)(error.into_error()))?;
    Ok(blob.0.finish(None)?)
}

/// Fails as soon as the user asked to stop: writers have no other ear.
pub(crate) struct Interruptible<W>(pub(crate) W);

impl<W: Write> Write for Interruptible<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if host::interrupted() { Err(std::io::Error::other("interrupted")) } else { self.0.write(bytes) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl<W: Seek> Seek for Interruptible<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

/// Names the stage in which a writer failed.
pub(crate) fn write<E: std::error::Error + Send + Sync + 'static>(stage: Stage) -> impl Fn(E) -> BuildError {
    move |source| BuildError::Write { stage, source: Box::new(source) }
}

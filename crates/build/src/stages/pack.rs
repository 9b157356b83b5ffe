//! Pack: the tree becomes a SquashFS or a tar.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use selfsame_image::io::{Cursor, Window};
use selfsame_image::tree::Content;
use selfsame_image::{Digest, squashfs, tar};
use selfsame_store::BlobFile;

use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder};
use crate::host;
use crate::recipe::Output;
use crate::record::Component;

use super::collect::Collected;
use super::frame::Frame;

/// What packing gave.
pub(crate) struct Packed {
    /// The tree that was packed.
    pub(crate) collected: Collected,
    /// Outputs that are finished, all in the store.
    pub(crate) outputs: Vec<(Output, Content)>,
    /// Parts of the outputs.
    pub(crate) components: Vec<Component>,
    /// The SquashFS in its place in an ISO image, if there is to be one.
    pub(crate) squashed: Option<Squashed>,
}

/// An ISO image that has nothing yet but its SquashFS.
pub(crate) struct Squashed {
    /// What belongs around it.
    pub(crate) frame: Frame,
    /// The byte of the image at which the SquashFS begins.
    pub(crate) at: u64,
    /// The SquashFS.
    pub(crate) content: Content,
    /// The image.
    pub(crate) file: BlobFile,
}

/// Writes all outputs that need nothing but the tree.
pub(crate) fn run(builder: &Builder<'_>, collected: Collected) -> Result<Packed, BuildError> {
    let mut packed = Packed { collected, outputs: Vec::new(), components: Vec::new(), squashed: None };
    builder.stage(Stage::Pack, builder.plan.squashfs, || {
        let wanted: Vec<_> = builder.plan.outputs.iter().map(|(output, _)| *output).collect();
        let mut squashed = None;
        if wanted.contains(&Output::Iso) {
            let frame = Frame::new(builder)?;
            let at = frame.squashfs_at(builder)?;
            let file = builder.store.file()?;
            let size = squash(builder, &packed.collected, &file, at)?;
            let content = content_of(&file, at, size)?;
            if wanted.contains(&Output::Squashfs) {
                packed.outputs.push((Output::Squashfs, keep(builder, &file, at, content)?));
            }
            packed.squashed = Some(Squashed { frame, at, content, file });
            squashed = Some(content);
        } else if wanted.contains(&Output::Squashfs) {
            let file = builder.store.file()?;
            squash(builder, &packed.collected, &file, 0)?;
            let content = file.finish(None)?;
            packed.outputs.push((Output::Squashfs, content));
            squashed = Some(content);
        }
        if let Some(Content { size, digest }) = squashed {
            packed.components.push(Component::new("squashfs", size, digest));
        }
        if wanted.contains(&Output::Tar) {
            packed.outputs.push((Output::Tar, archive(builder, &packed.collected)?));
        }
        Ok(((), false))
    })?;
    Ok(packed)
}

/// Writes a SquashFS at byte `at` of `file` and returns its length.
fn squash(builder: &Builder<'_>, collected: &Collected, file: &BlobFile, at: u64) -> Result<u64, BuildError> {
    let stage = Stage::Pack;
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
    let mut out = BufWriter::with_capacity(1 << 20, Interruptible(file.file()));
    out.seek(SeekFrom::Start(at)).map_err(write(stage))?;
    let written = squashfs::write(&collected.tree, &collected.contents, &options, builder.jobs, &mut out)
        .map_err(write(stage))?;
    out.flush().map_err(write(stage))?;
    Ok(written.size)
}

/// The `size` bytes of `file` from `at` on, hashed.
fn content_of(file: &BlobFile, at: u64, size: u64) -> Result<Content, BuildError> {
    // Its first bytes are known last, so hashing cannot go along with writing.
    let part = Cursor::new(Window::new(file.file(), at, size), 0);
    let mut part = io::BufReader::with_capacity(1 << 17, part);
    let (digest, size) = Digest::of_reader(&mut part).map_err(write(Stage::Pack))?;
    Ok(Content { size, digest })
}

/// Puts a SquashFS that is an output of its own into the store; the kernel copies it.
fn keep(builder: &Builder<'_>, file: &BlobFile, at: u64, content: Content) -> Result<Content, BuildError> {
    let blob = builder.store.file()?;
    let mut from = file.file();
    from.seek(SeekFrom::Start(at)).map_err(write(Stage::Pack))?;
    io::copy(&mut io::Read::take(from, content.size), &mut blob.file()).map_err(write(Stage::Pack))?;
    Ok(blob.finish(Some(content))?)
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

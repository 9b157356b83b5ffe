//! Finalise and pack: the layers are captured once, freed of what belongs to one build, and turned into bytes.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;

use selfsame_image::tree::{Content, Layered, Memory};
use selfsame_image::{Tree, squashfs, tar};

use crate::blocks::Blocks;
use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder};
use crate::host::{self, CaptureLimits, DirContents};
use crate::recipe::Output;
use crate::record::Component;

use super::finalise::finalise;
use super::layers::Layer;

/// What packing gave.
pub(crate) struct Packed {
    /// The final tree.
    pub(crate) tree: Tree,
    /// Outputs that are finished, all in the store.
    pub(crate) outputs: Vec<(Output, Content)>,
    /// Parts of the outputs.
    pub(crate) components: Vec<Component>,
    /// The SquashFS, if one was asked for or is a part of an output.
    pub(crate) squashfs: Option<Content>,
    /// The bytes of the tree's files, and the mount they lie in.
    pub(crate) contents: Layered<Memory, DirContents>,
    _mounted: host::Mounted,
    _dir: WorkDir,
}

/// A directory of this process for merging layers and for files under way; removed when dropped.
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    fn create(builder: &Builder<'_>) -> Result<Self, BuildError> {
        let dir = Self(builder.store.work_dir("pack")?.join(std::process::id().to_string()));
        let prepare = |source| BuildError::Prepare { stage: Stage::Pack, path: dir.0.clone(), source };
        if dir.0.symlink_metadata().is_ok() {
            host::remove_tree(&dir.0).map_err(prepare)?;
        }
        std::fs::create_dir_all(dir.0.join("merged")).map_err(prepare)?;
        Ok(dir)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build of a process with this number.
        let _ = host::remove_tree(&self.0);
    }
}

/// Captures the merged `layers`, the topmost first, and writes all outputs that need nothing else.
pub(crate) fn run(builder: &Builder<'_>, layers: &[&Layer]) -> Result<Packed, BuildError> {
    let mut packed =
        builder.stage(Stage::Finalise, builder.plan.tree, || Ok((capture(builder, layers)?, false)))?;
    builder.stage(Stage::Pack, builder.plan.squashfs, || {
        for (output, _) in &builder.plan.outputs {
            match output {
                Output::Squashfs | Output::Iso => {
                    let content = match packed.squashfs {
                        Some(content) => content,
                        None => squash(builder, &mut packed)?,
                    };
                    if *output == Output::Squashfs {
                        packed.outputs.push((*output, content));
                    }
                }
                Output::Tar => {
                    let content = archive(builder, &packed)?;
                    packed.outputs.push((*output, content));
                }
            }
        }
        Ok(((), false))
    })?;
    Ok(packed)
}

fn capture(builder: &Builder<'_>, layers: &[&Layer]) -> Result<Packed, BuildError> {
    let dir = WorkDir::create(builder)?;
    let files: Vec<PathBuf> = layers.iter().map(|layer| layer.files()).collect();
    let below: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    let at = dir.0.join("merged");
    let mounted = host::overlay_mount(builder.host, &below, None, &at)
        .map_err(|source| BuildError::Overlay { stage: Stage::Finalise, source })?;
    let (mut tree, contents) =
        host::capture(mounted.path(), builder.shift(), builder.jobs, CaptureLimits::default())?;
    let mut memory = Memory::new();
    finalise(&mut tree, &mut memory, &builder.recipe.exclude, builder.epoch());
    Ok(Packed {
        tree,
        outputs: Vec::new(),
        components: Vec::new(),
        squashfs: None,
        contents: Layered(memory, contents),
        _mounted: mounted,
        _dir: dir,
    })
}

fn squash(builder: &Builder<'_>, packed: &mut Packed) -> Result<Content, BuildError> {
    let stage = Stage::Pack;
    let path = packed._dir.0.join("squashfs");
    let io = |source| BuildError::Prepare { stage, path: path.clone(), source };
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(io)?;
    let told = std::cell::Cell::new(0);
    let progress = |done: u64, total: u64| {
        if told.get() == 0 {
            builder.observer.on(Event::Total { stage, amount: total });
        }
        builder.observer.on(Event::Advanced { stage, amount: done - told.get() });
        told.set(done);
    };
    let blocks = Blocks(builder.store);
    let options = squashfs::Options {
        block_size: builder.recipe.squashfs.block_size,
        codec: builder.recipe.squashfs.codec,
        epoch: builder.epoch(),
        export_table: false,
        cache: Some(&blocks),
        progress: Some(&progress),
    };
    let mut out = BufWriter::with_capacity(1 << 20, Interruptible(&mut file));
    squashfs::write(&packed.tree, &packed.contents, &options, builder.jobs, &mut out)
        .map_err(write(stage))?;
    out.flush().map_err(io)?;
    drop(out);
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut blob = builder.store.writer()?;
    std::io::copy(&mut BufReader::with_capacity(1 << 20, file), &mut blob).map_err(io)?;
    let content = blob.finish(None)?;
    std::fs::remove_file(&path).map_err(io)?;
    packed.squashfs = Some(content);
    packed.components.push(Component::new("squashfs", content.size, content.digest));
    Ok(content)
}

fn archive(builder: &Builder<'_>, packed: &Packed) -> Result<Content, BuildError> {
    let mut blob = BufWriter::with_capacity(1 << 20, Interruptible(builder.store.writer()?));
    tar::write(&packed.tree, &packed.contents, builder.epoch(), &mut blob).map_err(write(Stage::Pack))?;
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

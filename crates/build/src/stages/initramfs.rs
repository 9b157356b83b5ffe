//! Initramfs: generated once, at the end, by the image's own initramfs-tools, then packed again by our writers.

use std::fs::File;
use std::io::{self, Write};

use selfsame_image::codec::{Codec, Wrapping};
use selfsame_image::tree::Content;
use selfsame_image::{Digest, Epoch, initramfs};

use crate::event::Stage;
use crate::execute::{BuildError, Builder};
use crate::sandbox::Root;

use super::layers::{Layer, NewLayer};
use super::script;

/// Name of the packed initramfs beside its layer, and of the kernel version it is for.
const PACKED: &str = "initrd.img";
const VERSION: &str = "kernel-version";

/// The kernel's version and the packed initramfs.
pub(crate) struct Initramfs {
    pub(crate) version: String,
    pub(crate) file: std::path::PathBuf,
    pub(crate) content: Content,
}

/// Generates the initramfs of the system in `lowers`, the topmost first.
pub(crate) fn run(builder: &Builder<'_>, lowers: &[&Layer], new: NewLayer) -> Result<Layer, BuildError> {
    let stage = Stage::Initramfs;
    let root = Root::Overlay {
        lowers: lowers.iter().map(|layer| layer.files()).collect(),
        upper: new.files(),
        work: builder.overlay_work(stage, &new)?,
    };
    let job = builder.job_with_debs(stage, &new, std::iter::empty())?;
    builder.runner().script(stage, root, &job, &script::initramfs())?;
    let made = |name: &str| new.files().join("var/tmp").join(name);
    let io = |source| BuildError::Initramfs { source };
    let raw = File::open(made("selfsame-initrd")).map_err(io)?;
    let mut packed = io::BufWriter::new(File::create(new.note(PACKED)).map_err(io)?);
    repack(&raw, builder.recipe.initramfs_codec, builder.epoch(), &mut packed)?;
    packed.flush().map_err(io)?;
    std::fs::copy(made("selfsame-kernel"), new.note(VERSION)).map_err(io)?;
    // Only the packed file is the result: what mkinitramfs left in the tree is not.
    crate::host::remove_tree(&new.files()).map_err(io)?;
    Ok(new.commit()?)
}

/// The most plain bytes of an initramfs that is taken: the kernel must hold it in memory, and so do we.
const LARGEST: u64 = 2 << 30;

/// Writes the segments of `raw` again in canonical form: microcode stays plain, the rest gets `codec`.
fn repack(raw: &File, codec: Codec, epoch: Epoch, out: &mut impl Write) -> Result<(), BuildError> {
    let mut segments = initramfs::read(raw, LARGEST).map_err(|error| BuildError::Repack(Box::new(error)))?;
    for tree in segments.iter_mut().flat_map(|segment| &mut segment.trees) {
        tree.clamp_times(epoch);
        tree.compact();
    }
    let parts: Vec<_> = segments
        .iter()
        .flat_map(|segment| {
            let codec = (segment.wrapping != Wrapping::None).then_some(codec);
            segment.trees.iter().map(move |tree| initramfs::Part { tree, contents: segment, codec })
        })
        .collect();
    initramfs::write(&parts, epoch, out).map_err(|error| BuildError::Repack(Box::new(error)))?;
    Ok(())
}

/// Reads the result of a finished layer.
pub(crate) fn load(layer: &Layer) -> Result<Initramfs, BuildError> {
    let io = |source| BuildError::Initramfs { source };
    let version = std::fs::read_to_string(layer.note(VERSION)).map_err(io)?.trim().to_owned();
    let file = layer.note(PACKED);
    let (digest, size) = Digest::of_reader(&mut File::open(&file).map_err(io)?).map_err(io)?;
    Ok(Initramfs { version, file, content: Content { size, digest } })
}

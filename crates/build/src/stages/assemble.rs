//! Assemble: kernel, initramfs, SquashFS and boot loaders become one hybrid ISO image. Packing wrote the SquashFS where
//! the image needs it; here the rest is put around it.

use std::io::{BufWriter, Write as _};

use selfsame_image::iso9660;
use selfsame_image::tree::{Content, Layered};

use crate::event::Stage;
use crate::execute::{BuildError, Builder};
use crate::recipe::Output;
use crate::record::Component;

use super::frame::SQUASHFS;
use super::initramfs::Initramfs;
use super::pack::{Interruptible, Packed, Squashed, write};

/// Adds the ISO image to the outputs, if it is one of them.
pub(crate) fn run(
    builder: &Builder<'_>,
    packed: &mut Packed,
    initramfs: &Initramfs,
) -> Result<(), BuildError> {
    let Some((_, key)) = builder.plan.outputs.iter().find(|(output, _)| *output == Output::Iso) else {
        return Ok(());
    };
    let content = builder.stage(Stage::Assemble, *key, || Ok((iso(builder, packed, initramfs)?, false)))?;
    packed.outputs.push((Output::Iso, content));
    Ok(())
}

fn iso(builder: &Builder<'_>, packed: &mut Packed, initramfs: &Initramfs) -> Result<Content, BuildError> {
    let stage = Stage::Assemble;
    let missing = |part: String| BuildError::BootFile(part);
    let Squashed { frame, at, content, file } =
        packed.squashed.take().ok_or_else(|| missing("the SquashFS".into()))?;
    let kernel = packed.collected.kernels.get(&initramfs.version);
    let kernel = *kernel.ok_or_else(|| missing(format!("boot/vmlinuz-{}", initramfs.version)))?;
    let tree = frame.tree(builder, [content, initramfs.content, kernel])?;
    for (name, content) in [("initramfs", initramfs.content), ("kernel", kernel), ("esp", frame.esp)] {
        packed.components.push(Component::new(name, content.size, content.digest));
    }
    let contents = Layered(&frame.memory, Layered(builder.store, &packed.collected.contents));
    let mut out = BufWriter::with_capacity(1 << 20, Interruptible(file.file()));
    iso9660::write_around(&frame.iso(builder, &tree), &contents, SQUASHFS.as_bytes(), at, &mut out)
        .map_err(write(stage))?;
    out.flush().map_err(write(stage))?;
    drop(out);
    Ok(file.finish(None)?)
}

//! Assemble: kernel, initramfs, SquashFS and boot loaders become one hybrid ISO image.

use std::io::BufWriter;

use selfsame_image::tree::{Content, Kind, Layered, Leaf, Memory, Meta};
use selfsame_image::{Tree, fat, iso9660};

use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder};
use crate::recipe::Output;
use crate::record::Component;

use super::initramfs::Initramfs;
use super::menu;
use super::pack::{Interruptible, Packed, write};
use super::unpack::take_files;

/// Files that are taken out of packages: package, path in it, what it is for.
const ISOLINUX: (&str, &str) = ("isolinux", "usr/lib/ISOLINUX/isolinux.bin");
const ISOHDPFX: (&str, &str) = ("isolinux", "usr/lib/ISOLINUX/isohdpfx.bin");
const LDLINUX: (&str, &str) = ("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32");
const SHIM: (&str, &str) = ("shim-signed", "usr/lib/shim/shimx64.efi.signed");
/// The build of GRUB for removable media, which looks for its menu on the medium itself.
const GRUB: (&str, &str) = ("grub-efi-amd64-signed", "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed");

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
    let squashed = packed.squashfs.as_ref().ok_or_else(|| BuildError::BootFile("the SquashFS".into()))?;
    let squashfs = squashed.content;
    let mut memory = Memory::new();
    let mut take = |(package, path): (&str, &str)| -> Result<(Vec<u8>, Content), BuildError> {
        let bytes = boot_file(builder, package, path)?;
        let content = memory.add(bytes.clone());
        Ok((bytes, content))
    };
    let (_, isolinux) = take(ISOLINUX)?;
    let (mbr, _) = take(ISOHDPFX)?;
    let (_, ldlinux) = take(LDLINUX)?;
    let (_, shim) = take(SHIM)?;
    let (_, grub) = take(GRUB)?;
    let kernel = packed.collected.kernels.get(&initramfs.version);
    let kernel =
        *kernel.ok_or_else(|| BuildError::BootFile(format!("boot/vmlinuz-{}", initramfs.version)))?;
    let title = format!("{} ({})", builder.recipe.name, builder.epoch().civil());
    let isolinux_cfg = memory.add(menu::isolinux(&builder.recipe.boot, &title));
    let grub_cfg = memory.add(menu::grub(&builder.recipe.boot, &title));
    let info = memory.add(format!("{title}\n"));

    let esp_tree = tree(builder, &[("EFI/BOOT/BOOTX64.EFI", shim), ("EFI/BOOT/grubx64.efi", grub)])?;
    let esp = esp(builder, &esp_tree, &mut memory)?;
    let files = tree(
        builder,
        &[
            (".disk/info", info),
            ("boot/grub/grub.cfg", grub_cfg),
            ("isolinux/isolinux.bin", isolinux),
            ("isolinux/isolinux.cfg", isolinux_cfg),
            ("isolinux/ldlinux.c32", ldlinux),
            ("live/filesystem.squashfs", squashfs),
            ("live/initrd.img", initramfs.content),
            ("live/vmlinuz", kernel),
        ],
    )?;
    for (name, content) in [("initramfs", initramfs.content), ("kernel", kernel), ("esp", esp)] {
        packed.components.push(Component::new(name, content.size, content.digest));
    }
    builder.observer.on(Event::Total { stage, amount: squashfs.size + initramfs.content.size });

    let mut iso = iso9660::Iso {
        tree: &files,
        epoch: builder.epoch(),
        labels: iso9660::Labels { volume: builder.recipe.volume_id.clone(), ..iso9660::Labels::default() },
        joliet: true,
        bios: Some(iso9660::BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(esp),
        hybrid: None,
        last: Some(b"live/filesystem.squashfs"),
    };
    // Bytes 432 to 439 of the MBR code are filled in by the writer.
    iso.hybrid = Some(iso9660::Hybrid::derived(mbr.get(..432).unwrap_or(&mbr), &iso));
    let contents = Layered(Layered(&memory, squashed), Layered(builder.store, &packed.collected.contents));
    let mut blob = BufWriter::with_capacity(1 << 20, Interruptible(builder.store.writer()?));
    iso9660::write(&iso, &contents, &mut blob).map_err(write(stage))?;
    let blob = blob.into_inner().map_err(|error| write(stage)(error.into_error()))?;
    Ok(blob.0.finish(None)?)
}

fn boot_file(builder: &Builder<'_>, package: &str, path: &str) -> Result<Vec<u8>, BuildError> {
    let missing = || BuildError::BootFile(format!("{path} (package {package})"));
    let locked =
        builder.lock.packages.iter().find(|p| p.role == crate::lock::Role::Boot && p.name == package);
    let mut files = take_files(builder.store, locked.ok_or_else(missing)?, &[path])?;
    files.remove(path).ok_or_else(missing)
}

/// A tree of these files, owned by root, with the directories they need.
fn tree(builder: &Builder<'_>, files: &[(&str, Content)]) -> Result<Tree, BuildError> {
    let time = i64::from(builder.epoch().0);
    let failed = write(Stage::Assemble);
    let mut tree = Tree::new(Meta::root(0o755, time));
    for (path, content) in files {
        for (at, _) in path.match_indices('/') {
            if tree.get(&path.as_bytes()[..at]).is_none() {
                tree.insert_dir(&path.as_bytes()[..at], Meta::root(0o755, time)).map_err(&failed)?;
            }
        }
        let leaf = Leaf { meta: Meta::root(0o644, time), kind: Kind::File(*content) };
        tree.insert(path.as_bytes(), leaf).map_err(&failed)?;
    }
    Ok(tree)
}

fn esp(builder: &Builder<'_>, files: &Tree, memory: &mut Memory) -> Result<Content, BuildError> {
    let system = fat::Fat {
        tree: files,
        epoch: builder.epoch(),
        label: "ESP".into(),
        serial: fat::serial(files, builder.epoch()),
        size: fat::Size::Fit { free: 0 },
        hidden_sectors: 0,
    };
    let mut image = Vec::new();
    fat::write(&system, &*memory, &mut image).map_err(write(Stage::Assemble))?;
    Ok(memory.add(image))
}

//! Frame: all of an ISO image but SquashFS, initramfs and kernel.

use selfsame_image::tree::{Content, Kind, Leaf, Memory, Meta};
use selfsame_image::{Digest, Tree, fat, iso9660};

use crate::event::Stage;
use crate::execute::{BuildError, Builder};

use super::menu;
use super::pack::write;
use super::unpack::take_files;

/// Files that are taken out of packages: package, path in it, what it is for.
const ISOLINUX: (&str, &str) = ("isolinux", "usr/lib/ISOLINUX/isolinux.bin");
const ISOHDPFX: (&str, &str) = ("isolinux", "usr/lib/ISOLINUX/isohdpfx.bin");
const LDLINUX: (&str, &str) = ("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32");
const SHIM: (&str, &str) = ("shim-signed", "usr/lib/shim/shimx64.efi.signed");
/// The build of GRUB for removable media, which looks for its menu on the medium itself.
const GRUB: (&str, &str) = ("grub-efi-amd64-signed", "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed");

/// Where the parts lie in the image. The lengths of those behind the SquashFS, in byte order, do not move it.
pub(super) const SQUASHFS: &str = "live/filesystem.squashfs";
const INITRAMFS: &str = "live/initrd.img";
const KERNEL: &str = "live/vmlinuz";

/// An ISO image but for SquashFS, initramfs and kernel.
pub(crate) struct Frame {
    /// What is not in the store.
    pub(super) memory: Memory,
    files: Vec<(&'static str, Content)>,
    /// The EFI system partition.
    pub(super) esp: Content,
    /// Code for the MBR.
    code: Vec<u8>,
}

impl Frame {
    /// Takes the boot loaders out of their packages and writes their menus.
    pub(crate) fn new(builder: &Builder<'_>) -> Result<Self, BuildError> {
        let mut memory = Memory::new();
        let mut take = |(package, path): (&str, &str)| -> Result<(Vec<u8>, Content), BuildError> {
            let bytes = boot_file(builder, package, path)?;
            let content = memory.add(bytes.clone());
            Ok((bytes, content))
        };
        let (_, isolinux) = take(ISOLINUX)?;
        let (mut code, _) = take(ISOHDPFX)?;
        let (_, ldlinux) = take(LDLINUX)?;
        let (_, shim) = take(SHIM)?;
        let (_, grub) = take(GRUB)?;
        // Bytes 432 to 439 of the MBR code are filled in by the writer.
        code.truncate(432);
        let title = format!("{} ({})", builder.recipe.name, builder.epoch().civil());
        let files = vec![
            (".disk/info", memory.add(format!("{title}\n"))),
            ("boot/grub/grub.cfg", memory.add(menu::grub(&builder.recipe.boot, &title))),
            ("isolinux/isolinux.bin", isolinux),
            ("isolinux/isolinux.cfg", memory.add(menu::isolinux(&builder.recipe.boot, &title))),
            ("isolinux/ldlinux.c32", ldlinux),
        ];
        let system = [("EFI/BOOT/BOOTX64.EFI", shim), ("EFI/BOOT/grubx64.efi", grub)];
        let esp = esp(builder, &tree(builder, &system)?, &mut memory)?;
        Ok(Self { memory, files, esp, code })
    }

    /// The byte of the image at which the SquashFS begins.
    pub(crate) fn squashfs_at(&self, builder: &Builder<'_>) -> Result<u64, BuildError> {
        let unknown = |name: &str| Content { size: 1, digest: Digest::of(name.as_bytes()) };
        let tree = self.tree(builder, [SQUASHFS, INITRAMFS, KERNEL].map(unknown))?;
        iso9660::place(&self.iso(builder, &tree), SQUASHFS.as_bytes()).map_err(write(Stage::Assemble))
    }

    /// The files, with SquashFS, initramfs and kernel.
    pub(super) fn tree(&self, builder: &Builder<'_>, parts: [Content; 3]) -> Result<Tree, BuildError> {
        let parts = [SQUASHFS, INITRAMFS, KERNEL].into_iter().zip(parts);
        tree(builder, &self.files.iter().copied().chain(parts).collect::<Vec<_>>())
    }

    /// The image with `tree`.
    pub(super) fn iso<'a>(&self, builder: &Builder<'_>, tree: &'a Tree) -> iso9660::Iso<'a> {
        let mut iso = iso9660::Iso {
            tree,
            epoch: builder.epoch(),
            labels: iso9660::Labels {
                volume: builder.recipe.volume_id.clone(),
                ..iso9660::Labels::default()
            },
            joliet: true,
            bios: Some(iso9660::BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
            esp: Some(self.esp),
            hybrid: None,
        };
        iso.hybrid = Some(iso9660::Hybrid::derived(&self.code, &iso));
        iso
    }
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

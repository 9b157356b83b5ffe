//! Packs a directory into an ISO image that boots from CD and from disk, with BIOS and with UEFI.
//!
//! `hybrid_iso DIRECTORY MBR_CODE ESP OUTPUT`: the directory holds `isolinux/isolinux.bin`, the MBR code is
//! `isohdpfx.bin`, the ESP is a FAT image. For trying boot loaders by hand; the program itself never walks a
//! directory at this point.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // An example reads and writes files.

use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use selfsame_image::iso9660::{self, BiosBoot, Hybrid, Iso, Labels};
use selfsame_image::tree::{Kind, Leaf, Memory, Meta, Tree};
use selfsame_image::{Digest, Epoch};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, code, esp, output] = &arguments[..] else {
        return Err("usage: hybrid_iso DIRECTORY MBR_CODE ESP OUTPUT".into());
    };
    let epoch = Epoch(1_700_000_000);
    let mut contents = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, epoch.0.into()));
    add(&mut tree, &mut contents, Path::new(directory), &mut Vec::new(), epoch)?;
    let esp = contents.add(fs::read(esp)?);
    let mut iso = Iso {
        tree: &tree,
        epoch,
        labels: Labels { volume: "SELFSAME".into(), ..Labels::default() },
        joliet: true,
        bios: Some(BiosBoot { image: b"isolinux/isolinux.bin", info_table: true }),
        esp: Some(esp),
        hybrid: None,
    };
    iso.hybrid = Some(Hybrid::derived(&fs::read(code)?, &iso));
    let mut out = BufWriter::new(fs::File::create(output)?);
    let written = iso9660::write(&iso, &contents, &mut out)?;
    out.flush()?;
    println!("{} bytes, ESP at {:?}, boot catalog at {:?}", written.size, written.esp, written.catalog);
    for file in &written.files {
        let paths: Vec<_> = file.paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
        println!("{:>10} +{:<10} {}", file.extent.at, file.extent.len, paths.join(" = "));
    }
    println!("{}", Digest::of_reader(&mut fs::File::open(output)?)?.0);
    Ok(())
}

fn add(
    tree: &mut Tree,
    memory: &mut Memory,
    dir: &Path,
    at: &mut Vec<u8>,
    epoch: Epoch,
) -> Result<(), Box<dyn Error>> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let length = at.len();
        if length > 0 {
            at.push(b'/');
        }
        at.extend_from_slice(entry.file_name().as_bytes());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            tree.insert_dir(at, Meta::root(0o755, epoch.0.into()))?;
            add(tree, memory, &entry.path(), at, epoch)?;
        } else {
            let kind = if kind.is_symlink() {
                Kind::Symlink(fs::read_link(entry.path())?.into_os_string().into_vec().into())
            } else {
                Kind::File(memory.add(fs::read(entry.path())?))
            };
            tree.insert(at, Leaf { meta: Meta::root(0o644, epoch.0.into()), kind })?;
        }
        at.truncate(length);
    }
    Ok(())
}

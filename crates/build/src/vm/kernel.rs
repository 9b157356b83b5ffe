//! The kernel of the machine, and those of its modules that are needed to find the disks.

use std::io::Read;

use selfsame_image::codec::Wrapping;
use selfsame_image::tar;
use selfsame_store::Store;
use serde::{Deserialize, Serialize};

use crate::execute::BuildError;
use crate::lock::{Lock, Package, Role};
use crate::recipe::KERNEL_PREFIX;
use crate::stages::unpack;

use super::error::MachineError;

/// The modules, in the order in which they are loaded. What a kernel has built in is no file of its package.
const MODULES: [&str; 9] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "squashfs",
    "overlay",
];
/// Where Debian's packages have the kernel.
const KERNEL: &[u8] = b"boot/vmlinuz-";
/// What the store remembers kernels as; the number is raised when another set of files is taken.
const KEPT: &str = "machine-kernel-1";
/// Longest module, unpacked, in bytes.
const LONGEST_MODULE: u64 = 16 << 20;

/// What is taken from the package of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The kernel itself, as boot loaders take it.
    pub(super) image: Vec<u8>,
    /// Names and bytes of modules, in the order in which they are loaded.
    pub(super) modules: Vec<(String, Vec<u8>)>,
}

/// The kernel that `lock` pins for machines, or else that of the image.
pub(super) fn of(store: &Store, lock: &Lock) -> Result<Kernel, BuildError> {
    let package = package(lock)?;
    if let Some(kept) = store.cache_get(KEPT, &package.file.sha256)?.and_then(|bytes| parse(&bytes)) {
        return Ok(kept);
    }
    let kernel = take(store, package)?;
    store.cache_put(KEPT, &package.file.sha256, &render(&kernel))?;
    Ok(kernel)
}

fn package(lock: &Lock) -> Result<&Package, MachineError> {
    let with = |role: Role| {
        let named = move |package: &&Package| package.role == role && package.name.starts_with(KERNEL_PREFIX);
        lock.packages.iter().filter(named).collect::<Vec<_>>()
    };
    let builder = with(Role::Builder);
    // A package that depends on the newest kernel is none itself, and small.
    let mut found = if builder.is_empty() { with(Role::Image) } else { builder };
    found.retain(|package| package.file.size >= 1 << 20);
    match found.as_slice() {
        [] => Err(MachineError::NoKernel),
        [one] => Ok(one),
        many => Err(MachineError::Kernels(many.iter().map(|package| package.name.clone()).collect())),
    }
}

/// Reads the package once.
fn take(store: &Store, package: &Package) -> Result<Kernel, BuildError> {
    let mut kernel = Kernel::default();
    let mut packed: Vec<(usize, String, Vec<u8>)> = Vec::new();
    unpack::for_each_file(store, package, &mut |entry: &tar::Entry, body: &mut dyn Read| {
        let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let stem = name.split(".ko").next().unwrap_or_default();
        if entry.path.starts_with(KERNEL) {
            kernel.image = unpack::read_whole(body, package, &name, unpack::LARGEST_BOOT_FILE)?;
        } else if let Some(at) = MODULES.iter().position(|module| *module == stem)
            && name.contains(".ko")
        {
            let bytes = unpack::read_whole(body, package, &name, LONGEST_MODULE)?;
            packed.push((at, name.into_owned(), bytes));
        }
        Ok(())
    })?;
    if kernel.image.is_empty() {
        let part = "kernel in boot".to_owned();
        return Err(MachineError::Part { package: package.name.clone(), part }.into());
    }
    packed.sort_by_key(|(at, ..)| *at);
    for (_, name, bytes) in packed {
        let odd = |_| MachineError::Part { package: package.name.clone(), part: format!("readable {name}") };
        let stem = name.split(".ko").next().unwrap_or_default().to_owned();
        kernel.modules.push((stem, plain(&bytes).map_err(odd)?));
    }
    Ok(kernel)
}

/// A module as the kernel loads it: newer packages have them compressed.
fn plain(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    Wrapping::detect(packed).plain(packed, LONGEST_MODULE)?.read_to_end(&mut plain)?;
    Ok(plain)
}

/// The first line of what is kept: names and lengths of what follows, the kernel first.
#[derive(Serialize, Deserialize)]
struct Header(Vec<(String, usize)>);

fn render(kernel: &Kernel) -> Vec<u8> {
    let parts = std::iter::once(("kernel".to_owned(), &kernel.image));
    let parts: Vec<_> =
        parts.chain(kernel.modules.iter().map(|(name, bytes)| (name.clone(), bytes))).collect();
    let header = Header(parts.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect());
    let mut bytes = serde_json::to_vec(&header).expect("names and numbers are always JSON");
    bytes.push(b'\n');
    parts.iter().for_each(|(_, part)| bytes.extend_from_slice(part));
    bytes
}

fn parse(bytes: &[u8]) -> Option<Kernel> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let Header(parts) = serde_json::from_slice(&bytes[..end]).ok()?;
    let mut rest = &bytes[end + 1..];
    let mut kernel = Kernel::default();
    for (at, (name, length)) in parts.into_iter().enumerate() {
        let (part, behind) = rest.split_at_checked(length)?;
        rest = behind;
        match at {
            0 => kernel.image = part.to_vec(),
            _ => kernel.modules.push((name, part.to_vec())),
        }
    }
    (rest.is_empty() && !kernel.image.is_empty()).then_some(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_else() {
        let kernel = Kernel {
            image: b"\nkernel".to_vec(),
            modules: vec![("virtio".into(), b"one".to_vec()), ("overlay".into(), Vec::new())],
        };
        let bytes = render(&kernel);
        assert_eq!(parse(&bytes), Some(kernel));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&[&bytes[..], b"x"].concat()), None);
    }

    #[test]
    fn a_kernel_for_the_builder_comes_before_that_of_the_image() {
        let mut lock = crate::lock::sample();
        let add = |lock: &mut Lock, name: &str, role, size| {
            let mut one = lock.packages[0].clone();
            (one.name, one.role, one.file.size) = (name.to_owned(), role, size);
            lock.packages.push(one);
        };
        assert!(matches!(package(&lock), Err(MachineError::NoKernel)));
        add(&mut lock, "linux-image-amd64", Role::Image, 1500);
        add(&mut lock, "linux-image-6.1-amd64", Role::Image, 60 << 20);
        assert_eq!(package(&lock).unwrap().name, "linux-image-6.1-amd64");
        add(&mut lock, "linux-image-6.12-amd64", Role::Image, 60 << 20);
        assert!(matches!(package(&lock), Err(MachineError::Kernels(names)) if names.len() == 2));
        add(&mut lock, "linux-image-6.1-cloud-amd64", Role::Builder, 20 << 20);
        assert_eq!(package(&lock).unwrap().name, "linux-image-6.1-cloud-amd64");
    }
}

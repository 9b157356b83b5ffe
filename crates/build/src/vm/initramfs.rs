//! What the kernel starts: this program as the first process, and the modules.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use selfsame_image::tree::{Kind, Leaf, Memory, Meta};
use selfsame_image::{Epoch, Tree, cpio};

use super::kernel::Kernel;

/// The first process, from the root of the initramfs.
pub(super) const INIT: &str = "init";
/// Where the modules are, in the order of their names.
pub(super) const MODULES: &str = "modules";

/// What a machine is started with.
#[derive(Debug)]
pub(super) struct Boot {
    /// The kernel.
    pub(super) kernel: Vec<u8>,
    /// A cpio archive.
    pub(super) initramfs: Vec<u8>,
}

/// This program, as far as a process needs it.
#[derive(Debug)]
pub(super) struct Program {
    /// Paths without a slash at the front, and bytes: the program itself, and the libraries if it has any.
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Program {
    /// Reads `path`, which must be this very program.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut files = Vec::new();
        // A static program has no interpreter, and needs nothing else.
        if let Some(interpreter) = interpreter(&bytes) {
            let own = fs::canonicalize(path)?;
            let maps = fs::read_to_string("/proc/self/maps")?;
            for library in mapped(&maps).into_iter().filter(|library| *library != own.as_path()) {
                files.push((relative(library), loaded(fs::read(library)?)));
            }
            files.push((relative(&interpreter), loaded(fs::read(&interpreter)?)));
        }
        files.push((INIT.into(), loaded(bytes)));
        files.sort();
        files.dedup_by(|one, other| one.0 == other.0);
        Ok(Self { files })
    }
}

impl Boot {
    /// Packs `program` and the modules of `kernel`.
    pub(super) fn new(program: &Program, kernel: Kernel) -> Self {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        let mut memory = Memory::new();
        let modules = kernel.modules.iter().enumerate();
        let modules = modules.map(|(at, (name, bytes))| {
            (Path::new(MODULES).join(format!("{at:02}-{name}.ko")), bytes.as_slice())
        });
        let files = program.files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice()));
        for (path, bytes) in files.chain(modules) {
            let leaf = Leaf { meta: Meta::root(0o755, 0), kind: Kind::File(memory.add(bytes)) };
            let mut above: Vec<&Path> =
                path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
            above.reverse();
            for dir in above.into_iter().map(|dir| dir.as_os_str().as_bytes()) {
                if tree.get(dir).is_none() {
                    tree.insert_dir(dir, Meta::root(0o755, 0)).expect("the directory above is there");
                }
            }
            tree.insert(path.as_os_str().as_bytes(), leaf).expect("no two files have one path");
        }
        let mut initramfs = Vec::new();
        cpio::write(&tree, &memory, Epoch(0), &mut initramfs).expect("memory takes what memory holds");
        Self { kernel: kernel.image, initramfs }
    }
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The libraries among the files that are mapped into a process: those of which a part can be executed.
fn mapped(maps: &str) -> Vec<&Path> {
    let paths = maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let executable = fields.nth(1)?.contains('x');
        let path = fields.nth(3)?;
        (executable && path.starts_with('/')).then_some(Path::new(path))
    });
    let mut paths: Vec<&Path> = paths.collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Fields of an ELF file of 64 bits, little-endian: elf(5).
struct Elf<'a>(&'a [u8]);

impl<'a> Elf<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(b"\x7fELF\x02\x01").then_some(Self(bytes))
    }

    fn number(&self, at: usize, length: usize) -> Option<usize> {
        let bytes = self.0.get(at..at.checked_add(length)?)?;
        let number = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).ok()
    }

    /// Type, offset and length in the file of each segment.
    fn segments(&self) -> Option<Vec<(usize, usize, usize)>> {
        let (first, size, count) = (self.number(0x20, 8)?, self.number(0x36, 2)?, self.number(0x38, 2)?);
        let segment = |at: usize| {
            let at = first.checked_add(at.checked_mul(size)?)?;
            Some((self.number(at, 4)?, self.number(at + 8, 8)?, self.number(at + 0x20, 8)?))
        };
        (0..count).map(segment).collect()
    }
}

/// The program that loads the libraries of a program, if it has any.
fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: usize = 3;
    let segments = Elf::of(bytes)?.segments()?;
    let (_, at, length) = *segments.iter().find(|(kind, ..)| *kind == PT_INTERP)?;
    let path = bytes.get(at..at.checked_add(length)?)?.strip_suffix(b"\0")?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

/// A program or library without what no process loads: symbols for debuggers are most of it.
fn loaded(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = || {
        let elf = Elf::of(&bytes)?;
        let segments = elf.segments()?;
        let header = elf.number(0x20, 8)?.checked_add(elf.number(0x36, 2)? * elf.number(0x38, 2)?)?;
        let ends = segments.iter().map(|(_, at, length)| at.checked_add(*length));
        ends.collect::<Option<Vec<_>>>()?.into_iter().chain([header]).max()
    };
    if let Some(end) = end().filter(|end| (64..=bytes.len()).contains(end)) {
        bytes.truncate(end);
        // There is no table of sections any more.
        for field in [0x28..0x30, 0x3c..0x3e, 0x3e..0x40] {
            bytes[field].fill(0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_runs_without_what_no_process_loads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("true");
        let whole = fs::read("/bin/true").unwrap();
        let short = loaded(whole.clone());
        assert!(short.len() < whole.len());
        fs::write(&path, &short).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(Command::new(&path).status().unwrap().success());
        assert!(interpreter(&whole).unwrap().exists());
        // What is no program, or a broken one, stays as it is.
        for odd in [b"#!/bin/sh\n".to_vec(), whole[..60].to_vec(), whole[..100].to_vec()] {
            assert_eq!(loaded(odd.clone()), odd);
            assert_eq!(interpreter(&odd), None);
        }
    }

    #[test]
    fn libraries_are_what_can_be_executed() {
        let maps = "55-56 r-xp 0 fd:00 7 /usr/bin/x\n56-57 r--p 0 fd:00 9 /usr/lib/locale\n57-58 r-xp 0 fd:00 8 /lib/libc.so.6\n58-59 r-xp 0 0:0 0 [vdso]\n";
        assert_eq!(mapped(maps), [Path::new("/lib/libc.so.6"), Path::new("/usr/bin/x")]);
    }

    #[test]
    fn the_same_program_and_kernel_give_the_same_archive() {
        let program = Program::of(Path::new("/proc/self/exe")).unwrap();
        let kernel = || Kernel { image: b"k".to_vec(), modules: vec![("overlay".into(), b"m".to_vec())] };
        let boot = Boot::new(&program, kernel());
        assert_eq!(boot.initramfs, Boot::new(&program, kernel()).initramfs);
        let dump = cpio::dump(&boot.initramfs, 0).unwrap();
        assert!(dump.contains("init") && dump.contains("modules/00-overlay.ko"), "{dump}");
    }
}

//! Names the code that decides bytes, so that what another version of it left in a store is not taken for its own.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    // FNV-1a with 128 bits: nobody picks code to make it collide, and no crate is needed for it.
    let mut digest: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            digest = (digest ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for name in ["src", "../image/src"] {
        let root = here.join(name);
        println!("cargo::rerun-if-changed={}", root.display());
        let mut files = Vec::new();
        collect(&root, &mut files);
        files.sort();
        for path in files {
            let relative = path.strip_prefix(&root).expect("it was found there");
            add(format!("{name}/{}\n", relative.display()).as_bytes());
            let bytes = fs::read(&path).expect("a source file can be read");
            add(&(bytes.len() as u64).to_le_bytes());
            add(&bytes);
        }
    }
    println!("cargo::rustc-env=SELFSAME_CODE={digest:032x}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source directory can be listed") {
        let path = entry.expect("a source directory can be listed").path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

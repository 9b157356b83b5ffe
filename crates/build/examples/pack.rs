//! Packs a directory of this machine into a SquashFS as a build does, for measuring:
//! `pack DIRECTORY IMAGE CODEC BLOCK_SIZE JOBS [STORE]`.
//!
//! With a store, compressed blocks are looked for and kept there. Prints the seconds that capture and packing took, and
//! the most memory in MiB until then.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use selfsame_build::blocks::Blocks;
use selfsame_build::host::{CaptureLimits, IdShift, capture};
use selfsame_image::Epoch;
use selfsame_image::squashfs::{BlockCache, Options, codec_for, write};
use selfsame_store::Store;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (fixed, store) = match &arguments[..] {
        [fixed @ .., store] if fixed.len() == 5 => (fixed, Some(Store::open(store)?)),
        fixed => (fixed, None),
    };
    let [directory, image, codec, block_size, jobs] = fixed else {
        return Err("usage: pack DIRECTORY IMAGE CODEC BLOCK_SIZE JOBS [STORE]".into());
    };
    let (jobs, block_size) = (jobs.parse()?, block_size.parse()?);
    let begun = Instant::now();
    let (tree, contents) = capture(Path::new(directory), IdShift::NONE, jobs, CaptureLimits::default())?;
    let (captured, after_capture) = (begun.elapsed(), peak()?);
    let made = AtomicU64::new(0);
    let blocks = store.as_ref().map(|store| Blocks::of(store, &made));
    let options = Options {
        block_size,
        codec: codec_for(codec, block_size)?,
        epoch: Epoch(u32::MAX),
        export_table: true,
        sort: None,
        cache: blocks.as_ref().map(|blocks| blocks as &dyn BlockCache),
        progress: None,
    };
    let mut out = BufWriter::new(File::create(image)?);
    let written = write(&tree, &contents, &options, jobs, &mut out)?;
    out.flush()?;
    let packed = begun.elapsed() - captured;
    println!(
        "{} inodes, {} bytes; capture {:.2} s, {after_capture} MiB; packing {:.2} s, {} MiB",
        written.inodes,
        written.size,
        captured.as_secs_f64(),
        packed.as_secs_f64(),
        peak()?
    );
    Ok(())
}

/// The most memory this process had, in MiB.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

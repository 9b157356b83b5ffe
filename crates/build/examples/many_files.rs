//! Makes a directory of many small files, always the same ones, for measuring: `many_files DIRECTORY COUNT`.
//!
//! 200 files in each directory, of 100 to 1,100 bytes that compress to a half; every tenth is equal to another.

use std::error::Error;
use std::path::Path;

/// Files in one directory.
const BESIDE: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, count] = &arguments[..] else {
        return Err("usage: many_files DIRECTORY COUNT".into());
    };
    for number in 0..count.parse::<u64>()? {
        let (above, beside) = (number / BESIDE, number % BESIDE);
        let dir = Path::new(directory).join(format!("{:03}/{above:05}", above / BESIDE));
        if beside == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        // Every tenth has the content of the file before it.
        let content = number - u64::from(number % 10 == 9);
        std::fs::write(dir.join(format!("file-{number:07}.txt")), text(content))?;
    }
    Ok(())
}

fn text(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 24
    };
    let length = 100 + next() % 1000;
    (0..length).map(|_| b"etaoin shrdlu\n.e"[(next() & 15) as usize]).collect()
}

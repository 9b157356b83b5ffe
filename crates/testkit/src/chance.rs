//! Tests that take chances: the same ones in every run, and as many as somebody wants.

use std::env;
use std::str::FromStr;

/// How often something is tried: what the environment variable `name` says, or else `default`.
///
/// # Panics
/// If it says something else than a number.
pub fn number<T: FromStr>(name: &str, default: T) -> T {
    let given = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    env::var(name).map_or(default, given)
}

/// Numbers as chance would give them, the same ones for the same seed.
#[derive(Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// A number less than `end`.
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // Knuth's MMIX; its low bits are poor.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % end
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).expect("it is less than 256")).collect()
    }
}

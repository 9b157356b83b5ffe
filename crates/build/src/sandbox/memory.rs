//! How much memory the machine has left for others.
//!
//! A job has no memory limit of its own: what a compiler or a cache may take depends on the machine. It must leave some to
//! everybody else. That is looked at from time to time, and a job that is faster than that is the one whose processes the
//! kernel kills first (`oom_score_adj`, proc(5)).

use std::fs;

/// What `/proc/meminfo` says, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    total: u64,
    /// What could be had without taking it from programs, swap included.
    free: u64,
}

impl Memory {
    fn parse(text: &str) -> Option<Self> {
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self { total: of("MemTotal")?, free: of("MemAvailable")?.checked_add(of("SwapFree")?)? })
    }
}

/// The memory of the machine, while a job runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Bytes that must stay free.
    keep: u64,
    /// How many processes the kernel had killed for memory when the job began.
    kills: u64,
}

impl Watch {
    /// Keeps so much free; if nothing is said 256 MiB, or a 32nd of the memory of a machine that has less.
    pub(super) fn new(keep: Option<u64>) -> Self {
        let part = read().map_or(0, |memory| memory.total / 32);
        Self { keep: keep.unwrap_or(part.min(256 << 20)), kills: kills() }
    }

    /// Whether less is free.
    pub(super) fn is_full(&self) -> bool {
        read().is_some_and(|memory| memory.free < self.keep)
    }

    /// Whether the kernel has killed processes since then.
    pub(super) fn has_killed(&self) -> bool {
        kills() > self.kills
    }
}

fn read() -> Option<Memory> {
    Memory::parse(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let text = "MemTotal:        2014264 kB\nMemFree:         1 kB\nMemAvailable:       1000 kB\nSwapFree:          24 kB\n";
        assert_eq!(Memory::parse(text), Some(Memory { total: 2014264 << 10, free: 1 << 20 }));
        assert_eq!(Memory::parse("MemTotal: 5 kB\n"), None);
        let memory = read().unwrap();
        assert!(memory.free > 0 && memory.total > 1 << 20, "{memory:?}");
        assert!(!Watch::new(Some(0)).is_full() && Watch::new(Some(u64::MAX)).is_full());
    }
}

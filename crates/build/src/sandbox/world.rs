//! What programs in a sandbox can learn about the machine.

use serde::{Deserialize, Serialize};

/// What programs see of the machine. [`World::default`] is that of every build, and part of what makes images the same;
/// any other is for finding out whether something of it gets into an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Name of the host.
    pub host_name: String,
    /// Name of its NIS domain, as uname(2) gives it.
    pub domain_name: String,
    /// Variables of the environment that have another value, or (`None`) are missing.
    pub environment: Vec<(String, Option<String>)>,
    /// Permissions that new files do not get.
    pub umask: u32,
    /// Whether addresses in memory are chosen at random.
    pub random_addresses: bool,
    /// How many processors programs run on; `None` is all of the machine.
    pub processors: Option<u32>,
    /// The number after which those of processes begin, below 4096; `None` begins at 2.
    pub last_process: Option<u32>,
    /// Seconds that the clock is ahead of the machine's. Times that the kernel gives to files stay those of the machine.
    pub clock: i64,
    /// Release of the kernel; `None` is that of the machine.
    pub kernel: Option<String>,
    /// Bytes of memory; `None` is what the machine has.
    pub memory: Option<u64>,
    /// Model of the processors; `None` is that of the machine. What the instruction CPUID says stays.
    pub processor_model: Option<String>,
    /// The order in which directories are read; `None` is that of the file system.
    pub directory_order: Option<DirectoryOrder>,
}

/// An order of the names in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryOrder {
    /// By name, the last one first.
    Reversed,
    /// By a hash of the name and this number.
    Shuffled(u64),
}

impl Default for World {
    fn default() -> Self {
        Self {
            // A constant: it gets into images.
            host_name: "selfsame".into(),
            // What a kernel says when nobody has named the domain.
            domain_name: "(none)".into(),
            environment: Vec::new(),
            umask: 0o022,
            random_addresses: true,
            processors: None,
            last_process: None,
            clock: 0,
            kernel: None,
            memory: None,
            processor_model: None,
            directory_order: None,
        }
    }
}

impl World {
    /// Files of `/proc` that say something else than the kernel would.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
        if self.processors.is_some() || self.processor_model.is_some() {
            files.push(("cpuinfo", self.cpuinfo(&read("cpuinfo"))));
        }
        if let Some(bytes) = self.memory {
            files.push(("meminfo", meminfo(&read("meminfo"), bytes)));
        }
        if let Some(release) = &self.kernel {
            files.push(("version", format!("Linux version {release} ({VERSION_OF_BUILD})\n")));
            files.push(("sys/kernel/osrelease", format!("{release}\n")));
            files.push(("sys/kernel/version", format!("{VERSION_OF_BUILD}\n")));
        }
        files.into_iter().map(|(name, text)| (String::from(name), text)).collect()
    }

    /// The blocks of as many processors as there are, of another model.
    fn cpuinfo(&self, real: &str) -> String {
        let most = self.processors.map_or(usize::MAX, |count| count as usize);
        let blocks = real.split("\n\n").filter(|block| !block.trim().is_empty()).take(most);
        let line = |line: &str| match (&self.processor_model, line.split_once(':')) {
            (Some(model), Some((name, _))) if name.trim_end() == "model name" => format!("{name}: {model}\n"),
            (Some(_), Some((name, flags))) if name.trim_end() == "flags" => {
                format!("{name}:{}\n", flags.split(" avx").next().unwrap_or_default())
            }
            _ => format!("{line}\n"),
        };
        blocks.map(|block| block.trim_matches('\n').lines().map(line).collect::<String>() + "\n").collect()
    }
}

/// What uname(2) calls the version of a kernel whose release is another.
pub(super) const VERSION_OF_BUILD: &str = "#1 SMP PREEMPT_DYNAMIC 2001-02-03";

/// `real` with as much memory as `bytes`, half of it free and nothing in caches: what is used comes out by subtraction.
fn meminfo(real: &str, bytes: u64) -> String {
    let line = |line: &str| {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        let value = match name {
            "MemTotal" => bytes,
            "MemFree" | "MemAvailable" => bytes / 2,
            "Buffers" | "Cached" | "SReclaimable" => 0,
            _ => return format!("{line}\n"),
        };
        format!("{:<16}{:>8} kB\n", format!("{name}:"), value / 1024)
    };
    real.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_tell_of_the_other_machine() {
        let cpu = "processor\t: 0\nmodel name\t: Real\nflags\t\t: fpu sse avx avx2\n\nprocessor\t: 1\nmodel name\t: Real\nflags\t\t: fpu\n\n";
        let world = World { processors: Some(1), processor_model: Some("Other".into()), ..World::default() };
        assert_eq!(world.cpuinfo(cpu), "processor\t: 0\nmodel name\t: Other\nflags\t\t: fpu sse\n\n");
        let world = World { processor_model: None, ..world };
        assert_eq!(world.cpuinfo(cpu), "processor\t: 0\nmodel name\t: Real\nflags\t\t: fpu sse avx avx2\n\n");
        let memory = "MemTotal:       24681234 kB\nMemFree:             1 kB\nBuffers:            2 kB\nDirty:             3 kB\n";
        assert_eq!(
            meminfo(memory, 3 << 30),
            "MemTotal:        3145728 kB\nMemFree:         1572864 kB\nBuffers:               0 kB\nDirty:             3 kB\n"
        );
        assert!(World::default().files().is_empty());
    }
}

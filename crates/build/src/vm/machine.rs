//! What the machine consists of.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::num::NonZero;
use std::path::Path;

use selfsame_image::Digest;
use selfsame_image::epoch::civil;

use crate::lock::Lock;
use crate::sandbox::World;

use super::disks::{self, Disks};
use super::initramfs::Boot;
use super::kept::Keep;
use super::short;

/// The kernel's command line. With `panic=-1` a machine whose first process ended does not wait for somebody to look.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=4 panic=-1 rdinit=/init --";
/// Bytes of memory of a machine if nobody says otherwise.
const MEMORY: u64 = 2 << 30;
/// The least memory with which the kernel, this program and an initramfs get along.
const LEAST: u64 = 512 << 20;

/// A machine to build in, and what its user wants to know of it.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// How many processors it has.
    pub processors: NonZero<u32>,
    /// Bytes of memory; `None` is 2 GiB. What does not fit is on a disk.
    pub memory: Option<u64>,
    /// Seconds that its clock is ahead of this machine's.
    pub clock: i64,
    /// Model of its processors: an older one, under this name. `None` is the best that there is.
    pub processor_model: Option<&'a str>,
    /// What is tried one after the other until it starts; at least one.
    pub accel: &'a [Accel],
    /// Where its console is kept if the build fails.
    pub log: &'a Path,
    /// Keeps it for further builds of a branch, or builds in the one that is kept for it.
    pub keep: Option<Keep<'a>>,
    /// Called with its name and what it needs, before it starts.
    pub begins: &'a (dyn Fn(&Identity, &Needs) + Sync),
    /// Called when its first process has found the disks, with what runs its processors.
    pub ready: &'a (dyn Fn(Accel) + Sync),
}

/// What a machine takes of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Processors.
    pub processors: NonZero<u32>,
    /// Bytes of memory.
    pub memory: u64,
    /// About how many bytes of the store's disk: packages and outputs, and the rest if memory is short.
    pub disk: u64,
}

/// What runs the machine's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The processors of this machine, through the kernel.
    Kvm,
    /// A program, some ten times slower; needs no privilege and works everywhere.
    Tcg,
}

impl Accel {
    /// What there is to try here, the faster first. That this user may use KVM does not say that it works: in a virtual
    /// machine often it does not.
    #[must_use]
    pub fn usable() -> Vec<Self> {
        let kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if kvm { vec![Self::Kvm, Self::Tcg] } else { vec![Self::Tcg] }
    }

    /// The name that QEMU has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The name of a builder: what was made by two of one name was made by the same program on the same kernel, of one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> Machine<'a> {
    /// This machine, with what `world` says of clock, memory and processors, and the world without that: in a machine they
    /// need not be pretended.
    #[must_use]
    pub fn in_world(self, world: &'a World) -> (Self, World) {
        let machine = Self {
            processors: world.processors.and_then(NonZero::new).unwrap_or(self.processors),
            memory: world.memory.or(self.memory),
            clock: self.clock.saturating_add(world.clock),
            processor_model: world.processor_model.as_deref().or(self.processor_model),
            ..self
        };
        let rest = World { processors: None, memory: None, clock: 0, processor_model: None, ..world.clone() };
        (machine, rest)
    }

    /// What it needs, with `disk` bytes of the disk.
    pub(super) fn needs(&self, disk: u64) -> Needs {
        Needs { processors: self.processors, memory: self.memory(), disk }
    }

    fn memory(&self) -> u64 {
        self.memory.unwrap_or(MEMORY).max(LEAST)
    }

    /// What this machine is, whatever it builds.
    pub(super) fn setup(&self, boot: &Boot) -> Digest {
        let mut text =
            format!("kernel {}\ninitramfs {}\n", Digest::of(&boot.kernel), Digest::of(&boot.initramfs));
        for word in self.settings() {
            let _ = writeln!(text, "{word}");
        }
        Digest::of(text.as_bytes())
    }

    /// The name of a machine with this setup, as a builder of what `lock` pins.
    pub(super) fn identity(lock: &Lock, setup: Digest) -> Identity {
        let date = lock.archives.iter().map(|archive| archive.serial.as_str()).max();
        let date = date.and_then(|serial| serial.get(..8)).unwrap_or("undated");
        let text = format!("lock {}\nsetup {setup}\n", lock.digest());
        Identity(format!("builder-{date}-{}", short(Digest::of(text.as_bytes()))))
    }

    /// QEMU's arguments, but for those that differ from build to build.
    fn settings(&self) -> Vec<String> {
        let processor = match self.processor_model {
            None => "max".to_owned(),
            // In a value a comma is written twice, qemu(1).
            Some(name) => format!("Nehalem,model-id={}", name.replace(',', ",,")),
        };
        let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
        let words = [
            "-no-user-config -nodefaults -no-reboot -display none -nic none -machine pc -device virtio-rng-pci",
            &format!("-sandbox {sandbox} -smp {} -m {}M -append", self.processors, self.memory() >> 20),
        ];
        let words = words.iter().flat_map(|words| words.split(' ')).map(str::to_owned);
        let command_line = format!("{COMMAND_LINE} {}", super::GUEST_ARGUMENT);
        words.chain([command_line, "-cpu".into(), processor]).collect()
    }

    /// QEMU's arguments.
    pub(super) fn arguments(&self, disks: &Disks, accel: Accel) -> Vec<OsString> {
        let mut line: Vec<OsString> = self.settings().into_iter().map(Into::into).collect();
        let mut add = |option: &str, value: OsString| line.extend([option.into(), value]);
        add("-accel", accel.name().into());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let then = u32::try_from(now.saturating_add(self.clock)).unwrap_or_default();
        add("-rtc", format!("base={}", civil(then).to_string().trim_end_matches('Z')).into());
        add("-kernel", disks.path(disks::KERNEL).into());
        add("-initrd", disks.path(disks::INITRAMFS).into());
        for (name, read_only) in disks::DISKS {
            let file = escaped(&disks.path(name));
            let access = if read_only { "on" } else { "off" };
            let mut node: OsString =
                format!("driver=raw,node-name={name},read-only={access},file.driver=file,file.filename=")
                    .into();
            node.push(file);
            add("-blockdev", node);
            // A disk that is full is told to the machine, instead of stopping it for good.
            let device = format!("virtio-blk-pci,drive={name},serial={name},werror=report,rerror=report");
            add("-device", device.into());
        }
        // With QEMU's own words: whoever reads them keeps the last, so that no disk is filled with them.
        add("-chardev", "file,id=console,path=/dev/stderr".into());
        add("-serial", "chardev:console".into());
        add("-chardev", "stdio,id=wire,signal=off".into());
        add("-serial", "chardev:wire".into());
        line
    }
}

/// A comma in a value is written twice, qemu(1).
fn escaped(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let double = |byte: &u8| if *byte == b',' { vec![b','; 2] } else { vec![*byte] };
    OsString::from_vec(path.as_os_str().as_bytes().iter().flat_map(double).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(model: Option<&str>) -> Machine<'_> {
        Machine {
            processors: NonZero::new(2).unwrap(),
            memory: None,
            clock: 0,
            processor_model: model,
            accel: &[Accel::Tcg],
            log: Path::new("/log"),
            keep: None,
            begins: &|_, _| {},
            ready: &|_| {},
        }
    }

    #[test]
    fn the_settings_are_those_of_every_machine() {
        let settings = machine(None).settings().join(" ").replace(" -", "\n-");
        insta::assert_snapshot!(settings, @r"
        -no-user-config
        -nodefaults
        -no-reboot
        -display none
        -nic none
        -machine pc
        -device virtio-rng-pci
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        -smp 2
        -m 2048M
        -append console=ttyS0 loglevel=4 panic=-1 rdinit=/init
        -- __machine
        -cpu max
        ");
        let words = machine(Some("Old, but good")).settings();
        assert_eq!(words.last().unwrap(), "Nehalem,model-id=Old,, but good");
    }

    #[test]
    fn what_a_machine_can_be_is_not_pretended_in_it() {
        let world = World {
            processors: Some(1),
            memory: Some(1 << 30),
            clock: -3600,
            processor_model: Some("Old".into()),
            umask: 0o027,
            ..World::default()
        };
        let base = machine(None);
        let (other, rest) = base.in_world(&world);
        assert_eq!((other.processors.get(), other.memory, other.clock), (1, Some(1 << 30), -3600));
        assert_eq!(other.processor_model, Some("Old"));
        assert_eq!(rest, World { umask: 0o027, ..World::default() });
        let (same, rest) = base.in_world(&rest);
        assert_eq!((same.processors.get(), same.memory, same.clock), (2, None, 0));
        assert_eq!(rest.umask, 0o027);
    }

    #[test]
    fn a_builder_is_named_by_what_it_is() {
        let lock = crate::lock::sample();
        let boot = |kernel: &[u8]| Boot { kernel: kernel.to_vec(), initramfs: b"i".to_vec() };
        let name = |machine: &Machine<'_>, kernel: &[u8]| {
            Machine::identity(&lock, machine.setup(&boot(kernel))).to_string()
        };
        let base = machine(None);
        let named = name(&base, b"k");
        assert!(named.starts_with("builder-20250517-") && named.len() == 29, "{named}");
        // The clock runs on from build to build.
        assert_eq!(named, name(&Machine { clock: 5, ..base }, b"k"));
        for other in [name(&base, b"l"), name(&machine(Some("x")), b"k")] {
            assert_ne!(named, other);
        }
    }
}

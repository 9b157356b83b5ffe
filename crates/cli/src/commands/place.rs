//! Where a build runs: the sandbox, or a virtual machine.

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use selfsame_build::vm::{self, Identity, Keep, Machine, Needs};

use super::boot::Accel;
use crate::failure::Failure;
use crate::ui::{Ui, binary_size};

/// What the commands that build have in common here.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Where the stages run: in the sandbox, or in a virtual machine of their own, with a kernel that the lock pins and no
    /// network device, which is gone afterwards. The bytes are the same; the machine takes nothing from earlier builds
    #[arg(long = "in", value_name = "PLACE", value_enum, default_value_t = Where::Sandbox)]
    place: Where,
    /// Memory of the virtual machine in MiB, 512 or more; what does not fit goes to a file beside the store [default: 2048]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(512..))]
    memory: Option<u32>,
    /// How the processors of the virtual machine are provided: auto takes kvm where it works, else tcg, which works
    /// everywhere and is slow [default: auto]
    #[arg(long, value_enum)]
    accel: Option<Accel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    Sandbox,
    Vm,
}

impl Place {
    /// Whether a virtual machine builds.
    pub fn is_machine(&self) -> bool {
        self.place == Where::Vm
    }

    /// Refuses what is said of a machine if there is none.
    pub fn check(&self) -> Result<(), Failure> {
        if !self.is_machine() && (self.memory.is_some() || self.accel.is_some()) {
            return Err(Failure::usage("--memory and --accel are for virtual machines: add `--in vm`"));
        }
        Ok(())
    }

    /// What may run its processors.
    pub fn accel(&self) -> Vec<vm::Accel> {
        match self.accel.unwrap_or(Accel::Auto) {
            Accel::Auto => vm::Accel::usable(),
            Accel::Kvm => vec![vm::Accel::Kvm],
            Accel::Tcg => vec![vm::Accel::Tcg],
        }
    }

    /// The virtual machine, if one shall build.
    pub fn machine<'a>(
        &self,
        jobs: NonZero<usize>,
        accel: &'a [vm::Accel],
        log: &'a Path,
        keep: Option<Keep<'a>>,
        begins: &'a (dyn Fn(&Identity, &Needs) + Sync),
        ready: &'a (dyn Fn(vm::Accel) + Sync),
    ) -> Option<Machine<'a>> {
        self.is_machine().then(|| Machine {
            processors: u32::try_from(jobs.get()).ok().and_then(NonZero::new).unwrap_or(NonZero::<u32>::MIN),
            memory: self.memory.map(|mib| u64::from(mib) << 20),
            clock: 0,
            processor_model: None,
            accel,
            log,
            keep,
            begins,
            ready,
        })
    }
}

/// Where the console of a machine is kept whose outputs were to go to `out`: beside that.
pub fn log(out: &Path) -> PathBuf {
    let mut name = std::path::absolute(out).unwrap_or_else(|_| out.to_owned()).into_os_string();
    name.push(".console.log");
    name.into()
}

/// Removes that of an earlier machine, and makes its directory.
pub fn clear(log: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::environment(error).context(format!("cannot prepare {}", log.display()));
    match std::fs::remove_file(log) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    log.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)
}

/// Says which machine begins, and what it needs.
pub fn told(ui: &Ui, builder: &Identity, needs: &Needs) {
    let Needs { processors, memory, disk } = *needs;
    let processors =
        if processors.get() == 1 { "1 processor".into() } else { format!("{processors} processors") };
    let (memory, disk) = (binary_size(memory), binary_size(disk));
    ui.note(&format!(
        "{builder} builds: {processors}, {memory} of memory, about {disk} on the disk of the store"
    ));
}

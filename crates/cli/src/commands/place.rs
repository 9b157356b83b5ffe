//! Where a build runs: the sandbox, or a virtual machine.

use std::num::NonZero;
use std::path::Path;

use selfsame_build::vm::{self, Identity, Machine};

use super::boot::Accel;
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
    /// everywhere and is slow
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    accel: Accel,
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

    /// What may run its processors.
    pub fn accel(&self) -> Vec<vm::Accel> {
        match self.accel {
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
        begins: &'a (dyn Fn(&Identity, u64) + Sync),
        ready: &'a (dyn Fn(vm::Accel) + Sync),
    ) -> Option<Machine<'a>> {
        self.is_machine().then(|| Machine {
            processors: u32::try_from(jobs.get()).ok().and_then(NonZero::new).unwrap_or(NonZero::<u32>::MIN),
            memory: self.memory.map(|mib| u64::from(mib) << 20),
            clock: 0,
            processor_model: None,
            accel,
            log,
            begins,
            ready,
        })
    }
}

/// Says which machine begins, and what it needs.
pub fn told(ui: &Ui, builder: &Identity, jobs: NonZero<usize>, room: u64) {
    let processors = if jobs.get() == 1 { "1 processor".into() } else { format!("{jobs} processors") };
    ui.note(&format!(
        "{builder} builds: {processors}, at most {} on the disk of the store",
        binary_size(room)
    ));
}

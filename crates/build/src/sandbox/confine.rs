//! What the job's process does to itself before it becomes the job.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::process::{Resource, Rlimit, getrlimit, ioctl_tiocsctty, setrlimit, setsid, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, CpuSet, UnshareFlags, clear_ambient_capability_set,
    remove_capability_from_bounding_set, sched_getaffinity, sched_setaffinity, set_capabilities,
};

use super::World;
use super::filter;
use super::wire::{During, Failure, Spec, Step};
use crate::host::sys;

/// The capabilities nobody in a sandbox can get. All others stay: they act on the sandbox's own name spaces, and the
/// kernel refuses to execute a program whose file asks for a capability that cannot be had (ping asks for `NET_RAW`,
/// systemd-detect-virt for `SYS_PTRACE`).
const GIVEN_UP: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYS_PACCT)
    .union(CapabilitySet::SYS_BOOT)
    .union(CapabilitySet::SYS_TIME)
    .union(CapabilitySet::SYS_TTY_CONFIG)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::MAC_ADMIN)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::AUDIT_CONTROL)
    .union(CapabilitySet::AUDIT_READ)
    .union(CapabilitySet::WAKE_ALARM)
    .union(CapabilitySet::BLOCK_SUSPEND)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// The highest capability this program knows.
const LAST_CAPABILITY: u32 = 40;

/// Descriptors a process may open unless it asks for more, and the most it may ask for. Some programs walk through
/// all of them.
const FILES: (u64, u64) = (1024, 65_536);
/// Bytes of stack: the kernel's own default, which also decides how long a command line may be.
const STACK: u64 = 8 << 20;

/// The job's standard input: what the given bytes are read from.
fn input(bytes: &[u8]) -> Result<OwnedFd, Failure> {
    if bytes.is_empty() {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        return rustix::fs::open("/dev/null", flags, Mode::empty()).during(Step::Input);
    }
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC).during(Step::Input)?);
    file.write_all(bytes).during(Step::Input)?;
    file.rewind().during(Step::Input)?;
    Ok(file.into())
}

/// Limits this process, which has its table of descriptors in common with process 1: writes the number of the filter's
/// descriptor to `words`, waits for a byte on `go`, leaves the table and says so with a second word.
pub(super) fn apply(spec: &Spec, words: &OwnedFd, go: &OwnedFd) -> Result<(), Failure> {
    setsid().during(Step::Start)?;
    if spec.terminal {
        ioctl_tiocsctty(std::io::stdout()).during(Step::Input)?;
    }
    limits(spec)?;
    surroundings(&spec.world)?;
    drop_bounding_set()?;
    let listener = sys::install_filter(&filter::program(&spec.world)).during(Step::Filter)?;
    // Process 1 owns it from here on.
    let number = listener.into_raw_fd();
    rustix::io::write(words, &number.to_ne_bytes()).during(Step::Filter)?;
    rustix::io::read(go, &mut [0]).during(Step::Filter)?;
    sys::unshare(UnshareFlags::FILES).during(Step::Filter)?;
    rustix::io::write(words, &0i32.to_ne_bytes()).during(Step::Filter)?;
    give_up_capabilities()?;
    sys::close_on_exec(3).during(Step::Start)
}

/// What each process hands on to the next.
fn surroundings(world: &World) -> Result<(), Failure> {
    umask(Mode::from_raw_mode(world.umask));
    if !world.random_addresses {
        sys::fixed_addresses().during(Step::Start)?;
    }
    if let Some(count) = world.processors {
        let all = sched_getaffinity(None).during(Step::Limit)?;
        let mut some = CpuSet::new();
        let ours = (0..CpuSet::MAX_CPU).filter(|number| all.is_set(*number));
        ours.take(count.max(1) as usize).for_each(|number| some.set(number));
        sched_setaffinity(None, &some).during(Step::Limit)?;
    }
    Ok(())
}

fn limits(spec: &Spec) -> Result<(), Failure> {
    let limit = |resource, soft: u64, hard: u64| {
        // Without privilege over the machine, limits can only go down.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let hard = hard.min(most);
        let limit = Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) };
        setrlimit(resource, limit).during(Step::Limit)
    };
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Nofile, FILES.0, FILES.1)?;
    limit(Resource::Nproc, spec.processes.into(), spec.processes.into())?;
    if let Some(bytes) = spec.address_space {
        limit(Resource::As, bytes, bytes)?;
    }
    if let Some(bytes) = spec.file_size {
        limit(Resource::Fsize, bytes, bytes)?;
    }
    let most = getrlimit(Resource::Stack).maximum;
    let soft = most.map_or(STACK, |most| most.min(STACK));
    setrlimit(Resource::Stack, Rlimit { current: Some(soft), maximum: most }).during(Step::Limit)
}

fn drop_bounding_set() -> Result<(), Failure> {
    for number in 0..=LAST_CAPABILITY {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !GIVEN_UP.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            // An older kernel does not know it, so nobody can have it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error).during(Step::Capabilities),
        }
    }
    clear_ambient_capability_set().during(Step::Capabilities)
}

fn give_up_capabilities() -> Result<(), Failure> {
    let now = rustix::thread::capabilities(None).during(Step::Capabilities)?;
    let kept = now.permitted.difference(GIVEN_UP);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).during(Step::Capabilities)
}

/// Becomes the job. Returns only if that is impossible.
pub(super) fn execute(spec: &Spec) -> Failure {
    let input = match spec.terminal {
        true => std::io::stdout().as_fd().try_clone_to_owned().during(Step::Input),
        false => input(&spec.stdin),
    };
    let input = match input {
        Ok(input) => input,
        Err(failure) => return failure,
    };
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Err::<(), _>(rustix::io::Errno::INVAL).during(Step::Read).expect_err("it is an error");
    };
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.cwd)
        .stdin(Stdio::from(input))
        .exec();
    Err::<(), _>(error).during(Step::Execute(PathBuf::from(program))).expect_err("it is an error")
}

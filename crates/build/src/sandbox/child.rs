//! The outer child: opens what the job may see, leaves all name spaces, and waits for process 1.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::Mode;
use rustix::process::{
    Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions, getppid, getrlimit,
    set_parent_process_death_signal, setrlimit, umask, waitpid,
};
use rustix::thread::{UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::init;
use super::mounts;
use super::wire::{self, During, Failure, Message, Spec, Step};
use crate::host::sys;

/// What a program does when its first argument is [`CHILD_ARGUMENT`](super::CHILD_ARGUMENT), before anything else
/// and while it has one thread. Its standard input is a socket to the process that runs the sandbox.
pub fn child_main() -> ! {
    let run = |control: &OwnedFd| match outer(control) {
        Ok(()) => 0,
        Err(Failure { step, errno }) => {
            let _ = wire::send(control, &Message::Failed { step, errno }, None);
            1
        }
    };
    // First of all, lest a parent that leaks descriptors leaks them into the job.
    let control = sys::close_inherited(3).and_then(|()| std::io::stdin().as_fd().try_clone_to_owned());
    std::process::exit(control.map_or(1, |control| run(&control)))
}

/// Dies with the process that started this one. To be renewed after each change of user ids.
fn die_with(parent: Pid) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).during(Step::Start)?;
    // It may have died before the kernel was asked.
    if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH).during(Step::Start) }
}

fn outer(control: &OwnedFd) -> Result<(), Failure> {
    let spec: Spec = {
        let mut stream = std::fs::File::from(control.try_clone().during(Step::Start)?);
        wire::read(&mut stream).during(Step::Read)?
    };
    let parent = Pid::from_raw(spec.parent).ok_or(rustix::io::Errno::INVAL).during(Step::Read)?;
    die_with(parent)?;
    umask(Mode::WGRP | Mode::WOTH);
    // Memory that runs out shall end the build, not the machine's other work. More is always allowed, but not to a process
    // that has changed its user: its files in /proc are root's then.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    // Each bind is a descriptor for a while. The job gets limits of its own.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).during(Step::Limit)?;
    let prepared = mounts::prepare(&spec)?;
    sys::unshare(
        UnshareFlags::NEWUSER
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWCGROUP,
    )
    .during(Step::Unshare)?;
    wire::send(control, &Message::Unshared, None).during(Step::Unshare)?;
    let mut mapped = [0];
    std::fs::File::from(control.try_clone().during(Step::Become)?)
        .read_exact(&mut mapped)
        .during(Step::Become)?;
    set_thread_groups(&[]).during(Step::Become)?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).during(Step::Become)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).during(Step::Become)?;
    die_with(parent)?;
    let (alive, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(Step::Fork)?;
    match sys::fork().during(Step::Fork)? {
        sys::Fork::Child => {
            drop(hold);
            init::main(&spec, prepared, control, &alive)
        }
        sys::Fork::Parent(first) => {
            drop(alive);
            wire::send(control, &Message::Init(first.as_raw_nonzero().get()), None).during(Step::Fork)?;
            // Process 1 reports by itself. All processes of the sandbox are gone when it is.
            while let Err(rustix::io::Errno::INTR) = waitpid(Some(first), WaitOptions::empty()) {}
            drop(hold);
            Ok(())
        }
    }
}

//! Process 1 of a sandbox: builds its surroundings, starts the job, and ends all others with it.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, set_dumpable_behavior,
    set_parent_process_death_signal, wait,
};

use super::confine;
use super::mounts::{self, Prepared};
use super::wire::{self, During, Failure, Message, Spec, Step};
use crate::host::sys;

/// Names of leftover processes reported.
const MOST_LEFTOVERS: usize = 32;

/// Runs the job. When this process ends, the kernel kills all others in the sandbox.
pub(super) fn main(spec: &Spec, prepared: Prepared, control: &OwnedFd, alive: &OwnedFd) -> ! {
    let code = match run(spec, prepared, control, alive) {
        Ok(()) => 0,
        Err(Failure { step, errno }) => {
            let _ = wire::send(control, &Message::Failed { step, errno }, None);
            1
        }
    };
    std::process::exit(code)
}

fn run(spec: &Spec, prepared: Prepared, control: &OwnedFd, alive: &OwnedFd) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).during(Step::Start)?;
    // The outer child may have died before the kernel was asked; its end of the pipe is gone then.
    let mut gone = [PollFd::new(alive, PollFlags::IN)];
    if poll(&mut gone, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).during(Step::Start)? > 0 {
        return Err(rustix::io::Errno::SRCH).during(Step::Start);
    }
    // The job runs as the same user; this keeps it from this process's memory and descriptors.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::Start)?;
    rustix::system::sethostname(spec.world.host_name.as_bytes()).during(Step::HostName)?;
    rustix::system::setdomainname(spec.world.domain_name.as_bytes()).during(Step::HostName)?;
    loopback().during(Step::Loopback)?;
    mounts::enter(&prepared, spec)?;
    drop(prepared);
    let job = start(spec, control)?;
    let status = reap(job)?;
    let small = |number: Option<i32>| number.and_then(|number| u8::try_from(number).ok());
    let (code, signal) = (small(status.exit_status()), small(status.terminating_signal()));
    wire::send(control, &Message::Ended { code, signal, leftovers: leftovers() }, None).during(Step::Start)
}

/// Turns the loopback device on, by `RTM_NEWLINK` of rtnetlink(7).
fn loopback() -> io::Result<()> {
    // Protocol 0 of netlink is the one for routes and devices.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let (new_link, request_and_ack): (u16, u16) = (16, 1 | 4);
    let mut message = Vec::new();
    message.extend(32u32.to_ne_bytes());
    message.extend(new_link.to_ne_bytes());
    message.extend(request_and_ack.to_ne_bytes());
    message.extend([0; 8]); // sequence number, port
    message.extend([0; 4]); // family and type of device: any
    message.extend(1u32.to_ne_bytes()); // the first device of a network is its loopback
    message.extend(1u32.to_ne_bytes()); // IFF_UP
    message.extend(1u32.to_ne_bytes()); // is all that changes
    send(&socket, &message, SendFlags::empty())?;
    let mut reply = [0; 64];
    let (_, length) = recv(&socket, &mut reply, RecvFlags::empty())?;
    match reply[..length.min(64)].get(16..20) {
        Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Starts the job's process and passes its filter's descriptor on to the parent.
///
/// The job cannot send it: sending is what the filter asks about, and nobody could answer yet. So both processes use
/// one table of descriptors until the descriptor is on its way, and neither closes what the other may still need.
fn start(spec: &Spec, control: &OwnedFd) -> Result<Pid, Failure> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(Step::Fork);
    let (words, go) = (pipe()?, pipe()?);
    match sys::fork_sharing_files().during(Step::Fork)? {
        sys::Fork::Child => {
            let Failure { step, errno } = match confine::apply(spec, &words.1, &go.0) {
                Ok(()) => confine::execute(spec),
                Err(failure) => failure,
            };
            let _ = wire::send(control, &Message::Failed { step, errno }, None);
            // Ends without dropping anything: the table of descriptors may still be that of process 1.
            std::process::exit(127)
        }
        sys::Fork::Parent(job) => {
            let watch = pidfd_open(job, PidfdFlags::empty()).during(Step::Fork)?;
            if let Some(number) = word(&words.0, watch.as_fd()).during(Step::Filter)?
                && let Some(listener) = sys::own_shared(number)
            {
                wire::send(control, &Message::Listener, Some(listener.as_fd())).during(Step::Filter)?;
                drop(listener);
                rustix::io::write(&go.1, b"!").during(Step::Filter)?;
                // A second word says that the job has a table of its own.
                word(&words.0, watch.as_fd()).during(Step::Filter)?;
            }
            Ok(job)
        }
    }
}

/// A number the job writes; `None` if it ended before.
fn word(from: &OwnedFd, job: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut either = [PollFd::new(from, PollFlags::IN), PollFd::from_borrowed_fd(job, PollFlags::IN)];
    while let Err(rustix::io::Errno::INTR) = poll(&mut either, None) {}
    if !either[0].revents().contains(PollFlags::IN) {
        return Ok(None);
    }
    let mut bytes = [0; 4];
    rustix::io::read(from, &mut bytes)?;
    Ok(Some(i32::from_ne_bytes(bytes)))
}

/// Waits until the job has ended, burying orphans meanwhile.
fn reap(job: Pid) -> Result<WaitStatus, Failure> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == job => return Ok(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).during(Step::Start),
        }
    }
}

/// Names of the processes that are still alive, sorted. Zombies are not counted.
fn leftovers() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (start, end) = (text.find('(')?, text.rfind(')')?);
            let zombie = text[end..].starts_with(") Z");
            (pid != 1 && !zombie).then(|| text[start + 1..end].to_owned())
        })
        .collect();
    names.sort();
    names.truncate(MOST_LEFTOVERS);
    names
}

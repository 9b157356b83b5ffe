//! The caller's side: starts the outer child, listens to it, and ends everything when a limit is reached.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::lines::{Lines, Tail};
use super::memory;
use super::network::Watch;
use super::pretend::Pretend;
use super::wire::{self, Inbox, Message, Spec, SpecRoot};
use super::{CHILD_ARGUMENT, Exit, Job, Limits, Root, Sandbox, SandboxError, Status, Stream, World};
use crate::host::{Host, IDS, interrupted, subid, sys};

/// What the C library calls the error of a full disk.
const NO_ROOM: &[u8] = b"No space left on device";
/// How often limits that nothing reports are looked at.
const TICK: Duration = Duration::from_millis(250);

impl Sandbox {
    /// A sandbox whose processes are this program's own, which must call [`child_main`](super::child_main).
    pub fn new(host: Host) -> Self {
        Self { program: "/proc/self/exe".into(), host, world: World::default() }
    }

    /// Runs `job` to its end and hands each line of its output to `on_line`, without newline; a line above 64 KiB
    /// comes in pieces.
    ///
    /// When this returns, no process of the sandbox is left, and all it mounted is gone. The same holds if this
    /// process or thread dies.
    ///
    /// # Errors
    /// If the job could not be started, or its end not be learned. That it failed is no error: see [`Exit`].
    pub fn run(&self, job: &Job, on_line: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        self.start(job, None, on_line)
    }

    /// Runs `job` with its output in lines, or with all streams on `terminal`.
    pub(super) fn start(
        &self,
        job: &Job,
        terminal: Option<OwnedFd>,
        on_line: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, SandboxError> {
        let spec = Spec { terminal: terminal.is_some(), ..spec(job, self)? };
        let (out, err) = match terminal {
            Some(terminal) => {
                let second = terminal.try_clone().map_err(SandboxError::Talk)?;
                (Stdio::from(terminal), Stdio::from(second))
            }
            None => (Stdio::piped(), Stdio::piped()),
        };
        let (ours, theirs) = UnixStream::pair().map_err(SandboxError::Talk)?;
        let child = Command::new(&self.program)
            .arg(CHILD_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(out)
            .stderr(err)
            // The terminal's Ctrl-C is for us to act on.
            .process_group(0)
            .spawn()
            .map_err(|source| SandboxError::Spawn { program: self.program.clone(), source })?;
        let mut running = Running::new(child, ours, self, job);
        wire::write(&mut running.control, &spec).map_err(SandboxError::Talk)?;
        running.follow(on_line)
    }
}

fn spec(job: &Job, Sandbox { host, world, .. }: &Sandbox) -> Result<Spec, SandboxError> {
    let absolute = |path: &Path| match std::path::absolute(path) {
        Ok(path) => Ok(path.into_os_string()),
        Err(_) => Err(SandboxError::Job("paths that are not empty")),
    };
    if job.argv.is_empty() {
        return Err(SandboxError::Job("a program"));
    }
    if !job.cwd.is_absolute() || job.binds.iter().any(|bind| !bind.target.is_absolute()) {
        return Err(SandboxError::Job("absolute paths inside"));
    }
    let root = match &job.root {
        Root::Dir(dir) => SpecRoot::Dir(absolute(dir)?),
        Root::Overlay { lowers, .. } if lowers.is_empty() => return Err(SandboxError::Job("a lower layer")),
        Root::Overlay { lowers, upper, work } => SpecRoot::Overlay {
            lowers: lowers.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
            upper: absolute(upper)?,
            work: absolute(work)?,
        },
    };
    let bind = |bind: &super::Bind| Ok((absolute(&bind.source)?, bind.target.clone().into_os_string()));
    Ok(Spec {
        root,
        user_namespace: host.user_namespace,
        argv: job.argv.clone(),
        env: environment(&job.env, world),
        cwd: job.cwd.clone().into_os_string(),
        stdin: job.stdin.clone(),
        terminal: false,
        binds: job.binds.iter().map(bind).collect::<Result<_, SandboxError>>()?,
        processes: job.limits.processes,
        address_space: job.limits.address_space,
        file_size: job.limits.file_size,
        scratch: job.limits.scratch,
        files: world.files(),
        world: world.clone(),
        parent: rustix::process::getpid().as_raw_nonzero().get(),
    })
}

/// The environment of a job in `world`.
fn environment(env: &[(OsString, OsString)], world: &World) -> Vec<(OsString, OsString)> {
    let changed =
        |name: &OsString| world.environment.iter().any(|(other, _)| name.as_os_str() == other.as_str());
    let kept = env.iter().filter(|(name, _)| !changed(name)).cloned();
    let new = world.environment.iter();
    kept.chain(new.filter_map(|(name, value)| Some((name.into(), value.as_ref()?.into())))).collect()
}

/// A sandbox while it runs. Dropping it ends it.
struct Running {
    child: Child,
    control: UnixStream,
    inbox: Inbox,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    out_lines: Lines,
    err_lines: Lines,
    /// Process 1 of the sandbox: with it all others end.
    first: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    watch: Watch,
    pretend: Pretend,
    host: Host,
    limits: Limits,
    memory: memory::Watch,
    disk: std::path::PathBuf,
    work: Option<std::path::PathBuf>,
    deadline: Option<Instant>,
    next_look: Instant,
    status: Option<Status>,
    failed: Option<SandboxError>,
    /// A program said that there was no room.
    no_room: bool,
    tail: Tail,
    exit: Exit,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        if let Some(work) = &self.work {
            let _ = crate::host::overlay::clean_work(work);
        }
    }
}

impl Running {
    fn new(mut child: Child, control: UnixStream, sandbox: &Sandbox, job: &Job) -> Self {
        let (disk, work) = match &job.root {
            Root::Dir(dir) => (dir.clone(), None),
            Root::Overlay { upper, work, .. } => (upper.clone(), Some(work.clone())),
        };
        Self {
            out: child.stdout.take(),
            err: child.stderr.take(),
            child,
            control,
            inbox: Inbox::default(),
            out_lines: Lines::default(),
            err_lines: Lines::default(),
            first: None,
            listener: None,
            watch: Watch::of(&sandbox.world.host_name),
            pretend: Pretend::new(sandbox.world.clone()),
            host: sandbox.host,
            limits: job.limits.clone(),
            memory: memory::Watch::new(job.limits.keep_memory),
            disk,
            work,
            next_look: Instant::now(),
            deadline: Instant::now().checked_add(job.limits.time),
            status: None,
            failed: None,
            no_room: false,
            tail: Tail::default(),
            exit: Exit {
                status: Status::Exited(0),
                network_attempts: Vec::new(),
                leftovers: Vec::new(),
                tail: Vec::new(),
                output_bytes: 0,
            },
        }
    }

    /// Ends all processes. Process 1 takes the others with it before its own end is seen by the outer child.
    fn kill(&mut self) {
        match &self.first {
            Some(first) => drop(pidfd_send_signal(first, Signal::KILL)),
            None => drop(self.child.kill()),
        }
    }

    fn stop(&mut self, why: Status) {
        self.status.get_or_insert(why);
        self.kill();
    }

    fn follow(mut self, on_line: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        let mut talking = true;
        while talking || self.out.is_some() || self.err.is_some() {
            let ready = self.wait(talking)?;
            if ready.control {
                talking = self.hear()?;
            }
            if ready.nobody_asks {
                self.listener = None;
            }
            if ready.listener {
                self.decide();
            }
            if ready.out {
                self.read(Stream::Out, on_line)?;
            }
            if ready.err {
                self.read(Stream::Err, on_line)?;
            }
            self.check();
        }
        self.child.wait().map_err(SandboxError::Talk)?;
        self.first = None;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut exit = self.exit.clone();
        let tail = std::mem::take(&mut self.tail).into_lines();
        let Some(status) = self.status else {
            return Err(SandboxError::Lost { tail });
        };
        (exit.status, exit.tail) = (status, tail);
        exit.network_attempts = std::mem::take(&mut self.watch).into_attempts();
        Ok(exit)
    }

    fn wait(&self, talking: bool) -> Result<Ready, SandboxError> {
        let signals = sys::watch_signals().map_err(SandboxError::Talk)?;
        let control = talking.then_some(self.control.as_fd());
        let sources = [
            control,
            self.listener.as_ref().map(AsFd::as_fd),
            self.out.as_ref().map(AsFd::as_fd),
            self.err.as_ref().map(AsFd::as_fd),
            // It stays readable: once the end has begun there is no need to look.
            (self.status.is_none() && self.failed.is_none()).then_some(signals.as_fd()),
        ];
        let mut fds: Vec<_> =
            sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        match poll(&mut fds, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(SandboxError::Talk(error.into())),
        }
        let mut events = fds.iter().map(PollFd::revents);
        let mut events =
            sources.iter().map(|source| source.and_then(|_| events.next()).unwrap_or(PollFlags::empty()));
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        let (control, listener, out, err) = (next(), next(), next(), next());
        Ok(Ready {
            control: !control.is_empty(),
            listener: listener.contains(PollFlags::IN),
            nobody_asks: !listener.is_empty() && !listener.contains(PollFlags::IN),
            out: !out.is_empty(),
            err: !err.is_empty(),
        })
    }

    /// Acts on what the children say. False when they have nothing more to say.
    fn hear(&mut self) -> Result<bool, SandboxError> {
        let open = self.inbox.fill(&self.control).map_err(SandboxError::Talk)?;
        while let Some(message) = self.inbox.next().map_err(SandboxError::Talk)? {
            match message {
                // What was ended by a limit while it was set up fails for that reason, whatever it says last.
                Message::Unshared | Message::Failed { .. } if self.status.is_some() => {}
                Message::Unshared => self.map()?,
                Message::Init(pid) => {
                    self.first = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                }
                Message::Listener => self.listener = self.inbox.fd.take(),
                Message::Failed { step, errno } => {
                    let source = io::Error::from_raw_os_error(errno);
                    self.failed.get_or_insert(SandboxError::Setup { step, source });
                }
                Message::Ended { code, signal, leftovers } => {
                    self.exit.leftovers = leftovers;
                    let ended = match (code, signal) {
                        (Some(code), _) => Status::Exited(code),
                        (_, signal) => Status::Signalled(signal.unwrap_or(0)),
                    };
                    // A program may fill the disk and fail for that between two looks.
                    let failed = ended != Status::Exited(0);
                    let full = failed && (self.disk_is_full() || self.no_room && self.disk_was_full());
                    // The kernel may have killed something of somebody else's: the job must look like it.
                    let killed = matches!(ended, Status::Signalled(9) | Status::Exited(137));
                    let memory = failed && (killed && self.memory.has_killed() || self.memory.is_full());
                    self.status.get_or_insert(match ended {
                        _ if full => Status::Disk,
                        _ if memory => Status::Memory,
                        ended => ended,
                    });
                }
            }
        }
        Ok(open)
    }

    /// Gives the sandbox its ids: 0 to 65535 inside are those from the shift on outside.
    fn map(&mut self) -> Result<(), SandboxError> {
        for file in ["uid_map", "gid_map"] {
            let refused = |source| SandboxError::Map { file, source };
            let ours = fs::read_to_string(format!("/proc/self/{file}")).map_err(refused)?;
            let ranges = subid::nested(&subid::parse_map(&ours), self.host.shift.first(), IDS);
            fs::write(format!("/proc/{}/{file}", self.child.id()), subid::map_text(&ranges))
                .map_err(refused)?;
        }
        self.control.write_all(b"!").map_err(SandboxError::Talk)
    }

    fn decide(&mut self) {
        let Some(listener) = &self.listener else { return };
        match sys::notification(listener) {
            Ok(Some(call)) => {
                let answer = self.pretend.answer(&call, listener).unwrap_or_else(|| self.watch.decide(&call));
                if sys::answer(listener, call.id, answer).is_err() {
                    self.listener = None;
                }
            }
            Ok(None) => {}
            // Nobody is left who could ask.
            Err(_) => self.listener = None,
        }
    }

    fn read(&mut self, stream: Stream, on_line: &mut dyn FnMut(Stream, &[u8])) -> Result<(), SandboxError> {
        let mut chunk = [0; 32 << 10];
        let got = match stream {
            Stream::Out => self.out.as_mut().map(|out| out.read(&mut chunk)),
            Stream::Err => self.err.as_mut().map(|err| err.read(&mut chunk)),
        };
        let length = match got {
            Some(Ok(length)) => length,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Some(Err(error)) => return Err(SandboxError::Talk(error)),
            None => 0,
        };
        let before = self.exit.output_bytes;
        let left = usize::try_from(self.limits.output.saturating_sub(before)).unwrap_or(usize::MAX);
        self.exit.output_bytes += length as u64;
        let tail = &mut self.tail;
        let no_room = &mut self.no_room;
        let mut each = |line: &[u8]| {
            *no_room |= line.windows(NO_ROOM.len()).any(|part| part == NO_ROOM);
            tail.push(line);
            on_line(stream, line);
        };
        let lines = match stream {
            Stream::Out => &mut self.out_lines,
            Stream::Err => &mut self.err_lines,
        };
        lines.push(&chunk[..length.min(left)], &mut each);
        if length == 0 {
            lines.finish(&mut each);
            match stream {
                Stream::Out => self.out = None,
                Stream::Err => self.err = None,
            }
        }
        if length > left {
            self.stop(Status::Output);
        }
        Ok(())
    }

    /// Ends the sandbox if a limit is reached that nothing else reports.
    fn check(&mut self) {
        let now = Instant::now();
        if self.status.is_some() || now < self.next_look {
            return;
        }
        self.next_look = now + TICK;
        if interrupted() {
            self.stop(Status::Interrupted);
        } else if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.stop(Status::Time);
        } else if self.disk_is_full() {
            self.stop(Status::Disk);
        } else if self.memory.is_full() {
            self.stop(Status::Memory);
        }
    }

    fn disk_is_full(&self) -> bool {
        self.has_below(1)
    }

    /// Whether it can have been full a moment ago: dpkg removes what did not fit, and goes on with other packages.
    fn disk_was_full(&self) -> bool {
        self.has_below(4)
    }

    /// Whether the disk has less free than so many times what is kept free.
    fn has_below(&self, times: u64) -> bool {
        rustix::fs::statvfs(&self.disk).is_ok_and(|disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) < self.limits.kept_free(&disk).saturating_mul(times)
        })
    }
}

struct Ready {
    control: bool,
    listener: bool,
    /// Whoever could ask is gone. Before Linux 6.11 a call that waits for a question then would wait for ever.
    nobody_asks: bool,
    out: bool,
    err: bool,
}

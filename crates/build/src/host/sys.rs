//! The system calls for which rustix has no safe form. The only unsafe code of this crate.
//!
//! Every function here is safe to call: where a call is only sound for a process with one thread, it checks that
//! first and fails with `EBUSY` otherwise.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// The two sides of a fork.
pub(crate) enum Fork {
    /// The process that forked, with the new process.
    Parent(Pid),
    /// The new process.
    Child,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Fails unless this process has exactly one thread.
pub(crate) fn single_threaded() -> io::Result<()> {
    match fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EBUSY)),
    }
}

/// Duplicates this process, which must have one thread.
pub(crate) fn fork() -> io::Result<Fork> {
    single_threaded()?;
    // SAFETY: with one thread no lock can be held by a thread that does not exist in the child.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(forked(pid))
}

/// As [`fork`], but both processes use one table of file descriptors until the child executes a program or leaves
/// the table with [`unshare`].
pub(crate) fn fork_sharing_files() -> io::Result<Fork> {
    single_threaded()?;
    let flags = libc::c_long::from(libc::CLONE_FILES | libc::SIGCHLD);
    // SAFETY: one thread, as in `fork`. The stack pointer is 0, so the child runs on a copy of this stack.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(forked(pid))
}

fn forked(pid: libc::c_long) -> Fork {
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) => Fork::Parent(pid),
        None => Fork::Child,
    }
}

/// Leaves the name spaces or tables named by `flags`. The process must have one thread.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    single_threaded()?;
    // SAFETY: the call is unsafe because threads with different descriptor tables break I/O safety; there is
    // one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Closes every descriptor from `first` on: what this process inherited and has no use for.
pub(crate) fn close_inherited(first: u32) -> io::Result<()> {
    // SAFETY: called at the start of a fresh program, before it owns any descriptor from `first` on.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Marks every descriptor from `first` on to be closed when a program is executed.
pub(crate) fn close_on_exec(first: u32) -> io::Result<()> {
    // SAFETY: changes flags of descriptors only.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets `MOUNT_ATTR_*` flags of the mount `fd` stands for.
pub(crate) fn mount_setattr(fd: impl AsFd, set: u64) -> io::Result<()> {
    let attr = MountAttr { set, clear: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a NUL-terminated literal, the structure is the first version of the kernel's and its
    // size is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Uses the block device at `path`, which holds an empty swap area, as memory.
pub(crate) fn swap_on(path: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the kernel reads the name up to its end.
    check(unsafe { libc::swapon(path.as_ptr(), 0) }.into()).map(drop)
}

/// One instruction of a seccomp filter: classic BPF.
pub(crate) type Instruction = libc::sock_filter;

/// Installs a seccomp filter on this process and returns the descriptor on which its notifications arrive.
pub(crate) fn install_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies `len` instructions and verifies them; it writes nothing.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        })
    };
    // A signal that does not kill shall not begin a call anew that is being answered: kernels before 5.19 cannot promise that.
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd =
        install(listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).or_else(|_| install(listener))?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the call made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// From now on, programs that this process executes lie at the same addresses each time.
pub(crate) fn fixed_addresses() -> io::Result<()> {
    let number = |flags: libc::c_int| libc::c_ulong::from(flags.unsigned_abs());
    // SAFETY: changes a setting of this process; 0xffffffff asks for the present one.
    let now = check(unsafe { libc::personality(0xffff_ffff) }.into())?;
    let now = libc::c_ulong::try_from(now).unwrap_or_default();
    // SAFETY: as above.
    check(unsafe { libc::personality(now | number(libc::ADDR_NO_RANDOMIZE)) }.into()).map(drop)
}

/// Reads entries of `directory` as getdents64(2) gives them, from its position on; how many bytes.
pub(crate) fn directory_entries(directory: impl AsFd, to: &mut [u8]) -> io::Result<usize> {
    let fd = directory.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most as many bytes as `to` has.
    let length = check(unsafe { libc::syscall(libc::SYS_getdents64, fd, to.as_mut_ptr(), to.len()) })?;
    Ok(usize::try_from(length).unwrap_or_default())
}

/// Takes over a descriptor that a child made in the table it shares with this process ([`fork_sharing_files`]).
/// `None` unless it is open.
pub(crate) fn own_shared(number: i32) -> Option<OwnedFd> {
    // SAFETY: `fcntl` with `F_GETFD` only looks.
    let open = number > 2 && unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    // SAFETY: the child gives the descriptor up (it forgets its owner) as soon as it has told its number.
    open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// A system call that waits for our answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// Names the call when answering.
    pub id: u64,
    /// The thread that called, as this process numbers it.
    pub pid: u32,
    /// Number of the system call.
    pub number: i32,
    /// `AUDIT_ARCH_*` of the caller.
    pub arch: u32,
    /// Arguments.
    pub args: [u64; 6],
}

/// The answer to a [`Notification`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Let the kernel do the call.
    Continue,
    /// Do nothing, and let the caller believe it worked.
    Pretend,
    /// Do nothing, and let the caller believe that this was the result.
    Give(i64),
    /// Fail the call with this error number.
    Fail(i32),
}

/// Takes the next notification. `None` when the caller is gone again.
pub(crate) fn notification(listener: impl AsFd) -> io::Result<Option<Notification>> {
    // SAFETY: all-zero bytes are a valid value of this plain structure, and the kernel demands them.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let fd = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most the size encoded in the request number, which is that of `raw`.
    let got = unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) };
    match check(got.into()) {
        Ok(_) => Ok(Some(Notification {
            id: raw.id,
            pid: raw.pid,
            number: raw.data.nr,
            arch: raw.data.arch,
            args: raw.data.args,
        })),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Answers a notification. That the caller is gone already is not an error.
pub(crate) fn answer(listener: impl AsFd, id: u64, answer: Answer) -> io::Result<()> {
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, 1), // SECCOMP_USER_NOTIF_FLAG_CONTINUE
        Answer::Pretend => (0, 0, 0),
        Answer::Give(value) => (value, 0, 0),
        Answer::Fail(error) => (0, -error, 0),
    };
    let raw = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the kernel reads the size encoded in the request number, which is that of `raw`.
    let sent =
        unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const raw) };
    match check(sent.into()) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Fails unless the call `id` still waits for its answer: unless its caller is alive.
pub(crate) fn still_waits(listener: impl AsFd, id: u64) -> io::Result<()> {
    // SAFETY: the kernel reads the 8 bytes of `id`.
    let waits = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    check(waits.into()).map(drop)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: libc::c_int) {
    // Only what signal-safety(7) allows: two atomics and a write. `errno` is kept for the interrupted code.
    INTERRUPTED.store(true, Ordering::SeqCst);
    let fd = WAKE.load(Ordering::SeqCst);
    // SAFETY: `errno` is the calling thread's own; the byte outlives the call; the descriptor is never closed.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        libc::write(fd, [0u8].as_ptr().cast(), 1);
        *errno = kept;
    }
}

/// True once SIGINT, SIGTERM or SIGHUP arrived after [`watch_signals`].
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Turns the first SIGINT, SIGTERM and SIGHUP into [`interrupted`] and makes the returned descriptor readable for
/// ever. The second signal of a kind has its usual effect.
pub(crate) fn watch_signals() -> io::Result<&'static OwnedFd> {
    static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();
    if let Some((read, _)) = PIPE.get() {
        return Ok(read);
    }
    let ends = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
    let (read, write) = PIPE.get_or_init(|| ends);
    WAKE.store(write.as_raw_fd(), Ordering::SeqCst);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does only what signal-safety(7) allows, and both structures are initialised.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            check(libc::sigaction(signal, std::ptr::null(), &raw mut old).into())?;
            // nohup and background jobs ignore signals on purpose.
            if old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            new.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
            libc::sigemptyset(&raw mut new.sa_mask);
            check(libc::sigaction(signal, &raw const new, std::ptr::null_mut()).into())?;
        }
    }
    Ok(read)
}

//! Getting the power to build, as root or without it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::mount::{FsOpenFlags, MountPropagationFlags, fsopen, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Pid, Uid, WaitOptions, getegid, geteuid, waitpid};
use rustix::thread::{UnshareFlags, set_thread_res_gid, set_thread_res_uid};

use super::subid::{self, Range};
use super::{IDS, IdShift, sys};

/// The power [`enter`] got: proof that this process may mount, and own files as any of [`IDS`] users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// How ids inside an image relate to those of the files of this machine.
    pub shift: IdShift,
    /// True if this process is in a user namespace, where overlays keep their marks in `user.` attributes.
    pub user_namespace: bool,
}

/// What keeps this machine from building, all of it at once.
#[derive(Debug, thiserror::Error)]
#[error("this machine does not let builds run: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct HostError {
    /// What was found, at least one.
    pub problems: Vec<Problem>,
}

/// One thing that keeps this machine from building.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The kernel lacks system calls that are needed.
    #[error("the kernel is {found}, and at least {} is needed", KERNEL)]
    Kernel {
        /// Its release.
        found: String,
    },
    /// A setting forbids user namespaces.
    #[error("{setting} is {value}, which forbids user namespaces")]
    Setting {
        /// Name for sysctl(8).
        setting: &'static str,
        /// Its value.
        value: String,
        /// The value that allows them.
        wanted: &'static str,
    },
    /// A program that gives out ids is missing.
    #[error("{0} is not installed")]
    Program(&'static str),
    /// The user has not enough subordinate ids.
    #[error("{file} gives user {user} {found} ids in one range, and {} are needed", IDS - 1)]
    SubIds {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// Name of the user, or the number if it has none.
        user: String,
        /// Size of the largest range.
        found: u32,
    },
    /// Root here is root over too few ids, as in many containers.
    #[error("this process is root in a user namespace that maps too few ids: 0 to {} are needed", IDS - 1)]
    FewIds,
    /// The kernel refused new name spaces.
    #[error("cannot leave the name spaces of this machine")]
    Unshare(#[source] io::Error),
    /// The program that gives out ids failed.
    #[error("{program} failed: {message}")]
    Map {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// A step after that failed.
    #[error("cannot {step}")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The oldest kernel that has every call used: `mount_setattr`, and overlays in user namespaces (5.11).
const KERNEL: &str = "5.12";

impl Problem {
    /// What the user of the machine can do about it, as a command where there is one.
    pub fn remedy(&self) -> String {
        match self {
            Self::Kernel { .. } => format!("boot Linux {KERNEL} or newer"),
            Self::Setting { setting, wanted, .. } => format!("sudo sysctl -w {setting}={wanted}"),
            Self::Program(_) => "sudo apt install uidmap".into(),
            Self::SubIds { file, user, .. } => {
                let option = if file.ends_with("uid") { "--add-subuids" } else { "--add-subgids" };
                format!("sudo usermod {option} 100000-165535 {user}   (choose a range that nobody has)")
            }
            Self::FewIds => {
                "start the container with a map of at least 65536 ids, or build outside of it".into()
            }
            Self::Unshare(_) => {
                "in a container, allow it to create name spaces (its seccomp filter, CAP_SYS_ADMIN); \
                 else look for a security module in the kernel's log"
                    .into()
            }
            Self::Map { .. } => "check that the program is set-user-id root and the ranges are free".into(),
            Self::Step { .. } => "look for a security module in the kernel's log".into(),
        }
    }
}

/// True once the user asked to stop: SIGINT, SIGTERM or SIGHUP. Sandboxes end by themselves then.
pub fn interrupted() -> bool {
    sys::interrupted()
}

/// Gets the power to build. To be called once, first in `main`, while the process has one thread.
///
/// As root, mounts made from now on are this process's own. Otherwise this process enters a user namespace in which
/// it is root over [`IDS`] ids: its own user and a range from `/etc/subuid`. Signals are watched from here on; see
/// [`interrupted`].
///
/// # Errors
/// All problems that can be told apart beforehand, or the first one met on the way. The process may be in a half-made
/// namespace then, and should only report and end.
pub fn enter() -> Result<Host, HostError> {
    let mut problems = Vec::new();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if older(&release) {
        problems.push(Problem::Kernel { found: release });
    }
    let map = subid::parse_map(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
    let root = geteuid().is_root();
    if root && !subid::covers(&map, 0, IDS) {
        problems.push(Problem::FewIds);
    }
    let plan = if root { None } else { Some(look(&mut problems)) };
    if !problems.is_empty() {
        return Err(HostError { problems });
    }
    let entered = match plan {
        None => as_root(&map),
        Some((uids, gids)) => new_user_namespace(uids, gids),
    };
    entered.and_then(|host| finish().map(|()| host)).map_err(|problem| {
        // Some programs are exempt from this setting, so it only counts once something failed.
        let suspect = if root { None } else { forbidding(SUSPECT) };
        HostError { problems: [problem].into_iter().chain(suspect).collect() }
    })
}

fn as_root(map: &[Range]) -> Result<Host, Problem> {
    sys::unshare(UnshareFlags::NEWNS).map_err(Problem::Unshare)?;
    // Root of a container may lack the high range; then its own ids serve, as they do for an unprivileged user.
    let shift = if subid::covers(map, IdShift::ROOT.first(), IDS) { IdShift::ROOT } else { IdShift::NONE };
    Ok(Host { shift, user_namespace: !subid::is_initial(map) })
}

/// The first own id and the first subordinate one.
type Ids = [u32; 2];

/// Looks for all that keeps an ordinary user from building, and finds the ids of users and groups.
fn look(problems: &mut Vec<Problem>) -> (Ids, Ids) {
    let uid = geteuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = subid::user_name(&passwd, uid);
    problems.extend(SETTINGS.into_iter().filter_map(forbidding));
    for program in ["newuidmap", "newgidmap"] {
        if !installed(program) {
            problems.push(Problem::Program(program));
        }
    }
    let mut range = |file: &'static str, own: u32| {
        let text = fs::read_to_string(file).unwrap_or_default();
        match subid::granted(&text, name, uid, IDS - 1) {
            Ok(first) => [own, first],
            Err(found) => {
                let user = name.map_or_else(|| uid.to_string(), Into::into);
                problems.push(Problem::SubIds { file, user, found });
                [own, 0]
            }
        }
    };
    (range("/etc/subuid", uid), range("/etc/subgid", getegid().as_raw()))
}

/// Name of a setting, the value that forbids user namespaces, and one that allows them.
type Setting = (&'static str, &'static str, &'static str);

const SETTINGS: [Setting; 2] =
    [("kernel.unprivileged_userns_clone", "0", "1"), ("user.max_user_namespaces", "0", "15000")];
const SUSPECT: Setting = ("kernel.apparmor_restrict_unprivileged_userns", "1", "0");

/// The setting as a problem, if it has the value that forbids.
fn forbidding((setting, forbids, wanted): Setting) -> Option<Problem> {
    let file = format!("/proc/sys/{}", setting.replace('.', "/"));
    let value = fs::read_to_string(file).unwrap_or_default();
    (value.trim() == forbids).then(|| Problem::Setting { setting, value: forbids.into(), wanted })
}

/// True if `release` is known to be older than [`KERNEL`].
fn older(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (5, 12),
        _ => false,
    }
}

/// The directories in which the set-user-id programs are looked for; the environment's choice is not trusted.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

fn installed(program: &str) -> bool {
    PROGRAMS.iter().any(|dir| fs::metadata(format!("{dir}/{program}")).is_ok_and(|it| it.is_file()))
}

/// Enters a user namespace in which id 0 is ours and 1 to 65535 are the subordinate ones.
///
/// `newuidmap` gains its privilege outside of the namespace only, so a child stays there to run it.
fn new_user_namespace(uids: Ids, gids: Ids) -> Result<Host, Problem> {
    let step = |step| move |source: io::Error| Problem::Step { step, source };
    let go = pipe_with(PipeFlags::CLOEXEC).map_err(|error| step("make a pipe")(error.into()))?;
    let report = pipe_with(PipeFlags::CLOEXEC).map_err(|error| step("make a pipe")(error.into()))?;
    let this = rustix::process::getpid();
    match sys::fork().map_err(Problem::Unshare)? {
        sys::Fork::Child => {
            drop((go.1, report.0));
            let status = i32::from(map_ids(this, uids, gids, go.0, report.1).is_err());
            std::process::exit(status)
        }
        sys::Fork::Parent(child) => {
            drop((go.0, report.1));
            let left = sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
            if left.is_ok() {
                let mut go = fs::File::from(go.1);
                go.write_all(b"!").map_err(step("wake the child that maps ids"))?;
            } else {
                drop(go.1);
            }
            let mut message = String::new();
            let read = fs::File::from(report.0).read_to_string(&mut message);
            let _ = waitpid(Some(child), WaitOptions::empty());
            left.map_err(Problem::Unshare)?;
            read.map_err(step("hear from the child that maps ids"))?;
            match message.split_once(' ') {
                None => {}
                Some(("newuidmap", text)) => return Err(refused("newuidmap", text)),
                Some((_, text)) => return Err(refused("newgidmap", text)),
            }
            set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
                .map_err(|e| step("become group 0")(e.into()))?;
            set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
                .map_err(|e| step("become user 0")(e.into()))?;
            Ok(Host { shift: IdShift::NONE, user_namespace: true })
        }
    }
}

fn refused(program: &'static str, text: &str) -> Problem {
    Problem::Map { program, message: text.trim().into() }
}

/// In the child: waits for the namespace of `target`, then gives it its ids. What goes wrong is written to `report`.
fn map_ids(target: Pid, uids: Ids, gids: Ids, go: OwnedFd, report: OwnedFd) -> io::Result<()> {
    if fs::File::from(go).read(&mut [0])? == 0 {
        return Ok(());
    }
    for (program, [own, first]) in [("newuidmap", uids), ("newgidmap", gids)] {
        let ranges = [
            Range { inside: 0, outside: own, count: 1 },
            Range { inside: 1, outside: first, count: IDS - 1 },
        ];
        let done = Command::new(program)
            .env_clear()
            .env("PATH", PROGRAMS.join(":"))
            .arg(target.as_raw_nonzero().to_string())
            .args(subid::map_text(&ranges).split_ascii_whitespace())
            .output();
        let message = match done {
            Ok(done) if done.status.success() => continue,
            Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        fs::File::from(report).write_all(format!("{program} {message}").as_bytes())?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

fn finish() -> Result<(), Problem> {
    let step = |step| move |source: io::Error| Problem::Step { step, source };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| step("keep mounts to this process")(error.into()))?;
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| step("use the overlay file system of the kernel")(error.into()))?;
    sys::watch_signals().map_err(step("watch signals")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_compare_as_numbers() {
        assert!(older("4.19.0-26-amd64") && older("5.9.1") && older("5.11"));
        assert!(!older("5.12.0") && !older("6.1.0-13-amd64") && !older("10.0") && !older("strange"));
    }

    #[test]
    fn every_problem_says_what_to_do() {
        let problem = Problem::SubIds { file: "/etc/subgid", user: "alice".into(), found: 10 };
        assert_eq!(
            problem.to_string(),
            "/etc/subgid gives user alice 10 ids in one range, and 65535 are needed"
        );
        assert!(problem.remedy().starts_with("sudo usermod --add-subgids "));
        let (setting, value) = ("user.max_user_namespaces", "0".into());
        let problem = Problem::Setting { setting, value, wanted: "15000" };
        let error = HostError { problems: vec![problem, Problem::Program("newuidmap")] };
        assert_eq!(
            error.to_string(),
            "this machine does not let builds run: user.max_user_namespaces is 0, which forbids user namespaces; \
             newuidmap is not installed"
        );
    }
}

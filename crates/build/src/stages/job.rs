//! Running a script of a stage in the sandbox, with a fixed world around it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use selfsame_image::Epoch;

use crate::event::{Event, Observer, Stage, Warning};
use crate::sandbox::{Attempt, Bind, Exit, Intent, Job, Root, Sandbox, SandboxError, Status};

use super::script::JOB;

/// What the stages share to run programs.
pub(crate) struct Runner<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) epoch: Epoch,
    pub(crate) observer: &'a dyn Observer,
}

/// Why a program in the sandbox did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The sandbox could not be made.
    #[error("stage {stage}: no sandbox")]
    Sandbox {
        /// The stage.
        stage: Stage,
        /// Why not.
        source: SandboxError,
    },
    /// Files for the job could not be written.
    #[error("stage {stage}: cannot write {}", path.display())]
    Files {
        /// The stage.
        stage: Stage,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program failed, or was ended.
    #[error("stage {stage}: {what} {}{}", describe(*status), tail_text(tail))]
    Failed {
        /// The stage.
        stage: Stage,
        /// What ran: a hook's path or `a package's program`.
        what: String,
        /// How it ended.
        status: Status,
        /// The end of its output.
        tail: Vec<String>,
    },
    /// A hook tried to reach the network.
    #[error("stage {stage}: {what} tried to reach the network ({attempts}); builds have none")]
    Network {
        /// The stage.
        stage: Stage,
        /// The hook.
        what: String,
        /// Programs and what they tried.
        attempts: String,
    },
}

impl JobError {
    /// The stage in which it happened.
    pub fn stage(&self) -> Stage {
        let (Self::Sandbox { stage, .. }
        | Self::Files { stage, .. }
        | Self::Failed { stage, .. }
        | Self::Network { stage, .. }) = self;
        *stage
    }
}

fn describe(status: Status) -> String {
    match status {
        Status::Exited(code) => format!("ended with exit status {code}"),
        Status::Signalled(signal) => format!("was killed by signal {signal}"),
        Status::Time => "was ended: it ran too long".into(),
        Status::Output => "was ended: it printed too much".into(),
        Status::Disk => "was ended: the disk is full".into(),
        Status::Memory => "was ended: the memory of this machine is full".into(),
        Status::Interrupted => "was interrupted".into(),
    }
}

fn tail_text(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!("; it said:\n    {}", tail.join("\n    ")) }
}

/// Where programs are looked for: the shims come before the image's own.
pub(crate) fn path() -> String {
    format!("{JOB}/shims:{}", PROGRAM_DIRS.join(":"))
}

/// The environment of every program in the sandbox. Nothing of the machine's own environment gets in.
pub(crate) fn environment(epoch: Epoch, locale: &str) -> Vec<(OsString, OsString)> {
    let epoch = epoch.0.to_string();
    let path = path();
    [
        ("PATH", path.as_str()),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("LANG", locale),
        ("LC_ALL", locale),
        ("TZ", "UTC"),
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("PERL_HASH_SEED", "0"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec()
}

/// Programs that are found before the image's own while it is built, and why.
pub(crate) const SHIMS: &[(&str, &str)] = &[
    // The initramfs is generated once, at the end, not after every package that asks for it.
    ("update-initramfs", "#!/bin/sh\nexit 0\n"),
    // The index of manual pages never reaches an image, and man-db makes it anew for every group of packages.
    (
        "setpriv",
        "#!/bin/sh\ncase \" $* \" in *' /usr/bin/mandb '*) exit 0;; esac\nexec /usr/bin/setpriv \"$@\"\n",
    ),
];

/// Where programs of the image are looked for, in this order.
pub(crate) const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The locale of programs, unless a job wants another.
pub(crate) const LOCALE: &str = "C.UTF-8";

/// Files the job sees under [`JOB`], and what else is its own.
pub(crate) struct JobDir {
    dir: PathBuf,
    /// The locale its programs run in.
    pub(crate) locale: &'static str,
    /// Files and directories that lie over something.
    hidden: Vec<Bind>,
}

impl JobDir {
    /// An empty directory `dir` with the shims in it.
    pub(crate) fn create(dir: PathBuf) -> io::Result<Self> {
        for sub in ["", "shims", "debs", "hooks"] {
            std::fs::create_dir_all(dir.join(sub))?;
            set_mode(&dir.join(sub), 0o755)?;
        }
        let job = Self { dir, locale: LOCALE, hidden: Vec::new() };
        for (name, text) in SHIMS {
            job.write(&format!("shims/{name}"), text.as_bytes(), 0o755)?;
        }
        Ok(job)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = self.dir.join(name);
        std::fs::write(&path, bytes)?;
        set_mode(&path, mode)
    }

    /// Puts something empty over each path, a directory or a file, so that the job cannot read what is there.
    pub(crate) fn hide(&mut self, paths: &[(&str, bool)]) -> io::Result<()> {
        let (file, dir) = (self.dir.join("empty-file"), self.dir.join("empty-dir"));
        self.write("empty-file", b"", 0o644)?;
        std::fs::create_dir_all(&dir)?;
        set_mode(&dir, 0o755)?;
        for (path, is_dir) in paths {
            let source = if *is_dir { dir.clone() } else { file.clone() };
            self.hidden.push(Bind { source, target: Path::new("/").join(path) });
        }
        Ok(())
    }

    /// Shows the job `bytes` instead of what is at `path`.
    pub(crate) fn replace(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let name = format!("instead-{}", self.hidden.len());
        self.write(&name, bytes, 0o644)?;
        self.hidden.push(Bind { source: self.dir.join(name), target: Path::new("/").join(path) });
        Ok(())
    }

    /// Shows the job the file `source` as `debs/<name>.deb`.
    pub(crate) fn add_deb(&self, name: &str, source: &Path) -> io::Result<()> {
        self.add_file(&format!("debs/{name}.deb"), source)
    }

    /// Shows the job the file `source` as `path`; directories on the way are made.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if something has that path: it may be a link to the very bytes of `source`.
    pub(crate) fn add_file(&self, path: &str, source: &Path) -> io::Result<()> {
        let target = self.dir.join(path);
        if let Some(parent) = target.parent() {
            std::fs::DirBuilder::new().recursive(true).create(parent)?;
        }
        match std::fs::hard_link(source, &target) {
            Err(error) if must_be_copied(&error) => copy(source, &target),
            linked => linked,
        }
    }
}

/// Whether a link failed because of where it leads: another file system, a file the kernel does not let this user
/// link, or one that has as many links as it may have.
fn must_be_copied(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks)
}

/// A file that has the name already is never written to: it may be a link to a blob of the store.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let mut from = File::open(source)?;
    let mut to = File::create_new(target)?;
    io::copy(&mut from, &mut to)?;
    set_mode(target, 0o444)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

impl Runner<'_> {
    /// Runs the shell script `text` of a stage, with `job` under [`JOB`].
    pub(crate) fn script(
        &self,
        stage: Stage,
        root: Root,
        job: &JobDir,
        text: &str,
    ) -> Result<Exit, JobError> {
        let exit = self.shell(stage, root, job, text)?;
        for attempt in &exit.network_attempts {
            let warning = Warning::Network { stage, program: attempt.program.clone() };
            self.observer.on(Event::Warning { warning });
        }
        check(stage, "a program of a package", exit)
    }

    /// Runs a hook, which may not even try to reach the network.
    pub(crate) fn hook(
        &self,
        stage: Stage,
        root: Root,
        job: &JobDir,
        name: &str,
        path: &str,
    ) -> Result<(), JobError> {
        let exit = self.run(stage, root, job, vec![OsString::from(path)])?;
        let what = format!("hook {name}");
        if !exit.network_attempts.is_empty() {
            let attempts: Vec<String> = exit.network_attempts.iter().map(attempt).collect();
            return Err(JobError::Network { stage, what, attempts: attempts.join(", ") });
        }
        check(stage, &what, exit).map(drop)
    }

    /// Runs the shell script `text`, whatever its exit status.
    pub(crate) fn shell(&self, stage: Stage, root: Root, job: &JobDir, text: &str) -> Result<Exit, JobError> {
        let path = job.dir.join("script");
        job.write("script", text.as_bytes(), 0o644).map_err(|source| JobError::Files {
            stage,
            path,
            source,
        })?;
        self.run(stage, root, job, ["/bin/sh".into(), format!("{JOB}/script").into()].to_vec())
    }

    /// A job that runs `argv` in the world that all programs of the stages see.
    pub(crate) fn job(&self, root: Root, job: &JobDir, argv: Vec<OsString>) -> Job {
        let mut run = Job::new(root, argv);
        run.env = environment(self.epoch, job.locale);
        run.binds = vec![Bind { source: job.dir.clone(), target: JOB.into() }];
        run.binds.extend(job.hidden.iter().cloned());
        run
    }

    fn run(&self, stage: Stage, root: Root, job: &JobDir, argv: Vec<OsString>) -> Result<Exit, JobError> {
        let run = self.job(root, job, argv);
        let mut on_line = |_, line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
                self.observer.on(Event::Advanced { stage, amount: 1 });
            }
            self.observer.on(Event::Output { stage, line });
        };
        self.sandbox.run(&run, &mut on_line).map_err(|source| JobError::Sandbox { stage, source })
    }
}

fn attempt(attempt: &Attempt) -> String {
    let intent = match &attempt.intent {
        Intent::Reach(address) => format!("reaching {address}"),
        Intent::LookUp { name: Some(name), .. } => format!("looking up {name}"),
        Intent::LookUp { server, name: None } => format!("looking up a name at {server}"),
        Intent::Socket(family) => format!("opening a socket of family {family}"),
    };
    format!("{}: {intent}", attempt.program)
}

fn check(stage: Stage, what: &str, exit: Exit) -> Result<Exit, JobError> {
    if exit.success() {
        return Ok(exit);
    }
    let tail = exit.tail;
    Err(JobError::Failed { stage, what: what.to_owned(), status: exit.status, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_shown_twice_is_refused_and_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let job = JobDir::create(dir.path().join("job")).unwrap();
        let blob = dir.path().join("blob");
        std::fs::write(&blob, "package").unwrap();
        job.add_deb("a", &blob).unwrap();
        let error = job.add_deb("a", &blob).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let target = dir.path().join("job/debs/a.deb");
        assert_eq!(copy(&blob, &target).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&blob).unwrap(), "package");
        copy(&blob, &dir.path().join("copy")).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("copy")).unwrap(), "package");
    }

    #[test]
    fn only_a_link_that_is_impossible_is_a_reason_to_copy() {
        use rustix::io::Errno;
        let copied = |errno: Errno| must_be_copied(&errno.into());
        assert!([Errno::XDEV, Errno::PERM, Errno::ACCESS, Errno::MLINK].into_iter().all(copied));
        assert!(![Errno::EXIST, Errno::NOENT, Errno::NOSPC, Errno::IO].into_iter().any(copied));
    }
}

//! A small image to run things in.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use selfsame_build::host::{Host, remove_tree};
use selfsame_build::sandbox::{Exit, Job, Root, Sandbox, SandboxError, Stream};

/// What the tests have in common.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) sandbox: Sandbox,
    /// An image of a shell and the probe, owned by the image's root.
    pub(crate) base: PathBuf,
    temp: PathBuf,
}

/// A file system to change, gone when dropped.
pub(crate) struct Layer {
    top: PathBuf,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) merged: PathBuf,
}

impl Drop for Layer {
    fn drop(&mut self) {
        remove_tree(&self.top).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        remove_tree(&self.temp).unwrap();
    }
}

/// What a job did and said.
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output of a job that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.exit.success(), "{:?}\n{}{}", self.exit, self.out, self.err);
        self.out
    }
}

impl World {
    /// `None` if there is no shell to put in.
    pub(crate) fn new(host: Host) -> Option<Self> {
        let busybox = Path::new("/bin/busybox");
        if !busybox.exists() && std::env::var_os("CI").is_none() {
            println!("skipped: no {}", busybox.display());
            return None;
        }
        let temp = tempfile::tempdir().unwrap().keep();
        set_mode(&temp, 0o755);
        let base = temp.join("base");
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp", "run", "usr/lib", "root", "var"] {
            fs::create_dir_all(base.join(dir)).unwrap();
        }
        set_mode(&base.join("tmp"), 0o1777);
        fs::copy(busybox, base.join("bin/busybox")).unwrap();
        symlink("busybox", base.join("bin/sh")).unwrap();
        fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
            .unwrap();
        fs::write(base.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
        put_probe(&base);
        own(&base, host.shift.first());
        let sandbox = Sandbox::new(host);
        Some(Self { host, sandbox, base, temp })
    }

    /// An empty layer.
    pub(crate) fn layer(&self) -> Layer {
        self.layer_in(&self.temp)
    }

    /// An empty layer below `dir`.
    pub(crate) fn layer_in(&self, dir: &Path) -> Layer {
        let top = tempfile::tempdir_in(dir).unwrap().keep();
        set_mode(&top, 0o755);
        let dir = |name: &str| {
            let dir = top.join(name);
            fs::create_dir(&dir).unwrap();
            lchown(&dir, Some(self.host.shift.first()), Some(self.host.shift.first())).unwrap();
            dir
        };
        Layer { upper: dir("upper"), work: dir("work"), merged: dir("merged"), top }
    }

    /// A directory for whatever.
    pub(crate) fn dir(&self) -> PathBuf {
        let dir = tempfile::tempdir_in(&self.temp).unwrap().keep();
        set_mode(&dir, 0o755);
        lchown(&dir, Some(self.host.shift.first()), Some(self.host.shift.first())).unwrap();
        dir
    }

    /// A job running a shell script on the base and `layer`.
    pub(crate) fn script(&self, layer: &Layer, script: &str) -> Job {
        let root = Root::Overlay {
            lowers: vec![self.base.clone()],
            upper: layer.upper.clone(),
            work: layer.work.clone(),
        };
        let mut job = Job::new(root, ["/bin/sh", "-c", script]);
        job.env = vec![("PATH".into(), "/bin".into())];
        job.limits.keep_free = Some(0);
        job
    }

    /// Runs a job and keeps what it says.
    pub(crate) fn try_run(&self, job: &Job) -> Result<Ran, SandboxError> {
        self.run_in(&self.sandbox, job)
    }

    /// Runs a job in another sandbox and keeps what it says.
    pub(crate) fn run_in(&self, sandbox: &Sandbox, job: &Job) -> Result<Ran, SandboxError> {
        let (mut out, mut err) = (String::new(), String::new());
        let exit = sandbox.run(job, &mut |stream, line| {
            let text = if stream == Stream::Out { &mut out } else { &mut err };
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        })?;
        Ok(Ran { exit, out, err })
    }

    /// Runs a shell script on a layer of its own.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Ran {
        let layer = self.layer();
        self.try_run(&self.script(&layer, script)).unwrap()
    }
}

/// Puts this program and the libraries it uses into an image, as `/probe`.
fn put_probe(base: &Path) {
    fs::copy("/proc/self/exe", base.join("probe")).unwrap();
    set_mode(&base.join("probe"), 0o755);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut libraries: Vec<&str> =
        maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
    libraries.retain(|path| path.contains(".so"));
    libraries.sort_unstable();
    libraries.dedup();
    for library in libraries {
        let name = Path::new(library).file_name().unwrap();
        fs::copy(library, base.join("usr/lib").join(name)).unwrap();
    }
    for link in ["lib", "lib64"] {
        symlink("usr/lib", base.join(link)).unwrap();
    }
}

/// Gives everything below `path` to one user and group, and one time.
pub(crate) fn own(path: &Path, id: u32) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), id);
        }
    }
    lchown(path, Some(id), Some(id)).unwrap();
    let moment = rustix::fs::Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: moment, last_modification: moment };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Sets the permissions of `path`.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

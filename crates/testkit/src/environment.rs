//! Runs of the selfsame program in a world made to trip it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A temporary world: empty environment, own home directory, and hostile settings that must change nothing.
///
/// The program runs in [`TestEnvironment::root`] with `TZ`, `LC_ALL`, `LANG` and the umask set to unusual values, and
/// without a terminal. The directory is removed in the end.
#[derive(Debug)]
pub struct TestEnvironment {
    program: PathBuf,
    root: TempDir,
    variables: Vec<(String, String)>,
    umask: &'static str,
}

impl TestEnvironment {
    /// A fresh world for `program`, in tests `env!("CARGO_BIN_EXE_selfsame")`.
    ///
    /// # Panics
    /// If the temporary directory cannot be made.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let root = TempDir::with_prefix("selfsame-test-").expect("a temporary directory can be made");
        for name in ["home", "tmp"] {
            std::fs::create_dir(root.path().join(name)).expect("the new directory is writable");
        }
        Self { program: program.into(), root, variables: Vec::new(), umask: "0077" }
    }

    /// The working directory of all runs; `home` and `tmp` are in it.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file below the root, directories included.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(path);
        let parent = path.parent().expect("a path below the root has a parent");
        std::fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Sets an environment variable for all further runs; it wins over the hostile ones.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the umask of all further runs, an octal number such as `0022`.
    pub fn umask(&mut self, umask: &'static str) -> &mut Self {
        self.umask = umask;
        self
    }

    /// A command that runs the program in this world.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        // Only a shell sets the umask of one child without changing that of all the threads of this process. What runs
        // in the background of a shell ignores signals, which its children would inherit.
        let mut command = Command::new("/usr/bin/env");
        command.args([
            "--default-signal=INT,TERM,HUP",
            "/bin/sh",
            "-c",
            "umask \"$0\" && exec \"$@\"",
            self.umask,
        ]);
        command.arg(&self.program).args(arguments);
        command.env_clear().current_dir(self.root());
        let at = |name: &str| self.root().join(name);
        command.env("HOME", at("home")).env("TMPDIR", at("tmp"));
        // An empty directory: whatever is started by name cannot be found.
        command.env("PATH", at("tmp"));
        // 14 hours ahead of UTC, letters that change case unlike English ones, and seeds that disturb hash order.
        command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8");
        command.env("SELFSAME_NO_SUCH_SETTING", "1").env("LANGUAGE", "ar");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        let mut command = self.command(arguments);
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.outcome(output)
    }

    /// Puts the output of a command into comparable form.
    pub fn outcome(&self, output: Output) -> Run {
        let root = self.root().to_string_lossy().into_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&root, "$ROOT");
        Run { status: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// A directory in memory where there is one, for tests whose outcome does not depend on the disk: syncs are quick there.
///
/// # Panics
/// If it cannot be made.
pub fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory can be made")
}

/// What came of a run. The world's root is written as `$ROOT` in both texts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a run that nobody looks at tests nothing"]
pub struct Run {
    /// The exit status; `None` if a signal ended the program.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Standard output of a run that ended with status 0.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Standard output of a run that did its work and answered with `status`.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn answer(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stderr, "", "an answer is no failure");
        self.stdout
    }

    /// Standard error of a run that ended with `status`, printed no result and left a message for people.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn failure(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a failed command has no result");
        assert!(self.stderr.contains("error: "), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_outer_world_leaks_in() {
        let mut world = TestEnvironment::new("/usr/bin/env");
        let seen = world.set("TZ", "UTC").set("X", "1").run([""; 0]).success();
        let mut seen: Vec<&str> = seen.lines().filter(|line| !line.starts_with("_=")).collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                "HOME=$ROOT/home",
                "LANG=tr_TR.UTF-8",
                "LANGUAGE=ar",
                "LC_ALL=tr_TR.UTF-8",
                "PATH=$ROOT/tmp",
                "PWD=$ROOT",
                "SELFSAME_NO_SUCH_SETTING=1",
                "TMPDIR=$ROOT/tmp",
                "TZ=UTC",
                "X=1"
            ]
        );
    }

    #[test]
    fn status_umask_and_directory_are_as_promised() {
        let world = TestEnvironment::new("/bin/sh");
        world.write("a/b", "content");
        assert_eq!(
            world.run(["-c", "umask; pwd; read x < a/b; echo $x"]).success(),
            "0077\n$ROOT\ncontent\n"
        );
        assert_eq!(world.run(["-c", "echo error: no >&2; exit 3"]).failure(3), "error: no\n");
    }
}

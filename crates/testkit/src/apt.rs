//! Debian's own apt, with nothing of this machine's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{oracle, oracle_text};

/// An apt that has nothing installed and knows one archive.
#[derive(Debug)]
pub struct Apt {
    home: PathBuf,
}

impl Apt {
    /// One that keeps everything in `home` and has `source` as the only line of its `sources.list`.
    ///
    /// # Panics
    /// If `home` cannot be written.
    pub fn new(home: PathBuf, source: &str) -> Self {
        for dir in ["lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(home.join(dir)).expect("a directory can be made");
        }
        for (name, text) in [("status", ""), ("etc/sources.list", &format!("{source}\n"))] {
            fs::write(home.join(name), text).expect("the new directory is writable");
        }
        Self { home }
    }

    /// `apt-get` with these arguments, in its home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        let home = self.home.display();
        for option in [
            format!("Dir::Etc={home}/etc"),
            format!("Dir::State={home}"),
            format!("Dir::State::lists={home}/lists"),
            format!("Dir::State::status={home}/status"),
            format!("Dir::Cache={home}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Servers of tests are not for proxies.
            "Acquire::http::Proxy::127.0.0.1=DIRECT".to_owned(),
            // Machines that are containers have other defaults.
            "Acquire::GzipIndexes=false".to_owned(),
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        // Files of the machine's own configuration shall not play along.
        command.env("APT_CONFIG", "/dev/null").current_dir(&self.home).args(arguments);
        command
    }

    /// Reads the archive's indexes. `None` if there is no apt, as with [`oracle()`].
    ///
    /// # Panics
    /// If apt does not take the archive as it is.
    #[must_use]
    #[track_caller]
    pub fn update(&self) -> Option<()> {
        oracle_text(&mut self.command(&["update", "-q", "--error-on=any"])).map(drop)
    }

    /// Whether these packages can be installed, and what would be or why not.
    ///
    /// # Panics
    /// If there is no apt.
    pub fn choice(&self, names: &[&str]) -> (bool, String) {
        let mut arguments = vec!["-s", "-q", "install"];
        arguments.extend(names);
        let output = oracle(&mut self.command(&arguments)).expect("apt is there where it read the archive");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

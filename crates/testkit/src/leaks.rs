//! What a test or a build may leave behind by mistake: mounts, loop devices, processes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Something that still uses a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leak {
    /// A mount point, or a mount whose options name a directory (overlay).
    Mount(String),
    /// A loop device and the file behind it.
    Loop(String, PathBuf),
    /// A process (other than this one) whose working directory, root or program is there: id and name.
    Process(u32, String),
}

/// Everything on this machine that uses `directory` or something below it, as far as this user may see.
///
/// Looks at the one directory, so that tests which run at the same time do not disturb each other.
///
/// # Panics
/// If `directory` has no absolute form or /proc cannot be read.
pub fn below(directory: &Path) -> Vec<Leak> {
    let directory =
        fs::canonicalize(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut leaks = mounts(&directory);
    leaks.extend(loops(&directory));
    leaks.extend(processes(&directory));
    leaks.sort();
    leaks
}

/// # Panics
/// If anything uses `directory` or something below it.
#[track_caller]
pub fn assert_none_below(directory: &Path) {
    let leaks = below(directory);
    assert!(leaks.is_empty(), "left behind below {}: {leaks:#?}", directory.display());
}

fn mounts(directory: &Path) -> Vec<Leak> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let needle = directory.to_string_lossy().into_owned();
    let names = |line: &str| {
        // The directory itself or something in it, but not a neighbour whose name begins alike.
        line.match_indices(&needle).any(|(at, _)| {
            matches!(line.as_bytes().get(at + needle.len()), None | Some(b'/' | b' ' | b',' | b':'))
        })
    };
    table.lines().filter(|line| names(line)).map(|line| Leak::Mount(line.to_owned())).collect()
}

fn loops(directory: &Path) -> Vec<Leak> {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let backing = |device: fs::DirEntry| {
        let file = fs::read(device.path().join("loop/backing_file")).ok()?;
        let file = PathBuf::from(std::ffi::OsStr::from_bytes(file.trim_ascii_end()));
        let name = device.file_name().to_string_lossy().into_owned();
        file.starts_with(directory).then_some(Leak::Loop(name, file))
    };
    devices.flatten().filter_map(backing).collect()
}

fn processes(directory: &Path) -> Vec<Leak> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let process = |entry: fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok().filter(|id| *id != own)?;
        let uses =
            |link| fs::read_link(entry.path().join(link)).is_ok_and(|path| path.starts_with(directory));
        let name = || fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim_end().to_owned();
        ["cwd", "root", "exe"].into_iter().any(uses).then(|| Leak::Process(id, name()))
    };
    entries.flatten().filter_map(process).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_in_the_directory_is_found_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        assert_none_below(dir.path());
        let mut child = Command::new("cat")
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let found = below(dir.path());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(found[..], [Leak::Process(id, _)] if id == child.id()), "{found:?}");
        assert_none_below(dir.path());
    }

    #[test]
    fn a_mount_in_the_directory_is_found() {
        if !crate::oracle::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "x"]).arg(dir.path()).status().unwrap().success();
        let found = below(dir.path());
        if mounted {
            assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
            assert!(matches!(found[..], [Leak::Mount(_)]), "{found:?}");
        }
        assert_none_below(dir.path());
    }
}

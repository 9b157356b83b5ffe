//! Removing results of stages that nobody used for a while, and what stopped builds left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use selfsame_store::Store;

use super::layers::{LayerError, MADE, discard, is_at};
use crate::event::Stage;
use crate::host::{self, Host};

/// Something in the store's `work/` that no running build uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// What it is.
    pub path: PathBuf,
    /// Why it can go.
    pub why: Why,
}

/// Why something can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A layer that was not used for long.
    Old,
    /// A layer from before the machine was started: no build would take it.
    Lost,
    /// What a stopped build left.
    Leftover,
    /// A lock file without a layer.
    Lock,
}

/// Tells `found` of everything that can go, and removes it unless `keep` is set. Layers count as used at the time of
/// their last use; what was used less than `age` before `now` stays, and so does what a running build holds.
///
/// # Errors
/// What the system says when it does not let something be removed. What was told before is gone then.
pub fn sweep(
    store: &Store,
    host: &Host,
    (now, age): (SystemTime, Duration),
    keep: bool,
    found: &mut dyn FnMut(&Unused),
) -> Result<(), LayerError> {
    let work = store.root().join("work");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LayerError { path, source }
    };
    let mut bases = BTreeMap::<String, ()>::new();
    for entry in std::fs::read_dir(&work).map_err(failed(&work))? {
        let name = entry.map_err(failed(&work))?.file_name();
        if let Some(base) = name.to_str().and_then(|name| base(name, host)) {
            bases.insert(base.to_owned(), ());
        }
    }
    for base in bases.into_keys() {
        if host::interrupted() {
            let source = io::ErrorKind::Interrupted.into();
            return Err(LayerError { path: work, source });
        }
        let place = work.join(base);
        sweep_one(&place, (now, age), keep, found).map_err(failed(&place))?;
    }
    Ok(())
}

/// The name of the layer that the name of a layer, of its lock or of an unfinished layer belongs to; `None` if it is
/// nothing of ours.
fn base<'a>(name: &'a str, host: &Host) -> Option<&'a str> {
    let base = name.strip_suffix(".lock").or_else(|| name.strip_suffix(".new")).unwrap_or(name);
    let mut parts = base.split('-');
    let (stage, key, whose) = (parts.next()?, parts.next()?, parts.next()?);
    let known = Stage::ALL.iter().any(|known| known.name() == stage)
        && key.len() == 32
        && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        && [host.shift, host.shift.other()].iter().any(|shift| whose == shift.first().to_string())
        && parts.next().is_none();
    known.then_some(base)
}

fn sweep_one(
    layer: &Path,
    times: (SystemTime, Duration),
    keep: bool,
    found: &mut dyn FnMut(&Unused),
) -> io::Result<()> {
    let (lock, new) = (layer.with_extension("lock"), layer.with_extension("new"));
    let had_lock = lock.symlink_metadata().is_ok();
    // A lock that is not there is held by nobody; who only looks makes none.
    let held = match had_lock || !keep {
        true => match alone(&lock)? {
            Some(file) => Some(file),
            None => return Ok(()),
        },
        false => None,
    };
    let mut tell = |path: &Path, why| found(&Unused { path: path.to_owned(), why });
    if new.symlink_metadata().is_ok() {
        tell(&new, Why::Leftover);
        if !keep {
            host::remove_tree(&new)?;
        }
    }
    let why = match layer.symlink_metadata() {
        Ok(_) => unused(layer, times),
        Err(_) => None,
    };
    if let Some(why) = why {
        tell(layer, why);
        if !keep {
            discard(layer, &new)?;
        }
    }
    let lonely = why.is_some() || layer.symlink_metadata().is_err();
    if lonely {
        if had_lock && why.is_none() {
            tell(&lock, Why::Lock);
        }
        if !keep {
            std::fs::remove_file(&lock)?;
        }
    }
    drop(held);
    Ok(())
}

/// Why the layer can go, if it can.
fn unused(layer: &Path, (now, age): (SystemTime, Duration)) -> Option<Why> {
    let made = layer.join(MADE);
    let boot = |text: &str| text.lines().next().map(str::to_owned);
    let then = std::fs::read_to_string(&made).ok().and_then(|text| boot(&text));
    let today = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().and_then(|text| boot(&text));
    if then != today {
        return Some(Why::Lost);
    }
    let used = made.metadata().and_then(|found| found.modified()).ok()?;
    // A clock that was set back makes the time of use lie ahead: then it was just used.
    let since = now.duration_since(used).unwrap_or_default();
    (since >= age).then_some(Why::Old)
}

/// The lock at `path`, if nobody has it.
fn alone(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).append(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Somebody removed it meanwhile: next time.
        Ok(()) => Ok(is_at(&file, path)?.then_some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use selfsame_image::Digest;

    use super::*;
    use crate::host::IdShift;
    use crate::stages::layers::{NewLayer, Place, obtain, turn};

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_is_old_or_left_over_goes_and_what_is_in_use_stays() {
        if rustix::process::geteuid().as_raw() != 0 {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let work = dir.path().join("work");
        let host = Host { shift: IdShift::NONE, user_namespace: false };
        let layer = |stage| {
            let key = Digest::of(b"key");
            let place = Place { store: &store, stage, key, host: &host, on: None };
            obtain::<LayerError>(&place, true, || (), || NewLayer::create(&place)?.commit()).unwrap().0
        };
        let in_use = layer(Stage::Install);
        drop((layer(Stage::Bootstrap), layer(Stage::Settings)));
        let names = || {
            let entries = std::fs::read_dir(&work).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let settings = names().into_iter().find(|name| name.starts_with("settings")).unwrap();
        std::fs::write(work.join(&settings).join(MADE), "another boot\n").unwrap();
        let key = Digest::of(b"key");
        let initramfs = Place { store: &store, stage: Stage::Initramfs, key, host: &host, on: None };
        drop(turn(&initramfs, || ()).unwrap());
        let making = format!("customise-{}-0.new", "a".repeat(32));
        std::fs::create_dir(work.join(making)).unwrap();
        // Of a check that varied the ids.
        let other = Host { shift: host.shift.other(), ..host };
        let apart = Place { store: &store, stage: Stage::Initramfs, key, host: &other, on: None };
        drop(turn(&apart, || ()).unwrap());
        std::fs::create_dir(work.join("resolve")).unwrap();

        let swept = |now: SystemTime, keep: bool| {
            let mut list = Vec::new();
            let mut found = |unused: &Unused| {
                let name = unused.path.file_name().unwrap().to_string_lossy().into_owned();
                list.push((name.split('-').next().unwrap().to_owned(), unused.why));
            };
            sweep(&store, &host, (now, 30 * DAY), keep, &mut found).unwrap();
            list
        };
        let now = SystemTime::now();
        let before = names();
        let gone = [("customise", Why::Leftover), ("initramfs", Why::Lock), ("settings", Why::Lost)];
        let gone: Vec<_> = gone.iter().map(|(name, why)| ((*name).to_owned(), *why)).collect();
        assert_eq!(swept(now, true), gone);
        assert_eq!(names(), before, "looking changes nothing");
        assert_eq!(swept(now, false), gone);
        assert_eq!(swept(now + 31 * DAY, false), [("bootstrap".to_owned(), Why::Old)]);
        assert_eq!(names().len(), 3, "{:?}", names());
        drop(in_use);
        assert_eq!(swept(now + 31 * DAY, false), [("install".to_owned(), Why::Old)]);
        assert_eq!(names(), ["resolve"]);
    }
}

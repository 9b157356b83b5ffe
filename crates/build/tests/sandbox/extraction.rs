//! Hostile and ordinary archives, extracted. Test list M1.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use selfsame_build::host::{EntryKind, ExtractReason, Extractor, Placed, remove_tree};
use selfsame_image::tree::Meta;

use crate::Test;
use crate::world::{World, own};

pub(crate) const TESTS: &[Test] = &[
    ("nothing is written outside (M1)", outside),
    ("links to directories are followed inside (M1)", inside),
    ("what is refused is refused (M1)", refused),
    ("metadata comes out as it went in", metadata),
    ("dpkg's rules for what is there already", existing),
    ("trees of other users' ids can be removed", removal),
];

/// A directory to extract to, beside a canary.
struct Place {
    top: PathBuf,
    root: PathBuf,
}

impl Place {
    fn new(world: &World) -> Self {
        let top = world.dir();
        let root = top.join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(top.join("canary")).unwrap();
        fs::write(top.join("canary/file"), "canary").unwrap();
        own(&top, world.host.shift.first());
        Self { top, root }
    }

    /// Fails if anything outside of the root changed.
    fn check(&self) {
        let names: Vec<_> =
            fs::read_dir(&self.top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(fs::read_dir(self.top.join("canary")).unwrap().count(), 1);
        assert_eq!(fs::read(self.top.join("canary/file")).unwrap(), b"canary");
        let meta = fs::metadata(self.top.join("canary/file")).unwrap();
        assert_eq!((meta.nlink(), meta.mode() & 0o7777), (1, 0o644));
    }
}

fn meta(mode: u16) -> Meta {
    Meta::root(mode, 1_000_000_000)
}

fn put_file(to: &mut Extractor, path: &str, text: &str) -> Result<Placed, ExtractReason> {
    let kind = EntryKind::File { size: text.len() as u64, content: &mut text.as_bytes() };
    to.add(path.as_bytes(), &meta(0o644), kind).map_err(|error| error.reason)
}

fn put(to: &mut Extractor, path: &str, kind: EntryKind<'_>) -> Result<Placed, ExtractReason> {
    to.add(path.as_bytes(), &meta(0o755), kind).map_err(|error| error.reason)
}

fn outside(world: &World) {
    let place = Place::new(world);
    let mut to = Extractor::new(&place.root, world.host.shift).unwrap();
    for path in ["../canary/file", "./../canary/file", "a/../../canary/file", "..", "canary/.."] {
        assert!(matches!(put_file(&mut to, path, "evil"), Err(ExtractReason::Name(_))), "{path}");
    }
    let absolute = place.top.join("canary/file");
    assert!(matches!(put_file(&mut to, absolute.to_str().unwrap(), "evil"), Err(ExtractReason::Absolute)));
    // A link out, then something through it: absolute, relative, and by way of /proc.
    let targets = [
        place.top.join("canary"),
        "../canary".into(),
        "../../../../../../../..".into(),
        "/proc/self/cwd".into(),
    ];
    for (number, target) in targets.iter().enumerate() {
        let link = format!("link{number}");
        let target = target.to_str().unwrap();
        assert_eq!(put(&mut to, &link, EntryKind::Symlink(target.as_bytes())).unwrap(), Placed::New);
        for name in ["file", "new", "canary/file"] {
            let _ = put_file(&mut to, &format!("{link}/{name}"), "evil");
            let _ = put(&mut to, &format!("{link}/{name}"), EntryKind::Dir);
        }
        let _ = put(&mut to, "hard", EntryKind::HardLink(format!("{link}/file").as_bytes()));
        place.check();
    }
    // A link to a file, then the file: the link is replaced, not followed.
    let target = place.top.join("canary/file");
    put(&mut to, "passwd", EntryKind::Symlink(target.to_str().unwrap().as_bytes())).unwrap();
    assert_eq!(put_file(&mut to, "passwd", "new").unwrap(), Placed::Replaced);
    assert!(fs::symlink_metadata(place.root.join("passwd")).unwrap().is_file());
    // Hard links to files outside.
    for target in ["../canary/file", target.to_str().unwrap()] {
        assert!(put(&mut to, "hard", EntryKind::HardLink(target.as_bytes())).is_err());
    }
    // A directory where a link to outside is: the link stays, and what it leads to is left alone.
    let out = put(&mut to, "link1", EntryKind::Dir);
    assert!(matches!(out, Err(ExtractReason::Conflict)), "{out:?}");
    to.finish().unwrap();
    place.check();
}

fn inside(world: &World) {
    let place = Place::new(world);
    let mut to = Extractor::new(&place.root, world.host.shift).unwrap();
    for dir in ["usr", "usr/bin", "var", "run", "run/lock"] {
        put(&mut to, dir, EntryKind::Dir).unwrap();
    }
    put(&mut to, "bin", EntryKind::Symlink(b"usr/bin")).unwrap();
    put(&mut to, "var/lock", EntryKind::Symlink(b"/run/lock")).unwrap();
    put(&mut to, "var/up", EntryKind::Symlink(b"../../../usr")).unwrap();
    assert_eq!(put(&mut to, "./bin/", EntryKind::Dir).unwrap(), Placed::Kept);
    put_file(&mut to, "./bin/sh", "shell").unwrap();
    put_file(&mut to, "var/lock/a", "lock").unwrap();
    put_file(&mut to, "var/up/b", "up").unwrap();
    put(&mut to, "bin/rsh", EntryKind::HardLink(b"./bin/sh")).unwrap();
    to.finish().unwrap();
    for (path, text) in
        [("usr/bin/sh", "shell"), ("usr/bin/rsh", "shell"), ("run/lock/a", "lock"), ("usr/b", "up")]
    {
        assert_eq!(fs::read_to_string(place.root.join(path)).unwrap(), text);
    }
    assert!(fs::symlink_metadata(place.root.join("bin")).unwrap().is_symlink());
    assert_eq!(fs::metadata(place.root.join("usr/bin/sh")).unwrap().nlink(), 2);
    place.check();
}

fn refused(world: &World) {
    let place = Place::new(world);
    let mut to = Extractor::new(&place.root, world.host.shift).unwrap();
    assert!(matches!(put(&mut to, "disk", EntryKind::Special), Err(ExtractReason::Special)));
    assert!(matches!(put_file(&mut to, "a/b", ""), Err(ExtractReason::NoParent)));
    put_file(&mut to, "a", "").unwrap();
    assert!(matches!(put_file(&mut to, "a/b", ""), Err(ExtractReason::NoParent)));
    let long = "n".repeat(256);
    for name in [long.as_str(), "nul\0byte"] {
        assert!(matches!(put_file(&mut to, name, ""), Err(ExtractReason::Name(_))));
    }
    for target in [&b""[..], b"nul\0", &[b'x'; 4096]] {
        assert!(matches!(put(&mut to, "l", EntryKind::Symlink(target)), Err(ExtractReason::Target(_))));
    }
    let content = &mut &b"four"[..];
    let short = to.add(b"s", &meta(0o644), EntryKind::File { size: 5, content }).unwrap_err();
    assert_eq!(short.to_string(), "cannot extract s");
    assert!(matches!(short.reason, ExtractReason::Short { found: 4, size: 5 }));
    let owner = Meta { uid: 65_536, ..meta(0o644) };
    let error = to.add(b"o", &owner, EntryKind::Fifo).unwrap_err().reason;
    assert_eq!(error.to_string(), "owner 65536 or group 0 is above 65535");
    let mut labelled = meta(0o644);
    labelled.xattrs.insert(b"security.selinux"[..].into(), b"x"[..].into());
    let error = to.add(b"x", &labelled, EntryKind::Fifo).unwrap_err().reason;
    assert_eq!(error.to_string(), "extended attribute security.selinux is not for images");
    for name in ["new\nline", "esc\x1b[2J", &"n".repeat(255), "\u{202e}"] {
        put_file(&mut to, name, "odd").unwrap();
        assert_eq!(fs::read(place.root.join(name)).unwrap(), b"odd");
    }
    assert!(matches!(put(&mut to, ".", EntryKind::Fifo), Err(ExtractReason::Conflict)));
    to.finish().unwrap();
    place.check();
}

fn metadata(world: &World) {
    let place = Place::new(world);
    let first = world.host.shift.first();
    let mut to = Extractor::new(&place.root, world.host.shift).unwrap();
    let owned = |mode, uid, gid, mtime| Meta { uid, gid, ..Meta::root(mode, mtime) };
    to.add(b"d", &owned(0o2755, 0, 4, 5), EntryKind::Dir).unwrap();
    let kind = EntryKind::File { size: 2, content: &mut &b"xx"[..] };
    to.add(b"d/suid", &owned(0o4755, 33, 34, 1_600_000_000), kind).unwrap();
    to.add(b"d/link", &owned(0o777, 1, 2, 77), EntryKind::Symlink(b"anywhere")).unwrap();
    to.add(b"d/pipe", &owned(0o606, 65_535, 65_535, -1), EntryKind::Fifo).unwrap();
    let mut ping = meta(0o755);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ping.xattrs.insert(b"security.capability"[..].into(), capability.into());
    to.add(b"d/ping", &ping, EntryKind::File { size: 0, content: &mut std::io::empty() }).unwrap();
    to.finish().unwrap();
    for (path, mode, uid, gid, mtime) in [
        ("d", 0o42755, 0, 4, 5),
        ("d/suid", 0o104_755, 33, 34, 1_600_000_000),
        ("d/link", 0o120_777, 1, 2, 77),
        ("d/pipe", 0o10606, 65_535, 65_535, -1),
    ] {
        let found = fs::symlink_metadata(place.root.join(path)).unwrap();
        let found = (found.mode(), found.uid(), found.gid(), found.mtime());
        assert_eq!(found, (mode, first + uid, first + gid, mtime), "{path}");
    }
    // The capability counts where root is the image's root.
    let job = selfsame_build::sandbox::Job::new(
        selfsame_build::sandbox::Root::Overlay {
            lowers: vec![place.root.clone(), world.base.clone()],
            upper: world.dir(),
            work: world.dir(),
        },
        ["/bin/sh", "-c", "stat -c %u:%g d/suid; busybox getfattr 2>/dev/null; ls -l /d | wc -l"],
    );
    assert!(world.try_run(&job).unwrap().out.starts_with("33:34\n"));
    place.check();
}

fn existing(world: &World) {
    let place = Place::new(world);
    let mut to = Extractor::new(&place.root, world.host.shift).unwrap();
    let dir = |mode| Meta::root(mode, 5);
    assert_eq!(to.add(b".", &dir(0o700), EntryKind::Dir).unwrap(), Placed::Kept);
    to.add(b"d", &dir(0o711), EntryKind::Dir).unwrap();
    assert_eq!(to.add(b"d", &dir(0o777), EntryKind::Dir).unwrap(), Placed::Kept);
    put_file(&mut to, "f", "old").unwrap();
    put(&mut to, "g", EntryKind::HardLink(b"f")).unwrap();
    assert_eq!(put_file(&mut to, "f", "new").unwrap(), Placed::Replaced);
    assert_eq!(fs::read(place.root.join("g")).unwrap(), b"old", "the other name keeps its content");
    assert!(matches!(put_file(&mut to, "d", ""), Err(ExtractReason::Conflict)));
    assert!(matches!(put(&mut to, "d", EntryKind::Fifo), Err(ExtractReason::Conflict)));
    assert!(matches!(put(&mut to, "d", EntryKind::HardLink(b"f")), Err(ExtractReason::Conflict)));
    assert_eq!(put(&mut to, "d", EntryKind::Symlink(b"f")).unwrap(), Placed::Kept);
    assert!(matches!(put(&mut to, "f", EntryKind::Dir), Err(ExtractReason::Conflict)));
    assert_eq!(put(&mut to, "f", EntryKind::HardLink(b"f")).unwrap(), Placed::Replaced);
    assert!(matches!(put(&mut to, "h", EntryKind::HardLink(b"nothing")), Err(ExtractReason::LinkTarget(_))));
    assert!(matches!(put(&mut to, "h", EntryKind::HardLink(b"d")), Err(ExtractReason::LinkTarget(_))));
    // A link that is replaced by a directory's worth of files must not be remembered.
    put(&mut to, "e", EntryKind::Dir).unwrap();
    put(&mut to, "now", EntryKind::Symlink(b"d")).unwrap();
    put_file(&mut to, "now/one", "").unwrap();
    put(&mut to, "now", EntryKind::Symlink(b"e")).unwrap_or(Placed::Kept);
    put_file(&mut to, "now/two", "").unwrap();
    assert!(place.root.join("d/one").exists() && place.root.join("e/two").exists());
    to.finish().unwrap();
    assert_eq!(fs::metadata(place.root.join("d")).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(fs::metadata(place.root.join("d")).unwrap().mtime(), 5);
}

fn removal(world: &World) {
    let layer = world.layer();
    let script = "mkdir -p a/b; touch a/b/f; ln -s / a/link; chown -R 1000:1000 a; chmod 0 a/b a; mkfifo p; rm -rf etc";
    world.try_run(&world.script(&layer, script)).unwrap().ok();
    symlink("/", layer.upper.join("out")).unwrap();
    remove_tree(&layer.upper).unwrap();
    assert!(!layer.upper.exists() && Path::new("/bin").exists());
    remove_tree(&layer.upper).unwrap();
}

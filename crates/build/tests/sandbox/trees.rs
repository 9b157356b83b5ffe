//! Trees taken from directories, and put into them.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;
use std::process::Command;

use selfsame_build::host::{
    self, CaptureError, CaptureLimits, CaptureReason, Directories, IdShift, capture, capture_upper,
    overlay_mount, populate,
};
use selfsame_image::Tree;
use selfsame_image::digest::Digest;
use selfsame_image::tree::{Contents as _, Item, Kind};

use crate::Test;
use crate::world::{Layer, World, own, set_mode};

pub(crate) const TESTS: &[Test] = &[
    ("one build, one tree, whatever the machine (D5)", one_tree),
    ("a captured tree can be written and captured again", round_trip),
    ("jobs and directory order change nothing", order),
    ("what is no part of an image is named", errors),
    ("contents are read back and not confused", contents),
    ("overlays merge, and leave nothing", overlays),
    ("an upper directory is merged as the kernel merges it", uppers),
];

/// Makes one of everything, so that all that a tree holds is decided here. The last `touch` ends the use of clocks.
const SCRIPT: &str = r"
    cd /; rm -rf bin/sh.old etc/group var; mkdir -p data/dir data/empty usr/share
    echo one > data/one; ln data/one data/dir/two; ln -s ../one data/dir/link; mkfifo data/pipe
    head -c 300000 /dev/zero | tr '\0' x > data/big; ln -s /nowhere data/dangling
    chown 33:44 data/one; chmod 4755 data/one; chown 0:8 data/empty; chmod 2775 data/empty; chmod 1777 data/dir
    chown -h 5:6 data/dangling; chown 65534:65534 data/big; chmod 600 data/big
    cp /probe data/ping; rm probe
    /data/ping probe setxattr data/ping security.capability 0100000200200000000000000000000000000000
    /data/ping probe setxattr data/dir user.note 68656c6c6f
    /data/ping probe setxattr data/empty system.posix_acl_default $1
    find data etc usr ! -type l -exec touch -d @1700000000 {} +; touch -d @1700000001 .
    find data -type l -exec touch -h -d @1600000000 {} +
";

/// A default access control list as the kernel stores it: owner rwx, group r-x, group 4 r-x, mask r-x, others r-x.
const LIST: &str = "02000000\
     01000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff";

fn two() -> NonZero<usize> {
    NonZero::new(2).unwrap()
}

fn take(world: &World, dir: &Path) -> Result<(Tree, host::DirContents), CaptureError> {
    capture(dir, world.host.shift, two(), CaptureLimits::default())
}

/// A tree as text: every field of every entry. Inodes are numbered in the order in which they are met.
fn text(tree: &Tree) -> String {
    let (mut lines, mut ids) = (String::new(), BTreeMap::new());
    tree.walk(|path, entry| {
        let meta = entry.meta;
        let next = ids.len();
        let what = match entry.item {
            Item::Dir(_) => "dir".into(),
            Item::Leaf(id, kind) => format!("{} {kind:?}", ids.entry(id).or_insert(next)),
        };
        let path = String::from_utf8_lossy(path);
        lines += &format!("{path} {:o} {}:{} {} {what}", meta.mode, meta.uid, meta.gid, meta.mtime);
        for (name, value) in &meta.xattrs {
            lines += &format!(" {}={}", String::from_utf8_lossy(name), value.escape_ascii());
        }
        lines.push('\n');
        Ok::<(), ()>(())
    })
    .unwrap();
    lines
}

/// Runs [`SCRIPT`] on `layer` and captures the merged tree, without what differs between machines: the shell, the
/// probe and its libraries.
fn built(world: &World, layer: &Layer) -> Tree {
    let mut job = world.script(layer, SCRIPT);
    job.argv.extend(["sh".into(), LIST.into()]);
    let ran = world.try_run(&job).unwrap();
    assert!(ran.exit.success(), "{:?} {}", ran.exit, ran.err);
    assert_eq!(ran.out, "ok\nok\nok\n", "{}", ran.err);
    let mounted = overlay_mount(&world.host, &[&layer.upper, &world.base], None, &layer.merged).unwrap();
    let (mut tree, _) = take(world, mounted.path()).unwrap();
    assert!(
        tree.get(b"etc/passwd").is_some() && tree.get(b"etc/group").is_none() && tree.get(b"probe").is_none()
    );
    for other in [&b"bin"[..], b"usr/lib", b"lib", b"lib64"] {
        tree.remove(other).unwrap();
    }
    for leaf in tree.leaves_mut() {
        if let Kind::File(content) = &mut leaf.kind
            && content.size > 1_000_000
        {
            content.digest = Digest::of(b"");
            content.size = 0;
        }
    }
    tree
}

fn one_tree(world: &World) {
    let lines = text(&built(world, &world.layer()));
    assert!(lines.contains("security.capability=\\x01\\x00\\x00\\x02\\x00 \\x00"), "{lines}");
    // Equal as root and as a user, and on the file systems below.
    let digest = Digest::of(lines.as_bytes()).to_string();
    assert_eq!(digest, "9de6743d4543b9d5f845cd425432b0507c273084b6b24a66fccf9e5be463e76a", "{lines}");
    let memory = Path::new("/dev/shm");
    if has_attributes(memory) {
        assert_eq!(text(&built(world, &world.layer_in(memory))), lines, "on tmpfs");
    }
    if world.host.shift != IdShift::NONE {
        let place = world.dir();
        let _mounted = Loop::new(&place);
        assert_eq!(text(&built(world, &world.layer_in(&place))), lines, "on ext4");
    }
}

/// True if the file system of `dir` keeps attributes: tmpfs does from Linux 6.6 on.
fn has_attributes(dir: &Path) -> bool {
    let Ok(file) = tempfile::NamedTempFile::new_in(dir) else {
        return false;
    };
    rustix::fs::fsetxattr(file.as_file(), "user.test", b"x", rustix::fs::XattrFlags::empty()).is_ok()
}

/// An ext4 file system in a file, mounted until dropped.
struct Loop<'a>(&'a Path);

impl<'a> Loop<'a> {
    fn new(at: &'a Path) -> Self {
        let image = at.with_extension("ext4");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).arg(&image).args((program == "mount").then_some(at));
            assert!(command.status().unwrap().success(), "{program}");
        };
        run("mkfs.ext4", &["-q", "-F"]);
        run("mount", &["-o", "loop"]);
        Self(at)
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(self.0).status().unwrap().success());
    }
}

fn round_trip(world: &World) {
    let layer = world.layer();
    let tree = built(world, &layer);
    let mounted = overlay_mount(&world.host, &[&layer.upper, &world.base], None, &layer.merged).unwrap();
    let (whole, contents) = take(world, mounted.path()).unwrap();
    let copy = world.dir();
    populate(&copy, &whole, &contents, world.host.shift, Directories::Set).unwrap();
    let (again, _) = take(world, &copy).unwrap();
    assert_eq!(text(&again), text(&whole));
    assert!(tree.leaves().len() > 5);
    // Onto itself: all files are replaced, and the result is the same.
    populate(&copy, &whole, &contents, world.host.shift, Directories::Set).unwrap();
    assert_eq!(text(&take(world, &copy).unwrap().0), text(&whole));
}

fn order(world: &World) {
    let make = |names: &[&str]| {
        let dir = world.dir();
        for name in names {
            fs::write(dir.join(name), name).unwrap();
            fs::hard_link(dir.join(name), dir.join(format!("{name}-link"))).unwrap();
        }
        own(&dir, world.host.shift.first());
        dir
    };
    let (one, other) = (make(&["a", "b", "c", "d", "e"]), make(&["e", "c", "a", "d", "b"]));
    let serial = capture(&one, world.host.shift, NonZero::<usize>::MIN, CaptureLimits::default()).unwrap().0;
    assert_eq!(serial.leaves().len(), 5);
    for jobs in [1, 2, 3, 8] {
        let jobs = NonZero::new(jobs).unwrap();
        let tree = capture(&other, world.host.shift, jobs, CaptureLimits::default()).unwrap().0;
        assert_eq!(tree, serial);
    }
    // More than are handed to a thread at a time, and some that are read in several pieces.
    let dir = world.dir();
    // Around the length of the buffer, too.
    let size = |n: usize| if n % 40 < 3 { (1 << 18) * (1 + n % 3) + n % 40 - 1 } else { n };
    let bytes = |n: usize| (0..size(n)).map(|at| (at * (n + 3) / 7).to_le_bytes()[0]).collect::<Vec<_>>();
    for n in 0..300 {
        fs::write(dir.join(format!("{n:03}")), bytes(n)).unwrap();
    }
    own(&dir, world.host.shift.first());
    for jobs in [1, 2, 3, 8] {
        let jobs = NonZero::new(jobs).unwrap();
        let tree = capture(&dir, world.host.shift, jobs, CaptureLimits::default()).unwrap().0;
        let found = tree.leaves().iter().map(|leaf| match &leaf.kind {
            Kind::File(content) => (content.size, content.digest),
            other => panic!("{other:?}"),
        });
        assert!(found.eq((0..300).map(|n| (size(n) as u64, Digest::of(&bytes(n))))));
    }
    // An error behind all of them, and it is told whatever else is being read.
    std::os::unix::net::UnixListener::bind(dir.join("zz")).unwrap();
    fs::create_dir_all(dir.join("zzz/a")).unwrap();
    own(&dir, world.host.shift.first());
    for jobs in [1, 2, 8] {
        let limits = CaptureLimits { entries: 302, ..CaptureLimits::default() };
        let error = capture(&dir, world.host.shift, NonZero::new(jobs).unwrap(), limits).unwrap_err();
        assert!(matches!(error.reason, CaptureReason::Limit(_)), "{error:?}");
        assert_eq!(error.path, Path::new("zzz/a"));
    }
}

fn errors(world: &World) {
    let shift = world.host.shift;
    let fail = |dir: &Path, limits| match capture(dir, shift, two(), limits) {
        Err(CaptureError { path, reason }) => (path, reason),
        Ok(_) => panic!("captured"),
    };
    let dir = world.dir();
    fs::create_dir_all(dir.join("sub/deep")).unwrap();
    fs::write(dir.join("sub/file"), [0; 100]).unwrap();
    own(&dir, shift.first());
    let limits = |entries, bytes| CaptureLimits { entries, bytes };
    assert!(capture(&dir, shift, two(), limits(3, 100)).is_ok());
    assert!(
        matches!(fail(&dir, limits(2, 100)), (path, CaptureReason::Limit(_)) if path == Path::new("sub/file"))
    );
    assert!(
        matches!(fail(&dir, limits(3, 99)), (path, CaptureReason::Limit(_)) if path == Path::new("sub/file"))
    );
    // Something mounted below is not part of the directory.
    let mounted = overlay_mount(&world.host, &[&world.base], None, &dir.join("sub/deep")).unwrap();
    let (path, reason) = fail(&dir, CaptureLimits::default());
    assert!(matches!(reason, CaptureReason::Mount) && path == Path::new("sub/deep"), "{path:?} {reason:?}");
    drop(mounted);
    if shift != IdShift::NONE {
        lchown(dir.join("sub/file"), Some(0), None).unwrap();
        let (path, reason) = fail(&dir, CaptureLimits::default());
        assert!(
            matches!(reason, CaptureReason::Owner { uid: 0, .. }) && path == Path::new("sub/file"),
            "{reason:?}"
        );
    } else {
        // Files of other users look like those of nobody.
        let (path, reason) = fail(Path::new("/etc"), CaptureLimits::default());
        assert!(matches!(reason, CaptureReason::Owner { uid: 65_534, .. }), "{path:?} {reason:?}");
    }
    // The way down must not be without end.
    let deep = world.dir();
    let mut at = deep.clone();
    for _ in 0..250 {
        at.push("d");
        fs::create_dir(&at).unwrap();
    }
    own(&deep, shift.first());
    assert!(matches!(fail(&deep, CaptureLimits::default()), (_, CaptureReason::Deep)));
}

fn contents(world: &World) {
    let dir = world.dir();
    fs::write(dir.join("a"), "same").unwrap();
    fs::write(dir.join("b"), "same").unwrap();
    fs::write(dir.join("c"), "").unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/d"), vec![7; 1 << 20]).unwrap();
    own(&dir, world.host.shift.first());
    let (tree, contents) = take(world, &dir).unwrap();
    let content = |path: &str| match tree.get(path.as_bytes()).unwrap().item {
        Item::Leaf(_, Kind::File(content)) => *content,
        other => panic!("{other:?}"),
    };
    for (path, bytes) in
        [("a", b"same".to_vec()), ("b", b"same".to_vec()), ("c", vec![]), ("sub/d", vec![7; 1 << 20])]
    {
        let file = contents.open(&content(path)).unwrap();
        let mut read = vec![0; bytes.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!((file.size().unwrap(), Digest::of(&read)), (content(path).size, content(path).digest));
        assert_eq!(read, bytes);
    }
    let unknown = selfsame_image::tree::Content::of(b"unknown");
    assert_eq!(contents.open(&unknown).err().unwrap().kind(), std::io::ErrorKind::NotFound);
    // A file that was changed, or that became a link, is not handed out.
    fs::write(dir.join("sub/d"), "short").unwrap();
    assert!(contents.open(&content("sub/d")).is_err());
    fs::remove_file(dir.join("sub/d")).unwrap();
    symlink("../a", dir.join("sub/d")).unwrap();
    assert!(contents.open(&content("sub/d")).is_err());
}

fn overlays(world: &World) {
    let before = fs::read_to_string("/proc/self/mounts").unwrap();
    let layer = world.layer();
    let lower = world.dir();
    fs::create_dir_all(lower.join("dir/sub")).unwrap();
    for name in ["gone", "dir/kept", "dir/gone"] {
        fs::write(lower.join(name), name).unwrap();
    }
    own(&lower, world.host.shift.first());
    let upper = Some((layer.upper.as_path(), layer.work.as_path()));
    let mounted = overlay_mount(&world.host, &[&lower, &world.base], upper, &layer.merged).unwrap();
    let at = mounted.path().to_owned();
    fs::remove_file(at.join("gone")).unwrap();
    fs::remove_file(at.join("dir/gone")).unwrap();
    fs::remove_dir(at.join("dir/sub")).unwrap();
    fs::create_dir(at.join("dir/sub")).unwrap();
    fs::rename(at.join("dir/kept"), at.join("moved")).unwrap();
    drop(mounted);
    assert_eq!(fs::read_dir(&layer.merged).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&layer.work).unwrap().count(), 0);
    // The layers again, all of them below.
    let mounted = overlay_mount(&world.host, &[&layer.upper, &lower], None, &layer.merged).unwrap();
    own_new(&layer.upper, world.host.shift.first());
    let tree = take(world, mounted.path()).unwrap().0;
    let mut paths = Vec::new();
    tree.walk(|path, _| {
        paths.push(String::from_utf8(path.to_vec()).unwrap());
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_eq!(paths, ["", "dir", "dir/sub", "moved"]);
    assert!(
        fs::write(layer.merged.join("new"), "").is_err(),
        "without an upper layer nothing can be written"
    );
    drop(mounted);
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), before);
    let missing = overlay_mount(&world.host, &[Path::new("/nowhere"), &lower], None, &layer.merged);
    assert_eq!(missing.err().unwrap().to_string(), "cannot open the directory /nowhere");
    set_mode(&lower, 0o700);
}

/// Owns what this process itself made through an overlay.
fn own_new(path: &Path, id: u32) {
    let directory = path.join("dir/sub");
    lchown(directory, Some(id), Some(id)).unwrap();
}

/// What a second layer does to what [`SCRIPT`] made: each kind of change a layer can hold.
const CHANGES: &str = r"
    rm -r data/dir; mkdir data/dir; echo new > data/dir/new
    rm data/big usr/share -r; mkdir -p usr/share/doc; echo back > data/big
    rm data/link data/pipe -f; rm data/dangling; mkdir data/dangling; echo in > data/dangling/in
    echo more >> data/one; chmod 700 data/empty; mv etc/passwd etc/moved; ln etc/moved etc/linked
    rm -r var; echo file > var; mknod fifo p; touch -d @1700000005 data etc .
";

/// Lays three layers and compares with the kernel's view of them, captured as a whole.
fn uppers(world: &World) {
    let (first, second) = (world.layer(), world.layer());
    world.try_run(&world.script(&first, &SCRIPT.replace("$1", LIST))).unwrap().ok();
    let mut job = world.script(&second, CHANGES);
    if let selfsame_build::sandbox::Root::Overlay { lowers, .. } = &mut job.root {
        lowers.insert(0, first.upper.clone());
    }
    world.try_run(&job).unwrap().ok();
    let view = |lowers: &[&Path]| {
        let at = world.dir();
        let mounted = overlay_mount(&world.host, lowers, None, &at).unwrap();
        take(world, mounted.path()).unwrap().0
    };
    let mut merged = take(world, &world.base).unwrap().0;
    for (number, layer) in [&first, &second].into_iter().enumerate() {
        let contents =
            capture_upper(&world.host, &mut merged, &layer.upper, two(), CaptureLimits::default()).unwrap();
        let lowers = [&*second.upper, &*first.upper, &*world.base];
        assert_eq!(text(&merged), text(&view(&lowers[1 - number..])), "layer {number}");
        let (path, bytes) = [("data/one", "one\n"), ("data/dir/new", "new\n")][number];
        let Some(Item::Leaf(_, Kind::File(content))) = merged.get(path.as_bytes()).map(|entry| entry.item)
        else {
            panic!("{path}")
        };
        let mut found = vec![0; bytes.len()];
        contents.open(content).unwrap().read_exact_at(&mut found, 0).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), bytes);
    }
}

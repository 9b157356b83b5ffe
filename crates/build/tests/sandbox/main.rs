//! The sandbox from outside.

use std::fs;
use std::path::Path;

use selfsame_build::host;
use selfsame_build::sandbox::{CHILD_ARGUMENT, Job, Root, Sandbox, child_main};

fn main() {
    if std::env::args().nth(1).as_deref() == Some(CHILD_ARGUMENT) {
        child_main();
    }
    let host = host::enter().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    for dir in ["bin", "etc"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    chown(&root, host.shift.first());
    let script = std::env::args()
        .nth(1)
        .unwrap_or("id; ls -la / /dev /proc; cat /proc/mounts; busybox ip a; hostname; exit 3".into());
    let mut job = Job::new(Root::Dir(root), ["/bin/sh", "-c", &script]);
    job.env = vec![("PATH".into(), "/bin".into())];
    let t = std::time::Instant::now();
    let exit = Sandbox::new(host).run(&job, &mut |s, l| println!("{s:?} {}", String::from_utf8_lossy(l)));
    println!("{exit:?} {:?}", t.elapsed());
}

fn chown(path: &Path, id: u32) {
    for e in fs::read_dir(path).unwrap() {
        let p = e.unwrap().path();
        std::os::unix::fs::lchown(&p, Some(id), Some(id)).unwrap();
        if p.is_dir() && !p.is_symlink() {
            chown(&p, id)
        }
    }
    std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
}

use std::process::Command;

use super::*;
use crate::powercut::{Cut, Disk, read_tree};
use crate::traces;

fn of(lines: &[&str]) -> Vec<Op> {
    operations(&lines.join("\n"), Path::new("/d"), Path::new("/d"))
}

#[test]
fn calls_of_two_threads_are_told_apart() {
    let ops = of(&[
        r#"10 openat(AT_FDCWD<\x2f\x64>, "\x61", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3<\x2f\x64\x2f\x61>"#,
        r#"10 write(3<\x2f\x64\x2f\x61>, "\x31\x2c", 2) = 2"#,
        "10 fsync(3</d/a> <unfinished ...>",
        r#"11 rename("\x62", "\x2f\x64\x2f\x63" <unfinished ...>"#,
        "10 <... fsync resumed>)              = 0",
        "11 <... rename resumed>)             = 0",
        r#"11 unlink("\x63")                 = -1 ENOENT (No such file or directory)"#,
        "11 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "11 exit_group(0) = ?",
        "11 +++ exited with 0 +++",
    ]);
    let path = |name: &str| Path::new("/d").join(name);
    assert_eq!(
        ops,
        [
            Op::Create { path: path("a"), mode: 0o600 },
            Op::Write { path: path("a"), at: 0, bytes: b"1,".into() },
            Op::SyncBegins { call: 2, path: Some(path("a")) },
            Op::SyncEnds { call: 2 },
            Op::Rename { from: path("b"), to: path("c") },
        ]
    );
}

#[test]
fn what_is_not_understood_is_never_passed_over() {
    for line in [
        r#"10 writev(3</d/a>, [{iov_base="\x31", iov_len=1}], 1) = 1"#,
        "10 fallocate(3</d/a>, 0, 0, 10) = 0",
        "10 mmap(NULL, 10, PROT_READ|PROT_WRITE, MAP_SHARED, 3</d/a>, 0) = 0x7f",
        r#"10 symlink("\x61", "\x2f\x64\x2f\x62") = 0"#,
        "10 fsync(3</d/a>) = -1 EIO (Input/output error)",
        "10 fsync(3</d/a>",
    ] {
        assert!(std::panic::catch_unwind(|| of(&[line])).is_err(), "{line}");
    }
    assert_eq!(of(&["10 fallocate(3</e/a>, 0, 0, 10) = 0", "10 fsync(3</e/a>) = 0"]), []);
}

#[test]
fn a_real_run_comes_out_as_it_was() {
    if !traces() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("disk");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("old"), "old").unwrap();
    let before = read_tree(&root);
    let log = dir.path().join("log");
    let words = wrapper(log.to_str().unwrap());
    let script = "mkdir d && printf 'a\\0\\377' > d/x && ln d/x y && mv d/x z && cp z copy && echo more > old && \
                  rm y && mkdir e && rmdir e && sync z && chmod 444 copy && sync -f z";
    let mut traced = Command::new(words[0]);
    traced.args(&words[1..]).args(["sh", "-c", script]).current_dir(&root);
    assert!(traced.status().unwrap().success());
    let mut disk = Disk::new(&root, &before);
    for op in operations(&std::fs::read_to_string(log).unwrap(), &root, &root) {
        disk.apply(&op);
    }
    assert_eq!(disk.cut(Cut::Everything), read_tree(&root));
    assert_eq!(disk.cut(Cut::Nothing), read_tree(&root), "the last word makes all safe");
}

//! What jobs can and cannot do.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::Duration;

use selfsame_build::sandbox::{Bind, Exit, Intent, Root, SandboxError, Status, Step};

use crate::Test;
use crate::world::{World, own, set_mode};

pub(crate) const TESTS: &[Test] = &[
    ("jobs are root over 65536 ids", ids),
    ("the world of a job is given", given_world),
    ("files of the machine are out of sight", out_of_sight),
    ("binds can be read and not written", binds),
    ("attempts to use a network are noticed (D6)", network),
    ("the loopback network works", loopback),
    ("what would touch the machine is refused (M5)", refused),
    ("kill -1 stays inside (M5)", kill_all),
    ("nothing waits for the disk", fsync),
    ("a fork bomb is limited (M5)", fork_bomb),
    ("output is limited", output_limit),
    ("time is limited", time_limit),
    ("disk and scratch space are limited (M5)", space_limits),
    ("memory is limited (M5)", memory_limit),
    ("daemons are ended and reported (M5)", leftovers),
    ("what cannot start is said with its step", cannot_start),
    ("signals and the tail are reported", signals),
];

fn ids(world: &World) {
    let layer = world.layer();
    let script = "id -u; id -g; touch f; chown 5:7 f; chmod 6751 f; touch last; chown 65535:65535 last; \
                  chown 65536 last || echo refused; mkdir d; chown 33 d; stat -c '%u:%g %a' f last d";
    let ran = world.try_run(&world.script(&layer, script)).unwrap();
    assert_eq!(ran.ok(), "0\n0\nrefused\n5:7 6751\n65535:65535 644\n33:0 755\n");
    let (file, first) = (fs::symlink_metadata(layer.upper.join("f")).unwrap(), world.host.shift.first());
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (first + 5, first + 7, 0o6751));
}

fn given_world(world: &World) {
    let layer = world.layer();
    let mut job = world.script(
        &layer,
        "env | sort; pwd; umask; hostname; cat; ulimit -n; ulimit -c; cat /proc/sys/kernel/domainname; \
         ls /dev /sys; cat /proc/cmdline /proc/modules; cat /proc/self/status | grep -E '^(Groups|NoNewPrivs)'; \
         test -t 0 || echo no terminal; ls /proc/self/fd | wc -l; mount | grep -c /proc/sys",
    );
    job.env.push(("LC_ALL".into(), "C.UTF-8".into()));
    job.cwd = "/var".into();
    job.stdin = b"given\n".to_vec();
    assert_eq!(
        world.try_run(&job).unwrap().ok(),
        "LC_ALL=C.UTF-8\nPATH=/bin\nPWD=/var\nSHLVL=1\n/var\n0022\nselfsame\ngiven\n1024\n0\n(none)\n/dev:\nfd\n\
         full\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\n/sys:\n\
         Groups:\t \nNoNewPrivs:\t0\nno terminal\n4\n1\n"
    );
    assert_eq!(world.sh("cat | wc -c").ok(), "0\n");
}

fn out_of_sight(world: &World) {
    // The base is a directory of this machine: everything beside it must be out of reach. BusyBox starts itself as
    // /proc/self/exe, which is the name of its programs for a moment.
    let marker = world.base.parent().unwrap().join("marker");
    fs::write(&marker, "secret").unwrap();
    let script = format!(
        "cat {} 2>&1; (ls /proc/1/root/; cat /proc/1/fd/3 /proc/1/mem /proc/1/maps) 2>&1 | grep -c denied; cd ..; cd ..; ls; \
         ps | grep -v -E 'PID|ps|sh|grep|init|sandbox|[[]exe]'; cat /proc/mounts | grep -c {}",
        marker.display(),
        world.base.display()
    );
    let ran = world.sh(&script);
    let gone = format!("cat: can't open '{}': No such file or directory\n", marker.display());
    assert_eq!(
        ran.out,
        gone + "4\nbin\ndev\netc\nlib\nlib64\nprobe\nproc\nroot\nrun\nsys\ntmp\nusr\nvar\n0\n"
    );
    fs::remove_file(&marker).unwrap();
}

fn binds(world: &World) {
    let outside = world.dir();
    fs::create_dir(outside.join("archives")).unwrap();
    fs::write(outside.join("archives/a.deb"), "package").unwrap();
    fs::write(outside.join("one"), "file").unwrap();
    // Nobody but its owner gets through this one; the sandbox need not.
    set_mode(&outside, 0o700);
    let layer = world.layer();
    let mut job = world.script(
        &layer,
        "cat /run/selfsame/archives/a.deb /run/one; echo x > /run/one || echo refused; \
         touch /run/selfsame/archives/b || echo refused; rm -rf /run/selfsame/archives; ls /run /run/selfsame/archives",
    );
    let bind = |source: &str, target: &str| Bind { source: outside.join(source), target: target.into() };
    job.binds = vec![bind("archives", "/run/selfsame/archives"), bind("one", "/run/one")];
    let ran = world.try_run(&job).unwrap();
    let list = "/run:\nlock\none\nselfsame\n\n/run/selfsame/archives:\na.deb\n";
    assert_eq!(ran.ok(), format!("packagefilerefused\nrefused\n{list}"));
    assert_eq!(fs::read(outside.join("one")).unwrap(), b"file");
    assert!(fs::read_dir(&layer.upper).unwrap().all(|entry| entry.unwrap().file_name() != "run"));
}

fn network(world: &World) {
    let ran = world.sh("/probe probe connect 192.0.2.1:80; /probe probe connect '[2001:db8::1]:443'; \
         /probe probe send 192.0.2.7:9; /probe probe socket 17; /probe probe socket 40; \
         /probe probe look-up deb.example.org >/dev/null; echo nameserver 192.0.2.53 > /etc/resolv.conf; \
         /probe probe look-up deb.example.net >/dev/null; /probe probe look-up selfsame >/dev/null; \
         wget -q -O - http://198.51.100.1/x; true");
    let attempts: Vec<_> =
        ran.exit.network_attempts.iter().map(|it| (it.command.as_str(), it.intent.clone())).collect();
    let reach = |address: &str| Intent::Reach(address.parse().unwrap());
    let look_up = |server: &str, name: &str| Intent::LookUp {
        server: server.parse().unwrap(),
        name: Some(name.into()),
    };
    let expected = [
        ("/probe probe connect 192.0.2.1:80", reach("192.0.2.1:80")),
        ("/probe probe connect [2001:db8::1]:443", reach("[2001:db8::1]:443")),
        ("/probe probe send 192.0.2.7:9", reach("192.0.2.7:9")),
        ("/probe probe socket 17", Intent::Socket(17)),
        ("/probe probe socket 40", Intent::Socket(40)),
        ("/probe probe look-up deb.example.org", look_up("127.0.0.1:53", "deb.example.org")),
        ("/probe probe look-up deb.example.net", look_up("192.0.2.53:53", "deb.example.net")),
        ("wget -q -O - http://198.51.100.1/x", reach("198.51.100.1:80")),
    ];
    assert_eq!(attempts, expected);
    assert_eq!(ran.exit.network_attempts[0].program, "probe");
    assert_eq!(ran.out, "101\n101\n101\n97\n97\n");
}

fn loopback(world: &World) {
    let ran = world.sh("/probe probe loopback; ifconfig -a | grep -c 'Link encap'");
    assert_eq!(ran.exit.network_attempts, []);
    assert_eq!(ran.ok(), "ok\n1\n");
}

fn refused(world: &World) {
    let script = "mount -t tmpfs none /tmp 2>&1; umount /proc/sys 2>&1; mknod disk b 8 0 2>&1; \
                  echo evil > /proc/sys/kernel/core_pattern; echo x > /proc/sys/net/ipv4/ip_forward; chroot / true && echo chroot; hostname evil 2>&1; \
                  date -s 2000-01-01 2>&1 | grep -c permitted; cat /proc/1/environ 2>&1; \
                  for p in 'ptrace 1' 'unshare 268435456' 'unshare 131072' keyctl io_uring; \
                  do /probe probe $p; done; echo x > /dev/null; echo x > /dev/full; /probe probe capabilities";
    let ran = world.sh(script);
    assert_eq!(
        ran.out,
        "mount: permission denied (are you root?)\n\
         umount: can't unmount /proc/sys: Operation not permitted\n\
         mknod: disk: Operation not permitted\n\
         chroot\nhostname: sethostname: Operation not permitted\n1\n\
         cat: can't open '/proc/1/environ': Permission denied\n1\n1\n1\n1\n38\n0xb98cffff\nok\n",
        "{}",
        ran.err
    );
    for refusal in ["core_pattern: Read-only", "ip_forward: Read-only", "No space"] {
        assert!(ran.err.contains(refusal), "{refusal} in {}", ran.err);
    }
}

fn kill_all(world: &World) {
    let mut bystander = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let ran = world.sh("kill -9 -1; kill -9 1; sleep 1 & kill -TERM -1; echo alive");
    let alive = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(alive);
    assert_eq!(ran.ok(), "alive\n");
}

fn fsync(world: &World) {
    // A descriptor that is not open shows that the kernel is not asked.
    assert_eq!(world.sh("/probe probe fsync 77; sync").ok(), "ok\n");
}

fn fork_bomb(world: &World) {
    let layer = world.layer();
    let mut job = world.script(&layer, "bomb() { bomb | bomb & }; bomb; sleep 1; echo survived");
    job.limits.processes = 60;
    job.limits.time = Duration::from_secs(60);
    let ran = world.try_run(&job).unwrap();
    assert!(ran.err.contains("can't fork"), "{:?} {}", ran.exit, ran.err);
    assert!(ran.exit.leftovers.len() <= 60);
    // The bomb changes its user before each limit.
    let script = "for user in 1 2 3 4 5 6 7 8 9 10 11 12; do for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 \
                  19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40; do \
                  setuidgid $user sleep 987654 & done; done; ls -d /proc/[0-9]* | wc -l; cat /proc/sys/kernel/pid_max";
    job = world.script(&layer, script);
    job.limits.processes = 60;
    let ran = world.try_run(&job).unwrap();
    let one_limit = ran.out.ends_with("360\n");
    assert!(!one_limit || ran.err.contains("can't fork"), "{} {}", ran.out, ran.err);
}

fn output_limit(world: &World) {
    let layer = world.layer();
    let mut job = world.script(&layer, "yes 0123456");
    job.limits.output = 80_000;
    let ran = world.try_run(&job).unwrap();
    assert_eq!((ran.exit.status, ran.out.len()), (Status::Output, 80_000));
    let mut job = world.script(&layer, "head -c 80000 /dev/zero; echo -n >&2");
    job.limits.output = 80_000;
    assert!(world.try_run(&job).unwrap().exit.success());
}

fn time_limit(world: &World) {
    let layer = world.layer();
    let mut job = world.script(&layer, "echo begin; setsid sleep 987654 & sleep 987654");
    job.limits.time = Duration::from_millis(500);
    let ran = world.try_run(&job).unwrap();
    assert_eq!((ran.exit.status, ran.out.as_str()), (Status::Time, "begin\n"));
}

fn space_limits(world: &World) {
    let layer = world.layer();
    let mut job = world.script(
        &layer,
        "dd if=/dev/zero of=/tmp/x bs=1M count=3 2>&1 | grep -c 'No space'; dd if=/dev/zero of=/run/x bs=1M count=3 \
         2>&1 | grep -c 'No space'; dd if=/dev/zero of=/big bs=1M count=8; echo $?",
    );
    job.limits.scratch = 2 << 20;
    job.limits.file_size = Some(4 << 20);
    assert_eq!(world.try_run(&job).unwrap().ok(), "1\n1\n153\n");
    let mut job = world.script(&layer, "sleep 987654");
    job.limits.keep_free = Some(u64::MAX);
    assert_eq!(world.try_run(&job).unwrap().exit.status, Status::Disk);
}

fn memory_limit(world: &World) {
    let layer = world.layer();
    let mut job = world.script(&layer, "sleep 987654");
    job.limits.keep_memory = Some(u64::MAX);
    assert_eq!(world.try_run(&job).unwrap().exit.status, Status::Memory);
    // What the kernel does if it has to: it takes the job.
    assert_eq!(world.sh("cat /proc/self/oom_score_adj").ok(), "500\n");
}

fn leftovers(world: &World) {
    let ran = world.sh("setsid sleep 987654 >/dev/null 2>&1 & (sleep 987653 &) ; sleep 0.2; echo done");
    assert_eq!(ran.exit.leftovers, ["sleep", "sleep"]);
    assert_eq!(ran.ok(), "done\n");
}

fn cannot_start(world: &World) {
    let layer = world.layer();
    let step = |job| match world.try_run(&job) {
        Err(SandboxError::Setup { step, source }) => (step, source.raw_os_error().unwrap()),
        other => panic!("{:?}", other.map(|ran| ran.exit)),
    };
    let mut job = world.script(&layer, "");
    job.argv = vec!["/bin/nothing".into()];
    assert_eq!(step(job.clone()), (Step::Execute("/bin/nothing".into()), libc::ENOENT));
    job.root = Root::Dir("/nowhere".into());
    assert_eq!(step(job.clone()), (Step::Open("/nowhere".into()), libc::ENOENT));
    // A hostile image: its mount points are links.
    let hostile = world.dir();
    symlink("/", hostile.join("proc")).unwrap();
    own(&hostile, world.host.shift.first());
    job.root = Root::Dir(hostile);
    assert_eq!(step(job.clone()), (Step::Make("/proc".into()), libc::ENOTDIR));
    job.argv.clear();
    assert!(matches!(world.try_run(&job), Err(SandboxError::Job("a program"))));
}

fn signals(world: &World) {
    let ran = world.sh("i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; kill -SEGV $$");
    assert_eq!(ran.exit.status, Status::Signalled(11));
    assert_eq!(ran.exit.tail.len(), Exit::TAIL);
    assert_eq!(ran.exit.tail.last().unwrap(), "line 99");
    assert_eq!(world.sh("exit 7").exit.status, Status::Exited(7));
}

//! What a job sees of another machine that is pretended.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use selfsame_build::sandbox::{DirectoryOrder, Sandbox, World as Machine};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("another machine is pretended", another_machine),
    ("another clock is pretended to all programs", another_clock),
    ("directories are read in another order", another_order),
    ("addresses are the same if that is wanted", fixed_addresses),
];

/// What `script` prints on another machine.
fn told(world: &World, machine: Machine, script: &str) -> String {
    let sandbox = Sandbox { world: machine, ..world.sandbox.clone() };
    world.run_in(&sandbox, &world.script(&world.layer(), script)).unwrap().ok()
}

fn another_machine(world: &World) {
    let machine = Machine {
        host_name: "other".into(),
        domain_name: "example.org".into(),
        environment: vec![("PATH".into(), Some("/bin:/nowhere".into())), ("MORE".into(), Some("x".into()))],
        umask: 0o027,
        processors: Some(1),
        last_process: Some(1234),
        kernel: Some("9.8.7-other".into()),
        memory: Some(3 << 30),
        processor_model: Some("Other".into()),
        ..Machine::default()
    };
    let script = "hostname; uname -n; uname -r; cat /proc/sys/kernel/osrelease /proc/sys/kernel/domainname; cut -d' ' -f3 /proc/version; \
                  umask; nproc; grep -c ^processor /proc/cpuinfo; grep 'model name' /proc/cpuinfo | cut -d: -f2; \
                  grep MemTotal /proc/meminfo | tr -s ' '; free | grep Mem | tr -s ' ' | cut -d' ' -f2; echo $$ $PATH $MORE";
    assert_eq!(
        told(world, machine, script),
        "other\nother\n9.8.7-other\n9.8.7-other\nexample.org\n9.8.7-other\n0027\n1\n1\n Other\nMemTotal: 3145728 kB\n3145728\n\
         1235 /bin:/nowhere x\n"
    );
}

fn another_clock(world: &World) {
    if !cfg!(target_arch = "x86_64") {
        return println!("skipped: another clock is for amd64 programs");
    }
    for days in [-31, 400] {
        let machine = Machine { clock: days * 86_400, ..Machine::default() };
        let told = told(world, machine, "date +%s; (date +%s); /probe probe clock | head -n 1");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let expected = now.cast_signed() + days * 86_400;
        let times: Vec<i64> = told.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(times.len(), 3);
        assert!(
            times.iter().all(|time| (expected - 60..=expected).contains(time)),
            "{times:?}, not {expected}"
        );
    }
}

fn another_order(world: &World) {
    let listed = |directory_order| {
        let layer = world.layer();
        fs::create_dir(layer.upper.join("d")).unwrap();
        for name in 0..300 {
            fs::write(layer.upper.join(format!("d/{name:03}")), "").unwrap();
        }
        let machine = Machine { directory_order, ..Machine::default() };
        let sandbox = Sandbox { world: machine, ..world.sandbox.clone() };
        let script = "find /d -type f; ls /d | wc -l";
        let told = world.run_in(&sandbox, &world.script(&layer, script)).unwrap().ok();
        let mut lines: Vec<String> = told.lines().map(String::from).collect();
        assert_eq!(lines.pop().unwrap(), "300");
        lines
    };
    let mut sorted = listed(None);
    sorted.sort();
    assert_eq!(sorted.len(), 300);
    let mut reversed = listed(Some(DirectoryOrder::Reversed));
    reversed.reverse();
    assert_eq!(reversed, sorted);
    let shuffled = [1, 2, 1].map(|seed| listed(Some(DirectoryOrder::Shuffled(seed))));
    assert_eq!(shuffled[0], shuffled[2]);
    assert_ne!(shuffled[0], shuffled[1]);
    for mut list in shuffled {
        list.sort();
        assert_eq!(list, sorted);
    }
}

fn fixed_addresses(world: &World) {
    let stack = |random_addresses| {
        let machine = Machine { random_addresses, ..Machine::default() };
        told(world, machine, "grep stack /proc/self/maps")
    };
    assert_eq!(stack(false), stack(false));
    assert_ne!(stack(true), stack(true));
}

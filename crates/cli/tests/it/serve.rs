//! `selfsame snapshot serve`: what apt would ask for, honest and dishonest mirrors, and what becomes of damaged files.

use std::fs;
use std::process::Stdio;

use selfsame_testkit::Service;
use selfsame_testkit::archive::NOW;

use crate::build::files_below;
use crate::snapshot::World;

pub(crate) fn serve(world: &World, more: &[&str]) -> Service {
    let words = [&["snapshot", "serve", "--listen", "127.0.0.1:0", "--store", "s"], more].concat();
    let mut command = world.world.command(words);
    command.stderr(Stdio::null());
    Service::start(command)
}

/// Path of the package below the root of the mirror.
const DEB: &str = "pool/main/h/hello/hello_1.0_amd64.deb";

fn mirror_of(world: &World) -> String {
    format!("fixture=file:{}/m1", world.world.root().display())
}

#[test]
fn a_snapshot_is_served_as_it_is_and_packages_are_fetched_once() {
    let world = World::new(1);
    world.put(1, NOW - 60, "1.0");
    world.create(&[]);
    let root = world.world.root().join("m1");
    let service = serve(&world, &["--mirror", &mirror_of(&world)]);
    assert_eq!(service.get("/").2, b"fixture/\n");
    assert_eq!(service.get("/fixture/").2, b"20260115T115900Z/ trixie\n");
    let trace = service.get("/fixture/project/trace/fixture");
    assert_eq!(trace.2, b"Archive serial: 20260115T115900Z\n");
    let (status, head, _) = service.get("/fixture/latest/dists/trixie/InRelease");
    let to = "location: /fixture/20260115T115900Z/dists/trixie/InRelease\r\n";
    assert!(status == 302 && head.contains(to), "{head}");

    let state = "/fixture/20260115T115900Z";
    let signed = fs::read(root.join("dists/trixie/InRelease")).unwrap();
    let (_, head, body) = service.get(&format!("{state}/dists/trixie/InRelease"));
    assert_eq!(body, signed);
    assert!(head.contains("last-modified: Thu, 15 Jan 2026 11:59:00 GMT\r\n"), "{head}");
    let index = "dists/trixie/main/binary-amd64/Packages.xz";
    let packed = fs::read(root.join(index)).unwrap();
    assert_eq!(service.get(&format!("{state}/{index}")).2, packed);
    let digest = selfsame_image::Digest::of(&packed);
    let by_hash = format!("dists/trixie/main/binary-amd64/by-hash/SHA256/{digest}");
    assert_eq!(service.get(&format!("{state}/{by_hash}")).2, packed);
    let names_it = String::from_utf8_lossy(&signed).contains("main/binary-amd64/Packages\n");
    assert!(names_it, "the plain index is signed, and is not kept");
    for path in
        ["dists/trixie/main/binary-amd64/Packages", "dists/trixie/Release", "pool", "selfsame.toml", "../s"]
    {
        assert_eq!(service.get(&format!("{state}/{path}")).0, 404, "{path}");
    }
    for path in
        ["/other/", "/fixture/20200101T000000Z/dists/trixie/InRelease", "/fixture/project/trace/other"]
    {
        assert_eq!(service.get(path).0, 404, "{path}");
    }

    // From the mirror the first time, from the store when the mirror is gone.
    let package = fs::read(root.join(DEB)).unwrap();
    assert_eq!(service.get(&format!("{state}/{DEB}")).2, package);
    fs::remove_dir_all(&root).unwrap();
    let (status, head, body) = service.get(&format!("{state}/{DEB}"));
    assert!(status == 200 && head.contains("application/vnd.debian.binary-package"), "{head}");
    assert_eq!(body, package);
    assert_eq!(service.get(&format!("{state}/pool/main/h/hello/hello_2.0_amd64.deb")).0, 404);

    // What is taken while it runs is there, and what was there stays.
    world.put(1, NOW - 30, "1.1");
    world.create(&[]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(service.get("/fixture/").2, b"20260115T115900Z/ trixie\n20260115T115930Z/ trixie\n");
    assert_ne!(service.get("/fixture/20260115T115930Z/dists/trixie/InRelease").2, signed);
    // apt that read the older signed file through `latest` finds its index still.
    let (_, head, _) = service.get(&format!("/fixture/latest/{by_hash}"));
    assert!(head.contains(&format!("location: {state}/{by_hash}\r\n")), "{head}");
    assert_eq!(service.end().code(), Some(0));
}

#[test]
fn a_mirror_that_lies_gives_nothing_and_damaged_files_are_not_sent() {
    let world = World::new(1);
    world.put(1, NOW - 60, "1.0");
    world.create(&[]);
    let root = world.world.root().join("m1");
    let package = fs::read(root.join(DEB)).unwrap();
    let url = format!("/fixture/20260115T115900Z/{DEB}");
    let blobs = || files_below(&world.world.root().join("s/blobs"));
    let before = blobs();
    let mut lie = package.clone();
    lie[package.len() / 2] ^= 1;
    fs::write(root.join(DEB), &lie).unwrap();
    let service = serve(&world, &["--mirror", &mirror_of(&world)]);
    let (status, head, body) = service.get(&url);
    assert!(status == 502 && head.contains("retry-after: "), "{head}");
    let why = String::from_utf8_lossy(&body);
    assert!(
        why.contains("it cannot be had now: ") && why.contains("m1: ") && why.contains("SHA-256"),
        "{why}"
    );
    assert_eq!(blobs(), before);
    // The mirror is good again: so is the server.
    fs::write(root.join(DEB), &package).unwrap();
    assert_eq!(service.get(&url).2, package);
    // A blob that is damaged afterwards is noticed, put aside, and fetched again.
    let new = blobs().into_iter().find(|path| !before.contains(path)).unwrap();
    fs::remove_file(&new).unwrap();
    fs::write(&new, &lie).unwrap();
    assert_eq!(service.get(&url).2, package);
    assert_eq!(fs::read(&new).unwrap(), package);
    drop(service);

    // Of what came with the snapshot there is no other copy.
    for path in before {
        let whole = fs::read(&path).unwrap();
        let mut bad = whole.clone();
        bad[whole.len() / 2] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bad).unwrap();
        let service = serve(&world, &["--offline"]);
        let (status, _, body) = service.get("/fixture/20260115T115900Z/dists/trixie/InRelease");
        assert_eq!(status, 502, "{}", String::from_utf8_lossy(&body));
        fs::write(&path, whole).unwrap();
    }
    let service = serve(&world, &["--offline"]);
    assert_eq!(service.get("/fixture/20260115T115900Z/dists/trixie/InRelease").0, 200);
}

#[test]
fn what_cannot_be_served_is_said_at_the_start() {
    let world = World::new(1);
    let run = |more: &[&str]| {
        let words = [&["snapshot", "serve", "--listen", "127.0.0.1:0", "--store", "s"], more].concat();
        world.world.run(words)
    };
    let message = run(&["--tag", "nothing"]).failure(3);
    assert!(message.contains("nothing is no tag"), "{message}");
    world.world.write("odd/selfsame.lock", "odd");
    run(&["--tag", "odd"]).failure(3);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["snapshot", "serve", "--store", "s", "--listen", &address];
    let message = world.world.run(words).failure(4);
    assert!(message.contains(&format!("cannot listen on {address}")), "{message}");
}

//! Downloads that break off, and what is done with the part that is there (R10).

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use selfsame_apt::fetch::{FetchConfig, FetchError, Fetcher, Progress, Reason, Silent, Want, Warning};
use selfsame_apt::mirrors::Mirror;
use selfsame_store::Store;
use selfsame_testkit::Numbers;

use crate::server::Server;
use crate::{World, config};

#[test]
fn a_cut_anywhere_costs_no_byte_twice() {
    let mut numbers = Numbers(1);
    let world = World::new(&(0..60).map(|_| 1 + numbers.below(40_000)).collect::<Vec<_>>());
    let files = world.files.clone();
    let state = std::sync::Mutex::new(Numbers(2));
    // Two of three answers are cut at a random byte, the first and the last included.
    let server = Server::start(move |request, conn| {
        let limit = {
            let mut numbers = state.lock().unwrap();
            if numbers.below(3) == 0 { usize::MAX } else { numbers.below(40_000) }
        };
        conn.serve_up_to(request, &files, limit);
    });
    world.fetch_with(FetchConfig { retries: 60, ..config() }, &[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(server.sent(), world.total());
    assert!(server.asked().iter().filter(|(_, from)| from.is_some()).count() > 20, "cuts happened");
}

/// Wants to stop as soon as anything is there.
#[derive(Default)]
struct Impatient(AtomicU64);

impl Progress for Impatient {
    fn advanced(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

#[test]
fn a_fetch_that_is_stopped_keeps_what_arrived() {
    let world = World::new(&[2_000_000]);
    let server = Server::of_files(&world.files);
    let heard = Impatient::default();
    let fetcher = Fetcher::new(config()).unwrap();
    let error = fetcher.fetch_all(&world.store, &world.wants, &[server.mirror()], &heard).unwrap_err();
    assert!(matches!(error, FetchError::Stopped { missing: 1, of: 1 }), "{error}");
    let arrived = heard.0.load(Ordering::Relaxed);
    assert!(arrived > 0 && arrived < 2_000_000, "{arrived}");
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(server.asked()[1].1, usize::try_from(arrived).ok());
}

#[test]
fn a_large_file_may_be_cut_more_often_than_there_are_retries() {
    let world = World::new(&[2_000_000]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| conn.serve_up_to(request, &files, 150_000));
    world.fetch_with(FetchConfig { retries: 0, ..config() }, &[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(server.sent(), world.total());
    assert_eq!(server.requests().len(), 14);
}

#[test]
fn a_mirror_that_cuts_without_end_is_given_up() {
    let world = World::new(&[2_000_000]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| conn.serve_up_to(request, &files, 1));
    let error = world.fetch(&[server.mirror()]).unwrap_err();
    assert_eq!(World::reasons(&error), [Reason::Truncated { have: 4, size: 2_000_000 }]);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn another_mirror_goes_on_where_the_first_broke_off() {
    let world = World::new(&[100_000]);
    let files = world.files.clone();
    let first = Server::start(move |request, conn| conn.serve_up_to(request, &files, 60_000));
    let second = Server::of_files(&world.files);
    world.fetch(&[first.mirror(), second.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(second.asked(), [("/pool/f0_1%2Bb1.deb".to_owned(), Some(60_000))]);
    assert_eq!(world.heard.failed(), [(first.mirror(), Reason::Truncated { have: 60_000, size: 100_000 })]);
}

#[test]
fn a_server_that_does_not_know_ranges_starts_again() {
    let world = World::new(&[100_000]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| {
        let mut request = request.clone();
        request.headers.remove("range");
        conn.serve_up_to(&request, &files, if request.number == 0 { 60_000 } else { usize::MAX });
    });
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(server.sent(), 160_000);
}

#[test]
fn a_changed_file_is_not_joined_to_the_old_one() {
    let world = World::new(&[100_000]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| {
        let tag = |tag: &str| ("ETag", format!("\"{tag}\""));
        if request.number == 0 {
            conn.head(200, &[("Content-Length", "100000".to_owned()), tag("old")]);
            conn.body(&[0; 60_000]);
            conn.close = true;
        } else if request.headers.get("if-range").is_some_and(|value| value == "\"old\"") {
            let bytes = files.values().next().unwrap();
            conn.head(200, &[("Content-Length", "100000".to_owned()), tag("new")]);
            conn.body(bytes);
        } else {
            conn.status(400, &[]);
        }
    });
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    assert!(!world.heard.warnings().iter().any(|warning| matches!(warning, Warning::Mixed { .. })));
}

#[test]
fn odd_answers_to_a_range_are_not_believed() {
    let odd: [(u16, &str, Reason); 3] = [
        (
            206,
            "bytes 59999-99999/100000",
            Reason::Protocol("another range than the one asked for".to_owned()),
        ),
        (206, "bytes 60000-99999/100001", Reason::WrongSize { announced: 100_001, expected: 100_000 }),
        (206, "nonsense", Reason::Protocol("another range than the one asked for".to_owned())),
    ];
    for (status, range, reason) in odd {
        let world = World::new(&[100_000]);
        let files = world.files.clone();
        let range = range.to_owned();
        let server = Server::start(move |request, conn| {
            if request.from().is_none() {
                return conn.serve_up_to(request, &files, 60_000);
            }
            conn.head(status, &[("Content-Length", "40000".to_owned()), ("Content-Range", range.clone())]);
            conn.body(&[0; 40_000]);
        });
        let honest = Server::of_files(&world.files);
        // The second mirror comes in when the first has failed twice.
        world.store.partial(&selfsame_image::tree::Content::of(world.file())).unwrap().unwrap();
        world.fetch_with(FetchConfig { retries: 1, ..config() }, &[server.mirror()]).unwrap_err();
        assert!(world.heard.failed().contains(&(server.mirror(), reason)), "{:?}", world.heard.failed());
        world.fetch(&[honest.mirror()]).unwrap();
        world.assert_complete();
    }
}

#[test]
fn a_partial_that_is_longer_than_the_mirrors_file_is_thrown_away() {
    let world = World::new(&[100_000]);
    let content = selfsame_image::tree::Content::of(world.file());
    world.store.partial(&content).unwrap().unwrap().append(&[7; 50_000]).unwrap();
    let files = world.files.clone();
    let server = Server::start(move |request, conn| match request.from() {
        Some(_) => conn.status(416, &[]),
        None => conn.serve(request, &files),
    });
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    assert!(world.heard.warnings().is_empty());
}

#[test]
fn what_an_earlier_run_left_is_used_if_it_is_right() {
    let world = World::new(&[100_000]);
    let content = selfsame_image::tree::Content::of(world.file());
    world.store.partial(&content).unwrap().unwrap().append(&world.file()[..70_000]).unwrap();
    let server = Server::of_files(&world.files);
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(server.sent(), 30_000);

    let whole = World::new(&[100_000]);
    let mut partial = whole.store.partial(&content).unwrap().unwrap();
    partial.append(whole.file()).unwrap();
    drop(partial);
    whole.fetch(&[server.mirror()]).unwrap();
    whole.assert_complete();
    assert_eq!(server.sent(), 30_000, "nothing was missing but the name");
}

#[test]
fn what_an_earlier_run_left_is_thrown_away_if_it_is_wrong_and_nobody_is_blamed() {
    let world = World::new(&[100_000]);
    let content = selfsame_image::tree::Content::of(world.file());
    world.store.partial(&content).unwrap().unwrap().append(&[7; 70_000]).unwrap();
    let server = Server::of_files(&world.files);
    world.fetch_with(FetchConfig { retries: 0, ..config() }, &[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(world.heard.warnings(), [Warning::Mixed { what: "file 0".to_owned(), bytes: 100_000 }]);
}

const CHILD: &str = "SELFSAME_FETCH_TEST_CHILD";

/// Fetches one file of 3 MB in a process of its own.
fn child(words: &str) -> ! {
    let mut words = words.split(' ');
    let (store, mirror, digest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let want = Want {
        what: "file".to_owned(),
        size: 3_000_000,
        digest: digest.parse().unwrap(),
        paths: vec!["pool/f0_1+b1.deb".to_owned()],
    };
    let store = Store::open(store).unwrap();
    let mirror = Mirror::parse(mirror).unwrap();
    Fetcher::new(config()).unwrap().fetch_all(&store, &[want], &[mirror], &Silent).unwrap();
    std::process::exit(0);
}

#[test]
fn a_killed_download_goes_on_in_the_next_run() {
    if let Ok(words) = std::env::var(CHILD) {
        child(&words);
    }
    let world = World::new(&[3_000_000]);
    let files = world.files.clone();
    let bytes = files.values().next().unwrap().clone();
    static SENT: AtomicU64 = AtomicU64::new(0);
    // Sends 500 kB more with each request and then says nothing, so that there is somebody to kill.
    let server = Server::start(move |request, conn| {
        let from = request.from().unwrap_or(0);
        let range = format!("bytes {from}-2999999/3000000");
        let length = (3_000_000 - from).to_string();
        let status = if from == 0 { 200 } else { 206 };
        conn.head(status, &[("Content-Length", length), ("Content-Range", range)]);
        let end = (from + 500_000).min(3_000_000);
        conn.body(&bytes[from..end]);
        SENT.store(end as u64, Ordering::SeqCst);
        if end < 3_000_000 {
            conn.hang();
        }
    });
    let words = format!("{} {} {}", world.store.root().display(), server.mirror(), world.wants[0].digest);
    let run = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "resume::a_killed_download_goes_on_in_the_next_run", "--test-threads=1"])
            .env(CHILD, &words)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    for round in 1..=5 {
        let mut process = run();
        let patience = Instant::now() + Duration::from_secs(60);
        while world.store.stat().unwrap().partial_bytes < round * 500_000 {
            assert!(Instant::now() < patience && process.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(run().wait().unwrap().success());
    assert_eq!(server.sent(), world.total(), "no byte twice");
    assert_eq!(SENT.load(Ordering::SeqCst), 3_000_000);
    assert!(world.store.read(&world.wants[0].digest).unwrap().is_some());
}

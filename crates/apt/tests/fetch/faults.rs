//! Connections that fail, and mirrors that are not there.

use std::net::TcpListener;
use std::sync::Mutex;

use selfsame_apt::fetch::{FetchConfig, FetchError, Reason, Warning};
use selfsame_apt::mirrors::Mirror;
use selfsame_testkit::Numbers;

use crate::server::Server;
use crate::{World, config};

#[test]
fn a_reset_is_survived_at_any_point() {
    let world = World::new(&[30_000; 8]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| match request.number % 3 {
        0 => conn.reset(),
        1 => {
            conn.serve_up_to(request, &files, 10_000);
            conn.reset();
        }
        _ => conn.serve(request, &files),
    });
    world.fetch_with(FetchConfig { retries: 30, ..config() }, &[server.mirror()]).unwrap();
    world.assert_complete();
    assert!(!world.heard.failed().is_empty());
}

#[test]
fn a_machine_where_nobody_listens_is_named_and_passed_by() {
    let world = World::new(&[3000; 30]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Mirror::parse(&format!("http://127.0.0.1:{port}/debian")).unwrap();
    let honest = Server::of_files(&world.files);
    world.fetch(&[nobody.clone(), honest.mirror()]).unwrap();
    world.assert_complete();
    let refused = Reason::Connection(std::io::ErrorKind::ConnectionRefused);
    assert!(world.heard.failed().contains(&(nobody.clone(), refused.clone())));
    assert!(
        world
            .heard
            .warnings()
            .iter()
            .any(|warning| matches!(warning, Warning::Dropped { mirror, .. } if *mirror == nobody))
    );

    // Alone it is suspected after five failures, and the rest is over after the retries, not after thirty times them.
    let world = World::new(&[3000; 30]);
    let error = world.fetch(std::slice::from_ref(&nobody)).unwrap_err();
    let FetchError::Incomplete { failures, missing: 30, of: 30 } = &error else { panic!("{error}") };
    assert!(failures.iter().all(|failure| failure.tried[0].reason == refused), "{error}");
    let requests = world.heard.failed().len();
    assert!((5..=13).contains(&requests), "{requests}: five, three that were under way, four retries");
}

#[test]
fn a_break_of_the_network_is_survived() {
    let world = World::new(&[3000; 30]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| {
        if (10..19).contains(&request.number) { conn.reset() } else { conn.serve(request, &files) }
    });
    world.fetch_with(FetchConfig { retries: 9, ..config() }, &[server.mirror()]).unwrap();
    world.assert_complete();
}

#[test]
fn an_unknown_host_is_named() {
    let world = World::new(&[3000]);
    let mirror = Mirror::parse("http://mirror.invalid/debian").unwrap();
    let error = world.fetch_with(FetchConfig { retries: 0, ..config() }, &[mirror]).unwrap_err();
    assert_eq!(World::reasons(&error), [Reason::NoSuchHost]);
}

#[test]
fn files_that_are_nowhere_are_listed_and_the_others_fetched() {
    let world = World::new(&[3000; 20]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| {
        if request.target.contains("f1") { conn.status(404, &[]) } else { conn.serve(request, &files) }
    });
    let gone = Server::start(|_, conn| conn.status(410, &[]));
    let limits = FetchConfig { offences: 99, ..config() };
    let error = world.fetch_with(limits, &[server.mirror(), gone.mirror()]).unwrap_err();
    // f1 and f10 to f19 are eleven, and ten are enough.
    let FetchError::Incomplete { failures, missing, of: 20 } = &error else { panic!("{error}") };
    assert_eq!(failures.len(), 10, "{error}");
    assert!((10..=20).contains(missing));
    for failure in failures {
        let reasons: Vec<_> = failure.tried.iter().map(|tried| tried.reason.clone()).collect();
        assert_eq!(reasons, [Reason::Missing { status: 404 }, Reason::Missing { status: 410 }]);
    }
}

#[test]
fn a_server_error_passes_and_a_refusal_does_not() {
    let world = World::new(&[3000]);
    let files = world.files.clone();
    let server =
        Server::start(
            move |request, conn| {
                if request.number < 2 { conn.status(502, &[]) } else { conn.serve(request, &files) }
            },
        );
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    let world = World::new(&[3000]);
    let refusing = Server::start(|_, conn| conn.status(401, &[]));
    let error = world.fetch(&[refusing.mirror()]).unwrap_err();
    assert_eq!(World::reasons(&error), [Reason::Status { status: 401 }]);
    assert_eq!(refusing.requests().len(), 1);
}

/// The series of R10: two mirrors that do something bad at random, over and over.
#[test]
fn a_series_of_random_faults_ends_with_the_right_bytes() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let world = World::new(&(0..5).map(|_| 1 + numbers.below(60_000)).collect::<Vec<_>>());
        let [a, b] = [seed * 2, seed * 2 + 1].map(|seed| {
            let files = world.files.clone();
            let state = Mutex::new(Numbers(seed + 1000));
            Server::start(move |request, conn| {
                let (what, at) = {
                    let mut numbers = state.lock().unwrap();
                    (numbers.below(9), numbers.below(60_000))
                };
                match what {
                    0 => conn.serve_up_to(request, &files, at),
                    1 => conn.status([429, 503, 509][at % 3], &[("Retry-After", "0".to_owned())]),
                    2 => conn.status([429, 503, 509, 500][at % 4], &[]),
                    3 => {
                        conn.head(200, &[]);
                        conn.close = true;
                    }
                    4 => conn.reset(),
                    _ => conn.serve(request, &files),
                }
            })
        });
        let limits = FetchConfig { retries: 40, offences: 99, ..config() };
        world.fetch_with(limits, &[a.mirror(), b.mirror()]).unwrap();
        world.assert_complete();
        let (sent, total) = (a.sent() + b.sent(), world.total());
        assert!(sent * 100 <= total * 105, "seed {seed}: {sent} bytes for {total}");
        assert!(a.most_open() + b.most_open() <= 8 && a.most_open() <= 4);
    }
}

//! `InRelease`: bytes of which nothing is known but where they should be.

use std::time::Duration;

use selfsame_apt::fetch::{FetchConfig, FetchError, Fetcher, Reason};
use selfsame_apt::mirrors::Mirror;

use crate::server::Server;
use crate::{config, impatient};

const PATH: &str = "dists/bookworm/InRelease";

fn fetch(config: FetchConfig, mirror: &Mirror, limit: u64) -> Result<Vec<u8>, Reason> {
    match Fetcher::new(config).unwrap().fetch_unpinned(PATH, mirror, limit) {
        Ok(bytes) => Ok(bytes),
        Err(FetchError::Unpinned { tried, .. }) => Err(tried.reason),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_bytes_come_as_they_are_and_caches_are_told_to_look() {
    let server = Server::start(|_, conn| conn.whole(b"-----BEGIN"));
    assert_eq!(fetch(config(), &server.mirror(), 10).unwrap(), b"-----BEGIN");
    let requests = server.requests();
    assert_eq!(requests[0].target, "/dists/bookworm/InRelease");
    assert_eq!(requests[0].headers["cache-control"], "max-age=0");
}

#[test]
fn the_size_is_limited_whether_it_is_announced_or_not() {
    let announced = Server::start(|_, conn| conn.whole(&[0; 101]));
    assert_eq!(fetch(config(), &announced.mirror(), 100), Err(Reason::TooLong { limit: 100 }));
    let endless = Server::start(|_, conn| {
        conn.head(200, &[]);
        while conn.body(&[0; 0x1000]) {}
    });
    assert_eq!(fetch(config(), &endless.mirror(), 10_000_000), Err(Reason::TooLong { limit: 10_000_000 }));
    assert_eq!((announced.requests().len(), endless.requests().len()), (1, 1));
}

#[test]
fn trouble_that_may_pass_is_tried_again() {
    let server = Server::start(|request, conn| match request.number {
        0 => conn.status(503, &[("Retry-After", "0".to_owned())]),
        1 => conn.reset(),
        2 => {
            conn.head(200, &[("Content-Length", "8".to_owned())]);
            conn.body(b"half");
            conn.close = true;
        }
        _ => conn.whole(b"whole"),
    });
    assert_eq!(fetch(config(), &server.mirror(), 100).unwrap(), b"whole");
    let cut = Server::start(|_, conn| {
        conn.head(200, &[("Content-Length", "8".to_owned())]);
        conn.body(b"half");
        conn.close = true;
    });
    assert_eq!(fetch(config(), &cut.mirror(), 100), Err(Reason::Truncated { have: 4, size: 8 }));
    assert_eq!(cut.requests().len(), 4);
}

#[test]
fn what_will_not_pass_is_an_error_at_once() {
    let absent = Server::start(|_, conn| conn.status(404, &[]));
    let error = Fetcher::new(config()).unwrap().fetch_unpinned(PATH, &absent.mirror(), 10).unwrap_err();
    let text = error.to_string().replace(absent.mirror().as_str(), "http://a.example");
    assert_eq!(
        text,
        "could not fetch dists/bookworm/InRelease\n    http://a.example: not there (status 404)"
    );
    assert_eq!(absent.requests().len(), 1);
    let offline = FetchConfig { offline: true, ..config() };
    assert_eq!(fetch(offline, &absent.mirror(), 10), Err(Reason::Offline));
    let silent = Server::start(|_, conn| conn.hang());
    assert_eq!(fetch(impatient(), &silent.mirror(), 10), Err(Reason::Stalled(Duration::from_millis(300))));
    let deadline = FetchConfig { deadline_total: Some(Duration::from_millis(200)), ..config() };
    assert_eq!(fetch(deadline, &silent.mirror(), 10), Err(Reason::Deadline));
    assert!(matches!(
        Fetcher::new(config()).unwrap().fetch_unpinned("../InRelease", &absent.mirror(), 10),
        Err(FetchError::BadPath { .. })
    ));
}

#[test]
fn a_directory_serves_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::parse(&format!("file://{}", dir.path().display())).unwrap();
    let offline = || FetchConfig { offline: true, ..config() };
    assert_eq!(fetch(offline(), &mirror, 10), Err(Reason::Missing { status: 404 }));
    std::fs::create_dir_all(dir.path().join("dists/bookworm")).unwrap();
    std::fs::write(dir.path().join(PATH), b"0123456789").unwrap();
    assert_eq!(fetch(offline(), &mirror, 10).unwrap(), b"0123456789");
    assert_eq!(fetch(offline(), &mirror, 9), Err(Reason::TooLong { limit: 9 }));
}

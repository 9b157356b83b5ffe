//! Mirrors that are slow, silent or busy.

use std::time::{Duration, Instant};

use selfsame_apt::fetch::{FetchConfig, FetchError, Reason, Warning};

use crate::server::Server;
use crate::{World, config, impatient};

fn single_reason(world: &World, config: FetchConfig, server: &Server) -> Reason {
    let error = world.fetch_with(config, &[server.mirror()]).unwrap_err();
    let reasons = World::reasons(&error);
    assert_eq!(reasons.len(), 1, "{error}");
    reasons[0].clone()
}

#[test]
fn a_drip_is_too_slow() {
    let world = World::new(&[30_000]);
    let server = Server::start(|_, conn| {
        conn.head(200, &[("Content-Length", "30000".to_owned())]);
        conn.drip(&[0; 30_000], Duration::from_millis(20));
    });
    let reason = single_reason(&world, impatient(), &server);
    assert!(matches!(reason, Reason::TooSlow { rate, minimum: 1000 } if rate < 1000), "{reason}");
}

#[test]
fn silence_is_a_stall_wherever_it_begins() {
    let stalled = Reason::Stalled(Duration::from_millis(300));
    let world = World::new(&[30_000]);
    let never_answers = Server::start(|_, conn| conn.hang());
    assert_eq!(single_reason(&world, impatient(), &never_answers), stalled);
    let in_the_head = Server::start(|_, conn| {
        conn.raw(b"HTTP/1.1 200 OK\r\nContent-");
        conn.hang();
    });
    assert_eq!(single_reason(&world, impatient(), &in_the_head), stalled);
    let dripping_head = Server::start(|_, conn| {
        conn.drip(&b"HTTP/1.1 200 OK\r\n".repeat(100), Duration::from_millis(50));
        conn.close = true;
    });
    assert_eq!(single_reason(&world, impatient(), &dripping_head), stalled);
    let in_the_body = Server::start(|_, conn| {
        conn.head(200, &[("Content-Length", "30000".to_owned())]);
        conn.body(&[0; 5000]);
        conn.hang();
    });
    assert_eq!(single_reason(&world, impatient(), &in_the_body), stalled);
    assert_eq!(stalled.to_string(), "sent nothing for 0.3 s");
}

#[test]
fn the_deadline_ends_everything_and_keeps_what_is_there() {
    let world = World::new(&[1000, 1001, 1002, 300_000]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| {
        if request.target.contains("f3") {
            conn.serve_up_to(request, &files, 200_000);
            conn.hang();
        } else {
            conn.serve(request, &files);
        }
    });
    let limit = Duration::from_secs(3);
    let error = world.fetch_with(FetchConfig { deadline_total: Some(limit), ..config() }, &[server.mirror()]);
    let error = error.unwrap_err();
    assert!(
        matches!(error, FetchError::Deadline { limit: l, missing: 1, of: 4, .. } if l == limit),
        "{error}"
    );
    assert!(error.to_string().starts_with("1 of 4 files are missing after 3 s"), "{error}");
    let stat = world.store.stat().unwrap();
    assert_eq!((stat.blobs, stat.partial_bytes), (3, 200_000));
}

#[test]
fn a_busy_mirror_is_given_the_pause_it_asks_for() {
    for status in [429, 503, 509] {
        let world = World::new(&[5000]);
        let files = world.files.clone();
        let server = Server::start(move |request, conn| match request.number {
            0 => conn.status(status, &[("Retry-After", "1".to_owned())]),
            1 => conn.status(status, &[("Retry-After", "0".to_owned())]),
            2 => conn.status(status, &[]),
            _ => conn.serve(request, &files),
        });
        let started = Instant::now();
        world.fetch(&[server.mirror()]).unwrap();
        world.assert_complete();
        assert!(started.elapsed() >= Duration::from_secs(1), "{status}");
        let paused = Warning::Paused { mirror: server.mirror(), pause: Duration::from_secs(1) };
        assert!(world.heard.warnings().contains(&paused));
        let busy = Reason::Busy { status, retry_after: Some(Duration::from_secs(1)) };
        assert_eq!(busy.to_string(), format!("asks to come back in 1 s (status {status})"));
        assert_eq!(world.heard.failed()[0], (server.mirror(), busy));
    }
}

#[test]
fn nobody_waits_for_a_busy_mirror_while_another_works() {
    let world = World::new(&[5000; 10]);
    let busy = Server::start(|_, conn| conn.status(503, &[("Retry-After", "4".to_owned())]));
    let honest = Server::of_files(&world.files);
    world
        .fetch_with(FetchConfig { connections_per_host: 1, ..config() }, &[busy.mirror(), honest.mirror()])
        .unwrap();
    world.assert_complete();
    assert_eq!(busy.requests().len(), 1, "not before the pause is over");
}

#[test]
fn a_pause_that_is_too_long_is_a_no() {
    let world = World::new(&[5000]);
    let server = Server::start(|_, conn| conn.status(503, &[("Retry-After", "86400".to_owned())]));
    let reason = single_reason(&world, config(), &server);
    assert_eq!(reason, Reason::Busy { status: 503, retry_after: Some(Duration::from_secs(86_400)) });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_mirror_that_stays_busy_is_given_up_after_the_retries() {
    let world = World::new(&[5000]);
    let server = Server::start(|_, conn| conn.status(503, &[("Retry-After", "0".to_owned())]));
    let reason = single_reason(&world, FetchConfig { retries: 2, ..config() }, &server);
    assert_eq!(reason, Reason::Busy { status: 503, retry_after: Some(Duration::ZERO) });
    assert_eq!(server.requests().len(), 3);
}

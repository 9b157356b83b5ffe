//! Mirrors that lie (S12): they can delay, never change, and are named.

use std::collections::BTreeMap;

use selfsame_apt::fetch::{FetchConfig, FetchError, Reason, Warning};
use selfsame_image::Digest;
use selfsame_testkit::Numbers;

use crate::server::{Conn, Request, Server};
use crate::{World, config};

type Lie = fn(&Request, &mut Conn, &BTreeMap<String, Vec<u8>>);

fn wrong_bytes(request: &Request, conn: &mut Conn, files: &BTreeMap<String, Vec<u8>>) {
    let mut bytes = files[request.target.trim_start_matches('/')].clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    conn.whole(&bytes);
}

fn endless_with_chunks(_: &Request, conn: &mut Conn, _: &BTreeMap<String, Vec<u8>>) {
    conn.head(200, &[("Transfer-Encoding", "chunked".to_owned())]);
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
    while conn.body(&chunk) {}
}

fn endless_to_the_close(_: &Request, conn: &mut Conn, _: &BTreeMap<String, Vec<u8>>) {
    conn.head(200, &[]);
    while conn.body(&[0; 0x10000]) {}
}

fn one_byte_more(request: &Request, conn: &mut Conn, files: &BTreeMap<String, Vec<u8>>) {
    let bytes = &files[request.target.trim_start_matches('/')];
    conn.head(200, &[]);
    conn.body(bytes);
    conn.body(b"x");
    conn.close = true;
}

fn another_length(_: &Request, conn: &mut Conn, _: &BTreeMap<String, Vec<u8>>) {
    conn.head(200, &[("Content-Length", "900000000000".to_owned())]);
    while conn.body(&[0; 0x10000]) {}
}

fn redirect_loop(request: &Request, conn: &mut Conn, _: &BTreeMap<String, Vec<u8>>) {
    conn.status(301, &[("Location", request.target.clone())]);
}

fn redirect_to_a_file(_: &Request, conn: &mut Conn, _: &BTreeMap<String, Vec<u8>>) {
    conn.status(302, &[("Location", "file:///etc/passwd".to_owned())]);
}

fn redirect_nowhere(_: &Request, conn: &mut Conn, _: &BTreeMap<String, Vec<u8>>) {
    conn.status(302, &[]);
}

type IsExpected = fn(&Reason) -> bool;

/// Every lie, and what it is called.
const LIES: [(Lie, IsExpected); 8] = [
    (wrong_bytes, |reason| matches!(reason, Reason::WrongDigest { .. })),
    (endless_with_chunks, |reason| matches!(reason, Reason::TooLong { limit: 30_000 })),
    (endless_to_the_close, |reason| matches!(reason, Reason::TooLong { limit: 30_000 })),
    (one_byte_more, |reason| matches!(reason, Reason::TooLong { limit: 30_000 })),
    (another_length, |reason| {
        matches!(reason, Reason::WrongSize { announced: 900_000_000_000, expected: 30_000 })
    }),
    (redirect_loop, |reason| matches!(reason, Reason::RedirectLoop { limit: 5 })),
    (redirect_to_a_file, |reason| matches!(reason, Reason::BadRedirect { to } if to == "file:///etc/passwd")),
    (redirect_nowhere, |reason| matches!(reason, Reason::BadRedirect { .. })),
];

#[test]
fn a_lie_is_named_refused_and_made_good_by_another_mirror() {
    for (number, (lie, is_expected)) in LIES.into_iter().enumerate() {
        let world = World::new(&[30_000]);
        let files = world.files.clone();
        let liar = Server::start(move |request, conn| lie(request, conn, &files));

        let error = world.fetch(&[liar.mirror()]).unwrap_err();
        let reasons = World::reasons(&error);
        assert!(matches!(&reasons[..], [reason] if is_expected(reason)), "lie {number}: {error}");
        let stat = world.store.stat().unwrap();
        assert_eq!((stat.blobs, stat.partial_bytes), (0, 0), "lie {number}: nothing of it stays");
        // A loop is followed five times; no other lie is asked for twice.
        assert!(liar.requests().len() <= 6, "lie {number}");

        let honest = Server::of_files(&world.files);
        world.fetch(&[liar.mirror(), honest.mirror()]).unwrap();
        world.assert_complete();
        assert!(world.heard.failed().iter().all(|(mirror, _)| *mirror == liar.mirror()), "lie {number}");
        assert_eq!(honest.sent(), 30_000);
    }
}

#[test]
fn a_mirror_that_lies_too_often_is_not_asked_any_more() {
    let world = World::new(&[3000; 50]);
    let files = world.files.clone();
    let liar = Server::start(move |request, conn| wrong_bytes(request, conn, &files));
    let honest = Server::of_files(&world.files);
    let limits = FetchConfig { offences: 3, connections_per_host: 2, ..config() };
    world.fetch_with(limits.clone(), &[liar.mirror(), honest.mirror()]).unwrap();
    world.assert_complete();
    let asked = liar.requests().len();
    assert!((3..=4).contains(&asked), "{asked}: three, and what was under way");
    let dropped =
        |warning: &Warning| matches!(warning, Warning::Dropped { mirror, .. } if *mirror == liar.mirror());
    assert_eq!(world.heard.warnings().iter().filter(|warning| dropped(warning)).count(), 1);

    // Alone it is dropped as well, and then there is nobody left to ask.
    let world = World::new(&[3000; 50]);
    let error = world.fetch_with(limits, &[liar.mirror()]).unwrap_err();
    let FetchError::Incomplete { failures, missing: 50, of: 50 } = &error else { panic!("{error}") };
    assert!((3..=5).contains(&failures.len()), "{error}");
    assert!(liar.requests().len() <= asked + 4);
}

#[test]
fn a_liar_among_cutters_is_found_out() {
    // The liar sends a wrong first half and breaks off. The honest one goes on from there, as it should.
    let world = World::new(&[100_000]);
    let files = world.files.clone();
    let liar = Server::start(move |request, conn| {
        let wrong: BTreeMap<_, _> =
            files.iter().map(|(path, bytes)| (path.clone(), vec![0; bytes.len()])).collect();
        conn.serve_up_to(request, &wrong, 70_000);
    });
    let honest = Server::of_files(&world.files);
    world.fetch(&[liar.mirror(), honest.mirror()]).unwrap();
    world.assert_complete();
    assert!(world.heard.warnings().contains(&Warning::Mixed { what: "file 0".to_owned(), bytes: 100_000 }));
    assert!(world.heard.failed().iter().all(|(mirror, _)| *mirror == liar.mirror()));
}

#[test]
fn two_cutters_after_a_bad_beginning_still_make_a_file() {
    let world = World::new(&[1_000_000]);
    let content = selfsame_image::tree::Content::of(world.file());
    world.store.partial(&content).unwrap().unwrap().append(&[7; 10]).unwrap();
    let [a, b] = [300_000, 450_000].map(|limit| {
        let files = world.files.clone();
        Server::start(move |request, conn| conn.serve_up_to(request, &files, limit))
    });
    world.fetch(&[a.mirror(), b.mirror()]).unwrap();
    world.assert_complete();
}

#[test]
fn bytes_that_did_not_fit_once_are_not_joined_to_others_again() {
    let world = World::new(&[1_000_000]);
    let content = selfsame_image::tree::Content::of(world.file());
    world.store.partial(&content).unwrap().unwrap().append(&[7; 10]).unwrap();
    let files = world.files.clone();
    let gone = Server::start(move |request, conn| match request.number {
        0 => conn.serve(request, &files),
        1 => conn.serve_up_to(request, &files, 600_000),
        _ => conn.status(404, &[]),
    });
    let files = world.files.clone();
    let honest = Server::start(move |request, conn| match request.number {
        0 => conn.status(503, &[("Retry-After", "0".to_owned())]),
        _ => conn.serve(request, &files),
    });
    world.fetch(&[gone.mirror(), honest.mirror()]).unwrap();
    world.assert_complete();
    let from: Vec<_> = gone.asked().into_iter().map(|(_, from)| from).collect();
    assert_eq!(from, [Some(10), None, Some(600_000)]);
    let from: Vec<_> = honest.asked().into_iter().map(|(_, from)| from).collect();
    assert_eq!(from, [None, None]);
}

#[test]
fn cutters_that_know_no_ranges_do_not_keep_us_for_ever() {
    let world = World::new(&[1_000_000]);
    let [a, b] = [100_000, 600_000].map(|limit| {
        let files = world.files.clone();
        Server::start(move |request, conn| {
            let mut request = request.clone();
            request.headers.remove("range");
            conn.serve_up_to(&request, &files, limit);
        })
    });
    let error = world.fetch(&[a.mirror(), b.mirror()]).unwrap_err();
    assert_eq!(World::reasons(&error).len(), 2, "{error}");
    assert!(a.requests().len() + b.requests().len() <= 10);
}

#[test]
fn the_message_names_every_mirror_and_its_reason() {
    let mut world = World::new(&[30_000, 20_000]);
    world.wants[0].what = "linux-image-amd64 6.1.170-1".to_owned();
    world.wants[1].what = "base-files 12.4+deb12u5".to_owned();
    let files = world.files.clone();
    let liar = Server::start(move |request, conn| {
        if request.target.contains("f0") { wrong_bytes(request, conn, &files) } else { conn.status(404, &[]) }
    });
    let absent = Server::start(|_, conn| conn.status(403, &[]));
    let cut = Server::start(|_, conn| {
        conn.head(200, &[("Content-Length", "30000".to_owned())]);
        conn.body(&[0; 10]);
        conn.close = true;
    });
    let mirrors = [liar.mirror(), absent.mirror(), cut.mirror()];
    let error = world.fetch_with(FetchConfig { retries: 1, offences: 99, ..config() }, &mirrors).unwrap_err();
    let mut text = error.to_string();
    for (mirror, name) in mirrors.iter().zip(["http://a.example", "http://b.example", "http://c.example"]) {
        text = text.replace(mirror.as_str(), name);
    }
    let wrong = {
        let mut bytes = world.file().to_vec();
        bytes[29_999] ^= 1;
        Digest::of(&bytes).to_string()
    };
    assert_eq!(
        text.replace(&wrong, "DIGEST"),
        "could not fetch 2 of 2 files
  linux-image-amd64 6.1.170-1 (pool/f0_1+b1.deb, 30000 bytes)
    http://a.example: served other bytes: their SHA-256 is DIGEST
    http://b.example: answered with status 403
    http://c.example: broke off after 10 of 30000 bytes (tried 2 times)
  base-files 12.4+deb12u5 (pool/f1_1+b1.deb, 20000 bytes)
    http://a.example: not there (status 404)
    http://b.example: answered with status 403
    http://c.example: announced 30000 bytes instead of 20000"
    );
}

/// Answers that are odd, and a good one with this body that is changed here and there.
fn odd_answers(body: &[u8]) -> Vec<Vec<u8>> {
    let good = {
        let head = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 300\r\nETag: \"a\"\r\nRetry-After: 0\r\nLocation: /x\r\n\
                    Content-Range: bytes 0-299/300\r\nTransfer-Encoding: identity\r\nConnection: keep-alive\r\n\r\n";
        [head.as_bytes(), body].concat()
    };
    let mut numbers = Numbers(9);
    let mut answers: Vec<Vec<u8>> = [
        "",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 000 X\r\n\r\n",
        "HTTP/1.1 99999 X\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 101 Switch\r\n\r\n",
        "HTTP/1.1 204 X\r\n\r\n",
        "HTTP/1.1 206 X\r\n\r\n",
        "HTTP/1.1 304 X\r\n\r\n",
        "HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 X\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n",
        "HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\n\r\n\x1f\u{8b}",
        "HTTP/1.1 302 X\r\nLocation: http://[::\r\n\r\n",
        "HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    answers.push([b"HTTP/1.1 200 X\r\nA: ".to_vec(), vec![b'a'; 1 << 20]].concat());
    answers.push([b"HTTP/1.1 200 X\r\n".to_vec(), b"A: b\r\n".repeat(10_000), b"\r\n".to_vec()].concat());
    for _ in 0..1500 {
        let mut bytes = good.clone();
        for _ in 0..1 + numbers.below(3) {
            // Mostly in the head, where there is something to misread.
            let range = if numbers.below(8) == 0 { bytes.len() } else { 230 };
            let at = numbers.below(range).min(bytes.len() - 1);
            match numbers.below(4) {
                0 => bytes.truncate(at + 1),
                1 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
                2 => bytes[at] ^= 1 << numbers.below(8),
                _ => bytes.insert(at, b"\r\n :0"[numbers.below(5)]),
            }
        }
        answers.push(bytes);
    }
    answers
}

#[test]
fn any_answer_is_survived_and_never_believed() {
    let world = World::new(&[300]);
    let answers = odd_answers(world.file());
    let count = answers.len();
    let state = std::sync::Mutex::new(answers.into_iter());
    let server = Server::start(move |_, conn| {
        if let Some(answer) = state.lock().unwrap().next() {
            conn.raw(&answer);
        }
        conn.close = true;
    });
    let fetcher = selfsame_apt::fetch::Fetcher::new(FetchConfig { retries: 0, ..config() }).unwrap();
    let (mut refused, mut taken) = (0, 0);
    while server.requests().len() < count {
        match fetcher.fetch_all(&world.store, &world.wants, &[server.mirror()], &world.heard) {
            Ok(_) => {
                taken += 1;
                world.assert_complete();
                std::fs::remove_file(world.store.path(&world.wants[0].digest)).unwrap();
            }
            Err(FetchError::Incomplete { .. }) => {
                refused += 1;
                assert_eq!(world.store.stat().unwrap().blobs, 0);
                // Otherwise the next answer would be taken for the rest of this one.
                let partial = world.store.root().join(format!("partial/{}", world.wants[0].digest));
                let _ = std::fs::remove_file(partial);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 300 && taken > 100, "{refused} refused, {taken} taken");
}

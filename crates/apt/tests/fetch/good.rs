//! Mirrors that do what they should.

use std::time::Duration;

use selfsame_apt::fetch::{FetchConfig, FetchError, Reason, Silent};
use selfsame_apt::mirrors::Mirror;
use selfsame_image::tree::Content;

use crate::server::Server;
use crate::{World, config};

#[test]
fn everything_arrives_in_order_and_is_not_fetched_again() {
    let world = World::new(&[1000, 0, 1, 200_000, 65_536, 65_537]);
    let server = Server::of_files(&world.files);
    let got = world.fetch(&[server.mirror()]).unwrap();
    let expected: Vec<_> =
        world.wants.iter().map(|want| Content { size: want.size, digest: want.digest }).collect();
    assert_eq!(got, expected);
    world.assert_complete();
    assert_eq!(world.heard.started(), world.total());
    assert_eq!(server.sent(), world.total());
    assert!(world.heard.warnings().is_empty());
    let agent = &server.requests()[0].headers["user-agent"];
    assert!(agent.starts_with("selfsame/"), "{agent}");

    let asked = server.requests().len();
    assert_eq!(world.fetch(&[server.mirror()]).unwrap(), expected);
    assert_eq!(world.fetch(&[]).unwrap(), expected, "nothing is missing, so no mirror is needed");
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn one_host_sees_four_connections_at_most() {
    let world = World::new(&[3000; 60]);
    let files = world.files.clone();
    let server = Server::start(move |request, conn| {
        std::thread::sleep(Duration::from_millis(3));
        // Every third answer closes the connection, so that new ones are made all the time.
        let mut request = request.clone();
        request.target = request.target.replace("/x/", "/");
        conn.serve(&request, &files);
        conn.close = request.number % 3 == 0;
    });
    // The same host under two paths is still one host.
    let again = Mirror::parse(&format!("{}/x", server.mirror())).unwrap();
    let greedy = FetchConfig { connections_per_host: 99, ..config() };
    world.fetch_with(greedy, &[server.mirror(), again]).unwrap();
    world.assert_complete();
    let most = server.most_open();
    assert!((2..=4).contains(&most), "{most} connections");
}

#[test]
fn mirrors_share_the_work() {
    let world = World::new(&[50_000; 40]);
    let [a, b] = [(); 2].map(|()| {
        let files = world.files.clone();
        Server::start(move |request, conn| {
            std::thread::sleep(Duration::from_millis(3));
            conn.serve(request, &files);
        })
    });
    // Two names for the loopback interface, so that each has connections of its own.
    let b_mirror = Mirror::parse(&format!("http://localhost:{}", b.address().port())).unwrap();
    world.fetch(&[a.mirror(), b_mirror]).unwrap();
    world.assert_complete();
    assert_eq!(a.sent() + b.sent(), world.total());
    assert!(a.sent() > 0 && b.sent() > 0);
}

#[test]
fn the_second_path_is_tried_where_the_first_is_not_there() {
    let mut world = World::new(&[5000]);
    world.wants[0].paths.insert(0, "by-hash/SHA256/00".to_owned());
    let server = Server::of_files(&world.files);
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    let asked: Vec<_> = server.asked().into_iter().map(|(target, _)| target).collect();
    assert_eq!(asked, ["/by-hash/SHA256/00", "/pool/f0_1%2Bb1.deb"]);
    assert!(world.heard.warnings().is_empty());
}

#[test]
fn the_same_file_twice_is_fetched_once() {
    let mut world = World::new(&[5000]);
    world.wants.push(world.wants[0].clone());
    let server = Server::of_files(&world.files);
    assert_eq!(world.fetch(&[server.mirror()]).unwrap().len(), 2);
    world.assert_complete();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn two_fetchers_on_one_store_do_not_fetch_anything_twice() {
    let world = World::new(&[40_000; 12]);
    let server = Server::of_files(&world.files);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let fetcher = selfsame_apt::fetch::Fetcher::new(config()).unwrap();
                let store = selfsame_store::Store::open(world.store.root()).unwrap();
                fetcher.fetch_all(&store, &world.wants, &[server.mirror()], &Silent).unwrap();
            });
        }
    });
    world.assert_complete();
    assert_eq!(server.sent(), world.total());
}

#[test]
fn a_directory_is_a_mirror_too() {
    let world = World::new(&[5000, 100_000]);
    let dir = tempfile::tempdir().unwrap();
    let pool = dir.path().join("a b/pool");
    std::fs::create_dir_all(&pool).unwrap();
    for (path, bytes) in &world.files {
        std::fs::write(pool.join(path.replace("%2B", "+").trim_start_matches("pool/")), bytes).unwrap();
    }
    let base = dir.path().join("a b");
    let mirror = Mirror::parse(&format!("file:{}", base.display()).replace(' ', "%20")).unwrap();
    let offline = FetchConfig { offline: true, ..config() };
    world.fetch_with(offline.clone(), std::slice::from_ref(&mirror)).unwrap();
    world.assert_complete();

    let world = World::new(&[5000]);
    let file = pool.join("f0_1+b1.deb");
    let fails_with = |expected: fn(&Reason) -> bool| {
        let error = world.fetch_with(offline.clone(), std::slice::from_ref(&mirror)).unwrap_err();
        let reasons = World::reasons(&error);
        assert!(expected(&reasons[0]), "{error}");
    };
    std::fs::write(&file, vec![1; 5000]).unwrap();
    fails_with(|reason| matches!(reason, Reason::WrongDigest { .. }));
    std::fs::write(&file, vec![1; 4999]).unwrap();
    fails_with(|reason| matches!(reason, Reason::WrongSize { announced: 4999, expected: 5000 }));
    std::fs::remove_file(&file).unwrap();
    fails_with(|reason| matches!(reason, Reason::Missing { .. }));
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    fails_with(|reason| matches!(reason, Reason::Unreadable(_)));
}

#[test]
fn offline_nobody_is_asked() {
    let world = World::new(&[5000]);
    let server = Server::of_files(&world.files);
    let error = world.fetch_with(FetchConfig { offline: true, ..config() }, &[server.mirror()]).unwrap_err();
    assert_eq!(World::reasons(&error), [Reason::Offline]);
    assert_eq!(server.most_open(), 0);
    world.store.put(world.file()).unwrap();
    world.fetch_with(FetchConfig { offline: true, ..config() }, &[server.mirror()]).unwrap();
}

#[test]
fn impossible_wants_are_refused_before_anything_is_asked() {
    let mut world = World::new(&[5000]);
    let server = Server::of_files(&world.files);
    for bad in ["../etc/passwd", "/etc/passwd", "http://other.example/x/../y", "a\r\nHost: b"] {
        world.wants[0].paths = vec![bad.to_owned()];
        let error = world.fetch(&[server.mirror()]).unwrap_err();
        assert!(matches!(&error, FetchError::BadPath { path, .. } if path == bad), "{error}");
    }
    world.wants[0].paths.clear();
    assert!(matches!(world.fetch(&[server.mirror()]), Err(FetchError::NoPath { .. })));
    world.wants[0].paths.push("x".to_owned());
    assert!(matches!(world.fetch(&[]), Err(FetchError::NoMirror { missing: 1 })));
    assert!(server.requests().is_empty());
}

#[test]
fn redirections_are_followed_from_host_to_host() {
    let world = World::new(&[90_000, 5000]);
    let target = Server::of_files(&world.files);
    let to = target.mirror();
    let server = Server::start(move |request, conn| {
        // First to itself with a relative reference, then to the other server.
        match request.target.strip_prefix("/pool/") {
            Some(name) => conn.status(302, &[("Location", format!("../moved/{name}"))]),
            None => {
                let name = request.target.trim_start_matches("/moved/");
                let body = b"<html>moved</html>";
                let location = ("Location", format!("{to}/pool/{name}"));
                conn.head(307, &[location, ("Content-Length", body.len().to_string())]);
                conn.body(body);
            }
        }
    });
    world.fetch(&[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!(server.requests().len(), 4);
    assert_eq!(target.requests().len(), 2);
}

#[test]
fn plain_http_goes_through_a_proxy_in_absolute_form() {
    let world = World::new(&[5000, 70_000]);
    let files = world.files.clone();
    let proxy = Server::start(move |request, conn| {
        let mut inner = request.clone();
        inner.target =
            request.target.strip_prefix("http://mirror.invalid:8080/debian").unwrap_or("/no").to_owned();
        conn.serve(&inner, &files);
    });
    let through = FetchConfig { http_proxy: Some(format!("http://{}", proxy.address())), ..config() };
    let mirror = Mirror::parse("http://mirror.invalid:8080/debian").unwrap();
    world.fetch_with(through.clone(), &[mirror]).unwrap();
    world.assert_complete();
    let requests = proxy.requests();
    assert!(requests.iter().all(|request| request.headers["host"] == "mirror.invalid:8080"), "{requests:?}");

    let direct = World::new(&[4000]);
    let server = Server::of_files(&direct.files);
    let except = FetchConfig { no_proxy: vec!["x.example".to_owned(), "127.0.0.1".to_owned()], ..through };
    direct.fetch_with(except, &[server.mirror()]).unwrap();
    direct.assert_complete();
    assert_eq!(proxy.requests().len(), requests.len());
}

#[test]
fn each_scheme_has_its_own_proxy() {
    let world = World::new(&[4000]);
    let server = Server::of_files(&world.files);
    let proxy = Server::of_files(&world.files);
    // That of https is not asked for what comes by http.
    let other = FetchConfig { https_proxy: Some(format!("http://{}", proxy.address())), ..config() };
    world.fetch_with(other, &[server.mirror()]).unwrap();
    world.assert_complete();
    assert_eq!((server.requests().len(), proxy.requests().len()), (1, 0));

    // That of http is not asked to connect.
    let world = World::new(&[4000]);
    let one = FetchConfig { http_proxy: Some(format!("http://{}", proxy.address())), retries: 0, ..config() };
    let mirror = Mirror::parse("https://127.0.0.1:1/debian").unwrap();
    world.fetch_with(one, &[mirror]).unwrap_err();
    assert_eq!(proxy.requests().len(), 0);
}

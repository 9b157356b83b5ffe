//! TLS against OpenSSL's own server: certificates are checked, and HTTPS is never left for HTTP.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use selfsame_apt::fetch::{FetchConfig, Reason, Roots};
use selfsame_apt::mirrors::Mirror;
use selfsame_testkit::oracle_text;

use crate::server::Server;
use crate::{World, config};

/// `openssl s_server -HTTP`, which sends files that hold whole answers. Killed when dropped.
struct OpenSsl {
    process: Child,
    port: u16,
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes `cert.pem` and `key.pem` for `localhost` in `dir`. False without OpenSSL.
fn make_certificate(dir: &Path) -> bool {
    let mut openssl = Command::new("openssl");
    openssl
        .current_dir(dir)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    oracle_text(&mut openssl).is_some()
}

fn serve(dir: &Path) -> OpenSsl {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = Command::new("openssl")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .args(["s_server", "-HTTP", "-quiet", "-cert", "cert.pem", "-key", "key.pem"])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .spawn()
        .unwrap();
    let server = OpenSsl { process, port };
    let patience = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < patience, "openssl does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    server
}

#[test]
fn certificates_are_checked_and_tls_is_not_left() {
    let world = World::new(&[20_000]);
    let dir = tempfile::tempdir().unwrap();
    if !make_certificate(dir.path()) {
        return;
    }
    let pool = dir.path().join("pool");
    std::fs::create_dir_all(&pool).unwrap();
    let answer = |bytes: &[u8]| std::fs::write(pool.join("f0_1%2Bb1.deb"), bytes).unwrap();
    let server = serve(dir.path());
    let mirror = Mirror::parse(&format!("https://localhost:{}", server.port)).unwrap();
    let roots = Roots::Only(std::fs::read(dir.path().join("cert.pem")).unwrap());
    let trusting = FetchConfig { roots, retries: 0, ..config() };

    // The right bytes are not taken from somebody whose certificate nobody vouches for.
    answer(&[b"HTTP/1.0 200 OK\r\nContent-Length: 20000\r\n\r\n", world.file()].concat());
    let strict = FetchConfig { retries: 0, ..config() };
    let error = world.fetch_with(strict, std::slice::from_ref(&mirror)).unwrap_err();
    assert!(matches!(&World::reasons(&error)[..], [Reason::Tls(_)]), "{error}");
    let other_name = Mirror::parse(&format!("https://127.0.0.1:{}", server.port)).unwrap();
    let error = world.fetch_with(trusting.clone(), &[other_name]).unwrap_err();
    assert!(matches!(&World::reasons(&error)[..], [Reason::Tls(_)]), "{error}");

    // To plain HTTP, where a good server waits.
    let plain = Server::of_files(&world.files);
    let location = format!("{}/pool/f0_1%2Bb1.deb", plain.mirror());
    answer(format!("HTTP/1.0 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    let error = world.fetch_with(trusting.clone(), std::slice::from_ref(&mirror)).unwrap_err();
    assert_eq!(World::reasons(&error), [Reason::Downgrade { to: location }]);
    assert!(plain.requests().is_empty());

    // Not TLS at all.
    let no_tls = Mirror::parse(&format!("https://localhost:{}", plain.address().port())).unwrap();
    let error = world.fetch_with(trusting.clone(), &[no_tls]).unwrap_err();
    assert!(matches!(&World::reasons(&error)[..], [Reason::Tls(_) | Reason::Connection(_)]), "{error}");

    answer(&[b"HTTP/1.0 200 OK\r\nContent-Length: 20000\r\n\r\n", world.file()].concat());
    world.fetch_with(trusting, &[mirror]).unwrap();
    world.assert_complete();
}

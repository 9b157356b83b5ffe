//! The server's answers, byte for byte, over real connections.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use selfsame_image::Digest;
use selfsame_serve::{Access, Found, Limits, Look, Served, Site, run};

/// 2026-01-15 12:00:00 UTC.
const MODIFIED: i64 = 1_768_478_400;
const TIME: &str = "Thu, 15 Jan 2026 12:00:00 GMT";

/// Files `/NUMBER` of that many bytes, and some odd paths.
struct Numbers {
    dir: tempfile::TempDir,
    /// How many answers were put off.
    later: AtomicUsize,
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|number| (number % 251) as u8).collect()
}

fn file(path: &std::path::Path, size: usize) -> Found {
    let bytes = bytes(size);
    std::fs::write(path, &bytes).unwrap();
    Found::File(Served {
        file: File::open(path).unwrap(),
        size: size as u64,
        digest: Digest::of(&bytes),
        modified: MODIFIED,
        kind: "application/octet-stream",
    })
}

struct Shared(Arc<Numbers>);

impl Site for Shared {
    fn look(&self, path: &str) -> Look {
        let name = path[1..].to_owned();
        let to = self.0.dir.path().join(name.replace('/', "_"));
        match name.as_str() {
            "text" => Look::Now(Found::Text("a text\n".to_owned())),
            "there" => Look::Now(Found::Redirect("/10".to_owned())),
            "a+b~c d" => Look::Now(file(&to, 3)),
            "failed" => Look::Now(Found::Failed("the mirror is gone".to_owned())),
            "panic" => Look::Later(Box::new(|| panic!("a bug, made for this test"))),
            "short" => {
                let Found::File(mut served) = file(&to, 1_000_000) else { unreachable!() };
                served.size = 2_000_000;
                Look::Now(Found::File(served))
            }
            _ => match name.strip_prefix("later/").unwrap_or(&name).parse() {
                Ok(size) if name.starts_with("later/") => {
                    self.0.later.fetch_add(1, Ordering::SeqCst);
                    Look::Later(Box::new(move || file(&to, size)))
                }
                Ok(size) => Look::Now(file(&to, size)),
                Err(_) => Look::Now(Found::Missing),
            },
        }
    }
}

struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    log: Arc<Mutex<Vec<String>>>,
    numbers: Arc<Numbers>,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, log) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<String>>>::default());
        let numbers = Arc::new(Numbers { dir: tempfile::tempdir().unwrap(), later: AtomicUsize::new(0) });
        let site = Arc::new(Shared(Arc::clone(&numbers)));
        let logged = Arc::clone(&log);
        let note = move |access: &Access| {
            let line = format!("{} {} {} {}", access.method, access.path, access.status, access.size);
            logged.lock().unwrap().push(line);
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            run(listener, site, &limits, Some(Arc::new(note)), || stopped.load(Ordering::SeqCst))
        });
        Self { address, stop, thread: Some(thread), log, numbers }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.ask("GET", path, headers)
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request(method, path, headers).as_bytes()).unwrap();
        Answer::read(&mut BufReader::new(stream), method == "HEAD").unwrap()
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn request(method: &str, path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn read(from: &mut impl BufRead, is_head: bool) -> std::io::Result<Self> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut answer = Self { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        if !is_head && status != 304 {
            answer.body.resize(length, 0);
            from.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[test]
fn files_whole_in_parts_and_not_at_all() {
    let server = Server::start(Limits::default());
    for size in [0, 1, 1000, 131_072, 131_073, 700_000] {
        let answer = server.get(&format!("/{size}"), &[]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, bytes(size).as_slice()), "{size}");
        let tag = format!("\"{}\"", Digest::of(&bytes(size)));
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        assert_eq!(answer.header("last-modified"), Some(TIME));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("cache-control").unwrap().contains("immutable"));
        assert!(answer.header("date").is_some());
        assert_eq!(server.get(&format!("/later/{size}"), &[]).body, bytes(size));
    }
    let all = bytes(700_000);
    let tag = format!("If-Range: \"{}\"", Digest::of(&all));
    let time = format!("If-Range: {TIME}");
    for condition in [&[][..], &[tag.as_str()], &[time.as_str()]] {
        for (range, from, to) in [("10-20", 10, 21), ("600000-", 600_000, 700_000), ("-5", 699_995, 700_000)]
        {
            let range = format!("Range: bytes={range}");
            let answer = server.get("/700000", &[&[range.as_str()], condition].concat());
            assert_eq!((answer.status, answer.body.as_slice()), (206, &all[from..to]), "{range}");
            let told = format!("bytes {from}-{}/700000", to - 1);
            assert_eq!(answer.header("content-range"), Some(told.as_str()));
        }
    }
    // Another file than the one of which a part is there: all of it.
    for other in ["If-Range: \"0\"", "If-Range: Thu, 15 Jan 2026 11:59:59 GMT"] {
        let answer = server.get("/700000", &["Range: bytes=10-20", other]);
        assert_eq!((answer.status, answer.body.len()), (200, 700_000), "{other}");
    }
    let answer = server.get("/1000", &["Range: bytes=1000-"]);
    assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */1000")));
    assert_eq!(server.log.lock().unwrap().last().unwrap(), "GET /1000 416 0");
}

#[test]
fn what_the_client_has_is_not_sent() {
    let server = Server::start(Limits::default());
    let tag = Digest::of(&bytes(10));
    let has = [
        format!("If-None-Match: \"{tag}\""),
        format!("If-Modified-Since: {TIME}"),
        "If-None-Match: *".into(),
    ];
    for header in has {
        let answer = server.get("/10", &[&header]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{header}");
        assert_eq!(answer.header("etag"), Some(format!("\"{tag}\"").as_str()));
    }
    // The tag decides where there are both.
    let older = "If-Modified-Since: Thu, 15 Jan 2026 11:59:59 GMT";
    let lacks = [
        &["If-None-Match: \"0\""][..],
        &[older],
        &["If-None-Match: \"0\"", &format!("If-Modified-Since: {TIME}")],
    ];
    for headers in lacks {
        assert_eq!(server.get("/10", headers).status, 200, "{headers:?}");
    }
    let head = server.ask("HEAD", "/700000", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, Some("700000")));
    let head = server.ask("HEAD", "/text", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, Some("7")));
}

#[test]
fn everything_else_is_refused_and_said() {
    let server = Server::start(Limits::default());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let answer = server.ask(method, "/10", &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for path in ["/none", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"] {
        assert_eq!(server.get(path, &[]).status, 404, "{path}");
    }
    for path in ["/%00", "/%ff%fe"] {
        assert_eq!(server.get(path, &[]).status, 400, "{path}");
    }
    assert_eq!(server.get("/a+b%7ec%20d", &[]).body, bytes(3));
    let answer = server.get("/text", &[]);
    assert_eq!(
        (answer.body.as_slice(), answer.header("cache-control")),
        (&b"a text\n"[..], Some("no-cache"))
    );
    let answer = server.get("/there", &[]);
    assert_eq!((answer.status, answer.header("location")), (302, Some("/10")));
    let answer = server.get("/failed", &[]);
    assert_eq!((answer.status, answer.header("retry-after")), (502, Some("10")));
    assert_eq!(answer.body, b"it cannot be had now: the mirror is gone\n");
    // A bug in one answer is no end of the others.
    assert_eq!(server.get("/panic", &[]).status, 502);
    // Neither is nonsense.
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01\x02\x00 nonsense\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{text}");
    let mut stream = server.connect();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let _ = stream.write_all(long.as_bytes());
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    assert_eq!(server.get("/10", &[]).status, 200);
}

#[test]
fn a_file_that_became_shorter_breaks_the_connection() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect();
    stream.write_all(request("GET", "/short", &[]).as_bytes()).unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    // Whatever came of it says how long it should have been.
    let Some(head) = all.windows(4).position(|four| four == b"\r\n\r\n") else { return };
    let text = String::from_utf8_lossy(&all[..head + 2]);
    assert!(text.contains("content-length: 2000000\r\n"), "{text}");
    assert!(all.len() - head - 4 < 2_000_000);
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect();
    let sizes = [10, 700_000, 0, 5, 300_000, 1];
    let all: String = sizes.iter().map(|size| request("GET", &format!("/later/{size}"), &[])).collect();
    stream.write_all(all.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    for size in sizes {
        assert_eq!(Answer::read(&mut stream, false).unwrap().body, bytes(size));
    }
    assert_eq!(server.numbers.later.load(Ordering::SeqCst), sizes.len());
}

#[test]
fn a_thousand_clients_that_wait_keep_nobody_from_being_served() {
    let server = Server::start(Limits::default());
    let idle: Vec<TcpStream> = (0..1000).map(|_| server.connect()).collect();
    let mut half: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    half.iter_mut().for_each(|stream| stream.write_all(b"GET /10 HTTP/1.1\r\nHost:").unwrap());
    assert_eq!(server.get("/700000", &[]).body.len(), 700_000);
    for mut stream in idle {
        stream.write_all(request("GET", "/10", &[]).as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut BufReader::new(stream), false).unwrap().body, bytes(10));
    }
}

#[test]
fn more_clients_than_allowed_wait_for_their_turn() {
    let server = Server::start(Limits { connections: 2, ..Limits::default() });
    let held = [server.connect(), server.connect()];
    // Both are taken on, one after the other.
    for stream in &held {
        let mut stream = stream;
        stream.write_all(request("GET", "/10", &[]).as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut BufReader::new(stream), false).unwrap().status, 200);
    }
    let mut third = server.connect();
    third.write_all(request("GET", "/10", &[]).as_bytes()).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(third.read(&mut [0; 1]).is_err());
    drop(held);
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(Answer::read(&mut BufReader::new(third), false).unwrap().status, 200);
}

#[test]
fn clients_that_do_nothing_are_let_go() {
    let short = Duration::from_millis(300);
    let server = Server::start(Limits { idle: short, stall: short, ..Limits::default() });
    let begun = Instant::now();
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /10 HTTP/1.1\r\n").unwrap();
    // It asks for more than the buffers of both ends hold, and does not take it.
    let mut deaf = server.connect();
    deaf.write_all(request("GET", "/60000000", &[]).as_bytes()).unwrap();
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).unwrap(), 0);
    let _ = slow.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(10));
    std::thread::sleep(Duration::from_secs(2));
    rest.clear();
    let _ = deaf.read_to_end(&mut rest);
    assert!(rest.len() < 60_000_000, "{}", rest.len());
}

#[test]
fn at_the_end_answers_under_way_are_finished() {
    let mut server = Server::start(Limits::default());
    let idle = server.connect();
    let mut stream = server.connect();
    stream.write_all(request("GET", "/20000000", &[]).as_bytes()).unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Answer::read(&mut BufReader::new(std::io::Cursor::new(first).chain(stream)), false).unwrap().body
    });
    let begun = Instant::now();
    server.end().unwrap();
    // One who waits does not hold it up.
    assert!(begun.elapsed() < Limits::default().grace / 2, "{:?}", begun.elapsed());
    assert_eq!(reader.join().unwrap().len(), 20_000_000);
    drop(idle);
    assert!(TcpStream::connect(server.address).is_err());
}

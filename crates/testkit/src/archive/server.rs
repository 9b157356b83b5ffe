//! A static HTTP server on the loopback interface that can be told to misbehave.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server does with one path.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with this status and an empty body, and `Retry-After` if given.
    Status {
        /// HTTP status.
        code: u16,
        /// Seconds to wait.
        retry_after: Option<u32>,
    },
    /// Answers with these bytes instead of the file's.
    Lie(Vec<u8>),
    /// Announces the full length and closes the connection after so many bytes of the body.
    Truncate(usize),
    /// Sends the body in pieces with pauses between them.
    Slow {
        /// Bytes per piece.
        piece: usize,
        /// Pause after each.
        pause: Duration,
    },
    /// Sends zeros without end and without a length.
    Endless,
    /// Redirects to another URL.
    Redirect(String),
    /// Ignores `Range` and sends the whole file.
    NoRange,
    /// Closes the connection without an answer.
    Hangup,
}

#[derive(Default)]
struct State {
    /// Behaviour by path, and how often it still applies (`None`: always).
    special: BTreeMap<String, (Behaviour, Option<usize>)>,
    /// Behaviour of all paths once so many more requests have come.
    later: Option<(usize, Behaviour)>,
    /// The `Authorization` header without which nothing is answered.
    password: Option<String>,
    requests: Vec<String>,
}

/// A running server; it stops when dropped.
pub struct Server {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

/// Serves the files below `root`.
pub fn serve(root: &Path) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let state: Arc<Mutex<State>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let (state, stop, root) = (Arc::clone(&state), Arc::clone(&stop), root.to_owned());
        move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (state, stop, root) = (Arc::clone(&state), Arc::clone(&stop), root.clone());
                // A client that goes away in the middle is no failure of the server.
                std::thread::spawn(move || drop(connection(stream, &root, &state, &stop)));
            }
        }
    });
    Server { address, state, stop, thread: Some(thread) }
}

impl Server {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the server misbehave for a path such as `/dists/sid/InRelease`, for good.
    pub fn set(&self, path: &str, behaviour: Behaviour) {
        self.state.lock().unwrap().special.insert(path.to_owned(), (behaviour, None));
    }

    /// Makes the server misbehave for the next `times` requests of a path.
    pub fn set_times(&self, path: &str, times: usize, behaviour: Behaviour) {
        self.state.lock().unwrap().special.insert(path.to_owned(), (behaviour, Some(times)));
    }

    /// Answers `requests` more as it should, and then misbehaves for every path.
    pub fn set_after(&self, requests: usize, behaviour: Behaviour) {
        self.state.lock().unwrap().later = Some((requests, behaviour));
    }

    /// Answers 401 to whoever does not send this `Authorization` header.
    pub fn set_password(&self, header: &str) {
        self.state.lock().unwrap().password = Some(header.to_owned());
    }

    /// The requests so far: `GET /path`, with ` bytes=N-` after it for a part.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// How this request is answered, if not as it should be.
    fn behaviour(&mut self, request: &Request) -> Option<Behaviour> {
        if self.password.is_some() && self.password != request.authorization {
            return Some(Behaviour::Status { code: 401, retry_after: None });
        }
        match &mut self.later {
            Some((0, behaviour)) => return Some(behaviour.clone()),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        match self.special.get_mut(&request.path) {
            Some((_, Some(0))) | None => None,
            Some((behaviour, times)) => {
                *times = times.map(|times| times - 1);
                Some(behaviour.clone())
            }
        }
    }
}

struct Request {
    method: String,
    path: String,
    from: Option<usize>,
    authorization: Option<String>,
    body: Vec<u8>,
}

fn connection(stream: TcpStream, root: &Path, state: &Mutex<State>, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    while let Some(request) = read_request(&mut reader)? {
        let special = {
            let mut state = state.lock().unwrap();
            let range = request.from.map(|from| format!(" bytes={from}-")).unwrap_or_default();
            state.requests.push(format!("{} {}{range}", request.method, request.path));
            state.behaviour(&request)
        };
        if !answer(&mut out, root, &request, special, stop)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut request = Request { method, path, from: None, authorization: None, body: Vec::new() };
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            // The body of a `PUT`; nothing else has one.
            reader.take(length).read_to_end(&mut request.body)?;
            return Ok(Some(request));
        }
        let Some((name, value)) = header.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                request.from =
                    value.strip_prefix("bytes=").and_then(|range| range.split('-').next()?.parse().ok());
            }
            "authorization" => request.authorization = Some(value.to_owned()),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
}

/// Answers one request; false if the connection is to be closed.
fn answer(
    out: &mut TcpStream,
    root: &Path,
    request: &Request,
    special: Option<Behaviour>,
    stop: &AtomicBool,
) -> io::Result<bool> {
    match special {
        Some(Behaviour::Status { code, retry_after }) => {
            let retry = retry_after.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default();
            empty(out, &format!("{code} Special\r\n{retry}"))
        }
        Some(Behaviour::Redirect(to)) => empty(out, &format!("302 Found\r\nLocation: {to}\r\n")),
        Some(Behaviour::Hangup) => Ok(false),
        Some(Behaviour::Endless) => {
            write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            while !stop.load(Ordering::SeqCst) {
                out.write_all(&[0; 65_536])?;
            }
            Ok(false)
        }
        Some(Behaviour::Lie(ref body)) => send(out, body, request, special.as_ref(), stop),
        None if request.method == "PUT" => put(out, root, request),
        _ => match local(root, &request.path).and_then(|path| std::fs::read(path).ok()) {
            Some(body) => send(out, &body, request, special.as_ref(), stop),
            None => empty(out, "404 Not Found\r\n"),
        },
    }
}

/// Keeps a body as a file, directories included.
fn put(out: &mut TcpStream, root: &Path, request: &Request) -> io::Result<bool> {
    let Some(path) = local(root, &request.path) else { return empty(out, "403 Forbidden\r\n") };
    std::fs::create_dir_all(path.parent().unwrap_or(root))?;
    std::fs::write(path, &request.body)?;
    empty(out, "201 Created\r\n")
}

/// An answer without a body; `head` is its status line and headers.
fn empty(out: &mut TcpStream, head: &str) -> io::Result<bool> {
    write!(out, "HTTP/1.1 {head}Content-Length: 0\r\n\r\n")?;
    Ok(true)
}

/// Sends a body, or the part that is asked for.
fn send(
    out: &mut TcpStream,
    body: &[u8],
    request: &Request,
    special: Option<&Behaviour>,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let all = body.len();
    let part = match request.from.filter(|_| !matches!(special, Some(Behaviour::NoRange))) {
        Some(from) if from >= all => {
            return empty(out, &format!("416 Range\r\nContent-Range: bytes */{all}\r\n"));
        }
        Some(from) => {
            let last = all - 1;
            write!(out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{all}\r\n")?;
            &body[from..]
        }
        None => {
            write!(out, "HTTP/1.1 200 OK\r\n")?;
            body
        }
    };
    write!(out, "Accept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n", part.len())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match *special.unwrap_or(&Behaviour::NoRange) {
        Behaviour::Truncate(after) => {
            out.write_all(&part[..after.min(part.len())])?;
            return Ok(after >= part.len());
        }
        Behaviour::Slow { piece, pause } => {
            for piece in part.chunks(piece.max(1)) {
                if stop.load(Ordering::SeqCst) {
                    return Ok(false);
                }
                out.write_all(piece)?;
                std::thread::sleep(pause);
            }
        }
        _ => out.write_all(part)?,
    }
    Ok(true)
}

/// Without percent escapes: apt writes `%2b` for `+`.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The file for a URL path; `None` for one that would lead outside.
fn local(root: &Path, path: &str) -> Option<PathBuf> {
    let path = &decoded(path);
    let path = path.strip_prefix('/')?;
    let safe = path.split('/').all(|component| !matches!(component, "" | "." | ".."));
    safe.then(|| root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(server: &Server, path: &str, extra: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_parts_and_misbehaviour() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "hello").unwrap();
        let server = serve(dir.path());
        assert!(get(&server, "/a", "").ends_with("Content-Length: 5\r\n\r\nhello"));
        let part = get(&server, "/a", "Range: bytes=2-\r\n");
        assert!(
            part.starts_with("HTTP/1.1 206") && part.contains("bytes 2-4/5") && part.ends_with("\r\n\r\nllo")
        );
        assert!(get(&server, "/a", "Range: bytes=5-\r\n").starts_with("HTTP/1.1 416"));
        assert!(get(&server, "/b", "").starts_with("HTTP/1.1 404"));
        assert!(get(&server, "/../a", "").starts_with("HTTP/1.1 404"));
        server.set_times("/a", 1, Behaviour::Status { code: 503, retry_after: Some(3) });
        assert!(get(&server, "/a", "").contains("503 Special\r\nRetry-After: 3\r\n"));
        assert!(get(&server, "/a", "").ends_with("hello"));
        server.set("/a", Behaviour::Truncate(2));
        assert!(get(&server, "/a", "").ends_with("Content-Length: 5\r\n\r\nhe"));
        server.set("/a", Behaviour::Lie(b"other".to_vec()));
        assert!(get(&server, "/a", "").ends_with("other"));
        server.set("/a", Behaviour::Slow { piece: 2, pause: Duration::from_millis(1) });
        assert!(get(&server, "/a", "").ends_with("hello"));
        server.set("/a", Behaviour::Redirect("http://elsewhere/".into()));
        assert!(get(&server, "/a", "").contains("Location: http://elsewhere/"));
        server.set("/a", Behaviour::NoRange);
        assert!(get(&server, "/a", "Range: bytes=2-\r\n").ends_with("hello"));
        server.set("/a", Behaviour::Hangup);
        assert_eq!(get(&server, "/a", ""), "");
        assert_eq!(server.requests()[1], "GET /a bytes=2-");
    }

    #[test]
    fn files_are_put_and_passwords_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let server = serve(dir.path());
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "PUT /a/b HTTP/1.1\r\nContent-Length: 3\r\n\r\nnew").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        io::copy(&mut stream, &mut io::sink()).unwrap();
        assert!(get(&server, "/a/b", "").ends_with("new"));
        server.set_password("Bearer x");
        assert!(get(&server, "/a/b", "").starts_with("HTTP/1.1 401"));
        assert!(get(&server, "/a/b", "Authorization: Bearer x\r\n").ends_with("new"));
        server.set_after(1, Behaviour::Hangup);
        assert!(get(&server, "/a/b", "Authorization: Bearer x\r\n").ends_with("new"));
        assert_eq!(get(&server, "/a/b", "Authorization: Bearer x\r\n"), "");
    }
}

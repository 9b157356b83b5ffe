//! A small web server on the loopback interface that does whatever a test wants, right or wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use selfsame_apt::mirrors::Mirror;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The target of the request line.
    pub(crate) target: String,
    /// Header fields, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests came before it, for anything.
    pub(crate) number: usize,
}

impl Request {
    /// First byte of a `Range`.
    pub(crate) fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// The connection a request came on.
pub(crate) struct Conn<'a> {
    stream: &'a TcpStream,
    shared: &'a Shared,
    /// Whether to close it after the answer.
    pub(crate) close: bool,
}

type Handler = dyn Fn(&Request, &mut Conn) + Send + Sync;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    requests: Mutex<Vec<Request>>,
    /// Bytes of bodies.
    sent: AtomicU64,
    most_open: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running server. Stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server whose answers `handler` writes.
    pub(crate) fn start(handler: impl Fn(&Request, &mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let handler: Arc<Handler> = Arc::new(handler);
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            let mut handlers = Vec::new();
            for stream in listener.incoming() {
                if for_acceptor.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                for_acceptor.note_open(&stream);
                let (shared, handler) = (Arc::clone(&for_acceptor), Arc::clone(&handler));
                handlers.push(std::thread::spawn(move || serve(&stream, &shared, &*handler)));
            }
            for stream in for_acceptor.streams.lock().unwrap().iter() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            for handler in handlers {
                handler.join().unwrap();
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// A server that does everything right.
    pub(crate) fn of_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let files = files.clone();
        Self::start(move |request, conn| conn.serve(request, &files))
    }

    pub(crate) fn mirror(&self) -> Mirror {
        Mirror::parse(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Targets and first bytes of all requests.
    pub(crate) fn asked(&self) -> Vec<(String, Option<usize>)> {
        self.requests().iter().map(|request| (request.target.clone(), request.from())).collect()
    }

    /// Bytes of bodies that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// The most connections that were open at the same time.
    pub(crate) fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        let joined = self.acceptor.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(joined.is_none_or(|result| result.is_ok()), "the server panicked");
        }
    }
}

impl Shared {
    /// Counts the connections that their other end has not closed. A connection that a client closed before it opened the
    /// next one is closed here too, however late our thread for it notices.
    fn note_open(&self, stream: &TcpStream) {
        use rustix::net::{RecvFlags, recv};
        let mut streams = self.streams.lock().unwrap();
        streams.retain(|stream| {
            let peeked = recv(stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
            !matches!(peeked, Ok((0, _)) | Err(rustix::io::Errno::CONNRESET))
        });
        streams.push(stream.try_clone().unwrap());
        self.most_open.fetch_max(streams.len(), Ordering::SeqCst);
    }
}

fn serve(stream: &TcpStream, shared: &Shared, handler: &Handler) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while !shared.stop.load(Ordering::SeqCst) {
        let Some((target, headers)) = read_head(&mut reader) else {
            break;
        };
        let request = {
            let mut requests = shared.requests.lock().unwrap();
            let request = Request { target, headers, number: requests.len() };
            requests.push(request.clone());
            request
        };
        let mut conn = Conn { stream, shared, close: false };
        handler(&request, &mut conn);
        if conn.close {
            break;
        }
    }
    // What we close is not open any more for a client that sees the end and comes back at once.
    let peer = stream.peer_addr().ok();
    shared.streams.lock().unwrap().retain(|other| other.peer_addr().ok() != peer);
    let _ = stream.shutdown(Shutdown::Both);
}

fn read_head(reader: &mut impl BufRead) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let target = line.strip_prefix("GET ").or(line.strip_prefix("CONNECT "))?.split(' ').next()?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return Some((target, headers)),
        };
    }
}

impl Conn<'_> {
    /// Sends bytes as they are. Errors mean that the client went away, which is its right.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        let fine = (&*self.stream).write_all(bytes).is_ok();
        self.close |= !fine;
        fine
    }

    /// Sends a status line and header fields.
    pub(crate) fn head(&mut self, status: u16, fields: &[(&str, String)]) {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.raw(format!("HTTP/1.1 {status} X\r\n{fields}\r\n").as_bytes());
    }

    /// Sends a part of a body.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> bool {
        // Counted before, so that a client that has all of it finds all of it counted.
        self.shared.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let fine = self.raw(bytes);
        if !fine {
            self.shared.sent.fetch_sub(bytes.len() as u64, Ordering::SeqCst);
        }
        fine
    }

    /// Sends a status, fields and nothing else.
    pub(crate) fn status(&mut self, status: u16, fields: &[(&str, String)]) {
        let mut fields = fields.to_vec();
        fields.push(("Content-Length", "0".to_owned()));
        self.head(status, &fields);
    }

    /// Sends a whole answer with these bytes, whatever range was asked for.
    pub(crate) fn whole(&mut self, bytes: &[u8]) {
        self.head(200, &[("Content-Length", bytes.len().to_string())]);
        self.body(bytes);
    }

    /// Answers as a good server would, with ranges.
    pub(crate) fn serve(&mut self, request: &Request, files: &BTreeMap<String, Vec<u8>>) {
        self.serve_up_to(request, files, usize::MAX);
    }

    /// As [`Conn::serve`], but breaks off after `limit` bytes of the body.
    pub(crate) fn serve_up_to(&mut self, request: &Request, files: &BTreeMap<String, Vec<u8>>, limit: usize) {
        let Some(bytes) = files.get(request.target.trim_start_matches('/')) else {
            return self.status(404, &[]);
        };
        let from = request.from().unwrap_or(0);
        if from > bytes.len() || (from == bytes.len() && from > 0) {
            return self.status(416, &[("Content-Range", format!("bytes */{}", bytes.len()))]);
        }
        let rest = &bytes[from..];
        let length = ("Content-Length", rest.len().to_string());
        let tag = ("ETag", format!("\"{}\"", bytes.len()));
        if request.from().is_some() {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            self.head(206, &[length, tag, ("Content-Range", range)]);
        } else {
            self.head(200, &[length, tag]);
        }
        if limit < rest.len() {
            self.body(&rest[..limit]);
            self.close = true;
        } else {
            self.body(rest);
        }
    }

    /// Ends the connection with a reset instead of a proper close.
    pub(crate) fn reset(&mut self) {
        rustix::net::sockopt::set_socket_linger(self.stream, Some(std::time::Duration::ZERO)).unwrap();
        self.close = true;
    }

    /// Says nothing more until the client goes away.
    pub(crate) fn hang(&mut self) {
        self.close = true;
        let _ = (&*self.stream).read(&mut [0; 1]);
    }

    /// Sends bytes one by one, with a pause after each, until they are all sent or the client goes away.
    pub(crate) fn drip(&mut self, bytes: &[u8], pause: std::time::Duration) {
        for byte in bytes {
            if self.shared.stop.load(Ordering::SeqCst) || !self.raw(&[*byte]) {
                break;
            }
            std::thread::sleep(pause);
        }
    }
}

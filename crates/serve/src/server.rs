//! Connections: as many as there are, none of them for ever.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::answer::answer;
use crate::site::Site;

/// How often the server looks whether it is to stop.
const TICK: Duration = Duration::from_millis(100);

/// What clients may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads that send and receive.
    pub threads: NonZero<usize>,
    /// Connections at a time; further ones wait until one ends.
    pub connections: usize,
    /// Answers at a time that take reading, hashing or fetching of files.
    pub slow: usize,
    /// Time for a client to send the whole head of a request, counted from the end of the one before.
    pub idle: Duration,
    /// Time in which a client must take some bytes of an answer.
    pub stall: Duration,
    /// Time for the answers that are under way when the server is to stop.
    pub grace: Duration,
}

impl Default for Limits {
    /// A thread for each processor, 8192 connections, 16 slow answers, half a minute without a request, one without taking
    /// bytes, ten seconds at the end.
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            connections: 8192,
            slow: 16,
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        }
    }
}

/// One request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who asked.
    pub client: SocketAddr,
    /// `GET`, ...
    pub method: Method,
    /// The path as it was sent, with its escapes.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the answer, without its head.
    pub size: u64,
}

/// Who is told of requests.
pub type Log = dyn Fn(&Access) + Send + Sync;

/// Answers requests that come to `listener` with what `site` has, until `stop` says so; it is asked ten times a second.
/// `log` is told of each request when its answer begins.
pub fn run(
    listener: TcpListener,
    site: Arc<dyn Site>,
    limits: &Limits,
    log: Option<Arc<Log>>,
    stop: impl Fn() -> bool,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(limits.threads.get())
        .max_blocking_threads(limits.slow + limits.threads.get())
        .enable_io()
        .enable_time()
        .build()?;
    let shared = Arc::new(Shared { site, slow: Arc::new(Semaphore::new(limits.slow)), log });
    let ended = runtime.block_on(accept(listener, shared, limits, stop));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// What all connections have in common.
struct Shared {
    site: Arc<dyn Site>,
    slow: Arc<Semaphore>,
    log: Option<Arc<Log>>,
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    limits: &Limits,
    stop: impl Fn() -> bool,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    while !stop() {
        let Ok(permit) = tokio::time::timeout(TICK, Arc::clone(&room).acquire_owned()).await else {
            continue;
        };
        let (stream, client) = match tokio::time::timeout(TICK, listener.accept()).await {
            Err(_) => continue,
            Ok(Ok(accepted)) => accepted,
            // The client is gone already, or there are too many open files: neither is a reason to end.
            Ok(Err(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let connection = connection(stream, client, limits, Arc::clone(&shared));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whatever breaks a connection concerns its client only.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.grace, graceful.shutdown()).await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    client: SocketAddr,
    limits: &Limits,
    shared: Arc<Shared>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + use<> {
    // Answers are written whole; waiting for more to send would only delay their ends.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall));
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let response = answer(Arc::clone(&shared.site), &shared.slow, &request).await;
            if let Some(log) = &shared.log {
                log(&Access {
                    client,
                    method: request.method().clone(),
                    path: request.uri().path().to_owned(),
                    status: response.status().as_u16(),
                    size: response.body().size_hint().exact().unwrap_or(0),
                });
            }
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        // What is sent is taken piece by piece: a client that does not read costs no more than this.
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
}

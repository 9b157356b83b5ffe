//! A program that serves HTTP until it is told to stop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running server; it is ended when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// Kept open: a program that prints more shall not fail.
    _stdout: BufReader<ChildStdout>,
    url: String,
}

impl Service {
    /// Starts `command`, whose first line of output must be the address.
    ///
    /// # Panics
    /// If it cannot be started or says something else.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output can be read");
        let url = line.trim_end().trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            let _ = child.kill();
            panic!("{command:?} said {line:?}: {:?}", child.wait());
        }
        Self { child, _stdout: stdout, url }
    }

    /// `http://ADDRESS:PORT`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for `path`: status, head and body of the answer.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.url["http://".len()..]).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit can be set");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("it answers");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("it has a status");
        (status, head, all.split_off(end + 4))
    }

    /// Tells it to stop, and waits until it has: how it ended.
    pub fn end(mut self) -> ExitStatus {
        self.stop()
    }

    fn stop(&mut self) -> ExitStatus {
        // Only a process that was not waited for has its number for sure.
        if let Ok(Some(status)) = self.child.try_wait() {
            return status;
        }
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let begin = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            if begin.elapsed() > Duration::from_secs(20) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

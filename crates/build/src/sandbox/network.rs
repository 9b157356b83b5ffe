//! What a job tried to reach over a network.
//!
//! A job's network has nothing but a loopback device, so nothing can be reached. The kernel asks about each call that
//! could name a far address; what it names is read from the caller's memory. A job that changes its memory meanwhile
//! escapes notice, but still reaches nothing.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileExt;

use super::{Exit, filter};
use crate::host::sys::{Answer, Notification};

/// A job's attempt to reach something beyond its sandbox. It failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Name of the process, at most 15 bytes.
    pub program: String,
    /// Its command line, words separated by spaces, at most 300 bytes.
    pub command: String,
    /// What was attempted.
    pub intent: Intent,
}

/// What an [`Attempt`] was for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Intent {
    /// Sending something to this address.
    Reach(SocketAddr),
    /// Asking a name server: anything sent to port 53, of the loopback addresses too, where the C library expects a
    /// server when it knows no other. Looking up the sandbox's own host name is no attempt.
    LookUp {
        /// The server.
        server: SocketAddr,
        /// The name asked for, if the question was seen.
        name: Option<String>,
    },
    /// Opening a socket of this family, which is not of the Internet (packet(7), vsock(7), ...).
    Socket(u32),
}

/// Decides calls and remembers attempts.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Name of the sandbox's own host.
    host_name: String,
    attempts: Vec<Attempt>,
    /// Threads that believe to be connected with a name server, their descriptor, and the server.
    servers: Vec<(u32, u64, SocketAddr)>,
}

/// As many are remembered of [`Watch::servers`].
const SERVERS: usize = 64;
/// The port of name servers.
const NAMES: u16 = 53;

impl Watch {
    /// A watch over a sandbox whose host has this name.
    pub(super) fn of(host_name: &str) -> Self {
        Self { host_name: host_name.to_owned(), ..Self::default() }
    }

    /// Different attempts in the order in which they were made.
    pub(super) fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }

    /// Decides a call.
    pub(super) fn decide(&mut self, call: &Notification) -> Answer {
        let memory = File::open(format!("/proc/{}/mem", call.pid)).ok();
        let read = |at: u64, buffer: &mut [u8]| memory.as_ref()?.read_exact_at(buffer, at).ok();
        let (answer, intent) = self.judge(call, &read);
        if let Some(intent) = intent {
            self.note(attempt(call.pid, intent));
        }
        answer
    }

    /// Keeps an attempt. A name server that was only connected with is replaced by the question put to it.
    fn note(&mut self, new: Attempt) {
        let unnamed = match &new.intent {
            Intent::LookUp { server, name: Some(_) } => Intent::LookUp { server: *server, name: None },
            _ => new.intent.clone(),
        };
        let unnamed = Attempt { intent: unnamed, ..new.clone() };
        self.attempts.retain(|it| *it != unnamed || *it == new);
        let own = matches!(&new.intent, Intent::LookUp { name: Some(name), .. } if self.is_own(name));
        if !own && !self.attempts.contains(&new) && self.attempts.len() < Exit::MOST_ATTEMPTS {
            self.attempts.push(new);
        }
    }

    /// True for the sandbox's own host name, with any domain.
    fn is_own(&self, name: &str) -> bool {
        name.split('.').next().is_some_and(|first| first.eq_ignore_ascii_case(&self.host_name))
    }

    fn judge(&mut self, call: &Notification, memory: Memory<'_>) -> (Answer, Option<Intent>) {
        let Some(sent) = Sent::read(call, memory) else {
            return (Answer::Continue, None);
        };
        let (fd, to, payload) = match sent {
            Sent::Socket(family) => return (Answer::Fail(libc::EAFNOSUPPORT), Some(Intent::Socket(family))),
            Sent::Data { fd, to, payload } => (fd, to, payload),
        };
        let name = || payload.and_then(|(at, length)| question(at, length, memory));
        let known = self.servers.iter().position(|(pid, at, _)| (*pid, *at) == (call.pid, fd));
        match (to, known) {
            (Some(server), _) if server.port() == NAMES && payload.is_none() => {
                known.map(|index| self.servers.swap_remove(index));
                if self.servers.len() < SERVERS {
                    self.servers.push((call.pid, fd, server));
                }
                // The question that follows tells what for.
                (Answer::Pretend, Some(Intent::LookUp { server, name: None }))
            }
            (Some(server), _) if server.port() == NAMES => {
                (Answer::Fail(libc::ENETUNREACH), Some(Intent::LookUp { server, name: name() }))
            }
            (Some(to), _) if to.ip().is_loopback() || to.ip().is_unspecified() => (Answer::Continue, None),
            (Some(to), _) => (Answer::Fail(libc::ENETUNREACH), Some(Intent::Reach(to))),
            (None, Some(index)) => {
                let (_, _, server) = self.servers.swap_remove(index);
                (Answer::Fail(libc::ENETUNREACH), Some(Intent::LookUp { server, name: name() }))
            }
            (None, None) => (Answer::Continue, None),
        }
    }
}

fn attempt(pid: u32, intent: Intent) -> Attempt {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let program = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let command = words.join(&b' ');
    Attempt {
        program: text(program.trim_ascii_end()),
        command: text(&command[..command.len().min(300)]),
        intent,
    }
}

/// Reads the memory of a caller: fills the buffer from an address on, or fails.
type Memory<'a> = &'a dyn Fn(u64, &mut [u8]) -> Option<()>;

/// What a call is about.
enum Sent {
    /// Opening a socket of this family.
    Socket(u32),
    /// Connecting or sending.
    Data {
        fd: u64,
        /// Where to, if the call says so.
        to: Option<SocketAddr>,
        /// Address and length of what is sent; `None` for connect(2).
        payload: Option<(u64, u64)>,
    },
}

impl Sent {
    /// `None` for calls that stay within the sandbox, that the kernel will find malformed, or that cannot be read.
    fn read(call: &Notification, memory: Memory<'_>) -> Option<Self> {
        let wide = call.arch == filter::NATIVE;
        let number = i64::from(call.number);
        let is = |native: i64, i386: i64| number == if wide { native } else { i386 };
        let mut args = call.args;
        let mut which = match () {
            () if !wide && number == 102 => 0,
            () if is(libc::SYS_socket, 359) => 1,
            () if is(libc::SYS_connect, 362) => 3,
            () if is(libc::SYS_sendto, 369) => 11,
            // sendmsg and sendmmsg: the structure of the second starts with that of the first.
            () => 16,
        };
        if which == 0 {
            // socketcall(2) of i386: the number of the call is the first argument, the others are in memory.
            let words: [u32; 6] = read_words(args[1], memory)?;
            which = args[0];
            args = words.map(u64::from);
        }
        let [fd, second, third, _, fifth, sixth] = args;
        match which {
            1 => match u32::try_from(fd & u64::from(u32::MAX)) {
                Ok(1 | 2 | 10 | 16) | Err(_) => None,
                Ok(family) => Some(Self::Socket(family)),
            },
            3 => Some(Self::Data { fd, to: Some(address(second, third, memory)?), payload: None }),
            11 => Some(Self::Data {
                fd,
                to: Some(address(fifth, sixth, memory)?),
                payload: Some((second, third)),
            }),
            _ => Self::message(fd, second, wide, memory),
        }
    }

    /// A `struct msghdr` at `at`: address and its length, vector and its length, all as long as a pointer (or padded
    /// to that).
    fn message(fd: u64, at: u64, wide: bool, memory: Memory<'_>) -> Option<Self> {
        let words = |at| -> Option<[u64; 4]> {
            if wide { read_words(at, memory) } else { Some(read_words::<u32, 4>(at, memory)?.map(u64::from)) }
        };
        let [name, length, vector, count] = words(at)?;
        let payload =
            if count & u64::from(u32::MAX) == 0 { None } else { words_of_two(vector, wide, memory) };
        let to = if name == 0 { None } else { Some(address(name, length, memory)?) };
        Some(Self::Data { fd, to, payload: Some(payload.unwrap_or((0, 0))) })
    }
}

/// The first `struct iovec` of a vector.
fn words_of_two(at: u64, wide: bool, memory: Memory<'_>) -> Option<(u64, u64)> {
    let [base, length] =
        if wide { read_words(at, memory)? } else { read_words::<u32, 2>(at, memory)?.map(u64::from) };
    Some((base, length))
}

/// An integer as it lies in memory.
trait Word: Copy + Default {
    const SIZE: usize;
    fn from_memory(bytes: &[u8]) -> Option<Self>;
}

impl Word for u32 {
    const SIZE: usize = 4;
    fn from_memory(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

impl Word for u64 {
    const SIZE: usize = 8;
    fn from_memory(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

fn read_words<W: Word, const N: usize>(at: u64, memory: Memory<'_>) -> Option<[W; N]> {
    let mut bytes = [0; 48];
    let bytes = bytes.get_mut(..N * W::SIZE)?;
    memory(at, bytes)?;
    let mut words = [W::default(); N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(W::SIZE)) {
        *word = W::from_memory(bytes)?;
    }
    Some(words)
}

/// The Internet address in a `struct sockaddr` of `length` bytes. Others stay within the sandbox.
fn address(at: u64, length: u64, memory: Memory<'_>) -> Option<SocketAddr> {
    let mut bytes = [0; 28];
    let length = usize::try_from(length & u64::from(u32::MAX)).unwrap_or(usize::MAX).min(bytes.len());
    memory(at, bytes.get_mut(..length).filter(|buffer| buffer.len() >= 8)?)?;
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let ip: IpAddr = match (u16::from_ne_bytes([bytes[0], bytes[1]]), length) {
        (2, _) => Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into(),
        (10, 24..) => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&bytes[8..24]);
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The name a DNS query asks for (RFC 1035, 4.1): after 12 bytes, labels that start with their length, to an empty
/// one.
fn question(at: u64, length: u64, memory: Memory<'_>) -> Option<String> {
    let mut bytes = [0; 12 + 256];
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    let bytes = &mut bytes[..length];
    memory(at, bytes)?;
    let mut rest = bytes.get(12..)?;
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        match usize::from(*length) {
            0 => return Some(labels.join(".")),
            length @ 1..=63 => {
                let (label, next) = after.split_at_checked(length)?;
                labels.push(label.escape_ascii().to_string());
                rest = next;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIL: Answer = Answer::Fail(libc::ENETUNREACH);

    fn call(arch: u32, number: i64, args: [u64; 6]) -> Notification {
        Notification { id: 1, pid: 1, number: i32::try_from(number).unwrap(), arch, args }
    }

    /// Judges a call whose memory holds `bytes` at address 1000.
    fn judged(watch: &mut Watch, call: &Notification, bytes: &[u8]) -> (Answer, Option<Intent>) {
        watch.judge(call, &|at, buffer: &mut [u8]| {
            let at = usize::try_from(at).ok()?.checked_sub(1000)?;
            buffer.copy_from_slice(bytes.get(at..at.checked_add(buffer.len())?)?);
            Some(())
        })
    }

    fn sockaddr_in(ip: [u8; 4], port: u16) -> Vec<u8> {
        [&2u16.to_ne_bytes()[..], &port.to_be_bytes(), &ip, &[0; 8]].concat()
    }

    fn connect(bytes: &[u8]) -> (Answer, Option<Intent>) {
        let call = call(filter::NATIVE, libc::SYS_connect, [3, 1000, bytes.len() as u64, 0, 0, 0]);
        judged(&mut Watch::of("selfsame"), &call, bytes)
    }

    fn reach(address: &str) -> Option<Intent> {
        Some(Intent::Reach(address.parse().unwrap()))
    }

    const PASS: (Answer, Option<Intent>) = (Answer::Continue, None);

    #[test]
    fn far_addresses_are_attempts_and_near_ones_are_not() {
        assert_eq!(connect(&sockaddr_in([192, 0, 2, 1], 80)), (FAIL, reach("192.0.2.1:80")));
        assert_eq!(connect(&sockaddr_in([127, 0, 0, 1], 5432)), PASS);
        assert_eq!(connect(&sockaddr_in([0, 0, 0, 0], 80)), PASS);
        let unix = [&1u16.to_ne_bytes()[..], b"/run/dbus/socket\0"].concat();
        assert_eq!(connect(&unix), PASS);
    }

    #[test]
    fn addresses_of_the_newer_internet() {
        let six = |ip: &str, port: u16| {
            let ip: Ipv6Addr = ip.parse().unwrap();
            [&10u16.to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &ip.octets(), &[0; 4]].concat()
        };
        assert_eq!(connect(&six("2001:db8::1", 443)), (FAIL, reach("[2001:db8::1]:443")));
        assert_eq!(connect(&six("::1", 443)), PASS);
        assert_eq!(connect(&six("::ffff:127.0.0.1", 443)), PASS);
        assert_eq!(connect(&six("::ffff:192.0.2.1", 443)), (FAIL, reach("192.0.2.1:443")));
    }

    #[test]
    fn messages_and_the_calls_of_i386() {
        let far = sockaddr_in([192, 0, 2, 1], 9);
        let expected = (FAIL, reach("192.0.2.1:9"));
        let mut watch = Watch::of("selfsame");
        let wide = [1032u64, 16, 0, 0].map(u64::to_ne_bytes).concat();
        let wide = [wide, far.clone()].concat();
        let send = call(filter::NATIVE, libc::SYS_sendmsg, [3, 1000, 0, 0, 0, 0]);
        assert_eq!(judged(&mut watch, &send, &wide), expected);
        let narrow = [[1016u32, 16, 0, 0].map(u32::to_ne_bytes).concat(), far.clone()].concat();
        let send = call(filter::I386, 370, [3, 1000, 0, 0, 0, 0]);
        assert_eq!(judged(&mut watch, &send, &narrow), expected);
        let memory = [[3u32, 1024, 16, 0, 0, 0].map(u32::to_ne_bytes).concat(), far].concat();
        let connect = call(filter::I386, 102, [3, 1000, 0, 0, 0, 0]);
        assert_eq!(judged(&mut watch, &connect, &memory), expected);
    }

    fn query(name: &str) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        for label in name.split('.').chain([""]) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        [bytes, vec![0, 1, 0, 1]].concat()
    }

    #[test]
    fn the_question_put_to_a_name_server_is_read() {
        let mut watch = Watch::of("selfsame");
        let server: SocketAddr = "127.0.0.53:53".parse().unwrap();
        let bytes = sockaddr_in([127, 0, 0, 53], 53);
        let connect = call(filter::NATIVE, libc::SYS_connect, [3, 1000, 16, 0, 0, 0]);
        let unnamed = Intent::LookUp { server, name: None };
        assert_eq!(judged(&mut watch, &connect, &bytes), (Answer::Pretend, Some(unnamed)));
        // The message follows: no address, a vector of one, and what it points to.
        let asked = query("deb.example.org");
        let head = [0u64, 0, 1032, 1, 1048, asked.len() as u64].map(u64::to_ne_bytes).concat();
        let bytes = [head, asked].concat();
        let send = call(filter::NATIVE, libc::SYS_sendmmsg, [3, 1000, 2, 0, 0, 0]);
        let named = Intent::LookUp { server, name: Some("deb.example.org".into()) };
        assert_eq!(judged(&mut watch, &send, &bytes), (FAIL, Some(named)));
        // On another descriptor the same is a message like any other.
        assert_eq!(judged(&mut watch, &send, &bytes), PASS);
        // Question and address in one call.
        let asked = query("example.net");
        let bytes = [asked.clone(), sockaddr_in([192, 0, 2, 53], 53)].concat();
        let args = [3, 1000, asked.len() as u64, 0, 1000 + asked.len() as u64, 16];
        let send = call(filter::NATIVE, libc::SYS_sendto, args);
        let server = "192.0.2.53:53".parse().unwrap();
        let named = Intent::LookUp { server, name: Some("example.net".into()) };
        assert_eq!(judged(&mut watch, &send, &bytes), (FAIL, Some(named)));
    }

    #[test]
    fn attempts_are_kept_once_and_by_their_question() {
        let server: SocketAddr = "127.0.0.1:53".parse().unwrap();
        let look_up = |name: Option<&str>| Attempt {
            program: "p".into(),
            command: "p".into(),
            intent: Intent::LookUp { server, name: name.map(Into::into) },
        };
        let mut watch = Watch::of("selfsame");
        for name in
            [None, Some("a.b"), None, Some("a.b"), None, Some("selfsame"), None, Some("SELFSAME.local")]
        {
            watch.note(look_up(name));
        }
        assert_eq!(watch.attempts, [look_up(Some("a.b"))]);
        watch.note(look_up(None));
        assert_eq!(watch.attempts.len(), 2, "a question that was never seen stays");
        for port in 0..1000 {
            let intent = Intent::Reach(SocketAddr::new(server.ip(), port));
            watch.note(Attempt { intent, ..look_up(None) });
        }
        assert_eq!(watch.into_attempts().len(), Exit::MOST_ATTEMPTS);
    }

    #[test]
    fn memory_that_cannot_be_read_is_the_kernels_to_judge() {
        for number in [libc::SYS_connect, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg] {
            for at in [0, 5, 1000, u64::MAX] {
                let call = call(filter::NATIVE, number, [3, at, u64::MAX, 0, at, u64::MAX]);
                for length in 0..64 {
                    assert_eq!(judged(&mut Watch::of("selfsame"), &call, &vec![0; length]), PASS);
                }
            }
        }
        assert_eq!(connect(&[]), PASS);
        assert_eq!(connect(&2u16.to_ne_bytes()), PASS);
    }

    #[test]
    fn malformed_questions_have_no_name() {
        let good = query("deb.example.org");
        for length in 0..good.len() - 4 {
            let memory = |_: u64, buffer: &mut [u8]| {
                buffer.copy_from_slice(&good[..buffer.len()]);
                Some(())
            };
            assert_eq!(question(0, length as u64, &memory), None, "{length}");
        }
        for byte in 0..=255u8 {
            let memory = |_: u64, buffer: &mut [u8]| {
                buffer.fill(byte);
                Some(())
            };
            let _ = question(0, u64::MAX, &memory);
        }
    }
}

//! What a job tried to reach over a network.
//!
//! A job's network has nothing but a loopback device, so nothing can be reached. The kernel asks about each call that
//! could name a far address; the answer is read from the caller's memory. A job that changes its memory meanwhile
//! escapes notice, but still reaches nothing.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileExt;

use super::filter;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Intent {
    /// Sending something to this address.
    Reach(SocketAddr),
    /// Asking this server for a name: anything sent to port 53, of the loopback addresses too, where the C library
    /// expects a server when it knows no other.
    LookUp(SocketAddr),
    /// Opening a socket of this family, which is not of the Internet (packet(7), vsock(7), ...).
    Socket(u32),
}

/// What to do about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    answer: Answer,
    intent: Option<Intent>,
}

impl Verdict {
    const PASS: Self = Self {
        answer: Answer::Continue,
        intent: None,
    };
}

/// Reads the memory of a caller: fills the buffer from an address on, or fails.
type Memory<'a> = &'a dyn Fn(u64, &mut [u8]) -> Option<()>;

/// Decides a call and says who attempted what.
pub(super) fn decide(call: &Notification) -> (Answer, Option<Attempt>) {
    let memory = File::open(format!("/proc/{}/mem", call.pid)).ok();
    let read = |at: u64, buffer: &mut [u8]| memory.as_ref()?.read_exact_at(buffer, at).ok();
    let verdict = judge(call, &read);
    (
        verdict.answer,
        verdict.intent.map(|intent| attempt(call.pid, intent)),
    )
}

fn attempt(pid: u32, intent: Intent) -> Attempt {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let program = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .collect();
    let command = words.join(&b' ');
    Attempt {
        program: text(program.trim_ascii_end()),
        command: text(&command[..command.len().min(300)]),
        intent,
    }
}

fn judge(call: &Notification, memory: Memory<'_>) -> Verdict {
    let wide = call.arch == filter::NATIVE;
    let [_, second, third, _, fifth, sixth] = call.args;
    let number = i64::from(call.number);
    match number {
        102 if !wide => socketcall(call, memory),
        _ if is(number, wide, libc::SYS_socket, 359) => socket(call.args[0]),
        _ if is(number, wide, libc::SYS_connect, 362) => address(second, third, memory),
        _ if is(number, wide, libc::SYS_sendto, 369) => address(fifth, sixth, memory),
        // sendmsg and sendmmsg: the structure of the second starts with that of the first.
        _ => message(second, wide, memory),
    }
}

fn is(number: i64, wide: bool, native: i64, i386: i64) -> bool {
    number == if wide { native } else { i386 }
}

/// socketcall(2) of i386: the arguments of the call are in memory.
fn socketcall(call: &Notification, memory: Memory<'_>) -> Verdict {
    let mut bytes = [0; 24];
    if memory(call.args[1], &mut bytes).is_none() {
        return Verdict::PASS;
    }
    let word = |at: usize| {
        u64::from(u32::from_ne_bytes([
            bytes[at],
            bytes[at + 1],
            bytes[at + 2],
            bytes[at + 3],
        ]))
    };
    match call.args[0] {
        1 => socket(word(0)),
        3 => address(word(4), word(8), memory),
        11 => address(word(16), word(20), memory),
        _ => message(word(4), false, memory),
    }
}

fn socket(family: u64) -> Verdict {
    match u32::try_from(family & u64::from(u32::MAX)) {
        Ok(1 | 2 | 10 | 16) | Err(_) => Verdict::PASS,
        Ok(family) => Verdict {
            answer: Answer::Fail(libc::EAFNOSUPPORT),
            intent: Some(Intent::Socket(family)),
        },
    }
}

/// `struct msghdr` starts with a pointer to an address and the address's length.
fn message(at: u64, wide: bool, memory: Memory<'_>) -> Verdict {
    let mut bytes = [0; 12];
    if memory(at, &mut bytes).is_none() {
        return Verdict::PASS;
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    let (name, length) = if wide {
        (
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
        )
    } else {
        (
            u64::from(u32::from_ne_bytes([a, b, c, d])),
            u32::from_ne_bytes([e, f, g, h]),
        )
    };
    if name == 0 {
        Verdict::PASS
    } else {
        address(name, length.into(), memory)
    }
}

/// Decides by a `struct sockaddr` of `length` bytes.
fn address(at: u64, length: u64, memory: Memory<'_>) -> Verdict {
    let mut bytes = [0; 28];
    let length = usize::try_from(length & u64::from(u32::MAX))
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let Some(buffer) = bytes.get_mut(..length).filter(|buffer| buffer.len() >= 2) else {
        return Verdict::PASS;
    };
    if memory(at, buffer).is_none() {
        return Verdict::PASS;
    }
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let ip: IpAddr = match (u16::from_ne_bytes([bytes[0], bytes[1]]), length) {
        (2, 8..) => Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into(),
        (10, 24..) => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&bytes[8..24]);
            Ipv6Addr::from(octets).to_canonical()
        }
        // Unix and netlink addresses, the disconnecting AF_UNSPEC, and what the kernel will call malformed.
        _ => return Verdict::PASS,
    };
    let target = SocketAddr::new(ip, port);
    let near = ip.is_loopback() || ip.is_unspecified();
    let unreachable = |intent| Verdict {
        answer: Answer::Fail(libc::ENETUNREACH),
        intent: Some(intent),
    };
    match (port, near) {
        (53, _) => unreachable(Intent::LookUp(target)),
        (_, false) => unreachable(Intent::Reach(target)),
        (_, true) => Verdict::PASS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arch: u32, number: i64, args: [u64; 6]) -> Notification {
        Notification {
            id: 1,
            pid: 1,
            number: i32::try_from(number).unwrap(),
            arch,
            args,
        }
    }

    /// Judges a call whose memory holds `bytes` at address 1000.
    fn judged(call: &Notification, bytes: &[u8]) -> Verdict {
        judge(call, &|at, buffer: &mut [u8]| {
            let at = usize::try_from(at).ok()?.checked_sub(1000)?;
            buffer.copy_from_slice(bytes.get(at..at + buffer.len())?);
            Some(())
        })
    }

    fn sockaddr_in(ip: [u8; 4], port: u16) -> Vec<u8> {
        [&2u16.to_ne_bytes()[..], &port.to_be_bytes(), &ip, &[0; 8]].concat()
    }

    fn connect(bytes: &[u8]) -> Verdict {
        judged(
            &call(
                filter::NATIVE,
                libc::SYS_connect,
                [3, 1000, bytes.len() as u64, 0, 0, 0],
            ),
            bytes,
        )
    }

    #[test]
    fn far_addresses_are_attempts_and_near_ones_are_not() {
        let far: SocketAddr = "192.0.2.1:80".parse().unwrap();
        assert_eq!(
            connect(&sockaddr_in([192, 0, 2, 1], 80)),
            Verdict {
                answer: Answer::Fail(libc::ENETUNREACH),
                intent: Some(Intent::Reach(far))
            }
        );
        assert_eq!(connect(&sockaddr_in([127, 0, 0, 1], 5432)), Verdict::PASS);
        assert_eq!(connect(&sockaddr_in([0, 0, 0, 0], 80)), Verdict::PASS);
        let lookup = connect(&sockaddr_in([127, 0, 0, 53], 53)).intent;
        assert_eq!(lookup, Some(Intent::LookUp("127.0.0.53:53".parse().unwrap())));
        let unix = [&1u16.to_ne_bytes()[..], b"/run/dbus/socket\0"].concat();
        assert_eq!(connect(&unix), Verdict::PASS);
    }

    #[test]
    fn addresses_of_the_newer_internet() {
        let six = |ip: &str, port: u16| {
            let ip: Ipv6Addr = ip.parse().unwrap();
            [
                &10u16.to_ne_bytes()[..],
                &port.to_be_bytes(),
                &[0; 4],
                &ip.octets(),
                &[0; 4],
            ]
            .concat()
        };
        let far = connect(&six("2001:db8::1", 443)).intent;
        assert_eq!(far, Some(Intent::Reach("[2001:db8::1]:443".parse().unwrap())));
        assert_eq!(connect(&six("::1", 443)), Verdict::PASS);
        assert_eq!(connect(&six("::ffff:127.0.0.1", 443)), Verdict::PASS);
        let mapped = connect(&six("::ffff:192.0.2.1", 443)).intent;
        assert_eq!(mapped, Some(Intent::Reach("192.0.2.1:443".parse().unwrap())));
    }

    #[test]
    fn messages_and_the_calls_of_i386() {
        let far = sockaddr_in([192, 0, 2, 1], 9);
        let intent = Some(Intent::Reach("192.0.2.1:9".parse().unwrap()));
        let wide = [&1016u64.to_ne_bytes()[..], &16u32.to_ne_bytes(), &[0; 4], &far].concat();
        assert_eq!(
            judged(
                &call(filter::NATIVE, libc::SYS_sendmsg, [3, 1000, 0, 0, 0, 0]),
                &wide
            )
            .intent,
            intent
        );
        let narrow = [&1012u32.to_ne_bytes()[..], &16u32.to_ne_bytes(), &[0; 4], &far].concat();
        assert_eq!(
            judged(&call(filter::I386, 370, [3, 1000, 0, 0, 0, 0]), &narrow).intent,
            intent
        );
        let args = [3u32, 1024, 16, 0, 0, 0].map(u32::to_ne_bytes).concat();
        let memory = [&args[..], &far].concat();
        assert_eq!(
            judged(&call(filter::I386, 102, [3, 1000, 0, 0, 0, 0]), &memory).intent,
            intent
        );
    }

    #[test]
    fn memory_that_cannot_be_read_is_the_kernels_to_judge() {
        for number in [
            libc::SYS_connect,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_sendmmsg,
        ] {
            let args = [3, 5, u64::MAX, 0, 5, u64::MAX];
            assert_eq!(judged(&call(filter::NATIVE, number, args), &[]), Verdict::PASS);
        }
        assert_eq!(connect(&[]), Verdict::PASS);
        assert_eq!(connect(&2u16.to_ne_bytes()), Verdict::PASS);
    }
}

//! What a shell cannot try. Runs inside of a sandbox as `/probe probe WHAT`.

use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::process::ExitCode;

/// The argument with which this program is a probe.
pub(crate) const ARGUMENT: &str = "probe";

/// Tries something and prints the outcome: `ok`, or the number of the error.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["connect", address] => TcpStream::connect(*address).map(drop),
        ["send", address] => {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", *address).map(drop)
        }
        ["look-up", name] => (*name, 80).to_socket_addrs().map(drop),
        ["loopback"] => TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            TcpStream::connect(listener.local_addr()?)?;
            listener.accept().map(drop)
        }),
        ["socket", family] => call(libc::SYS_socket, [family.parse().unwrap(), 3, 0, 0]),
        ["fsync", fd] => call(libc::SYS_fsync, [fd.parse().unwrap(), 0, 0, 0]),
        ["ptrace", pid] => call(libc::SYS_ptrace, [16, pid.parse().unwrap(), 0, 0]),
        ["unshare", flags] => call(libc::SYS_unshare, [flags.parse().unwrap(), 0, 0, 0]),
        ["keyctl"] => call(libc::SYS_keyctl, [0, -3, 0, 0]),
        ["io_uring"] => call(libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ["setxattr", path, name, hex] => {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(*path, *name, &bytes, flags).map_err(Into::into)
        }
        ["clock"] => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            println!("{}", now.unwrap().as_secs());
            Ok(())
        }
        ["capabilities"] => {
            let sets = rustix::thread::capabilities(None).unwrap();
            println!("{:#x}", sets.effective.bits());
            Ok(())
        }
        other => panic!("no probe {other:?}"),
    };
    match outcome {
        Ok(()) => println!("ok"),
        Err(error) => {
            println!("{}", error.raw_os_error().map_or(error.to_string(), |number| number.to_string()))
        }
    }
    ExitCode::SUCCESS
}

fn call(number: libc::c_long, [a, b, c, d]: [libc::c_long; 4]) -> std::io::Result<()> {
    // SAFETY: no probe passes a pointer the kernel writes to.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        0.. => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

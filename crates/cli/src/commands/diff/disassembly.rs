//! Instructions of functions that differ, as `objdump` reads them.
//!
//! It gets the bytes of one function, never a file that it would have to understand: what an image holds may be made to
//! break it. It has little time and room, and nothing of ours to read but that.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Resource, Rlimit};
use selfsame_image::compare::{Code, Disassemble};

const PROGRAM: &str = "objdump";
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it ended.
const TICK: Duration = Duration::from_millis(2);
/// Longest text that is taken from one call, in bytes: a line has some 40, and a byte at most one line.
const LONGEST: u64 = 8 << 20;
/// Memory that it may take, in bytes.
const MEMORY: u64 = 1 << 30;
/// Calls in one comparison, for both sides.
const MOST: usize = 2_000;

/// What reads instructions.
pub(super) fn objdump() -> Disassemble {
    limited(PROGRAM, PATIENCE, MOST)
}

fn limited(program: &'static str, patience: Duration, most: usize) -> Disassemble {
    let calls = AtomicUsize::new(0);
    Disassemble::new(move |code| {
        if calls.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(format!("{program} was asked {most} times already"));
        }
        let machine =
            machine(&code).ok_or_else(|| format!("no name for machine {} is known", code.machine))?;
        let mut command = Command::new(program);
        command.args(["-D", "-z", "--no-show-raw-insn", "-b", "binary", "-m", machine]);
        command.arg(if code.big { "-EB" } else { "-EL" });
        command.arg(format!("--adjust-vma={:#x}", code.address)).arg("/dev/stdin");
        match called(&mut command, code.bytes, patience) {
            Ok(text) => instructions(&text).ok_or_else(|| format!("{program} cannot read {machine}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("{program} is not installed"))
            }
            Err(error) => Err(format!("{program} failed: {error}")),
        }
    })
}

/// What BFD calls a machine.
fn machine(code: &Code<'_>) -> Option<&'static str> {
    Some(match (code.machine, code.wide) {
        (3, _) => "i386",
        (8, _) => "mips",
        (20, _) => "powerpc:common",
        (21, _) => "powerpc:common64",
        (22, true) => "s390:64-bit",
        (62, true) => "i386:x86-64",
        (62, false) => "i386:x64-32",
        (183, true) => "aarch64",
        (243, true) => "riscv:rv64",
        (243, false) => "riscv:rv32",
        (258, true) => "loongarch64",
        _ => return None,
    })
}

/// A child that does not outlive who waits for it.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program says of `input`.
fn called(command: &mut Command, input: &[u8], patience: Duration) -> io::Result<String> {
    let memory = || rustix::fs::memfd_create("selfsame", MemfdFlags::CLOEXEC).map(File::from);
    let (mut given, mut said) = (memory()?, memory()?);
    given.write_all(input)?;
    given.rewind()?;
    // No server is asked for what belongs to a build ID, and messages are in English.
    command.env("LC_ALL", "C").env_remove("DEBUGINFOD_URLS").env_remove("LD_PRELOAD");
    command.stdin(given).stdout(said.try_clone()?).stderr(Stdio::null());
    let mut child = Reaped(command.spawn()?);
    if let Some(pid) = i32::try_from(child.0.id()).ok().and_then(Pid::from_raw) {
        let seconds = patience.as_secs().max(1);
        for (what, most) in [
            (Resource::Cpu, seconds),
            (Resource::As, MEMORY),
            (Resource::Fsize, LONGEST),
            (Resource::Core, 0),
        ] {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            // It may have ended already.
            let _ = rustix::process::prlimit(Some(pid), what, limit);
        }
    }
    let status = ended(&mut child.0, patience)?;
    if !status.success() {
        return Err(io::Error::other(status.to_string()));
    }
    said.rewind()?;
    let mut text = Vec::new();
    said.take(LONGEST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn ended(child: &mut Child, patience: Duration) -> io::Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() >= patience {
            let message = format!("it took longer than {} seconds", patience.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(TICK);
    }
}

/// The instructions in what objdump says, a line each: `    1000:\tpush   %rbp` has one.
fn instructions(text: &str) -> Option<String> {
    let mut all = String::new();
    for line in text.lines() {
        let Some((address, rest)) = line.split_once(":\t") else { continue };
        if address.trim_start().bytes().all(|byte| byte.is_ascii_hexdigit()) {
            all.push_str(&rest.split_whitespace().collect::<Vec<_>>().join(" "));
            all.push('\n');
        }
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_taken_from_what_objdump_says() {
        let text = "\n/dev/stdin:     file format binary\n\n\nDisassembly of section .data:\n\n\
                    0000000000001000 <.data>:\n    1000:\tpush   %rbp\n    1001:\tcall   0x1019\n";
        assert_eq!(instructions(text).as_deref(), Some("push %rbp\ncall 0x1019\n"));
        assert_eq!(instructions("objdump: no\n"), None);
    }

    #[test]
    fn a_program_that_hangs_or_talks_without_end_is_stopped() {
        let start = Instant::now();
        let error = called(Command::new("sleep").arg("60"), b"", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = called(&mut Command::new("yes"), b"", PATIENCE).unwrap_err();
        assert!(error.to_string().contains("signal"), "{error}");
        assert!(start.elapsed() < PATIENCE);
        assert_eq!(called(Command::new("cat").arg("/dev/stdin"), b"in\n", PATIENCE).unwrap(), "in\n");
        let missing = called(&mut Command::new("selfsame-no-such-program"), b"", PATIENCE).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

//! Virtual machines that boot an image and are talked to over a serial console.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::oracle::skip;

/// What starts the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, which comes with QEMU.
    Bios,
    /// OVMF, Debian's package ovmf.
    Uefi,
}

/// What the machine takes the image for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A CD-ROM, with blocks of 2048 bytes.
    Cd,
    /// A USB stick, with blocks of 512 bytes.
    Usb,
}

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A running machine, emulated (TCG: no privilege needed, same on every host). Ended when dropped.
///
/// The image and the firmware's variables are never written to.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    keyboard: ChildStdin,
    console: Arc<Console>,
    /// Everything before this byte of the console has been waited for.
    seen: usize,
}

#[derive(Debug, Default)]
struct Console {
    state: Mutex<Output>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    ended: bool,
}

impl Vm {
    /// Boots `image` with `memory` MiB and no network.
    ///
    /// `None` if QEMU or OVMF is not installed and `CI` is unset.
    ///
    /// # Panics
    /// If QEMU cannot be started for another reason.
    #[must_use]
    pub fn boot(image: &Path, medium: Medium, firmware: Firmware, memory: u32) -> Option<Self> {
        if firmware == Firmware::Uefi && !Path::new(OVMF_CODE).exists() {
            skip(format_args!("{OVMF_CODE} is not installed"));
            return None;
        }
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(image, medium, firmware, memory));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skip("qemu-system-x86_64 is not installed");
                return None;
            }
            Err(error) => panic!("{command:?}: {error}"),
        };
        let keyboard = child.stdin.take().expect("standard input is a pipe");
        let console = Arc::new(Console::default());
        collect(child.stdout.take().expect("standard output is a pipe"), Arc::clone(&console), true);
        // QEMU's own complaints belong to the same story.
        collect(child.stderr.take().expect("standard error is a pipe"), Arc::clone(&console), false);
        Some(Self { child, keyboard, console, seen: 0 })
    }

    /// Waits until `text` appears on the console after everything waited for before.
    ///
    /// # Panics
    /// If the time is up or the machine ends first; the end of the console is shown.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut output = self.console.lock();
        loop {
            if let Some(at) = find(&output.bytes[self.seen..], text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!output.ended, "the machine ended before {text:?}; console:\n{}", tail(&output.bytes));
            assert!(!left.is_zero(), "no {text:?} within {limit:?}; console:\n{}", tail(&output.bytes));
            output = self
                .console
                .grew
                .wait_timeout(output, left)
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .0;
        }
    }

    /// Types `text` on the serial console; `\n` is Enter.
    ///
    /// # Panics
    /// If the machine has ended.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.keyboard.write_all(text.replace('\n', "\r").as_bytes()).expect("the machine is running");
        self.keyboard.flush().expect("the machine is running");
    }

    /// Everything that appeared on the console so far, and QEMU's own messages.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.console.lock().bytes).into_owned()
    }

    /// Process id of QEMU.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Both fail only if QEMU has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Console {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Adds everything from `stream` to the console, on a thread that ends with the stream.
fn collect(mut stream: impl Read + Send + 'static, console: Arc<Console>, is_console: bool) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            console.lock().bytes.extend_from_slice(&buffer[..length]);
            console.grew.notify_all();
        }
        console.lock().ended |= is_console;
        console.grew.notify_all();
    });
}

fn arguments(image: &Path, medium: Medium, firmware: Firmware, memory: u32) -> Vec<OsString> {
    let image = std::path::absolute(image).unwrap_or_else(|_| image.to_owned());
    let drive = |properties: &str, file: PathBuf| {
        let mut value = OsString::from(format!("{properties},format=raw,file="));
        value.push(file);
        value
    };
    let mut line: Vec<OsString> = vec!["-nodefaults".into(), "-no-user-config".into()];
    let mut add = |option: &str, value: OsString| line.extend([option.into(), value]);
    add("-machine", "q35,accel=tcg".into());
    add("-cpu", "max".into());
    add("-smp", "2".into());
    add("-m", memory.to_string().into());
    if firmware == Firmware::Uefi {
        add("-drive", drive("if=pflash,unit=0,readonly=on", OVMF_CODE.into()));
        add("-drive", drive("if=pflash,unit=1,snapshot=on", OVMF_VARIABLES.into()));
    }
    match medium {
        Medium::Cd => {
            add("-drive", drive("if=none,id=medium,media=cdrom,readonly=on", image));
            add("-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0".into());
        }
        Medium::Usb => {
            add("-drive", drive("if=none,id=medium,snapshot=on", image));
            add("-device", "qemu-xhci".into());
            add("-device", "usb-storage,drive=medium,removable=on,bootindex=0".into());
        }
    }
    add("-device", "virtio-rng-pci".into());
    add("-vga", "std".into());
    add("-display", "none".into());
    add("-serial", "stdio".into());
    line
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

/// The last 60 lines.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = VecDeque::new();
    for line in text.lines() {
        lines.push_back(line);
        if lines.len() > 60 {
            lines.pop_front();
        }
    }
    Vec::from(lines).join("\n")
}

/// A disk whose boot sector sends `text` over the first serial port and stops. It has 1 MiB: SeaBIOS does not boot from
/// a USB stick of a few sectors.
///
/// # Panics
/// If `text` is longer than 400 bytes.
pub fn talking_disk(text: &str) -> Vec<u8> {
    assert!(text.len() <= 400, "the text has {} bytes", text.len());
    let code: &[u8] = &[
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xbe, 0x21, 0x7c, // mov si, 0x7c21: the text, right after the code
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x11, // jz stop
        0x88, 0xc4, // mov ah, al
        0xba, 0xfd, 0x03, // mov dx, 0x3fd: line status
        0xec, // wait: in al, dx
        0xa8, 0x20, // test al, 0x20: transmitter empty
        0x74, 0xfb, // jz wait
        0x88, 0xe0, // mov al, ah
        0xb2, 0xf8, // mov dl, 0xf8: data
        0xee, // out dx, al
        0xeb, 0xea, // jmp next
        0xf4, // stop: hlt
        0xeb, 0xfd, // jmp stop
    ];
    let mut disk = code.to_vec();
    assert_eq!(disk.len(), 0x21, "the code names the address of the text");
    disk.extend_from_slice(text.as_bytes());
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(1 << 20, 0);
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_talks_and_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk.img");
        std::fs::write(&image, talking_disk("hello from below\r\nlogin: ")).unwrap();
        let Some(mut vm) = Vm::boot(&image, Medium::Usb, Firmware::Bios, 64) else {
            return;
        };
        vm.wait_for("hello", Duration::from_secs(60));
        vm.wait_for("login:", Duration::from_secs(60));
        assert!(vm.console().contains("hello from below\r\nlogin:"), "{}", vm.console());
        let id = vm.id();
        drop(vm);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn the_command_line_of_a_cd_under_uefi() {
        let words = arguments(Path::new("/live.iso"), Medium::Cd, Firmware::Uefi, 1024);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let expected = "if=none,id=medium,media=cdrom,readonly=on,format=raw,file=/live.iso";
        assert!(words.iter().any(|word| word == expected), "{words:?}");
        assert!(words.iter().any(|word| word.starts_with("if=pflash,unit=1,snapshot=on")), "{words:?}");
    }
}

//! `selfsame boot`

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Context;
use crate::failure::{Failure, Status};

/// Start an image in a virtual machine
///
/// The machine's serial console is this terminal (Ctrl-A X ends the machine). The image is never written to. Needs
/// QEMU, and OVMF for UEFI.
///
/// With --until, exits 0 as soon as the text appears on the console and 1 if it does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame boot out/live.iso
  selfsame boot out/live.iso --firmware uefi --as usb
  selfsame boot out/live.iso --until 'login:' --timeout 300")]
pub struct Args {
    /// The image
    image: PathBuf,
    /// Firmware of the machine
    #[arg(long, value_enum, default_value_t = Firmware::Bios)]
    firmware: Firmware,
    /// What the machine takes the image for
    #[arg(long = "as", value_name = "MEDIUM", value_enum, default_value_t = Medium::Cd)]
    medium: Medium,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..))]
    memory: u32,
    /// How the processor is provided: auto takes kvm if this user may use it, else tcg, which works everywhere
    /// and is slow
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    accel: Accel,
    /// End the machine after this many seconds [default: 600 with --until, else no limit]
    #[arg(long, value_name = "S")]
    timeout: Option<u32>,
    /// End the machine as soon as this text appears on the console
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    until: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Firmware {
    Bios,
    Uefi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Medium {
    Cd,
    Usb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    Auto,
    Kvm,
    Tcg,
}

const QEMU: &str = "qemu-system-x86_64";

/// Where distributions keep the UEFI firmware: its code and the template of its variables.
const OVMF: [(&str, &str); 5] = [
    // Debian and its children, 4 MiB flash and the older 2 MiB one.
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    // Arch.
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    // Fedora.
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // QEMU's own copy; the variables are shared with the 32-bit build.
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
];

/// Everything that decides QEMU's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    image: PathBuf,
    medium: Medium,
    /// Code and variables of the UEFI firmware; `None` is BIOS.
    ovmf: Option<(PathBuf, PathBuf)>,
    memory: u32,
    kvm: bool,
    /// The console is a terminal with somebody in front of it.
    interactive: bool,
}

impl Machine {
    /// Arguments for QEMU. Nothing that QEMU would add by default but a screen card, which boot loaders want.
    fn arguments(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: OsString| line.extend([option.into(), value]);
        let (accel, cpu) = if self.kvm { ("kvm", "host") } else { ("tcg", "max") };
        add("-machine", format!("q35,accel={accel}").into());
        add("-cpu", cpu.into());
        add("-smp", "2".into());
        add("-m", self.memory.to_string().into());
        if let Some((code, variables)) = &self.ovmf {
            add("-drive", drive("if=pflash,unit=0,format=raw,readonly=on", code));
            add("-drive", drive("if=pflash,unit=1,format=raw,snapshot=on", variables));
        }
        match self.medium {
            Medium::Cd => {
                add("-drive", drive("if=none,id=medium,format=raw,media=cdrom,readonly=on", &self.image));
                add("-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0".into());
            }
            Medium::Usb => {
                add("-drive", drive("if=none,id=medium,format=raw,snapshot=on", &self.image));
                add("-device", "qemu-xhci".into());
                add("-device", "usb-storage,drive=medium,removable=on,bootindex=0".into());
            }
        }
        add("-device", "virtio-rng-pci".into());
        add("-vga", "std".into());
        add("-display", "none".into());
        add("-serial", if self.interactive { "mon:stdio" } else { "stdio" }.into());
        line.extend(["-no-user-config".into(), "-nodefaults".into()]);
        line
    }
}

/// A value for `-drive`. A comma in the name is written twice, qemu(1).
fn drive(properties: &str, file: &Path) -> OsString {
    let mut value = format!("{properties},file=").into_bytes();
    for &byte in file.as_os_str().as_bytes() {
        value.push(byte);
        value.extend((byte == b',').then_some(byte));
    }
    OsString::from_vec(value)
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    // Opened to fail with our words, and made absolute because QEMU reads `x:y` as a protocol.
    let image = std::fs::File::open(&args.image)
        .and_then(|_| std::path::absolute(&args.image))
        .map_err(|error| Failure::input(error).context(format!("cannot read {}", args.image.display())))?;
    let ovmf = match args.firmware {
        Firmware::Bios => None,
        Firmware::Uefi => Some(find_ovmf(&OVMF)?),
    };
    let kvm_usable = || OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let machine = Machine {
        image,
        medium: args.medium,
        ovmf,
        memory: args.memory,
        kvm: args.accel == Accel::Kvm || args.accel == Accel::Auto && kvm_usable(),
        interactive: args.until.is_none() && io::stdin().is_terminal() && io::stdout().is_terminal(),
    };
    let limit = args.timeout.or(args.until.is_some().then_some(600)).map(|s| Duration::from_secs(s.into()));
    let mut qemu = Qemu::start(&machine)?;
    let appeared = match qemu.0.stdout.take() {
        None => watch(&mut qemu, limit, cx)?,
        Some(console) => relay(console, args.until.as_deref(), limit, cx)?,
    };
    match (appeared, &args.until) {
        (End::Appeared, _) | (End::TimeUp, None) => Ok(Status::Success),
        (End::TimeUp, Some(text)) => {
            let seconds = limit.map_or(0, |limit| limit.as_secs());
            cx.ui.warn(&format!("{text:?} did not appear on the console within {seconds} s"));
            Ok(Status::Negative)
        }
        (End::Ended, until) => {
            qemu.ended_well()?;
            let Some(text) = until else {
                return Ok(Status::Success);
            };
            cx.ui.warn(&format!("the machine ended before {text:?} appeared on its console"));
            Ok(Status::Negative)
        }
    }
}

/// The first firmware of `places` that is installed.
fn find_ovmf(places: &[(&str, &str)]) -> Result<(PathBuf, PathBuf), Failure> {
    let installed = places.iter().find(|(code, vars)| Path::new(code).is_file() && Path::new(vars).is_file());
    installed.map(|(code, vars)| (code.into(), vars.into())).ok_or_else(|| {
        Failure::environment("the UEFI firmware OVMF is not installed")
            .hint("on Debian and Ubuntu: apt install ovmf")
            .hint("or boot with `--firmware bios`")
    })
}

/// A running QEMU, ended when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(machine: &Machine) -> Result<Self, Failure> {
        let mut command = Command::new(QEMU);
        command.args(machine.arguments());
        if !machine.interactive {
            command.stdin(Stdio::null()).stdout(Stdio::piped());
        }
        match command.spawn() {
            Ok(child) => Ok(Self(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Failure::environment(format!("{QEMU} is not installed"))
                    .hint("on Debian and Ubuntu: apt install qemu-system-x86")
                    .hint("the image itself is complete; it also boots from a disc or a USB stick"))
            }
            Err(error) => Err(Failure::environment(error).context(format!("cannot start {QEMU}"))),
        }
    }

    /// Whether QEMU, which closed its console, also ended without complaint.
    fn ended_well(&mut self) -> Result<(), Failure> {
        match self.0.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(Failure::environment(format!("{QEMU} failed ({status}); its own words are above")))
            }
            Err(error) => Err(Failure::environment(error).context(format!("cannot wait for {QEMU}"))),
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if the process has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Why nobody watches the machine any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Appeared,
    TimeUp,
    Ended,
}

/// How often Ctrl-C and the clock are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Waits for a machine that talks to the terminal itself.
fn watch(qemu: &mut Qemu, limit: Option<Duration>, cx: &Context) -> Result<End, Failure> {
    let start = Instant::now();
    loop {
        cx.interrupt.check()?;
        match qemu.0.try_wait() {
            Ok(Some(_)) => return Ok(End::Ended),
            Ok(None) if limit.is_some_and(|limit| start.elapsed() >= limit) => return Ok(End::TimeUp),
            Ok(None) => std::thread::sleep(TICK),
            Err(error) => return Err(Failure::environment(error).context(format!("cannot wait for {QEMU}"))),
        }
    }
}

/// Copies the console to standard output until `text` appears, the time is up or the machine ends.
fn relay(
    mut console: impl Read + Send + 'static,
    text: Option<&str>,
    limit: Option<Duration>,
    cx: &Context,
) -> Result<End, Failure> {
    let (send, receive) = mpsc::channel();
    // Not joined: it ends with the pipe, which ends with QEMU.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = console.read(&mut buffer) {
            if send.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    let mut search = text.map(Search::new);
    loop {
        cx.interrupt.check()?;
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Ok(End::TimeUp);
        }
        match receive.recv_timeout(TICK) {
            Ok(bytes) => {
                let mut out = io::stdout().lock();
                // A reader that went away does not stop the test.
                let _ = out.write_all(&bytes).and_then(|()| out.flush());
                if search.as_mut().is_some_and(|search| search.feed(&bytes)) {
                    return Ok(End::Appeared);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(End::Ended),
        }
    }
}

/// Finds a text in a stream that comes in pieces.
struct Search<'a> {
    text: &'a [u8],
    /// The last bytes seen, fewer than the text has.
    tail: Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), tail: Vec::new() }
    }

    /// Whether the text is complete with these `bytes`.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let found = self.tail.windows(self.text.len()).any(|window| window == self.text);
        let keep = self.tail.len().min(self.text.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        let words: Vec<_> =
            machine.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ").replace(" -", "\n-")
    }

    #[test]
    fn a_cd_under_bios() {
        let machine = Machine {
            image: "/a,b.iso".into(),
            medium: Medium::Cd,
            ovmf: None,
            memory: 512,
            kvm: false,
            interactive: false,
        };
        insta::assert_snapshot!(line(&machine), @r"
        -machine q35,accel=tcg
        -cpu max
        -smp 2
        -m 512
        -drive if=none,id=medium,format=raw,media=cdrom,readonly=on,file=/a,,b.iso
        -device ide-cd,drive=medium,bus=ide.0,bootindex=0
        -device virtio-rng-pci
        -vga std
        -display none
        -serial stdio
        -no-user-config
        -nodefaults
        ");
    }

    #[test]
    fn a_stick_under_uefi() {
        let machine = Machine {
            image: "/live.iso".into(),
            medium: Medium::Usb,
            ovmf: Some(("/code".into(), "/vars".into())),
            memory: 2048,
            kvm: true,
            interactive: true,
        };
        insta::assert_snapshot!(line(&machine), @r"
        -machine q35,accel=kvm
        -cpu host
        -smp 2
        -m 2048
        -drive if=pflash,unit=0,format=raw,readonly=on,file=/code
        -drive if=pflash,unit=1,format=raw,snapshot=on,file=/vars
        -drive if=none,id=medium,format=raw,snapshot=on,file=/live.iso
        -device qemu-xhci
        -device usb-storage,drive=medium,removable=on,bootindex=0
        -device virtio-rng-pci
        -vga std
        -display none
        -serial mon:stdio
        -no-user-config
        -nodefaults
        ");
    }

    #[test]
    fn text_is_found_across_pieces_and_not_before_it_is_complete() {
        for size in 1..8 {
            let mut search = Search::new("login:");
            let stream = b"live login login:";
            let pieces: Vec<bool> = stream.chunks(size).map(|piece| search.feed(piece)).collect();
            let first = pieces.iter().position(|found| *found);
            assert_eq!(first, Some(pieces.len() - 1), "pieces of {size}");
        }
    }

    #[test]
    fn missing_firmware_names_the_package() {
        let message = find_ovmf(&[("/nowhere/code", "/nowhere/vars")]).unwrap_err().to_string();
        assert!(message.contains("apt install ovmf"), "{message}");
    }
}

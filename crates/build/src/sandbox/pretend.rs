//! Calls that tell about the machine, answered as they would be in another [`World`].
//!
//! The filter asks about a call, and its answer is written into the caller's memory. The C library reads the clock without
//! any call, through code that the kernel maps into each process (vdso(7)): there that code is replaced by the call, as soon
//! as a new program sets up its first thread. So static programs and those of other languages see the same clock.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::filter;
use super::world::{DirectoryOrder, VERSION_OF_BUILD, World};
use crate::host::sys::{self, Answer, Notification};

/// Answers for another world.
#[derive(Debug)]
pub(super) struct Pretend {
    world: World,
    /// Where the functions of the vdso are that are replaced, from its beginning, and by what. The same in all processes.
    stubs: Option<Vec<(u64, [u8; 8])>>,
}

/// `ARCH_SET_FS` of arch_prctl(2): what a new program does first, and once.
pub(super) const SET_FS: u32 = 0x1002;
/// In the auxiliary vector (getauxval(3)): where the vdso is.
const AT_SYSINFO_EHDR: u64 = 33;
/// Clocks that show the time of day: `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`, `CLOCK_REALTIME_ALARM`, `CLOCK_TAI`.
const TIME_OF_DAY: [u64; 4] = [0, 5, 8, 11];
/// The longest list of names that is read at a time, in bytes.
const MOST_NAMES: usize = 1 << 20;

impl Pretend {
    pub(super) fn new(world: World) -> Self {
        Self { world, stubs: None }
    }

    /// The answer to a call that was notified through `listener`; `None` if the call is none of these.
    pub(super) fn answer(&mut self, call: &Notification, listener: &OwnedFd) -> Option<Answer> {
        let call = &Caller { call, listener };
        if call.arch != filter::NATIVE {
            return None;
        }
        let answered = match i64::from(call.number) {
            libc::SYS_uname => self.uname(call),
            libc::SYS_sysinfo => self.sysinfo(call),
            libc::SYS_clock_gettime => self.clock(call),
            libc::SYS_gettimeofday => self.time_of_day(call),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_time => self.time(call),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_arch_prctl => self.patch(call).map(|()| Answer::Continue),
            libc::SYS_getdents64 => self.names(call),
            _ => return None,
        };
        // A call that cannot be answered fails: what the machine says is just what must not be seen.
        Some(answered.unwrap_or_else(|error| Answer::Fail(error.raw_os_error().unwrap_or(libc::EIO))))
    }

    fn uname(&self, call: &Caller<'_>) -> io::Result<Answer> {
        let real = rustix::system::uname();
        let release = self.world.kernel.as_deref().unwrap_or_default();
        let fields: [&[u8]; 6] = [
            real.sysname().to_bytes(),
            self.world.host_name.as_bytes(),
            release.as_bytes(),
            VERSION_OF_BUILD.as_bytes(),
            real.machine().to_bytes(),
            self.world.domain_name.as_bytes(),
        ];
        // `struct utsname`: six fields of 65 bytes, each with a NUL at its end.
        let mut bytes = [0; 6 * 65];
        for (place, field) in bytes.chunks_exact_mut(65).zip(fields) {
            let length = field.len().min(64);
            place[..length].copy_from_slice(&field[..length]);
        }
        call.memory()?.write_all_at(&bytes, call.args[0])?;
        Ok(Answer::Pretend)
    }

    fn sysinfo(&self, call: &Caller<'_>) -> io::Result<Answer> {
        let bytes = self.world.memory.unwrap_or_default();
        // `struct sysinfo`: uptime, three loads, memory in all, free, shared, in buffers, swap in all, free; processes in 2
        // bytes; high memory in all, free; the unit of all these in bytes.
        let words = [1000, 0, 0, 0, bytes, bytes / 2, 0, 0, 0, 0, 1, 0, 0, 1];
        let info: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        call.memory()?.write_all_at(&info, call.args[0])?;
        Ok(Answer::Pretend)
    }

    /// The time of day: seconds, and nanoseconds.
    fn now(&self) -> (i64, i64) {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (real.as_secs().cast_signed().saturating_add(self.world.clock), real.subsec_nanos().into())
    }

    fn clock(&self, call: &Caller<'_>) -> io::Result<Answer> {
        if !TIME_OF_DAY.contains(&(call.args[0] & u64::from(u32::MAX))) {
            return Ok(Answer::Continue);
        }
        put_pair(call, call.args[1], self.now())?;
        Ok(Answer::Pretend)
    }

    fn time_of_day(&self, call: &Caller<'_>) -> io::Result<Answer> {
        let (seconds, nanoseconds) = self.now();
        if call.args[0] != 0 {
            put_pair(call, call.args[0], (seconds, nanoseconds / 1000))?;
        }
        Ok(Answer::Pretend)
    }

    #[cfg(target_arch = "x86_64")]
    fn time(&self, call: &Caller<'_>) -> io::Result<Answer> {
        let (seconds, _) = self.now();
        if call.args[0] != 0 {
            call.memory()?.write_all_at(&seconds.to_ne_bytes(), call.args[0])?;
        }
        Ok(Answer::Give(seconds))
    }

    /// Replaces the vdso's own clock by calls, which are then asked about.
    #[cfg(target_arch = "x86_64")]
    fn patch(&mut self, call: &Caller<'_>) -> io::Result<()> {
        let auxiliary = std::fs::read(format!("/proc/{}/auxv", call.pid))?;
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        let pairs = auxiliary.chunks_exact(16).map(|pair| (word(&pair[..8]), word(&pair[8..])));
        let Some((_, base)) = pairs.into_iter().find(|(kind, _)| *kind == AT_SYSINFO_EHDR) else {
            return Ok(());
        };
        let memory = call.memory()?;
        let stubs = match &self.stubs {
            Some(stubs) => stubs,
            None => self.stubs.insert(stubs(&memory, base)?),
        };
        stubs.iter().try_for_each(|(at, code)| memory.write_all_at(code, base.wrapping_add(*at)))
    }

    /// Reads names on behalf of the caller, and puts them into another order.
    fn names(&self, call: &Caller<'_>) -> io::Result<Answer> {
        let [fd, at, size, ..] = call.args;
        let directory = call.borrow(fd)?;
        let most = usize::try_from(size & u64::from(u32::MAX)).unwrap_or(MOST_NAMES).min(MOST_NAMES);
        let mut bytes = vec![0; most];
        let length = sys::directory_entries(&directory, &mut bytes)?;
        let ordered = match self.world.directory_order {
            Some(order) => reordered(&bytes[..length], order),
            None => bytes[..length].to_vec(),
        };
        call.memory()?.write_all_at(&ordered, at)?;
        Ok(Answer::Give(i64::try_from(ordered.len()).unwrap_or_default()))
    }
}

/// Who waits for an answer.
struct Caller<'a> {
    call: &'a Notification,
    listener: &'a OwnedFd,
}

impl std::ops::Deref for Caller<'_> {
    type Target = Notification;

    fn deref(&self) -> &Notification {
        self.call
    }
}

impl Caller<'_> {
    /// The memory of the caller.
    fn memory(&self) -> io::Result<File> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{}/mem", self.pid))?;
        self.is_there()?;
        Ok(memory)
    }

    /// Fails if the caller is gone: whatever was opened by its number may be another's. What was opened before stays
    /// the caller's.
    fn is_there(&self) -> io::Result<()> {
        sys::still_waits(self.listener, self.id)
    }

    /// Descriptor `fd` of the process that the caller is a thread of: the very same open file, with its position.
    fn borrow(&self, fd: u64) -> io::Result<OwnedFd> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        let process = process.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let number = i32::try_from(fd & u64::from(u32::MAX)).map_err(|_| rustix::io::Errno::BADF)?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        self.is_there()?;
        Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?)
    }
}

fn put_pair(call: &Caller<'_>, at: u64, (first, second): (i64, i64)) -> io::Result<()> {
    let bytes = [first.to_ne_bytes(), second.to_ne_bytes()].concat();
    call.memory()?.write_all_at(&bytes, at)
}

/// What is written over each function of the vdso that tells the time: `mov eax, NUMBER; syscall; ret`.
#[cfg(target_arch = "x86_64")]
fn stubs(memory: &File, base: u64) -> io::Result<Vec<(u64, [u8; 8])>> {
    let functions = [
        ("__vdso_clock_gettime", libc::SYS_clock_gettime),
        ("__vdso_gettimeofday", libc::SYS_gettimeofday),
        ("__vdso_time", libc::SYS_time),
    ];
    let symbols = symbols(memory, base)?;
    let found = functions.into_iter().filter_map(|(name, number)| {
        let (_, at) = symbols.iter().find(|(symbol, _)| symbol == name)?;
        let [a, b, c, d] = u32::try_from(number).ok()?.to_le_bytes();
        Some((*at, [0xb8, a, b, c, d, 0x0f, 0x05, 0xc3]))
    });
    let found: Vec<_> = found.collect();
    // A clock that stays the machine's would look like an image that does not depend on it.
    if found.len() == functions.len() { Ok(found) } else { Err(rustix::io::Errno::NOSYS.into()) }
}

/// Names and places of the symbols of the ELF file that lies in memory at `base`.
#[cfg(target_arch = "x86_64")]
fn symbols(memory: &File, base: u64) -> io::Result<Vec<(String, u64)>> {
    let read = |at: u64, length: u64| {
        // The kernel's is two pages long.
        let mut bytes = vec![0; usize::try_from(length.min(1 << 16)).unwrap_or_default()];
        memory.read_exact_at(&mut bytes, base.wrapping_add(at)).map(|()| bytes)
    };
    let number = |bytes: &[u8], at: usize, length: usize| {
        let bytes = bytes.get(at..at + length).unwrap_or_default();
        bytes.iter().rev().fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
    };
    let header = read(0, 64)?;
    let (sections, size, count) = (number(&header, 40, 8), number(&header, 58, 2), number(&header, 60, 2));
    let section = |index: u64| read(sections.wrapping_add(index * size), 64);
    for index in 0..count {
        let dynamic = section(index)?;
        // SHT_DYNSYM
        if number(&dynamic, 4, 4) != 11 {
            continue;
        }
        let strings = section(number(&dynamic, 40, 4))?;
        let strings = read(number(&strings, 24, 8), number(&strings, 32, 8))?;
        let table = read(number(&dynamic, 24, 8), number(&dynamic, 32, 8))?;
        let symbol = |entry: &[u8]| {
            let name = strings.get(usize::try_from(number(entry, 0, 4)).ok()?..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            Some((String::from_utf8_lossy(name).into_owned(), number(entry, 8, 8)))
        };
        return Ok(table.chunks_exact(24).filter_map(symbol).collect());
    }
    Ok(Vec::new())
}

/// The entries of a directory as getdents64(2) gives them, in another order. Positions stay where they are, so that whoever
/// goes on reading gets what follows.
fn reordered(entries: &[u8], order: DirectoryOrder) -> Vec<u8> {
    // Each: inode and position in 8 bytes, length in 2, type in 1, name.
    let mut list: Vec<&[u8]> = Vec::new();
    let mut rest = entries;
    while let Some(&[low, high]) = rest.get(16..18) {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some((entry, after)) = rest.split_at_checked(length).filter(|_| length > 18) else { break };
        list.push(entry);
        rest = after;
    }
    let positions: Vec<&[u8]> = list.iter().map(|entry| &entry[8..16]).collect();
    let name = |entry: &[u8]| {
        entry[19.min(entry.len())..].split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    };
    match order {
        DirectoryOrder::Reversed => {
            list.sort_by_cached_key(|entry| name(entry));
            list.reverse();
        }
        DirectoryOrder::Shuffled(seed) => {
            list.sort_by_cached_key(|entry| (hash(seed, &name(entry)), name(entry)))
        }
    }
    let mut out = Vec::with_capacity(entries.len());
    for (entry, position) in list.iter().zip(positions) {
        out.extend_from_slice(&entry[..8]);
        out.extend_from_slice(position);
        out.extend_from_slice(&entry[16..]);
    }
    out.extend_from_slice(rest);
    out
}

/// FNV-1a, from a number on.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let bytes = seed.to_ne_bytes().into_iter().chain(bytes.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, position: u64) -> Vec<u8> {
        let length = (19 + name.len() + 1).next_multiple_of(8);
        let mut bytes = [7u64.to_ne_bytes(), position.to_ne_bytes()].concat();
        bytes.extend(u16::try_from(length).unwrap().to_ne_bytes());
        bytes.push(8);
        bytes.extend(name.as_bytes());
        bytes.resize(length, 0);
        bytes
    }

    fn names(mut bytes: &[u8]) -> Vec<(String, u64)> {
        let mut names = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(u16::from_ne_bytes(bytes[16..18].try_into().unwrap()));
            let name = bytes[19..length].split(|byte| *byte == 0).next().unwrap();
            names.push((
                String::from_utf8(name.to_vec()).unwrap(),
                u64::from_ne_bytes(bytes[8..16].try_into().unwrap()),
            ));
            bytes = &bytes[length..];
        }
        names
    }

    #[test]
    fn names_change_their_order_and_positions_do_not() {
        let all = ["b", "a-long-name", ".", "c"];
        let listing: Vec<u8> = (1..).zip(all).flat_map(|(position, name)| entry(name, position)).collect();
        let reversed = names(&reordered(&listing, DirectoryOrder::Reversed));
        assert_eq!(
            reversed,
            [("c", 1), ("b", 2), ("a-long-name", 3), (".", 4)].map(|(n, p)| (n.to_owned(), p))
        );
        let shuffled = |seed| names(&reordered(&listing, DirectoryOrder::Shuffled(seed)));
        assert!((0..20).any(|seed| shuffled(seed) != shuffled(20)));
        for seed in 0..20 {
            let mut names: Vec<_> = shuffled(seed).into_iter().map(|(name, _)| name).collect();
            names.sort();
            assert_eq!(names, [".", "a-long-name", "b", "c"]);
        }
        // Whatever the file system's order was, the other one is the same.
        let other: Vec<u8> =
            (1..).zip(["c", ".", "b", "a-long-name"]).flat_map(|(p, n)| entry(n, p)).collect();
        let only = |list: Vec<(String, u64)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(only(names(&reordered(&other, DirectoryOrder::Shuffled(5)))), only(shuffled(5)));
    }

    #[test]
    fn what_is_no_list_of_names_stays_as_it_is() {
        for bytes in [vec![], vec![1; 17], vec![0; 40], vec![0xff; 40]] {
            assert_eq!(reordered(&bytes, DirectoryOrder::Reversed), bytes);
        }
    }
}

//! The system call filter of jobs, assembled by hand: classic BPF as seccomp(2) takes it.
//!
//! It is not what keeps the machine safe (name spaces and missing capabilities do); it makes builds fast (no call
//! waits for the disk), makes attempts to use a network known, and keeps jobs away from rarely used parts of the
//! kernel.

use libc::c_long;

use super::World;
use super::pretend;
use crate::host::sys::Instruction;

/// `AUDIT_ARCH_*` of the calls this program itself makes.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
pub(super) const NATIVE: u32 = 0xc000_00f3;

/// `AUDIT_ARCH_I386`, whose programs an amd64 kernel runs too.
pub(super) const I386: u32 = 0x4000_0003;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The kernel does it.
    Allow,
    /// It has no effect and yields this error; 0 is success.
    Errno(i32),
    /// The parent decides.
    Ask,
}

impl Action {
    fn encoded(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(number) => libc::SECCOMP_RET_ERRNO | number.unsigned_abs(),
            Self::Ask => libc::SECCOMP_RET_USER_NOTIF,
        }
    }
}

/// When a rule applies to a call with its number.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// An argument has one of these bits, all in its lower half.
    Bits(u8, u32),
    /// An argument, a pointer, is not null.
    NotNull(u8),
    /// The lower half of an argument is none of these.
    NoneOf(u8, &'static [u32]),
    /// The lower half of an argument is one of these.
    OneOf(u8, &'static [u32]),
}

type Rule = (c_long, When, Action);

const OK: Action = Action::Errno(0);
const EPERM: Action = Action::Errno(libc::EPERM);
const ENOSYS: Action = Action::Errno(libc::ENOSYS);
/// In flags of clone(2) and unshare(2).
const NEW_USER: When = When::Bits(0, 0x1000_0000);
/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`: all stay within the sandbox's own network. `AF_VSOCK`, for one,
/// does not.
const FAMILIES: &[u32] = &[1, 2, 10, 16];
/// socketcall(2): socket, connect, sendto, sendmsg, sendmmsg.
const SOCKET_CALLS: &[u32] = &[1, 3, 11, 16, 20];

/// Calls with the numbers of the machine this program is compiled for.
const NATIVE_RULES: &[Rule] = &[
    // A build that is cut off starts again; nothing in it has to survive a power cut.
    (libc::SYS_fsync, When::Always, OK),
    (libc::SYS_fdatasync, When::Always, OK),
    (libc::SYS_sync, When::Always, OK),
    (libc::SYS_syncfs, When::Always, OK),
    (libc::SYS_sync_file_range, When::Always, OK),
    // Networks.
    (libc::SYS_socket, When::NoneOf(0, FAMILIES), Action::Ask),
    (libc::SYS_connect, When::Always, Action::Ask),
    (libc::SYS_sendto, When::NotNull(4), Action::Ask),
    (libc::SYS_sendmsg, When::Always, Action::Ask),
    (libc::SYS_sendmmsg, When::Always, Action::Ask),
    // What would get around this filter. Programs do without: the C library falls back to clone.
    (libc::SYS_clone3, When::Always, ENOSYS),
    (libc::SYS_io_uring_setup, When::Always, ENOSYS),
    (libc::SYS_io_uring_enter, When::Always, ENOSYS),
    (libc::SYS_io_uring_register, When::Always, ENOSYS),
    // A user namespace of its own would give a job all capabilities again.
    (libc::SYS_clone, NEW_USER, EPERM),
    (libc::SYS_unshare, NEW_USER, EPERM),
    (libc::SYS_setns, When::Always, EPERM),
    // Mounts.
    (libc::SYS_mount, When::Always, EPERM),
    (libc::SYS_umount2, When::Always, EPERM),
    (libc::SYS_pivot_root, When::Always, EPERM),
    (libc::SYS_open_tree, When::Always, EPERM),
    (libc::SYS_move_mount, When::Always, EPERM),
    (libc::SYS_fsopen, When::Always, EPERM),
    (libc::SYS_fsconfig, When::Always, EPERM),
    (libc::SYS_fsmount, When::Always, EPERM),
    (libc::SYS_fspick, When::Always, EPERM),
    (libc::SYS_mount_setattr, When::Always, EPERM),
    (SYS_OPEN_TREE_ATTR, When::Always, EPERM),
    // Other processes.
    (libc::SYS_ptrace, When::Always, EPERM),
    (libc::SYS_process_vm_readv, When::Always, EPERM),
    (libc::SYS_process_vm_writev, When::Always, EPERM),
    (libc::SYS_pidfd_getfd, When::Always, EPERM),
    // The machine.
    (libc::SYS_reboot, When::Always, EPERM),
    (libc::SYS_kexec_load, When::Always, EPERM),
    (libc::SYS_kexec_file_load, When::Always, EPERM),
    (libc::SYS_init_module, When::Always, EPERM),
    (libc::SYS_finit_module, When::Always, EPERM),
    (libc::SYS_delete_module, When::Always, EPERM),
    (libc::SYS_swapon, When::Always, EPERM),
    (libc::SYS_swapoff, When::Always, EPERM),
    (libc::SYS_acct, When::Always, EPERM),
    (libc::SYS_quotactl, When::Always, EPERM),
    (SYS_QUOTACTL_FD, When::Always, EPERM),
    (libc::SYS_syslog, When::Always, EPERM),
    (libc::SYS_settimeofday, When::Always, EPERM),
    (libc::SYS_clock_settime, When::Always, EPERM),
    // Large parts of the kernel no maintainer script needs.
    (libc::SYS_add_key, When::Always, EPERM),
    (libc::SYS_request_key, When::Always, EPERM),
    (libc::SYS_keyctl, When::Always, EPERM),
    (libc::SYS_bpf, When::Always, EPERM),
    (libc::SYS_perf_event_open, When::Always, EPERM),
    (libc::SYS_userfaultfd, When::Always, EPERM),
    (libc::SYS_open_by_handle_at, When::Always, EPERM),
];

// Numbers from 424 on are the same on all machines.
const SYS_QUOTACTL_FD: c_long = 443;
const SYS_OPEN_TREE_ATTR: c_long = 467;

/// The same with the numbers of i386, from `arch/x86/entry/syscalls/syscall_32.tbl` of Linux 6.12.
const I386_RULES: &[Rule] = &[
    (118, When::Always, OK),                          // fsync
    (148, When::Always, OK),                          // fdatasync
    (36, When::Always, OK),                           // sync
    (344, When::Always, OK),                          // syncfs
    (314, When::Always, OK),                          // sync_file_range
    (102, When::OneOf(0, SOCKET_CALLS), Action::Ask), // socketcall
    (359, When::NoneOf(0, FAMILIES), Action::Ask),    // socket
    (362, When::Always, Action::Ask),                 // connect
    (369, When::NotNull(4), Action::Ask),             // sendto
    (370, When::Always, Action::Ask),                 // sendmsg
    (345, When::Always, Action::Ask),                 // sendmmsg
    (435, When::Always, ENOSYS),                      // clone3
    (425, When::Always, ENOSYS),                      // io_uring_setup
    (426, When::Always, ENOSYS),                      // io_uring_enter
    (427, When::Always, ENOSYS),                      // io_uring_register
    (120, NEW_USER, EPERM),                           // clone
    (310, NEW_USER, EPERM),                           // unshare
    (346, When::Always, EPERM),                       // setns
    (21, When::Always, EPERM),                        // mount
    (22, When::Always, EPERM),                        // umount
    (52, When::Always, EPERM),                        // umount2
    (217, When::Always, EPERM),                       // pivot_root
    (428, When::Always, EPERM),                       // open_tree
    (429, When::Always, EPERM),                       // move_mount
    (430, When::Always, EPERM),                       // fsopen
    (431, When::Always, EPERM),                       // fsconfig
    (432, When::Always, EPERM),                       // fsmount
    (433, When::Always, EPERM),                       // fspick
    (442, When::Always, EPERM),                       // mount_setattr
    (SYS_OPEN_TREE_ATTR, When::Always, EPERM),
    (26, When::Always, EPERM),  // ptrace
    (347, When::Always, EPERM), // process_vm_readv
    (348, When::Always, EPERM), // process_vm_writev
    (438, When::Always, EPERM), // pidfd_getfd
    (88, When::Always, EPERM),  // reboot
    (283, When::Always, EPERM), // kexec_load
    (128, When::Always, EPERM), // init_module
    (350, When::Always, EPERM), // finit_module
    (129, When::Always, EPERM), // delete_module
    (87, When::Always, EPERM),  // swapon
    (115, When::Always, EPERM), // swapoff
    (51, When::Always, EPERM),  // acct
    (131, When::Always, EPERM), // quotactl
    (SYS_QUOTACTL_FD, When::Always, EPERM),
    (103, When::Always, EPERM), // syslog
    (25, When::Always, EPERM),  // stime
    (79, When::Always, EPERM),  // settimeofday
    (264, When::Always, EPERM), // clock_settime
    (404, When::Always, EPERM), // clock_settime64
    (286, When::Always, EPERM), // add_key
    (287, When::Always, EPERM), // request_key
    (288, When::Always, EPERM), // keyctl
    (357, When::Always, EPERM), // bpf
    (336, When::Always, EPERM), // perf_event_open
    (374, When::Always, EPERM), // userfaultfd
    (342, When::Always, EPERM), // open_by_handle_at
];

/// Where `struct seccomp_data` has the number of the call, the machine, and (lower and upper half) an argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn low(arg: u8) -> u32 {
    16 + 8 * arg as u32 + if cfg!(target_endian = "big") { 4 } else { 0 }
}
const fn high(arg: u8) -> u32 {
    16 + 8 * arg as u32 + if cfg!(target_endian = "big") { 0 } else { 4 }
}

fn load(offset: u32) -> Instruction {
    Instruction { code: 0x20, jt: 0, jf: 0, k: offset } // BPF_LD | BPF_W | BPF_ABS
}

fn equal(k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code: 0x15, jt, jf, k } // BPF_JMP | BPF_JEQ | BPF_K
}

fn any_bit(k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code: 0x45, jt, jf, k } // BPF_JMP | BPF_JSET | BPF_K
}

fn skip(count: usize) -> Instruction {
    let k = u32::try_from(count).expect("a filter has below 4096 instructions");
    Instruction { code: 0x05, jt: 0, jf: 0, k } // BPF_JMP | BPF_JA
}

fn give(action: Action) -> Instruction {
    Instruction { code: 0x06, jt: 0, jf: 0, k: action.encoded() } // BPF_RET | BPF_K
}

/// The instructions that apply one rule; they end the program if the number is the rule's, and else do nothing.
fn rule((number, when, action): Rule) -> Vec<Instruction> {
    let short = |length: usize| u8::try_from(length).expect("a rule is below 256 instructions");
    let mut body = match when {
        When::Always => vec![give(action)],
        When::Bits(arg, bits) => {
            vec![load(low(arg)), any_bit(bits, 0, 1), give(action), give(Action::Allow)]
        }
        When::NotNull(arg) => vec![
            load(low(arg)),
            equal(0, 0, 2),
            load(high(arg)),
            equal(0, 1, 0),
            give(action),
            give(Action::Allow),
        ],
        When::NoneOf(arg, values) | When::OneOf(arg, values) => {
            let (found, other) = match when {
                When::NoneOf(..) => (Action::Allow, action),
                _ => (action, Action::Allow),
            };
            let mut body = vec![load(low(arg))];
            let count = values.len();
            body.extend(values.iter().enumerate().map(|(at, value)| equal(*value, short(count - at), 0)));
            body.extend([give(other), give(found)]);
            body
        }
    };
    let number = u32::try_from(number).expect("system call numbers are small");
    body.insert(0, equal(number, 0, short(body.len())));
    body
}

/// Rules for what is asked about because it tells of another machine in `world` than this one.
fn other(world: &World) -> Vec<Rule> {
    let always = |number| (number, When::Always, Action::Ask);
    let mut rules = Vec::new();
    if world.kernel.is_some() {
        rules.push(always(libc::SYS_uname));
    }
    if world.memory.is_some() {
        rules.push(always(libc::SYS_sysinfo));
    }
    if world.directory_order.is_some() {
        rules.push(always(libc::SYS_getdents64));
    }
    if world.clock != 0 {
        rules.extend([always(libc::SYS_clock_gettime), always(libc::SYS_gettimeofday)]);
        #[cfg(target_arch = "x86_64")]
        rules.extend([
            always(libc::SYS_time),
            (libc::SYS_arch_prctl, When::OneOf(0, &[pretend::SET_FS]), Action::Ask),
        ]);
    }
    rules
}

/// All rules for calls of one machine.
fn section(rules: &[Rule], x32: bool) -> Vec<Instruction> {
    let mut program = vec![load(NUMBER)];
    if x32 {
        // Calls of the x32 convention say they are of x86-64 and have this bit.
        program.extend([any_bit(0x4000_0000, 0, 1), give(ENOSYS)]);
    }
    program.extend(rules.iter().copied().flat_map(rule));
    program.push(give(Action::Allow));
    program
}

/// The whole filter. Calls of machines it does not know do not exist.
pub(super) fn program(world: &World) -> Vec<Instruction> {
    let x86 = cfg!(target_arch = "x86_64");
    let native = section(&[&other(world), NATIVE_RULES].concat(), x86);
    let mut program = vec![load(ARCH), equal(NATIVE, 1, 0), skip(native.len())];
    program.extend(native);
    if x86 {
        program.push(equal(I386, 1, 0));
        program.push(give(ENOSYS));
        program.extend(section(I386_RULES, false));
    } else {
        program.push(give(ENOSYS));
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn run(arch: u32, number: c_long, args: [u64; 6]) -> u32 {
        let mut data = u32::try_from(number).unwrap().to_ne_bytes().to_vec();
        data.extend(arch.to_ne_bytes());
        data.extend([0; 8]);
        data.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
        let (program, mut at, mut a) = (program(&World::default()), 0, 0u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                0x20 => a = u32::from_ne_bytes(data[k as usize..][..4].try_into().unwrap()),
                0x15 => at += branch(a == k),
                0x45 => at += branch(a & k != 0),
                0x05 => at += k as usize,
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;
    const PERM: u32 = libc::SECCOMP_RET_ERRNO | 1;

    fn native(number: c_long, args: [u64; 6]) -> u32 {
        run(NATIVE, number, args)
    }

    #[test]
    fn ordinary_calls_pass() {
        for number in
            [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_chroot, libc::SYS_mknodat]
        {
            assert_eq!(native(number, [7; 6]), ALLOW);
        }
        assert_eq!(native(libc::SYS_clone, [0x0120_0011, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_msync, [0; 6]), ALLOW);
    }

    #[test]
    fn nothing_waits_for_the_disk() {
        for number in [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs] {
            assert_eq!(native(number, [0; 6]), libc::SECCOMP_RET_ERRNO);
        }
    }

    #[test]
    fn mounts_and_user_namespaces_are_refused() {
        assert_eq!(native(libc::SYS_mount, [0; 6]), PERM);
        assert_eq!(native(libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0]), PERM);
        assert_eq!(native(libc::SYS_unshare, [0x400, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]), PERM);
        assert_eq!(native(libc::SYS_clone3, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
    }

    #[test]
    fn networks_are_asked_about() {
        assert_eq!(native(libc::SYS_connect, [3, 1, 16, 0, 0, 0]), ASK);
        assert_eq!(native(libc::SYS_sendto, [3, 1, 1, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_sendto, [3, 1, 1, 0, 1, 16]), ASK);
        assert_eq!(native(libc::SYS_sendto, [3, 1, 1, 0, 1 << 32, 16]), ASK);
        for (family, verdict) in [(1, ALLOW), (2, ALLOW), (10, ALLOW), (16, ALLOW), (17, ASK), (40, ASK)] {
            assert_eq!(native(libc::SYS_socket, [family, 1, 0, 0, 0, 0]), verdict, "family {family}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn other_ways_to_call_are_no_way_around() {
        assert_eq!(run(I386, 21, [0; 6]), PERM);
        assert_eq!(run(I386, 118, [0; 6]), libc::SECCOMP_RET_ERRNO);
        assert_eq!(run(I386, 5, [0; 6]), ALLOW);
        assert_eq!(run(I386, 102, [3, 0, 0, 0, 0, 0]), ASK);
        assert_eq!(run(I386, 102, [4, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_read | 0x4000_0000, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
        assert_eq!(run(0xc000_00b7, 0, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
    }

    #[test]
    fn the_filter_fits() {
        let all = World {
            kernel: Some("1".into()),
            memory: Some(1),
            clock: 1,
            directory_order: Some(crate::sandbox::DirectoryOrder::Reversed),
            ..World::default()
        };
        let (plain, all) = (program(&World::default()), program(&all));
        assert!(plain.len() < all.len() && all.len() < 4096);
    }
}

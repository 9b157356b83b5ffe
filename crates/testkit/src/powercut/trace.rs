//! What `strace` wrote, as operations.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::Op;

/// Words in front of a command that write its calls to the file `log`, whole and unambiguous.
pub fn wrapper(log: &str) -> Vec<&str> {
    let calls = "trace=?open,openat,?openat2,?creat,lseek,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,\
                 sendfile,splice,truncate,ftruncate,fallocate,?rename,renameat,renameat2,?link,linkat,?symlink,\
                 symlinkat,?unlink,unlinkat,?mkdir,mkdirat,?mknod,mknodat,?rmdir,?chmod,fchmod,fchmodat,fsync,\
                 fdatasync,syncfs,sync,mmap,dup,?dup2,dup3";
    // All strings as hexadecimal numbers: no bracket, comma or quotation mark can be anything but itself.
    vec!["strace", "-f", "-y", "-xx", "-s", "4194304", "-o", log, "-e", calls, "--"]
}

/// A call that has ended.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<String>,
    result: &'a str,
}

/// The operations below the directory `root` that one process did in the directory `cwd`, in the order in which they ended.
///
/// # Panics
/// If a line cannot be understood, or a call below `root` is one that nobody taught this function: each of them could
/// change what is safe.
pub fn operations(log: &str, root: &Path, cwd: &Path) -> Vec<Op> {
    let mut reader =
        Reader { root, cwd, positions: BTreeMap::new(), syncs: BTreeMap::new(), ops: Vec::new() };
    let mut waiting: BTreeMap<&str, String> = BTreeMap::new();
    for (number, line) in log.lines().enumerate() {
        let (thread, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let rest = rest.trim_start();
        if rest.starts_with("---") || rest.starts_with("+++") {
            continue;
        }
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            reader.begin(thread, number, begun);
            waiting.insert(thread, begun.to_owned());
        } else if let Some((_, end)) =
            rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"))
        {
            let begun = waiting.remove(thread).unwrap_or_else(|| panic!("it never began: {line}"));
            reader.end(thread, &(begun + end));
        } else {
            reader.begin(thread, number, rest);
            reader.end(thread, rest);
        }
    }
    reader.ops
}

struct Reader<'a> {
    root: &'a Path,
    cwd: &'a Path,
    /// Where the next bytes of each descriptor go. Threads share them, and there is one process.
    positions: BTreeMap<String, usize>,
    /// The call that each thread is in that makes something safe.
    syncs: BTreeMap<String, usize>,
    ops: Vec<Op>,
}

impl Reader<'_> {
    /// A call that makes safe covers what was done before it began.
    fn begin(&mut self, thread: &str, call: usize, text: &str) {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let path = match name {
            "fsync" | "fdatasync" => match self.below(opened(rest)) {
                Some(path) => Some(path),
                None => return,
            },
            "syncfs" | "sync" => None,
            _ => return,
        };
        self.syncs.insert(thread.to_owned(), call);
        self.ops.push(Op::SyncBegins { call, path });
    }

    fn end(&mut self, thread: &str, text: &str) {
        let (call, result) = text.rsplit_once(" = ").unwrap_or_else(|| panic!("no result: {text}"));
        let (name, arguments) = call.trim_end().split_once('(').unwrap_or_else(|| panic!("no call: {text}"));
        let arguments = arguments.strip_suffix(')').unwrap_or_else(|| panic!("no end: {text}"));
        if let Some(call) = self.syncs.remove(thread) {
            assert!(!result.starts_with('-'), "{text}");
            self.ops.push(Op::SyncEnds { call });
        }
        // What ends with the program has no result; what failed did nothing.
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        let call = Call { name, arguments: split(arguments), result };
        match name {
            "open" | "creat" | "openat" | "openat2" => self.open(&call),
            "lseek" => drop(self.positions.insert(call.descriptor(0), call.number())),
            "dup" | "dup2" | "dup3" => {
                let position = self.advance(call.descriptor(0), 0);
                self.positions.insert(descriptor(result), position);
            }
            "write" | "pwrite64" => self.write(&call),
            "copy_file_range" | "sendfile" => self.copy(&call),
            "ftruncate" => {
                let length = number(&call.arguments[1]);
                self.push(call.fd(0), |path| Op::Resize { path, length });
            }
            "fchmod" | "chmod" | "fchmodat" => self.mode(&call),
            "fsync" | "fdatasync" | "syncfs" | "sync" => {}
            "mmap" => {
                let shared = text.contains("PROT_WRITE") && text.contains("MAP_SHARED");
                let file = call.arguments[4].contains('<').then(|| self.below(call.fd(4))).flatten();
                assert!(!shared || file.is_none(), "what is written through memory is not modelled: {text}");
            }
            _ => self.names(&call, text),
        }
    }

    /// Calls that change names.
    fn names(&mut self, call: &Call<'_>, text: &str) {
        let (one, two) = match call.name {
            "unlink" | "rmdir" | "mkdir" => (self.at(None, &call.arguments[0]), None),
            "unlinkat" | "mkdirat" => (self.at(Some(&call.arguments[0]), &call.arguments[1]), None),
            "rename" | "link" => (self.at(None, &call.arguments[0]), Some(self.at(None, &call.arguments[1]))),
            "renameat" | "renameat2" | "linkat" => {
                let [from_dir, from, to_dir, to, ..] = &call.arguments[..] else { panic!("{text}") };
                assert!(!text.contains("RENAME_EXCHANGE"), "not modelled: {text}");
                (self.at(Some(from_dir), from), Some(self.at(Some(to_dir), to)))
            }
            _ => {
                let path =
                    call.arguments.iter().find(|argument| argument.contains('<') || argument.contains('"'));
                let here =
                    path.map(|path| if path.starts_with('"') { self.at(None, path) } else { opened(path) });
                let here = here.and_then(|path| self.below(path));
                assert!(here.is_none(), "not modelled: {text}");
                return;
            }
        };
        match (self.below(one), two.map(|two| self.below(two))) {
            (Some(path), None) if call.name.starts_with("mkdir") => self.ops.push(Op::MakeDir { path }),
            (Some(path), None) => self.ops.push(Op::Remove { path }),
            (Some(from), Some(Some(to))) if call.name.starts_with("link") => {
                self.ops.push(Op::Link { from, to });
            }
            (Some(from), Some(Some(to))) => self.ops.push(Op::Rename { from, to }),
            (None, None | Some(None)) => {}
            _ => panic!("from one disk to another: {text}"),
        }
    }

    fn open(&mut self, call: &Call<'_>) {
        let flags = call.arguments.iter().find(|argument| argument.contains("O_")).map_or("", String::as_str);
        assert!(!flags.contains("O_APPEND") && !flags.contains("O_TMPFILE"), "not modelled: {flags}");
        self.positions.insert(descriptor(call.result), 0);
        let writes = flags.contains("O_CREAT") || flags.contains("O_TRUNC") || call.name == "creat";
        let Some(path) = self.below(opened(call.result)).filter(|_| writes) else { return };
        assert!(call.name == "openat", "not modelled: {}", call.name);
        let mode = call.arguments.get(3).map_or(0o644, |mode| octal(mode));
        self.ops.push(Op::Create { path: path.clone(), mode: mode & 0o755 });
        if flags.contains("O_TRUNC") {
            self.ops.push(Op::Resize { path, length: 0 });
        }
    }

    fn write(&mut self, call: &Call<'_>) {
        let bytes = string(&call.arguments[1]);
        let written = call.number();
        assert!(bytes.len() >= written, "the trace has not all bytes");
        let at = if call.name == "pwrite64" {
            number(&call.arguments[3])
        } else {
            self.advance(call.descriptor(0), written)
        };
        self.push(call.fd(0), |path| Op::Write { path, at, bytes: bytes[..written].to_vec() });
    }

    fn copy(&mut self, call: &Call<'_>) {
        let (from, to) = if call.name == "sendfile" { (1, 0) } else { (0, 2) };
        let length = call.number();
        let offsets = if call.name == "sendfile" { [2, 2] } else { [1, 3] };
        assert!(offsets.iter().all(|at| call.arguments[*at] == "NULL"), "not modelled: {}", call.name);
        let (from_at, to_at) =
            (self.advance(call.descriptor(from), length), self.advance(call.descriptor(to), length));
        let Some(to) = self.below(call.fd(to)) else { return };
        let from = call.fd(from);
        if length > 0 {
            self.ops.push(match self.below(from.clone()) {
                Some(from) => Op::Copy { from, from_at, to, to_at, length },
                None => panic!("{} is elsewhere", from.display()),
            });
        }
    }

    fn mode(&mut self, call: &Call<'_>) {
        let (path, mode) = match call.name {
            "fchmod" => (call.fd(0), &call.arguments[1]),
            "chmod" => (self.at(None, &call.arguments[0]), &call.arguments[1]),
            _ => (self.at(Some(&call.arguments[0]), &call.arguments[1]), &call.arguments[2]),
        };
        let mode = octal(mode);
        self.push(path, |path| Op::Mode { path, mode });
    }

    /// Where a descriptor stood. It moves on.
    fn advance(&mut self, descriptor: String, by: usize) -> usize {
        let position = self.positions.entry(descriptor).or_default();
        *position += by;
        *position - by
    }

    fn push(&mut self, path: PathBuf, op: impl FnOnce(PathBuf) -> Op) {
        if let Some(path) = self.below(path) {
            self.ops.push(op(path));
        }
    }

    fn at(&self, dir: Option<&String>, name: &str) -> PathBuf {
        let dir = dir.map_or(self.cwd.to_owned(), |dir| opened(dir));
        dir.join(OsStr::from_bytes(&string(name)))
    }

    /// The path without detours, if it is below the root.
    fn below(&self, path: PathBuf) -> Option<PathBuf> {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        plain.starts_with(self.root).then_some(plain)
    }
}

impl Call<'_> {
    fn number(&self) -> usize {
        number(self.result)
    }

    fn fd(&self, at: usize) -> PathBuf {
        opened(&self.arguments[at])
    }

    fn descriptor(&self, at: usize) -> String {
        descriptor(&self.arguments[at])
    }
}

/// Arguments are separated by commas; those within an argument are in brackets.
fn split(arguments: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in arguments.chars() {
        depth += match letter {
            '{' | '[' | '(' => 1,
            '}' | ']' | ')' => -1,
            _ => 0,
        };
        match parts.last_mut() {
            Some(_) if letter == ',' && depth == 0 => parts.push(String::new()),
            Some(part) if letter != ' ' || !part.is_empty() => part.push(letter),
            _ => {}
        }
    }
    parts
}

/// The number in front of what it stands for.
fn descriptor(text: &str) -> String {
    text.split('<').next().unwrap_or_default().to_owned()
}

/// The path of a descriptor, in angle brackets. What has no name any more is nowhere.
fn opened(text: &str) -> PathBuf {
    let inside = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    match inside {
        Some((path, rest)) if !rest.starts_with("(deleted)") => {
            PathBuf::from(OsStr::from_bytes(&unescaped(path)))
        }
        _ => PathBuf::from("/nowhere"),
    }
}

fn string(text: &str) -> Vec<u8> {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    unescaped(inside.unwrap_or_else(|| panic!("no whole string: {text:.100}")))
}

/// `\x41\x42`; anything else stands for itself, such as the names of pipes.
fn unescaped(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let bytes = text.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16));
    bytes.map(|byte| byte.unwrap_or_else(|error| panic!("{error}: {text:.100}"))).collect()
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).unwrap_or(0o644)
}

#[cfg(test)]
mod tests;

//! System use entries: SUSP 1.12 and Rock Ridge (RRIP) 1.12, from values to bytes.

use zerocopy::IntoBytes;

use super::layout::Both32;
use super::time;

/// Bytes of a CE entry.
pub(super) const CE_LENGTH: usize = 28;
/// Most bytes of one entry.
const LONGEST: usize = 255;

/// Identifies the extension (RRIP 1.12, section 4.3). Kernels, GRUB and isolinux look at the first text.
const ER: [&str; 3] = [
    "IEEE_P1282",
    "THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
    "PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION.",
];

/// One system use entry, signature to last byte.
pub(super) type Entry = Vec<u8>;

fn entry(signature: [u8; 2], data: &[u8]) -> Entry {
    let length = u8::try_from(data.len() + 4).expect("callers split what is longer");
    [&signature[..], &[length, 1], data].concat()
}

fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(Both32::new(value).as_bytes());
    bytes
}

/// SP: marks the first record of the root directory; nothing is skipped in the others.
pub(super) fn sp() -> Entry {
    entry(*b"SP", &[0xbe, 0xef, 0])
}

/// ER: says that the entries are those of Rock Ridge.
pub(super) fn er() -> Entry {
    let length = |text: &str| u8::try_from(text.len()).expect("the texts are short");
    let [id, description, source] = ER;
    let head = [length(id), length(description), length(source), 1];
    entry(*b"ER", &[&head, id.as_bytes(), description.as_bytes(), source.as_bytes()].concat())
}

/// PX: mode with the file type, number of links, owner, group and serial number.
pub(super) fn px(mode: u32, links: u32, uid: u32, gid: u32, serial: u32) -> Entry {
    entry(*b"PX", &[mode, links, uid, gid, serial].map(both).concat())
}

/// TF: the modification time in its short form. Readers take the time of the directory record, which is the same,
/// for the others.
pub(super) fn tf(mtime: u32) -> Entry {
    entry(*b"TF", &[&[2][..], &time::short(mtime)].concat())
}

/// PN: the number of a device.
pub(super) fn pn(major: u32, minor: u32) -> Entry {
    entry(*b"PN", &[both(major), both(minor)].concat())
}

/// NM: the name, in two entries if it is longer than 250 bytes.
pub(super) fn nm(name: &[u8]) -> Vec<Entry> {
    let parts: Vec<&[u8]> = name.chunks(LONGEST - 5).collect();
    let last = parts.len() - 1;
    let one = |(index, part): (usize, &&[u8])| entry(*b"NM", &[&[u8::from(index < last)], *part].concat());
    parts.iter().enumerate().map(one).collect()
}

/// CE: more entries follow elsewhere.
pub(super) fn ce(block: u32, offset: u32, length: u32) -> Entry {
    entry(*b"CE", &[block, offset, length].map(both).concat())
}

/// SL: the target of a symbolic link.
///
/// Components are separated by slashes. An empty one (`a//b`, `a/`) is written as a component without bytes, which
/// Linux puts together to the same text again.
pub(super) fn sl(target: &[u8]) -> Vec<Entry> {
    const CONTINUES: u8 = 1;
    let mut components: Vec<Vec<u8>> = Vec::new();
    let (absolute, rest) = match target.strip_prefix(b"/") {
        Some(rest) => (true, rest),
        None => (false, target),
    };
    if absolute {
        components.push(vec![8, 0]);
    }
    if !(absolute && rest.is_empty()) {
        for part in rest.split(|byte| *byte == b'/') {
            match part {
                b"." => components.push(vec![2, 0]),
                b".." => components.push(vec![4, 0]),
                b"" => components.push(vec![0, 0]),
                _ => {
                    let mut chunks = part.chunks(LONGEST - 7).peekable();
                    while let Some(chunk) = chunks.next() {
                        let flags = if chunks.peek().is_some() { CONTINUES } else { 0 };
                        let length = u8::try_from(chunk.len()).expect("a chunk is below 256 bytes");
                        components.push([&[flags, length], chunk].concat());
                    }
                }
            }
        }
    }
    let mut groups: Vec<Vec<u8>> = vec![Vec::new()];
    for component in components {
        if groups.last().is_some_and(|group| group.len() + component.len() > LONGEST - 5) {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.last_mut() {
            group.extend_from_slice(&component);
        }
    }
    let last = groups.len() - 1;
    let one =
        |(index, group): (usize, &Vec<u8>)| entry(*b"SL", &[&[u8::from(index < last)], &group[..]].concat());
    groups.iter().enumerate().map(one).collect()
}

/// A CE entry whose block is known only when the directory has a place: `block` counts from the first block of the
/// directory's continuation area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) block: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Reference {
    pub(super) fn entry(self, area: u32) -> Entry {
        ce(area + self.block, self.offset, self.length)
    }
}

/// The system use area of one record: what fits into it and where the rest is.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) inline: Vec<u8>,
    pub(super) more: Option<Reference>,
}

/// The continuation area behind a directory.
///
/// Linux refuses entries that cross a block, so every run of entries stays inside one block and chains to the next
/// by a further CE entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Continuation {
    bytes: Vec<u8>,
    /// CE entries inside the area, by their position.
    patches: Vec<(usize, Reference)>,
}

const BLOCK: usize = 2048;

impl Continuation {
    /// Distributes `entries` over `room` bytes of a record and this area, in order.
    pub(super) fn place(&mut self, entries: &[Entry], room: usize) -> Area {
        let total: usize = entries.iter().map(Vec::len).sum();
        if total <= room {
            return Area { inline: entries.concat(), more: None };
        }
        let mut inline = Vec::new();
        let mut rest = entries;
        while let [first, tail @ ..] = rest
            && inline.len() + first.len() + CE_LENGTH <= room
        {
            inline.extend_from_slice(first);
            rest = tail;
        }
        Area { inline, more: self.append(rest) }
    }

    /// Adds `entries`, and says where they begin.
    fn append(&mut self, mut entries: &[Entry]) -> Option<Reference> {
        let mut first: Option<Reference> = None;
        // Position of the CE entry that has to lead to the next run.
        let mut pending: Option<usize> = None;
        while let [head, ..] = entries {
            let used = self.bytes.len() % BLOCK;
            let fits = entries.iter().map(Vec::len).sum::<usize>() <= BLOCK - used;
            if !fits && head.len() + CE_LENGTH > BLOCK - used {
                self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
            }
            let start = self.bytes.len();
            let room = BLOCK - start % BLOCK;
            let whole = entries.iter().map(Vec::len).sum::<usize>() <= room;
            let limit = if whole { room } else { room - CE_LENGTH };
            while let [head, tail @ ..] = entries
                && self.bytes.len() - start + head.len() <= limit
            {
                self.bytes.extend_from_slice(head);
                entries = tail;
            }
            let next_pending = (!entries.is_empty()).then(|| {
                let at = self.bytes.len();
                self.bytes.extend_from_slice(&[0; CE_LENGTH]);
                at
            });
            let here = self.reference(start);
            match pending.take() {
                Some(at) => self.patches.push((at, here)),
                None => first = Some(here),
            }
            pending = next_pending;
        }
        first
    }

    fn reference(&self, start: usize) -> Reference {
        let small = |n: usize| u32::try_from(n).expect("a continuation area is below 4 GiB");
        Reference {
            block: small(start / BLOCK),
            offset: small(start % BLOCK),
            length: small(self.bytes.len() - start),
        }
    }

    /// Whole blocks the area needs.
    pub(super) fn blocks(&self) -> usize {
        self.bytes.len().div_ceil(BLOCK)
    }

    /// The bytes of an area whose first block is `area`, padded to whole blocks.
    pub(super) fn bytes(&self, area: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (at, reference) in &self.patches {
            bytes[*at..at + CE_LENGTH].copy_from_slice(&reference.entry(area));
        }
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_bytes_of_rrip() {
        assert_eq!(sp(), b"SP\x07\x01\xbe\xef\x00");
        assert_eq!(nm(b"a.txt"), [b"NM\x0a\x01\x00a.txt".to_vec()]);
        assert_eq!(px(0o100_644, 1, 0, 0, 9).len(), 44);
        assert_eq!(px(0o100_644, 1, 0, 0, 9)[4..12], [0xa4, 0x81, 0, 0, 0, 0, 0x81, 0xa4]);
        assert_eq!(er().len(), 8 + 10 + 72 + 94);
        assert_eq!(tf(0), b"TF\x0c\x01\x02\x46\x01\x01\x00\x00\x00\x00");
    }

    #[test]
    fn long_names_continue() {
        let entries = nm(&[b'n'; 255]);
        assert_eq!(entries.iter().map(Vec::len).collect::<Vec<_>>(), [255, 10]);
        assert_eq!((entries[0][4], entries[1][4]), (1, 0));
    }

    #[test]
    fn targets_keep_every_slash() {
        let data = |target: &[u8]| sl(target)[0][5..].to_vec();
        assert_eq!(data(b"/"), [8, 0]);
        assert_eq!(data(b"/a"), [8, 0, 0, 1, b'a']);
        assert_eq!(data(b"../a/./"), [4, 0, 0, 1, b'a', 2, 0, 0, 0]);
        assert_eq!(data(b"a//b"), [0, 1, b'a', 0, 0, 0, 1, b'b']);
        let long = sl(&[b'x'; 600]);
        assert_eq!(long.iter().map(Vec::len).collect::<Vec<_>>(), [255, 255, 5 + 2 + 104]);
        assert_eq!(
            long.iter().map(|entry| (entry[4], entry[5])).collect::<Vec<_>>(),
            [(1, 1), (1, 1), (0, 0)]
        );
    }

    #[test]
    fn continuations_never_cross_a_block() {
        let mut area = Continuation::default();
        let big: Vec<Entry> = (0..40).map(|n| entry(*b"SL", &[n; 200])).collect();
        let first = area.place(&big[..1], 100);
        assert!(first.inline.is_empty());
        assert_eq!(first.more, Some(Reference { block: 0, offset: 0, length: 204 }));
        let second = area.place(&big, 254);
        assert_eq!(second.inline, big[0]);
        let mut next = second.more;
        let bytes = area.bytes(1000);
        let mut seen = second.inline.clone();
        let mut runs = 0;
        while let Some(run) = next.take() {
            assert!(run.offset + run.length <= 2048, "{run:?}");
            let start = usize::try_from(run.block * 2048 + run.offset).unwrap();
            let mut run = &bytes[start..start + usize::try_from(run.length).unwrap()];
            while !run.is_empty() {
                let (entry, rest) = run.split_at(usize::from(run[2]));
                if entry.starts_with(b"CE") {
                    let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
                    let (block, offset, length) = (number(4) - 1000, number(12), number(20));
                    next = Some(Reference { block, offset, length });
                } else {
                    seen.extend_from_slice(entry);
                }
                run = rest;
            }
            runs += 1;
        }
        assert_eq!(seen, big.concat());
        assert_eq!(runs, 5);
        assert_eq!(area.blocks() * 2048, bytes.len());
    }
}

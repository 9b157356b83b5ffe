//! Which byte of a file is whose.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{
    CERTIFICATE, CERTIFICATES, COFF, DEBUG, DEBUG_DATA, DEBUG_ENTRY, DOS, OPTIONAL, PE32, PE32_PLUS, POINTER,
    RawCertificate, RawCoff, RawDebug, RawDirectory, RawSection, SECTION_HEADER, SETUP, SETUP_JUMP,
    SIGNATURE, SYMBOL, VERSION, fixed,
};
use super::{Corruption, PeError};
use crate::extent::{Container, Owner, Parsed, Source, Structure, Unreadable};
use crate::io::{ReadAt, ReadError, wide};

const FORMAT: &str = "pe";
/// Entries of the debug directory, and certificates, that are looked at.
const MOST_ENTRIES: u64 = 256;
/// Bytes of an optional header with all its directories.
const MOST_OPTIONAL: usize = 240;
/// What is longer is no padding: sections begin on multiples of at most a page.
const MOST_PADDING: u64 = 4096;
/// Longest name of a section that is read.
const LONGEST_NAME: usize = 256;
/// Longest text of a version.
const LONGEST_VERSION: usize = 512;

static STUB: Structure = Structure::plain("DOS stub");
static SETUP_HEADER: Structure = Structure::plain("boot protocol header");
static SECTION: Structure = Structure::plain("section");
static SECTION_PADDING: Structure = Structure::plain("padding of the section");
static SYMBOLS: Structure = Structure::plain("symbols");
static STRINGS: Structure = Structure::plain("string table");
static PADDING: Structure = Structure::plain("padding");
static NO_SECTION: Structure = Structure::plain("data in no section");
static BEHIND: Structure = Structure::plain("data behind the end");

/// The structure of a PE file. Each section is a file inside, and so is what lies behind the last one.
///
/// # Errors
/// If the headers cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let mut claims = Claims::new(source, found).map_err(|error| Unreadable::new(FORMAT, &error))?;
    claims.all();
    Ok(claims.found.finish())
}

struct Section {
    owner: Owner,
    /// Where it is in memory, and how long it is there.
    address: u64,
    memory: u64,
    start: u64,
    len: u64,
}

struct Claims<'a> {
    source: &'a Source,
    found: Container,
    coff: RawCoff,
    /// Where the section headers begin.
    table: u64,
    directories: Vec<RawDirectory>,
    /// Where what is known ends.
    reach: u64,
}

impl<'a> Claims<'a> {
    fn new(source: &'a Source, mut found: Container) -> Result<Self, PeError> {
        let [start] = read::<[[u8; 4]; 1]>(source, POINTER)?;
        let at = u64::from(u32::from_le_bytes(start));
        let signature: [u8; 4] = read(source, at)?;
        if signature != *SIGNATURE {
            let kind = Corruption::Signature { what: "the PE header", found: u32::from_le_bytes(signature) };
            return Err(ReadError::Corrupt { at, kind });
        }
        let coff: RawCoff = read(source, at + 4)?;
        let header = 4 + wide(size_of::<RawCoff>());
        let (start, len) = (at + header, usize::from(coff.optional_size.get()));
        let mut bytes = vec![0; len.min(MOST_OPTIONAL)];
        fill(source, &mut bytes, start)?;
        let magic = bytes.get(..2).map_or(0, |magic| u16::from_le_bytes([magic[0], magic[1]]));
        if !matches!(magic, PE32 | PE32_PLUS) {
            let kind = Corruption::Signature { what: "the optional header", found: magic.into() };
            return Err(ReadError::Corrupt { at: start, kind });
        }
        let fixed = fixed(magic);
        let count = fixed.checked_sub(4).and_then(|at| bytes.get(at..fixed)).map_or(0, |count| {
            usize::try_from(u32::from_le_bytes([count[0], count[1], count[2], count[3]]))
                .unwrap_or(usize::MAX)
        });
        let rest = bytes.get(fixed..).unwrap_or_default().chunks_exact(size_of::<RawDirectory>());
        let directories =
            rest.take(count).filter_map(|raw| RawDirectory::read_from_bytes(raw).ok()).collect();
        let table = start + wide(len);
        // The header may lie in that of DOS, as in small programs of UEFI.
        found.claim_own(at, header, &COFF);
        found.claim_own(start, wide(len), &OPTIONAL);
        found.claim_own(0, POINTER + 4, &DOS);
        Ok(Self { source, found, coff, table, directories, reach: table })
    }

    fn all(&mut self) {
        let mut sections = self.sections();
        self.setup();
        let told = self.debug(&sections);
        self.tell(told);
        let told = self.certificates();
        self.tell(told);
        self.symbols();
        self.found.claim_own(POINTER + 4, self.table.saturating_sub(POINTER + 4), &STUB);
        sections.retain(|section| section.len > 0);
        sections.sort_by_key(|section| section.start);
        // What lies in something else is no file of its own: files inside are never longer than the file, all together.
        let mut reach = self.table;
        for section in &sections {
            let end = section.start.saturating_add(section.len);
            if section.start > reach && section.start - reach < MOST_PADDING {
                self.found.claim_own(reach, section.start - reach, &PADDING);
            }
            self.section(section, section.start >= reach);
            reach = reach.max(end);
        }
        let size = self.found.size();
        let reach = reach.max(self.reach).min(size);
        self.found.claim_own(0, reach, &NO_SECTION);
        if reach < size {
            self.found.part(BEHIND.name, reach, size - reach, &BEHIND);
        }
    }

    fn tell(&mut self, result: Result<(), PeError>) {
        if let Err(error) = result {
            self.found.note(&error);
        }
    }

    fn sections(&mut self) -> Vec<Section> {
        let mut all = Vec::new();
        let len = wide(size_of::<RawSection>());
        for index in 0..u64::from(self.coff.sections.get()) {
            let at = self.table + index * len;
            let raw: RawSection = match read(self.source, at) {
                Ok(raw) => raw,
                Err(error) => {
                    self.found.note(&error);
                    break;
                }
            };
            self.reach = self.reach.max(at + len);
            let name = self.name(&raw.name);
            let owner = match &*name {
                b"" => self.found.owner(format!("section {}", index + 1).as_bytes()),
                name => self.found.owner(name),
            };
            self.found.claim(at, len, &SECTION_HEADER, owner);
            all.push(Section {
                owner,
                address: raw.virtual_address.get().into(),
                memory: raw.virtual_size.get().into(),
                start: raw.raw_at.get().into(),
                len: raw.raw_size.get().into(),
            });
        }
        all
    }

    /// Where the string table is.
    fn strings(&self) -> Option<u64> {
        let at = u64::from(self.coff.symbols_at.get());
        (at != 0).then(|| at + u64::from(self.coff.symbols.get()) * SYMBOL)
    }

    /// The name of a section: `/` and a number say where it is in the string table.
    fn name(&self, raw: &[u8; 8]) -> Vec<u8> {
        let short = raw.split(|byte| *byte == 0).next().unwrap_or_default();
        let number =
            short.strip_prefix(b"/").and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        let (Some(number), Some(strings)) = (number, self.strings()) else { return short.to_vec() };
        let at = strings + u64::from(number);
        let mut bytes = vec![0; LONGEST_NAME];
        let left = usize::try_from(self.found.size().saturating_sub(at)).unwrap_or(usize::MAX);
        bytes.truncate(left);
        match self.source.read_exact_at(&mut bytes, at) {
            Ok(()) => bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            Err(_) => short.to_vec(),
        }
    }

    /// What a Linux kernel has beside PE: its header, and the text that says who built it when.
    fn setup(&mut self) {
        // A jump over the header, its signature, and further on where the version is, from the second sector on.
        let Ok(bytes) = read::<[u8; 16]>(self.source, SETUP_JUMP) else { return };
        let [_, over, b'H', b'd', b'r', b'S', .., low, high] = bytes else { return };
        let end = SETUP_JUMP + 2 + u64::from(over);
        self.found.claim_own(SETUP, end - SETUP, &SETUP_HEADER);
        let at = u64::from(u16::from_le_bytes([low, high])) + SETUP_JUMP;
        let mut text = [0; LONGEST_VERSION];
        if at > SETUP_JUMP
            && fill(self.source, &mut text, at).is_ok()
            && let Some(len) = text.iter().position(|byte| *byte == 0)
        {
            self.found.claim_own(at, wide(len + 1), &VERSION);
        }
    }

    /// Where an address lies in the file.
    fn place(sections: &[Section], address: u64) -> Option<u64> {
        let inside = |section: &&Section| {
            address.checked_sub(section.address).is_some_and(|offset| offset < section.len)
        };
        let section = sections.iter().find(inside)?;
        Some(section.start + (address - section.address))
    }

    fn debug(&mut self, sections: &[Section]) -> Result<(), PeError> {
        let Some(directory) = self.directories.get(DEBUG) else { return Ok(()) };
        let (address, size) = (u64::from(directory.at.get()), u64::from(directory.size.get()));
        let Some(start) = Self::place(sections, address).filter(|_| size > 0) else { return Ok(()) };
        let len = wide(size_of::<RawDebug>());
        for index in 0..(size / len).min(MOST_ENTRIES) {
            let at = start + index * len;
            let raw: RawDebug = read(self.source, at)?;
            let owner = self.found.owner(format!("entry {}", index + 1).as_bytes());
            self.found.claim(at, len, &DEBUG_ENTRY, owner);
            let (data, size) = (u64::from(raw.data_at.get()), u64::from(raw.data_size.get()));
            if data > 0 {
                self.found.claim(data, size, &DEBUG_DATA, owner);
                self.reach = self.reach.max(data + size);
            }
        }
        Ok(())
    }

    fn certificates(&mut self) -> Result<(), PeError> {
        let Some(directory) = self.directories.get(CERTIFICATES) else { return Ok(()) };
        // The only directory whose place is one in the file.
        let (start, size) = (u64::from(directory.at.get()), u64::from(directory.size.get()));
        if start == 0 || size == 0 {
            return Ok(());
        }
        let end = start + size;
        let have = self.found.size();
        if end > have {
            let kind = Corruption::Behind { what: "certificate table".to_owned(), len: size, size: have };
            return Err(ReadError::Corrupt { at: start, kind });
        }
        self.reach = self.reach.max(end);
        let mut at = start;
        for number in 1..=MOST_ENTRIES {
            if end.saturating_sub(at) < wide(size_of::<RawCertificate>()) {
                break;
            }
            let raw: RawCertificate = read(self.source, at)?;
            let len = u64::from(raw.length.get()).clamp(8, end - at).next_multiple_of(8).min(end - at);
            let owner = self.found.owner(format!("certificate {number}").as_bytes());
            self.found.claim(at, len, &CERTIFICATE, owner);
            at += len;
        }
        Ok(())
    }

    fn symbols(&mut self) {
        let Some(strings) = self.strings() else { return };
        let start = u64::from(self.coff.symbols_at.get());
        self.found.claim_own(start, strings - start, &SYMBOLS);
        self.reach = self.reach.max(strings);
        if let Ok(len) = read::<[u8; 4]>(self.source, strings) {
            let len = u64::from(u32::from_le_bytes(len));
            self.found.claim_own(strings, len, &STRINGS);
            self.reach = self.reach.max(strings + len);
        }
    }

    /// Claims the bytes of a section, which is a file of its own if it is `alone`.
    fn section(&mut self, section: &Section, alone: bool) {
        let Section { owner, memory, start, len, .. } = *section;
        let size = self.found.size();
        if start.checked_add(len).is_none_or(|end| end > size) {
            let what = format!("section {}", self.found.path(owner).escape_ascii());
            self.found.note(&ReadError::Corrupt { at: start, kind: Corruption::Behind { what, len, size } });
        }
        let len = len.min(size.saturating_sub(start));
        // What is longer in the file than in memory is filled up to the alignment.
        let used = if memory == 0 { len } else { len.min(memory) };
        if alone && used > 0 {
            let file = self.found.file(owner);
            self.found.data(file, start, used, &SECTION);
        }
        self.found.claim(start, used, &SECTION, owner);
        self.found.claim(start.saturating_add(used), len - used, &SECTION_PADDING, owner);
    }
}

fn read<T: FromBytes + IntoBytes>(source: &Source, at: u64) -> Result<T, PeError> {
    let mut raw = T::new_zeroed();
    fill(source, raw.as_mut_bytes(), at)?;
    Ok(raw)
}

fn fill(source: &Source, buf: &mut [u8], at: u64) -> Result<(), PeError> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len, source })
}

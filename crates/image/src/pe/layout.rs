//! The structures as they lie in the file, all little-endian.

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::extent::{Field, Role, Structure, dated, fields_of, prefixed, show};
use crate::io::wide;
use crate::raw::show_bytes;

/// Where the DOS header says where the signature is.
pub(crate) const POINTER: u64 = 0x3c;
pub(crate) const SIGNATURE: &[u8; 4] = b"PE\0\0";
/// `magic` of the optional header of a file of 32 and of 64 bits.
pub(super) const PE32: u16 = 0x10b;
pub(super) const PE32_PLUS: u16 = 0x20b;
/// Bytes of a symbol.
pub(super) const SYMBOL: u64 = 18;
/// Where Linux has its header, and the jump in it that leads over the rest of it.
pub(super) const SETUP: u64 = 0x1f1;
pub(super) const SETUP_JUMP: u64 = 0x200;

/// Numbers of data directories.
pub(super) const CERTIFICATES: usize = 4;
pub(super) const DEBUG: usize = 6;
const DIRECTORIES: [&str; 16] = [
    "export table",
    "import table",
    "resource table",
    "exception table",
    "certificate table",
    "base relocation table",
    "debug",
    "architecture",
    "global pointer",
    "TLS table",
    "load configuration",
    "bound import",
    "import address table",
    "delay import descriptor",
    "CLR runtime header",
    "reserved directory",
];

macro_rules! raw {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $ty:ty),+ $(,)? })+) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $ty),+ }
    )+ };
}

raw! {
    /// Behind the signature.
    RawCoff {
        machine: U16<LE>,
        sections: U16<LE>,
        time_date_stamp: U32<LE>,
        symbols_at: U32<LE>,
        symbols: U32<LE>,
        optional_size: U16<LE>,
        characteristics: U16<LE>,
    }
    /// What both kinds of optional header begin with.
    RawStart {
        magic: U16<LE>,
        linker_major: u8,
        linker_minor: u8,
        code_size: U32<LE>,
        data_size: U32<LE>,
        bss_size: U32<LE>,
        entry_point: U32<LE>,
        code_base: U32<LE>,
    }
    RawBase32 { data_base: U32<LE>, image_base: U32<LE> }
    RawBase64 { image_base: U64<LE> }
    RawMiddle {
        section_alignment: U32<LE>,
        file_alignment: U32<LE>,
        system_major: U16<LE>,
        system_minor: U16<LE>,
        image_major: U16<LE>,
        image_minor: U16<LE>,
        subsystem_major: U16<LE>,
        subsystem_minor: U16<LE>,
        win32_version: U32<LE>,
        image_size: U32<LE>,
        headers_size: U32<LE>,
        checksum: U32<LE>,
        subsystem: U16<LE>,
        dll_characteristics: U16<LE>,
    }
    RawSizes32 {
        stack_reserve: U32<LE>,
        stack_commit: U32<LE>,
        heap_reserve: U32<LE>,
        heap_commit: U32<LE>,
    }
    RawSizes64 {
        stack_reserve: U64<LE>,
        stack_commit: U64<LE>,
        heap_reserve: U64<LE>,
        heap_commit: U64<LE>,
    }
    RawEnd { loader_flags: U32<LE>, directories: U32<LE> }
    RawDirectory { at: U32<LE>, size: U32<LE> }
    RawSection {
        name: [u8; 8],
        virtual_size: U32<LE>,
        virtual_address: U32<LE>,
        raw_size: U32<LE>,
        raw_at: U32<LE>,
        relocations_at: U32<LE>,
        line_numbers_at: U32<LE>,
        relocations: U16<LE>,
        line_numbers: U16<LE>,
        characteristics: U32<LE>,
    }
    /// An entry of the debug directory.
    RawDebug {
        characteristics: U32<LE>,
        time_date_stamp: U32<LE>,
        major: U16<LE>,
        minor: U16<LE>,
        kind: U32<LE>,
        data_size: U32<LE>,
        data_address: U32<LE>,
        data_at: U32<LE>,
    }
    /// In front of a certificate.
    RawCertificate { length: U32<LE>, revision: U16<LE>, kind: U16<LE> }
}

const _: () = assert!(size_of::<RawCoff>() == 20 && size_of::<RawStart>() == 24);
const _: () = assert!(size_of::<RawMiddle>() == 40 && size_of::<RawSection>() == 40);
const _: () = assert!(size_of::<RawDebug>() == 28);

/// Bytes in front of the data directories of an optional header.
pub(super) fn fixed(magic: u16) -> usize {
    let [base, sizes] = match magic {
        PE32 => [size_of::<RawBase32>(), size_of::<RawSizes32>()],
        _ => [size_of::<RawBase64>(), size_of::<RawSizes64>()],
    };
    size_of::<RawStart>() + base + size_of::<RawMiddle>() + sizes + size_of::<RawEnd>()
}

pub(super) static DOS: Structure = Structure { name: "DOS header", fields: dos };
pub(super) static COFF: Structure = Structure { name: "COFF header", fields: coff };
pub(super) static OPTIONAL: Structure = Structure { name: "optional header", fields: optional };
pub(super) static SECTION_HEADER: Structure = Structure { name: "section header", fields: section };
pub(super) static DEBUG_ENTRY: Structure = Structure { name: "debug directory entry", fields: debug };
pub(super) static DEBUG_DATA: Structure = Structure { name: "debug data", fields: debug_data };
pub(super) static CERTIFICATE: Structure = Structure { name: "certificate", fields: certificate };
pub(super) static VERSION: Structure = Structure { name: "version of the kernel", fields: version };

fn dos(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 2, "signature"), show(bytes, 2, 58, "fields of DOS")];
    let mut pointer = show(bytes, 60, 4, "place of the PE signature");
    pointer.role = Role::Place;
    all.push(pointer);
    // What another structure overlaps is cut off.
    all.retain(|field| field.len > 0);
    all
}

fn coff(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 4, "signature")];
    all.extend(fields_of!(
        bytes.get(4..).unwrap_or_default(),
        4,
        RawCoff {
            machine,
            sections Place,
            time_date_stamp,
            symbols_at Place,
            symbols Place,
            optional_size Place,
            characteristics,
        }
    ));
    all.iter_mut().filter(|field| field.name == "time_date_stamp").for_each(dated);
    all.retain(|field| field.len > 0);
    all
}

fn optional(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawStart {
            magic,
            linker_major,
            linker_minor,
            code_size Place,
            data_size Place,
            bss_size Place,
            entry_point Place,
            code_base Place,
        }
    );
    let narrow = bytes.starts_with(&PE32.to_le_bytes());
    let mut at = size_of::<RawStart>();
    let mut rest = |len: usize| {
        let start = at;
        at += len;
        (bytes.get(start..).unwrap_or_default(), wide(start))
    };
    let (part, base) = rest(8);
    all.extend(match narrow {
        true => fields_of!(part, base, RawBase32 { data_base Place, image_base }),
        false => fields_of!(part, base, RawBase64 { image_base }),
    });
    let (part, base) = rest(size_of::<RawMiddle>());
    all.extend(fields_of!(
        part,
        base,
        RawMiddle {
            section_alignment,
            file_alignment,
            system_major,
            system_minor,
            image_major,
            image_minor,
            subsystem_major,
            subsystem_minor,
            win32_version,
            image_size Place,
            headers_size Place,
            checksum Checksum,
            subsystem,
            dll_characteristics,
        }
    ));
    let (part, base) = rest(if narrow { 16 } else { 32 });
    all.extend(match narrow {
        true => fields_of!(part, base, RawSizes32 { stack_reserve, stack_commit, heap_reserve, heap_commit }),
        false => {
            fields_of!(part, base, RawSizes64 { stack_reserve, stack_commit, heap_reserve, heap_commit })
        }
    });
    let (part, base) = rest(8);
    all.extend(fields_of!(part, base, RawEnd { loader_flags, directories }));
    for name in DIRECTORIES {
        let (part, base) = rest(8);
        let fields = fields_of!(part, base, RawDirectory { at Place, size Place });
        all.extend(fields.into_iter().map(|field| prefixed(field, name)));
    }
    all
}

fn section(bytes: &[u8]) -> Vec<Field> {
    fields_of!(
        bytes,
        0,
        RawSection {
            name,
            virtual_size Place,
            virtual_address Place,
            raw_size Place,
            raw_at Place,
            relocations_at Place,
            line_numbers_at Place,
            relocations Place,
            line_numbers Place,
            characteristics,
        }
    )
}

fn debug(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawDebug {
            characteristics,
            time_date_stamp,
            major,
            minor,
            kind,
            data_size Place,
            data_address Place,
            data_at Place,
        }
    );
    all.iter_mut().filter(|field| field.name == "time_date_stamp").for_each(dated);
    all
}

/// What leads a debugger to its file: signature, number of the build, age and path.
fn debug_data(bytes: &[u8]) -> Vec<Field> {
    if !bytes.starts_with(b"RSDS") || bytes.len() < 24 {
        return vec![show(bytes, 0, bytes.len(), "data")];
    }
    let mut all = vec![show(bytes, 0, 4, "signature"), show(bytes, 4, 16, "id"), show(bytes, 20, 4, "age")];
    all.push(until_zero(bytes, 24, "path"));
    all.retain(|field| field.len > 0);
    all
}

/// Text from `at` on to the end, without the zero behind it.
fn until_zero(bytes: &[u8], at: usize, name: &'static str) -> Field {
    let mut field = show(bytes, at, bytes.len(), name);
    let text = bytes.get(at..).unwrap_or_default();
    if let [text @ .., 0] = text
        && !text.contains(&0)
    {
        field.value = show_bytes(text);
    }
    field
}

fn certificate(bytes: &[u8]) -> Vec<Field> {
    fields_of!(bytes, 0, RawCertificate { length Place, revision, kind })
}

fn version(bytes: &[u8]) -> Vec<Field> {
    vec![until_zero(bytes, 0, "text")]
}

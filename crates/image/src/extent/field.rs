//! Fields of structures, with their values as text.

use std::borrow::Cow;

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset of its first byte in the structure.
    pub at: u64,
    /// Number of its bytes.
    pub len: u64,
    /// Its name in the words of the format.
    pub name: Cow<'static, str>,
    /// Its value, as it is best read. Different values have different texts.
    pub value: String,
    /// What it says.
    pub role: Role,
}

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Something of its own.
    Value,
    /// Where something lies, or how long it is there: it follows from what else is in the file.
    Place,
    /// A checksum: it follows from what it is of.
    Checksum,
}

pub(super) fn no_fields(_: &[u8]) -> Vec<Field> {
    Vec::new()
}

/// The fields of `$ty` at the start of `$bytes`, whose first byte is `$base` bytes into the structure. Words after a field's
/// name are its role. Destructures without `..`, so no field can be left out.
macro_rules! fields_of {
    ($bytes:expr, $base:expr, $ty:ident { $($field:ident $($role:ident)?),+ $(,)? }) => {{
        let mut all = Vec::new();
        if let Ok((raw, _)) = <$ty as zerocopy::FromBytes>::read_from_prefix($bytes) {
            let $ty { $($field),+ } = &raw;
            $( all.push($crate::extent::Field {
                at: $base + $crate::io::wide(std::mem::offset_of!($ty, $field)),
                len: $crate::io::wide(std::mem::size_of_val($field)),
                name: std::borrow::Cow::Borrowed(stringify!($field)),
                value: $crate::raw::Show::show($field),
                role: $crate::extent::fields_of!(@role $($role)?),
            }); )+
        }
        all
    }};
    (@role) => { $crate::extent::Role::Value };
    (@role $role:ident) => { $crate::extent::Role::$role };
}
pub(crate) use fields_of;

/// One field of `bytes` from `at` on, as text: what there is of it, if a structure is cut short.
pub(crate) fn show(bytes: &[u8], at: usize, len: usize, name: &'static str) -> Field {
    let at = at.min(bytes.len());
    let part = &bytes[at..at.saturating_add(len).min(bytes.len())];
    Field {
        at: crate::io::wide(at),
        len: crate::io::wide(part.len()),
        name: Cow::Borrowed(name),
        value: crate::raw::show_bytes(part),
        role: Role::Value,
    }
}

/// A field with what it is a part of in front of its name.
pub(crate) fn prefixed(mut field: Field, prefix: &str) -> Field {
    field.name = format!("{prefix}: {}", field.name).into();
    field
}

/// Adds the date to a field of seconds since 1970.
pub(crate) fn dated(field: &mut Field) {
    if let Ok(seconds) = field.value.parse() {
        field.value = format!("{} ({seconds})", crate::epoch::civil(seconds));
    }
}

/// A UUID whose bytes lie in the order of its digits.
pub(crate) fn uuid(raw: &[u8; 16]) -> String {
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

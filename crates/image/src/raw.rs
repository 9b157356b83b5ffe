//! Helpers for structures exactly as they lie on disk: one way to print them all.

use zerocopy::byteorder::{BE, LE, U16, U32, U64};

/// Prints every field of a raw structure with its byte offset in the image.
///
/// Destructures without `..`: a field missing from the list does not compile, so two different structures can never
/// print the same text.
macro_rules! fields {
    ($out:expr, $at:expr, $raw:expr, $ty:ident { $($field:ident),+ $(,)? }) => {{
        let $ty { $($field),+ } = $raw;
        $(
            let offset = $at.saturating_add($crate::io::wide(std::mem::offset_of!($ty, $field)));
            $out.push_str(&format!("{offset:08x}  {} = {}\n", stringify!($field), $crate::raw::Show::show($field)));
        )+
    }};
}
pub(crate) use fields;

/// The text of one field in a dump. Different values never give the same text.
pub(crate) trait Show {
    /// One line without line feed.
    fn show(&self) -> String;
}

macro_rules! show_number {
    ($($ty:ty),+) => { $( impl Show for $ty { fn show(&self) -> String { format!("{self}") } } )+ };
}
show_number!(u8, U16<LE>, U32<LE>, U64<LE>, U16<BE>, U32<BE>, U64<BE>);

impl<const N: usize> Show for [u8; N] {
    fn show(&self) -> String {
        show_bytes(self)
    }
}

/// Text if all of it is printable, `0 x N` if all of it is zero, else hexadecimal digits.
pub(crate) fn show_bytes(bytes: &[u8]) -> String {
    if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
        return format!("0 x {}", bytes.len());
    }
    let printable = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(printable) {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_bytes_print_differently() {
        assert_eq!(show_bytes(b"EFI "), "\"EFI \"");
        assert_eq!(show_bytes(b"\0\0"), "0 x 2");
        assert_eq!(show_bytes(b"a\0"), "6100");
        assert_eq!(show_bytes(b""), "\"\"");
    }
}

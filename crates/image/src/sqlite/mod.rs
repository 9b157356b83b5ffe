//! SQLite databases, to be read: which page is whose, for comparing. No row is interpreted but those that name tables.
//!
//! Source of the layout: "Database File Format" of SQLite, version 3.

mod extents;
mod layout;

pub use extents::extents;

use crate::io::ReadError;

/// Why a database, or a part of it, could not be read.
pub type SqliteError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// A value that no database has.
    #[error("{field} is {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A page that there is not, or that is reached twice.
    #[error("page {0} is not there, or is reached twice")]
    Page(u32),
}

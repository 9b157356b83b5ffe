//! selfsame-testkit
mod oracle;

pub use oracle::{oracle, oracle_text};
pub use tempfile;

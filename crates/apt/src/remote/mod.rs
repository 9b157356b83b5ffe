//! A store shared between machines: a directory, a plain web server, or anything that takes `PUT`.
//!
//! ```text
//! REMOTE/blobs/ab/<62 hex>                         as in a store: whoever serves a store's directory serves its blobs
//!        entries/<public key>/<kind>/ab/<62 hex>   cache entries, signed
//! ```
//! All names are immutable: whoever writes one writes the same bytes, so that nothing has to be locked, listed or
//! compared, and an unconditional `PUT` is enough. Nothing rests on the server: blobs are checked against their names, and
//! cache entries are believed only if a key signed them that the user named (`docs/decisions/remote.md`). A remote can
//! delay a build, within limits, and never change or fail one.
mod crew;
mod key;
mod pull;
mod push;
mod signed;

use selfsame_image::digest::Digest;

pub use key::{BadKey, PublicKey, SecretKey};
pub use pull::{Counts, Pull, Pulled};
pub use push::{PushError, Pushed, Sent, push};
pub use signed::Untrusted;

use crate::fetch::{FetchConfig, FetchError, Fetcher};
use crate::mirrors::{BadMirror, Mirror};

/// Objects that are on their way at the same time.
const AT_ONCE: usize = 8;

/// A shared store.
#[derive(Debug)]
pub struct Remote {
    fetcher: Fetcher,
    at: Mirror,
}

/// Why a remote cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum BadRemote {
    /// Its address.
    #[error("the address of the remote cannot be used")]
    Address(#[from] BadMirror),
    /// The limits or proxies it is to be used with.
    #[error(transparent)]
    Config(#[from] FetchError),
}

impl Remote {
    /// The remote at `url`. Limits are for the objects of a cache, which can be made here as well: those of `config` that
    /// say how long to wait are replaced by lower ones.
    pub fn new(url: &str, config: FetchConfig) -> Result<Self, BadRemote> {
        let config = FetchConfig {
            connections_per_host: AT_ONCE,
            own_server: true,
            stall_timeout: config.stall_timeout.min(std::time::Duration::from_secs(10)),
            min_rate: 32 << 10,
            retries: 1,
            ..config
        };
        Ok(Self { at: Mirror::parse(url)?, fetcher: Fetcher::new(config)? })
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.at, f)
    }
}

/// `ab/<62 hex>`, as a store has it.
fn fan_out(digest: &Digest) -> String {
    let hex = digest.to_string();
    format!("{}/{}", &hex[..2], &hex[2..])
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}", fan_out(digest))
}

fn entry_name(signer: &PublicKey, kind: &str, key: &Digest) -> String {
    format!("entries/{}/{kind}/{}", signer.digits(), fan_out(key))
}

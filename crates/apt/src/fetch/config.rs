//! How to fetch.

use std::time::Duration;

/// Limits and habits of a [`super::Fetcher`].
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// Connections to one host at the same time, 1 to 4. More is rude, and mirrors refuse it.
    pub connections_per_host: usize,
    /// The server is the user's own: it may have up to 8 connections.
    pub own_server: bool,
    /// Time for one call of [`super::Fetcher::fetch_all`] or [`super::Fetcher::fetch_unpinned`].
    pub deadline_total: Option<Duration>,
    /// How long a host name, a connection, an answer or the next byte may take.
    pub stall_timeout: Duration,
    /// Bytes per second that must come on average over each stall time.
    pub min_rate: u64,
    /// How often one mirror is asked again for one file after trouble that may pass. Being cut off in a large file with
    /// much of it received does not count.
    pub retries: u32,
    /// First pause before asking again; doubles with each time.
    pub pause: Duration,
    /// Longest pause. A mirror that asks for a longer one (`Retry-After`) is not asked for that file again.
    pub max_pause: Duration,
    /// After how many failures in a row, or lies altogether, a mirror is not asked for anything any more. The last mirror
    /// is given `retries` more requests, one at a time.
    pub offences: u32,
    /// What we call ourselves.
    pub user_agent: String,
    /// Use the store and `file:` mirrors only.
    pub offline: bool,
    /// A proxy for `http:`, which is asked in the absolute form, as `http://host:port`.
    pub http_proxy: Option<String>,
    /// A proxy for `https:`, which is asked to `CONNECT`, as `http://host:port`.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy: names, endings of names, or `*`.
    pub no_proxy: Vec<String>,
    /// The value of an `Authorization` header for every request. Never sent to where a redirection leads.
    pub authorization: Option<Secret>,
    /// Who may vouch for the certificates of `https:` mirrors.
    pub roots: Roots,
}

/// The value of a header that must not show in messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret; `None` if a header cannot carry it: it is empty, or has something else than printable ASCII.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fine = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        fine.then(|| Self(text.to_owned()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Roots of trust for TLS. Nothing rests on them: TLS hides what is fetched and keeps mirrors fresh, digests and
/// signatures say what is right.
#[derive(Clone, Debug)]
pub enum Roots {
    /// Mozilla's list as it was when this program was built.
    BuiltIn,
    /// These certificates (PEM) and no others.
    Only(Vec<u8>),
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            connections_per_host: 4,
            own_server: false,
            deadline_total: None,
            stall_timeout: Duration::from_secs(30),
            min_rate: 500,
            retries: 3,
            pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(120),
            offences: 5,
            user_agent: concat!("selfsame/", env!("CARGO_PKG_VERSION")).to_owned(),
            offline: false,
            http_proxy: None,
            https_proxy: None,
            no_proxy: Vec::new(),
            authorization: None,
            roots: Roots::BuiltIn,
        }
    }
}

impl FetchConfig {
    /// Connections to one host, within bounds.
    pub(crate) fn per_host(&self) -> usize {
        self.connections_per_host.clamp(1, if self.own_server { 8 } else { 4 })
    }
}

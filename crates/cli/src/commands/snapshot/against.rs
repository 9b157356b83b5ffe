//! What another snapshot service has for a kept snapshot.

use std::io;

use selfsame_apt::date;
use selfsame_apt::fetch::{FetchError, Fetcher, Reason};
use selfsame_apt::mirrors::Mirror;
use selfsame_apt::openpgp::Keyring;
use selfsame_apt::release::MAX_SIZE;
use selfsame_apt::snapshot::{Elsewhere, SuiteState, check_source};
use selfsame_build::snapshots::{Comparison, Kept, compare};
use selfsame_image::Digest;
use selfsame_store::Store;
use serde::Serialize;

use crate::failure::Failure;

/// How long after its date a state is asked for, in hours. Services that name a state by the time at which they took it have
/// it under a later name, and give the one before for a name in between.
const LATER: [i64; 4] = [0, 6, 12, 24];

/// What a service has for one suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The address as it was given.
    pub against: String,
    /// `same`, `same-text`, `fork`, `other-date`, `refused` or `missing`.
    pub found: &'static str,
    /// In words.
    pub says: String,
}

impl Answer {
    fn new(service: &Service, comparison: Option<Comparison>) -> Self {
        let (found, says) = match comparison {
            None => ("missing", "has no such snapshot".to_owned()),
            Some(Comparison::Same) => ("same", "has the same file".to_owned()),
            Some(Comparison::SameText) => ("same-text", "has the same text with other signatures".to_owned()),
            Some(Comparison::Fork { found }) => {
                ("fork", format!("has another text of the same date, also signed: {found}"))
            }
            Some(Comparison::Other { date }) => {
                ("other-date", format!("has the state of {} instead", date::serial(date)))
            }
            Some(Comparison::Refused { why }) => ("refused", format!("has something else: {why}")),
            Some(_) => ("refused", "has something else".to_owned()),
        };
        Self { against: service.address.clone(), found, says }
    }
}

/// A service that keeps states of archives by their time.
#[derive(Clone, Debug)]
pub struct Service {
    address: String,
}

impl Service {
    /// One at `address`, in which `{archive}` and `{serial}` stand for name and time; without the latter it comes last.
    pub fn new(address: &str) -> Result<Self, Failure> {
        let service = Self { address: address.to_owned() };
        service.mirror("debian", 0)?;
        check_source(address).map_err(Failure::usage)?;
        Ok(service)
    }

    fn mirror(&self, archive: &str, time: i64) -> Result<Mirror, Failure> {
        let serial = date::serial(time);
        let address = self.address.replace("{archive}", archive);
        let url = match address.contains("{serial}") {
            true => address.replace("{serial}", &serial),
            false => format!("{}/{serial}", address.trim_end_matches('/')),
        };
        Mirror::parse(&url).map_err(|error| {
            Failure::usage(error).context("--against").hint(
                "an address such as http://127.0.0.1:8042/debian/{serial}; without {serial} it is put at the end",
            )
        })
    }

    /// Asks for `suite` of `kept`, and compares. A service that does not answer is an error: nothing is known then.
    pub fn ask(
        &self,
        fetcher: &Fetcher,
        (store, all): (&Store, &mut Elsewhere),
        (kept, keys): (&Kept, &Keyring),
        (suite, text): (&SuiteState, &Digest),
    ) -> Result<Answer, Failure> {
        let newest = kept.snapshot.suites.iter().map(|suite| suite.date).max().unwrap_or_default();
        let path = format!("dists/{}/InRelease", suite.suite);
        let mut last = None;
        for hours in LATER {
            let mirror = self.mirror(&kept.snapshot.archive, newest + hours * 3600)?;
            let file = match fetcher.fetch_unpinned(&path, &mirror, MAX_SIZE) {
                Ok(file) => file,
                Err(error) if missing(&error) => continue,
                Err(error) => {
                    return Err(Failure::from(error).context(format!("cannot ask {}", self.address)));
                }
            };
            let found = compare(store, all, (kept, keys), (suite, text), &file, &self.address)?;
            let older = matches!(found, Comparison::Other { date } if date < suite.date);
            last = Some(found);
            if !older {
                break;
            }
        }
        Ok(Answer::new(self, last))
    }
}

fn missing(error: &FetchError) -> bool {
    let FetchError::Unpinned { tried, .. } = error else { return false };
    matches!(tried.reason, Reason::Missing { .. } | Reason::Unreadable(io::ErrorKind::NotFound))
}

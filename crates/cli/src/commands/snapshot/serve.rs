//! `selfsame snapshot serve`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_apt::fetch::{Fetcher, Silent, Want};
use selfsame_apt::mirrors;
use selfsame_apt::snapshot::ArchiveSpec;
use selfsame_build::lock::ArchiveState;
use selfsame_build::snapshots::Kept;
use selfsame_build::tag;
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_serve::{Access, Catalogue, Limits, Log, Offer, TagPart, Upstream};
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::Context;
use crate::commands::build::{Mirror, read_lock};
use crate::explain::chain;
use crate::failure::{Failure, Status};
use crate::source;
use crate::ui::{Output, Present, harmless};

/// Serve the snapshots in the store to stock apt, mmdebstrap and debootstrap
///
/// The paths are /ARCHIVE/SERIAL/dists and /ARCHIVE/SERIAL/pool; /ARCHIVE/ lists the serials, /ARCHIVE/latest leads to the
/// newest one, and /ARCHIVE/project/trace/ARCHIVE names it. Signed files and indexes come from the store, byte for byte.
/// Packages that the store does not have are fetched from the mirrors once, checked against the signed index, and kept.
/// Snapshots that are taken while the server runs are there a second later.
///
/// All signatures and digests of a snapshot are checked as of its time before it is served for the first time. Nothing can
/// be changed through the server. It ends with Ctrl-C or SIGTERM, when the answers under way are sent, or after ten seconds.
///
/// A tag is served as its SHA256SUMS lists it; its signatures are for the clients to check, which do. Where a snapshot of
/// the store has the same name, what that one's signed indexes say counts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot serve
  selfsame snapshot serve --listen 0.0.0.0:8042 --mirror debian=http://mirror.example/debian
  selfsame snapshot serve --tag tags/1.0 --offline

  deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] \\
    http://127.0.0.1:8042/debian/20260711T101637Z bookworm main")]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8042")]
    listen: SocketAddr,
    /// Serve this directory too, which `selfsame snapshot tag` made; may be given more than once
    #[arg(long = "tag", value_name = "DIR")]
    tags: Vec<PathBuf>,
    /// Fetch packages of an archive from this address; may be given more than once [default: this machine's own APT sources
    /// that have the suites]
    #[arg(long = "mirror", value_name = "ARCHIVE=URL")]
    mirrors: Vec<Mirror>,
    /// Fetch nothing: what is not in the store is not there
    #[arg(long)]
    offline: bool,
    /// How many clients may be connected at a time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = positive)]
    connections: usize,
    /// Print each request with the status and the size of its answer
    #[arg(long, short)]
    verbose: bool,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot serve` prints when it is ready. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Ready {
    /// The address, with a slash at the end.
    url: String,
    /// Archive and serial of each state.
    states: Vec<(String, String)>,
}

impl Present for Ready {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", self.url)?;
        self.states.iter().try_for_each(|(archive, serial)| writeln!(to, "  {archive}/{serial}"))
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let tags: Vec<Vec<TagPart>> = args.tags.iter().map(|dir| parts(dir)).collect::<Result<_, _>>()?;
    let fetcher = Fetcher::new(source::config(&cx.settings, args.offline)).map_err(Failure::environment)?;
    let mut by_archive: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Mirror { archive, url } in &args.mirrors {
        by_archive.entry(archive.clone()).or_default().push(url.clone());
    }
    let offline = args.offline;
    let mirrors = FromMirrors { store: store.clone(), fetcher, by_archive, offline };
    let catalogue = Catalogue::new(store, tags.concat(), mirrors).map_err(Failure::environment)?;
    let states = catalogue.states();
    if states.is_empty() {
        cx.ui.warn("there is no snapshot yet: `selfsame snapshot create RECIPE` takes one");
    }
    let listener = TcpListener::bind(args.listen)
        .map_err(|error| Failure::environment(error).context(format!("cannot listen on {}", args.listen)))?;
    let address = listener.local_addr().map_err(Failure::environment)?;
    let connections = args.connections.min(open_files(args.connections));
    if connections < args.connections {
        cx.ui.warn(&format!("this process may open so few files that {connections} connections must do"));
    }
    cx.ui.result(args.output, &Ready { url: format!("http://{address}/"), states })?;
    let ui = cx.ui.clone();
    let log = move |access: &Access| {
        let Access { client, method, path, status, size } = access;
        ui.note(&format!("{client} {method} {} {status} {size}", harmless(path)));
    };
    let log = args.verbose.then(|| Arc::new(log) as Arc<Log>);
    let limits = Limits { connections, ..Limits::default() };
    let stop = || cx.interrupt.is_raised();
    selfsame_serve::run(listener, Arc::new(catalogue), &limits, log, stop).map_err(Failure::environment)?;
    Ok(Status::Success)
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number of at least 1".to_owned())
}

/// Asks for enough files for so many connections, each with one that is sent, and says for how many there are.
fn open_files(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// For the store, the runtime, the standard streams, and what is fetched.
    const OTHERS: u64 = 128;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = (connections as u64).saturating_mul(2).saturating_add(OTHERS);
    let wanted = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = current.is_some_and(|current| current < wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    let have = if raised { wanted } else { current.unwrap_or(u64::MAX) };
    usize::try_from(have.saturating_sub(OTHERS) / 2).unwrap_or(usize::MAX).max(1)
}

/// The parts of a tag: one for each archive.
fn parts(dir: &Path) -> Result<Vec<TagPart>, Failure> {
    let no_tag = |why: String| {
        Failure::input(format!("{} is no tag: {why}", dir.display()))
            .hint("`selfsame snapshot tag RECIPE DIR` makes one of a recipe's lock")
    };
    let lock = read_lock(dir)?.ok_or_else(|| no_tag(format!("there is no {}", tag::LOCK)))?;
    let sums = dir.join(tag::SUMS);
    let sums = std::fs::read_to_string(&sums).map_err(|error| no_tag(format!("{}: {error}", tag::SUMS)))?;
    let root = dir.canonicalize().map_err(|error| no_tag(error.to_string()))?;
    let mut files: BTreeMap<&str, BTreeMap<String, Content>> = BTreeMap::new();
    for (number, line) in sums.lines().enumerate() {
        let bad = || no_tag(format!("line {} of {} is none of sha256sum", number + 1, tag::SUMS));
        let (digest, path) = line.split_once("  ").ok_or_else(bad)?;
        let digest: Digest = digest.parse().map_err(|_| bad())?;
        if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(bad());
        }
        let Some((archive, path)) = path.split_once('/') else { continue };
        let meta = std::fs::metadata(root.join(archive).join(path));
        let size = meta.map_err(|error| no_tag(format!("{archive}/{path}: {error}")))?.len();
        files.entry(archive).or_default().insert(path.to_owned(), Content { size, digest });
    }
    let part = |state: &ArchiveState| TagPart {
        archive: state.name.clone(),
        serial: state.serial.clone(),
        date: state.suites.iter().map(|suite| suite.date).max().unwrap_or(0),
        root: root.join(&state.name),
        files: files.remove(state.name.as_str()).unwrap_or_default(),
    };
    Ok(lock.archives.iter().map(part).collect())
}

/// Takes what is missing from mirrors.
struct FromMirrors {
    store: Store,
    fetcher: Fetcher,
    /// Those of the command line.
    by_archive: BTreeMap<String, Vec<String>>,
    offline: bool,
}

impl Upstream for FromMirrors {
    fn offers(&self) -> Result<Vec<Offer>, String> {
        let all = Kept::all(&self.store).map_err(|error| chain(&error))?;
        Ok(all.into_iter().map(|Kept { spec, snapshot, .. }| Offer { spec, snapshot }).collect())
    }

    fn bring(&self, archive: &ArchiveSpec, path: &str, content: Content) -> Result<(), String> {
        if self.offline {
            return Err("the store does not have it, and --offline is given".to_owned());
        }
        let urls = self.by_archive.get(&archive.name);
        let mirrors: Result<Vec<mirrors::Mirror>, Failure> = match urls {
            Some(urls) => source::mirrors(&archive.name, &archive.suites, urls.iter().map(String::as_str)),
            None => source::mirrors(&archive.name, &archive.suites, ["auto"]),
        };
        let mirrors = mirrors.map_err(|failure| failure.to_string())?;
        let Content { size, digest } = content;
        let want = Want { what: path.to_owned(), size, digest, paths: vec![path.to_owned()] };
        let fetched = self.fetcher.fetch_all(&self.store, &[want], &mirrors, &Silent);
        fetched.map(drop).map_err(|error| chain(&error))
    }
}

//! A store shared over HTTP or a directory: what is pushed comes back, once and whole, and a remote that misbehaves costs
//! little and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use selfsame_apt::fetch::{FetchConfig, Secret, Silent};
use selfsame_apt::remote::{Counts, Pull, PushError, Pushed, Remote, SecretKey, Sent, push};
use selfsame_image::digest::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;
use selfsame_testkit::archive::{Behaviour, Server, serve};

const KIND: &str = "squashfs";

/// Two stores and a remote between them.
struct World {
    dir: tempfile::TempDir,
    from: Store,
    to: Store,
    server: Server,
    secret: SecretKey,
    blobs: Vec<(String, Content)>,
    keys: Vec<Digest>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = |name: &str| Store::open(dir.path().join(name)).unwrap();
    let (from, to) = (store("from"), store("to"));
    fs::create_dir(dir.path().join("remote")).unwrap();
    let server = serve(&dir.path().join("remote"));
    let mut blobs = Vec::new();
    let mut keys = Vec::new();
    for number in 0..20u8 {
        let bytes = vec![number; 1000 + usize::from(number)];
        from.put(&bytes).unwrap();
        blobs.push((format!("package {number}"), Content::of(&bytes)));
        keys.push(Digest::of(&[number]));
        from.cache_put(KIND, &keys[usize::from(number)], &bytes).unwrap();
    }
    World { dir, from, to, server, secret: SecretKey::generate().unwrap(), blobs, keys }
}

fn remote(url: &str) -> Remote {
    let config = FetchConfig { stall_timeout: Duration::from_millis(500), ..FetchConfig::default() };
    Remote::new(url, config).unwrap()
}

impl World {
    fn push(&self, url: &str) -> Result<Pushed, PushError> {
        push(&remote(url), &self.from, &self.blobs, Some((&self.secret, KIND)), &Silent)
    }

    /// Pulls everything into the second store; counts of blobs and entries, and warnings.
    fn pull(&self, url: &str) -> (Counts, Counts, Vec<String>) {
        let warnings = Mutex::new(Vec::new());
        let warn = |text| warnings.lock().unwrap().push(text);
        let remote = remote(url);
        let pull = Pull::new(&remote, Some(self.secret.public()), &warn);
        pull.blobs(&self.to, &self.blobs, &Silent).unwrap();
        pull.entries(&self.to, KIND, &self.keys, &|| false);
        let pulled = pull.pulled();
        (pulled.blobs, pulled.entries, warnings.into_inner().unwrap())
    }

    /// Panics if the second store has other bytes than the first one.
    #[track_caller]
    fn assert_true(&self) {
        for (key, (_, content)) in self.keys.iter().zip(&self.blobs) {
            for found in [self.to.cache_get(KIND, key).unwrap(), self.to.read(&content.digest).unwrap()] {
                assert!(found.is_none_or(|bytes| Content::of(&bytes) == *content));
            }
        }
    }

    fn object(&self, start: &str, number: usize) -> PathBuf {
        let key = if start == "blobs" { self.blobs[number].1.digest } else { self.keys[number] }.to_string();
        let below = match start {
            "blobs" => "blobs".to_owned(),
            _ => format!("entries/{}/{KIND}", &self.secret.public().to_string()["ed25519:".len()..]),
        };
        Path::new(&below).join(&key[..2]).join(&key[2..])
    }

    fn path(&self, start: &str, number: usize) -> PathBuf {
        self.dir.path().join("remote").join(self.object(start, number))
    }

    /// The object's path for the server.
    fn url_path(&self, start: &str, number: usize) -> String {
        format!("/{}", self.object(start, number).display())
    }
}

fn all(pulled: u64) -> Counts {
    Counts { pulled, bytes: (0..pulled).map(|number| 1000 + number).sum(), ..Counts::default() }
}

#[test]
fn what_is_pushed_once_comes_back_over_http_and_from_a_directory() {
    let world = world();
    let pushed = world.push(&world.server.url()).unwrap();
    assert_eq!((pushed.blobs.pushed, pushed.entries.pushed, pushed.blobs.bytes), (20, 20, 20_190));
    let again = Sent { present: 20, ..Sent::default() };
    let directory = format!("file:{}", world.dir.path().join("remote").display());
    for url in [world.server.url(), directory.clone()] {
        assert_eq!(world.push(&url).unwrap(), Pushed { blobs: again, entries: again });
    }
    assert_eq!(world.server.requests().iter().filter(|request| request.starts_with("PUT")).count(), 40);
    assert_eq!(world.pull(&world.server.url()), (all(20), all(20), vec![]));
    world.assert_true();
    // What is there is not asked for again.
    let before = world.server.requests().len();
    assert_eq!(world.pull(&world.server.url()).1, Counts::default());
    assert_eq!(world.server.requests().len(), before);

    let world = World { to: Store::open(world.dir.path().join("third")).unwrap(), ..world };
    assert_eq!(world.pull(&directory), (all(20), all(20), vec![]));
    world.assert_true();
}

#[test]
fn a_push_goes_on_where_it_was_cut_off() {
    let world = world();
    world.server.set_after(30, Behaviour::Status { code: 507, retry_after: None });
    let error = world.push(&world.server.url()).unwrap_err();
    assert!(error.to_string().contains("it answered with status 507"), "{error}");
    world.server.set_after(usize::MAX, Behaviour::Hangup);
    // What some servers leave of a cut connection.
    fs::create_dir_all(world.path("entries", 3).parent().unwrap()).unwrap();
    fs::write(world.path("entries", 3), "self").unwrap();
    let pushed = world.push(&world.server.url()).unwrap();
    let before = pushed.blobs.present + pushed.entries.present;
    assert!((10..20).contains(&before), "{pushed:?}");
    assert_eq!(pushed.blobs.pushed + pushed.entries.pushed, 40 - before);
    assert_eq!(world.pull(&world.server.url()), (all(20), all(20), vec![]));
}

#[test]
fn a_damaged_blob_is_not_pushed() {
    let world = world();
    let path = world.from.path(&world.blobs[7].1.digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![0; 1007]).unwrap();
    assert!(matches!(world.push(&world.server.url()), Err(PushError::Store(_))));
    assert!(!world.path("blobs", 7).exists());
}

#[test]
fn objects_that_lie_are_named_and_not_used() {
    for start in ["blobs", "entries"] {
        let lies: [&dyn Fn(&World); 4] = [
            &|world| {
                let mut bytes = fs::read(world.path(start, 5)).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(world.path(start, 5), bytes).unwrap();
            },
            &|world| {
                let bytes = fs::read(world.path(start, 5)).unwrap();
                fs::write(world.path(start, 5), &bytes[..bytes.len() - 1]).unwrap();
            },
            &|world| assert!(fs::copy(world.path(start, 6), world.path(start, 5)).unwrap() > 0),
            &|world| world.server.set(&world.url_path(start, 5), Behaviour::Endless),
        ];
        for (number, lie) in lies.iter().enumerate() {
            let world = world();
            world.push(&world.server.url()).unwrap();
            lie(&world);
            let (blobs, entries, warnings) = world.pull(&world.server.url());
            let counts = if start == "blobs" { blobs } else { entries };
            assert_eq!((counts.pulled, counts.refused), (19, 1), "{start} {number}: {warnings:?}");
            let name = if start == "blobs" { "package 5" } else { &world.keys[5].to_string() };
            assert!(warnings.len() == 1 && warnings[0].contains(name), "{start} {number}: {warnings:?}");
            assert!(world.to.size(&world.blobs[5].1.digest).is_none() || start != "blobs");
            assert!(!world.to.cache_contains(KIND, &world.keys[5]) || start != "entries");
            world.assert_true();
        }
    }
}

#[test]
fn work_of_other_keys_is_never_used() {
    let world = world();
    world.push(&world.server.url()).unwrap();
    let trusted = SecretKey::generate().unwrap().public();
    let warnings = Mutex::new(Vec::new());
    let warn = |text| warnings.lock().unwrap().push(text);
    let remote = remote(&world.server.url());
    // Under their own name they are not even asked for.
    let pull = Pull::new(&remote, Some(trusted.clone()), &warn);
    pull.entries(&world.to, KIND, &world.keys, &|| false);
    assert_eq!(pull.pulled().entries, Counts { missing: 20, ..Counts::default() });
    // Under the trusted one they are lies, and three of them are enough.
    let root = world.dir.path().join("remote/entries");
    let name = |key: &selfsame_apt::remote::PublicKey| root.join(&key.to_string()["ed25519:".len()..]);
    fs::rename(name(&world.secret.public()), name(&trusted)).unwrap();
    let pull = Pull::new(&remote, Some(trusted), &warn);
    pull.entries(&world.to, KIND, &world.keys, &|| false);
    let Counts { pulled, refused, .. } = pull.pulled().entries;
    assert!(pulled == 0 && (3..=10).contains(&refused), "{refused}");
    let warnings = warnings.lock().unwrap();
    assert!(warnings.len() == 3 && warnings[2].ends_with("the remote is not used any more"), "{warnings:?}");
    // Without a key nobody is believed.
    let pull = Pull::new(&remote, None, &warn);
    pull.entries(&world.to, KIND, &world.keys, &|| false);
    assert_eq!(pull.pulled().entries, Counts::default());
    assert!(world.to.cache_keys(KIND).unwrap().is_empty());
}

#[test]
fn a_remote_that_stalls_breaks_or_disappears_is_dropped_with_one_warning() {
    let slow = Behaviour::Slow { piece: 10, pause: Duration::from_secs(3) };
    let ways = [
        slow,
        Behaviour::Hangup,
        Behaviour::Truncate(100),
        Behaviour::Status { code: 500, retry_after: None },
    ];
    for way in ways {
        let world = world();
        world.push(&world.server.url()).unwrap();
        world.server.set_after(24, way.clone());
        let begun = Instant::now();
        let (blobs, entries, warnings) = world.pull(&world.server.url());
        assert_eq!(blobs, all(20), "{way:?}");
        assert!(entries.pulled <= 4 && entries.failed >= 3, "{way:?}: {entries:?}");
        assert!(
            warnings.len() == 1 && warnings[0].contains(" is not used any more: "),
            "{way:?}: {warnings:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(15), "{way:?}");
        world.assert_true();
    }
    let world = world();
    let url = world.server.url();
    drop(world.server);
    let server = serve(world.dir.path());
    let world = World { server, ..world };
    let (blobs, entries, warnings) = world.pull(&url);
    assert!(blobs.pulled + entries.pulled == 0 && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn the_password_is_sent_where_it_belongs_and_nowhere_else() {
    let world = world();
    world.server.set_password("Bearer secret");
    let error = world.push(&world.server.url()).unwrap_err();
    assert!(error.to_string().ends_with("it answered with status 401"), "{error}");
    let authorization = Secret::new("Bearer secret");
    let config = FetchConfig { authorization, ..FetchConfig::default() };
    assert!(!format!("{config:?}").contains("secret"));
    let known = Remote::new(&world.server.url(), config).unwrap();
    push(&known, &world.from, &[], Some((&world.secret, KIND)), &Silent).unwrap();
    // A redirection to another server does not take it along.
    let other = serve(&world.dir.path().join("remote"));
    other.set_password("Bearer secret");
    let path = world.url_path("entries", 0);
    world.server.set(&path, Behaviour::Redirect(format!("{}{path}", other.url())));
    let pull = Pull::new(&known, Some(world.secret.public()), &|_| {});
    pull.entries(&world.to, KIND, &world.keys, &|| false);
    assert_eq!((pull.pulled().entries.pulled, pull.pulled().entries.failed), (19, 1));
    assert_eq!(other.requests().len(), 1);
}

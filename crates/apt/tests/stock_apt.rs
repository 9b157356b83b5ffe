//! Stock apt takes a snapshot as it is: Debian's way of signing, full indexes, and only a part of the pool (S11).

mod support;

use std::path::Path;

use selfsame_apt::snapshot::{ArchiveSpec, Terms, Transport, TransportError, Want, fetch_snapshot};
use selfsame_image::tree::Content;
use selfsame_store::Store;
use selfsame_testkit::Apt;
use selfsame_testkit::archive::{Archive, Deb, Key, NOW, Suite, certificate, serve};
use support::{fingerprint, keyring};

/// A directory as the only mirror.
struct Directory<'a>(&'a Path);

impl Transport for Directory<'_> {
    fn sources(&self) -> Vec<String> {
        vec!["directory".to_owned()]
    }

    fn in_release(&self, _: usize, path: &str, _: u64) -> Result<Vec<u8>, TransportError> {
        std::fs::read(self.0.join(path)).map_err(|_| TransportError::Missing { path: path.to_owned() })
    }

    fn pinned(&self, store: &Store, wants: &[Want]) -> Result<(), TransportError> {
        for want in wants {
            let bytes = std::fs::read(self.0.join(&want.paths[0])).unwrap();
            assert_eq!(Content::of(&bytes), want.content);
            store.put(&bytes).unwrap();
        }
        Ok(())
    }
}

#[test]
fn a_partial_snapshot_with_the_original_signature_is_enough() {
    let key = Key::new("archive");
    let [hello, other] = ["hello", "other"].map(|name| Deb::new(name, "1.0").file("usr/bin/x", 0o755, b"x"));
    let suite = Suite::new("trixie", &key).with(hello.clone()).with(other);
    let (mirror, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Archive { suites: vec![suite] }.write(mirror.path());
    let spec = ArchiveSpec {
        name: "fixture".to_owned(),
        mirrors: vec![],
        suites: vec!["trixie".to_owned()],
        components: vec!["main".to_owned()],
        architectures: vec!["amd64".to_owned()],
        keyring: None,
        fingerprints: vec![fingerprint(&key)],
        threshold: 1,
    };
    let store = Store::open(home.path().join("store")).unwrap();
    let terms = Terms::new(NOW + 5);
    let fetched =
        fetch_snapshot(&spec, &keyring(&[&key]), &Directory(mirror.path()), &store, &terms).unwrap();

    // What the store has, under the names that apt wants, and one package of two.
    let root = home.path().join("served");
    for (path, content) in fetched.snapshot.files() {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, store.read(&content.digest).unwrap().unwrap()).unwrap();
    }
    let deb = root.join("pool/main/h/hello").join(hello.file_name());
    std::fs::create_dir_all(deb.parent().unwrap()).unwrap();
    std::fs::write(&deb, hello.bytes()).unwrap();

    let key_file = home.path().join("archive.asc");
    std::fs::write(&key_file, certificate(&[&key])).unwrap();
    let server = serve(&root);
    for (name, url) in [("file", format!("file:{}", root.display())), ("http", server.url())] {
        let source = format!("deb [arch=amd64 signed-by={}] {url} trixie main", key_file.display());
        let apt = Apt::new(home.path().join(name), &source);
        let Some(()) = apt.update() else { return };
        let downloaded = apt.command(&["download", "hello"]).output().unwrap();
        assert!(downloaded.status.success(), "{downloaded:?}");
        let got = std::fs::read(home.path().join(name).join(hello.file_name()));
        // From a file: source apt may leave the package where it is.
        assert!(got.is_ok_and(|bytes| bytes == hello.bytes()), "{downloaded:?}");
        let missing = apt.command(&["download", "other"]).output().unwrap();
        assert!(!missing.status.success());
    }
    assert!(server.requests().iter().any(|request| request.contains("/by-hash/SHA256/")));
}

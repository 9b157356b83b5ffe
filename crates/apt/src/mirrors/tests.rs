//! Which mirrors a machine knows.

use super::*;

#[test]
fn urls_come_out_in_one_form() {
    for (text, url, host) in [
        ("http://Mirror.Example/debian/", "http://mirror.example/debian", "mirror.example"),
        ("HTTPS://mirror.example:8443", "https://mirror.example:8443", "mirror.example"),
        (" http://[::1]:3142/a//", "http://[::1]:3142/a", "[::1]"),
        ("file:/srv/debian/", "file:///srv/debian", ""),
        ("file:///srv/debian", "file:///srv/debian", ""),
        ("copy://localhost/srv", "file:///srv", ""),
        ("file:///", "file://", ""),
    ] {
        let mirror = Mirror::parse(text).unwrap();
        assert_eq!((mirror.as_str(), mirror.host()), (url, host), "{text}");
        assert_eq!(Mirror::parse(url), Ok(mirror));
    }
    let mirror = Mirror::parse("file:/a%20b/%zz%2").unwrap();
    assert_eq!(mirror.directory().unwrap(), Path::new("/a b/%zz%2"));
    assert_eq!(Mirror::parse("file:///").unwrap().directory().unwrap(), Path::new("/"));
    for path in ["/", "/srv/mirror", "/a b/%zz?#/\u{e4}"] {
        let mirror = Mirror::of_directory(Path::new(path));
        assert_eq!(mirror.directory().unwrap(), Path::new(path), "{mirror}");
        assert_eq!(Mirror::parse(mirror.as_str()), Ok(mirror));
    }
}

#[test]
fn bad_urls_are_refused_without_telling_passwords() {
    use UrlFault::{Character, Credentials, Host, Relative, Scheme};
    for (text, fault) in [
        ("", Scheme),
        ("ftp://mirror.example/", Scheme),
        ("cdrom:disc1/", Scheme),
        ("http:", Host),
        ("http:///debian", Host),
        ("http://mirror.example:0/", Host),
        ("http://mirror.example:99999/", Host),
        ("http://mirror.example:1x/", Host),
        ("http://[::g]/", Host),
        ("http://a b/", Character),
        ("http://a/?q", Character),
        ("http://a/#f", Character),
        ("http://mirror.example/\r\nX: y", Character),
        ("http://mïrror.example/", Character),
        ("file:srv/debian", Relative),
        ("file://other.example/srv", Host),
        ("http://me:secret@mirror.example/", Credentials),
    ] {
        let error = Mirror::parse(text).unwrap_err();
        assert_eq!(error.fault, fault, "{text}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

fn debian(uri: &str, suites: &[&str]) -> String {
    format!("Types: deb\nURIs: {uri}\nSuites: {}\nComponents: main\n", suites.join(" "))
}

fn pick(texts: &[&str], suite: &str) -> Vec<String> {
    let path = Path::new("x.sources");
    let sources = system_sources(&texts.iter().map(|text| (path, *text)).collect::<Vec<_>>()).unwrap();
    auto_mirrors(&sources, suite).iter().map(Mirror::to_string).collect()
}

#[test]
fn the_archive_is_told_from_the_suite() {
    let texts: [String; 5] = [
        debian("http://far.example/debian", &["trixie", "trixie-updates"]),
        debian("http://near.example/debian/", &["bookworm"]),
        debian("http://far.example/debian-security", &["trixie-security"]),
        debian("http://old.example/security", &["bookworm/updates"]),
        debian("http://near.example/debian", &["bookworm-backports"]),
    ];
    let texts = texts.each_ref().map(String::as_str);
    assert_eq!(pick(&texts, "bookworm"), ["http://near.example/debian", "http://far.example/debian"]);
    assert_eq!(pick(&texts, "trixie"), ["http://far.example/debian", "http://near.example/debian"]);
    assert_eq!(
        pick(&texts, "bookworm-security"),
        ["http://old.example/security", "http://far.example/debian-security"]
    );
    assert_eq!(pick(&texts, "sid"), ["http://far.example/debian", "http://near.example/debian"]);
    assert!(pick(&texts, "noble").is_empty());
}

#[test]
fn what_is_not_debian_is_left_out() {
    let texts = [
        "Types: deb\nURIs: http://vendor.example/linux\nSuites: bookworm\nComponents: stable\n",
        "Types: deb\nURIs: http://vendor.example/debian\nSuites: bookworm\nComponents: main\nSigned-By: /etc/vendor.gpg\n",
        "Types: deb\nURIs: http://vendor.example/pg\nSuites: bookworm-pgdg\nComponents: main\n",
        "Types: deb-src\nURIs: http://sources.example/debian\nSuites: bookworm\nComponents: main\n",
        "Types: deb\nURIs: cdrom:[disc]/ tor+http://x.example/\nSuites: bookworm\nComponents: main\n",
        "Types: deb\nURIs: http://flat.example/\nSuites: ./\n",
        "Types: deb\nURIs: http://good.example/\nSuites: bookworm\nComponents: main contrib\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
    ];
    assert_eq!(pick(&texts, "bookworm"), ["http://good.example"]);
}

#[test]
fn files_are_read_in_the_order_of_apt_and_mirror_lists_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let apt = dir.path().join("etc/apt");
    assert!(read_system_sources(dir.path()).unwrap().is_empty());
    fs::create_dir_all(apt.join("sources.list.d")).unwrap();
    fs::create_dir_all(apt.join("mirrors")).unwrap();
    fs::write(apt.join("sources.list"), "deb http://one.example/debian bookworm main\n").unwrap();
    let part = |name: &str, text: &str| fs::write(apt.join("sources.list.d").join(name), text).unwrap();
    part("b.list", "deb http://three.example/debian bookworm main # caf\u{e9}\n");
    part("a.sources", &debian("mirror+file:///etc/apt/mirrors/debian.list", &["bookworm"]));
    part("ignored.list.save", "garbage\n");
    part("also ignored.list", "garbage\n");
    fs::write(
        apt.join("mirrors/debian.list"),
        "# ours\nhttp://two.example/debian\tpriority:1\n\nhttps://two.example/d\n",
    )
    .unwrap();
    let sources = read_system_sources(dir.path()).unwrap();
    let mirrors: Vec<_> = auto_mirrors(&sources, "bookworm").iter().map(Mirror::to_string).collect();
    assert_eq!(
        mirrors,
        [
            "http://one.example/debian",
            "http://two.example/debian",
            "https://two.example/d",
            "http://three.example/debian"
        ]
    );
    part("c.list", "\ndeb http://x\n");
    let error = read_system_sources(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("etc/apt/sources.list.d/c.list:2: the suite is missing"), "{error}");
}

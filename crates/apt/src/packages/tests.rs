use selfsame_image::Digest;

use super::*;

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn stanza(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{more}\
         Filename: pool/main/{name}_{version}.deb\nSize: 12\nSHA256: {DIGEST}\nDescription: x\n y\n\n"
    )
}

fn index(text: &str) -> Index {
    Index::parse(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn every_value_of_a_stanza() {
    let full = "Source: src (7-1)\nEssential: yes\nPriority: required\nSection: libs\nMulti-Arch: same\n\
                Pre-Depends: p\nDepends:\n a (>= 1),\n b\nProvides: v (= 2)\n";
    let text = stanza("b", "1:2-3", full) + &stanza("a", "1", "Source: other\n") + &stanza("a", "2", "");
    let index = index(&text);
    assert_eq!(
        index.packages().map(|p| format!("{p:?}")).collect::<Vec<_>>(),
        ["b 1:2-3 amd64", "a 1 amd64", "a 2 amd64"]
    );
    let b = index.find("b").next().unwrap();
    assert_eq!(b.version().epoch(), 1);
    assert_eq!(b.filename(), "pool/main/b_1:2-3.deb");
    assert_eq!((b.file().size, b.file().digest), (12, DIGEST.parse::<Digest>().unwrap()));
    assert_eq!(b.source(), ("src", "7-1"));
    assert!(b.essential());
    assert_eq!([b.priority(), b.section(), b.multi_arch()], ["required", "libs", "same"]);
    assert_eq!(b.pre_depends().unwrap()[0][0].name, "p");
    assert_eq!(b.depends().unwrap().len(), 2);
    assert_eq!(b.provides().unwrap()[0][0].version.unwrap().1.to_string(), "2");
    assert_eq!(
        b.stanza(),
        stanza("b", "1:2-3", full)
            .trim_end()
            .as_bytes()
            .to_vec()
            .into_iter()
            .chain(*b"\n")
            .collect::<Vec<_>>()
    );
    let all: Vec<_> = index.find("a").map(|p| (p.source(), p.essential(), p.section())).collect();
    assert_eq!(all, [(("other", "1"), false, ""), (("a", "2"), false, "")]);
    assert_eq!(index.find("c").count() + index.find("").count() + index.find("zz").count(), 0);
    assert!(Index::parse(Vec::new()).unwrap().is_empty());
}

#[test]
fn a_leading_dot_slash_is_no_part_of_the_path() {
    let text = stanza("a", "1", "").replace("Filename: ", "Filename: ./");
    assert_eq!(index(&text).find("a").next().unwrap().filename(), "pool/main/a_1.deb");
}

fn error(text: &str) -> String {
    let error = Index::parse(text.as_bytes().to_vec()).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What is replaced in a good stanza, by what, and the message.
const CHANGES: &[(&str, &str, &str)] = &[
    ("Package: a\n", "", "stanza at byte 0: no field Package"),
    ("Package: a", "Package:", "byte 0: field Package: \"\" is not a value on one line"),
    ("Package: a", "Package: a b", "byte 0: field Package: \"a b\" is not a package name"),
    ("Package: a", "Package: ../a", "byte 0: field Package: \"../a\" is not a package name"),
    ("Package: a", "Package: é", "byte 0: field Package: \"é\" is not a package name"),
    (
        "Version: 1",
        "Version: x",
        "byte 11: field Version: \"x\" is not a version: upstream part does not start with a digit",
    ),
    ("amd64", "amd64 i386", "byte 22: field Architecture: \"amd64 i386\" is not an architecture"),
    ("Essential: no", "Essential: maybe", "byte 42: field Essential: \"maybe\" is not yes or no"),
    (
        "Filename: pool",
        "Filename: ../pool",
        "byte 56: field Filename: \"../pool/main/a_1.deb\" is not a path inside an archive: an empty, . or .. component",
    ),
    (
        "Filename: pool",
        "Filename: /pool",
        "byte 56: field Filename: \"/pool/main/a_1.deb\" is not a path inside an archive: an empty, . or .. component",
    ),
    ("Size: 12", "Size: -12", "byte 84: field Size: \"-12\" is not a size in bytes"),
    (
        "Size: 12",
        "Size: 99999999999999999999",
        "byte 84: field Size: \"99999999999999999999\" is not a size in bytes",
    ),
    ("SHA256:", "SHA1:", "stanza at byte 0: no field SHA256"),
    (
        "SHA256: e3",
        "SHA256: zz",
        "byte 93: field SHA256: \"zzb0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" is not a SHA-256 digest of 64 hexadecimal digits",
    ),
    (
        "Size: 12\n",
        "Size: 12\nsize: 13\n",
        "package index is malformed: line 7 (byte 93): field size is given twice",
    ),
];

#[test]
fn one_change_one_refusal() {
    let good = stanza("a", "1", "Essential: no\n");
    for (from, to, message) in CHANGES {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert_eq!(error(&bad), *message);
    }
}

#[test]
fn one_package_is_one_file() {
    let good = stanza("a", "1", "");
    assert_eq!(index(&good.repeat(2)).len(), 2);
    for other in [
        good.replace("Size: 12", "Size: 13"),
        good.replace("SHA256: e3", "SHA256: e4"),
        good.replace("_1.deb", "_1.1.deb"),
    ] {
        let text = format!("{good}{}{other}", stanza("a", "2", ""));
        assert!(error(&text).starts_with("a 1 amd64 is listed at byte 0 and at byte "), "{}", error(&text));
    }
    let multi = format!("{good}{}", good.replace("amd64", "i386").replace("_1", "_1_i386"));
    assert_eq!(index(&multi).len(), 2);
}

fn names(text: &str, roots: &[&str]) -> Result<Vec<String>, String> {
    let index = index(text);
    closure(&[&index], "amd64", roots)
        .map(|packages| {
            packages.iter().map(|package| format!("{} {}", package.name(), package.version_text())).collect()
        })
        .map_err(|error| error.to_string())
}

#[test]
fn closures_take_what_is_there() {
    let text = stanza("a", "1", "Depends: b (>= 2) | c, v\nPre-Depends: d\n")
        + &stanza("b", "1", "")
        + &stanza("c", "1", "Depends: a\n")
        + &stanza("d", "1", "")
        + &stanza("d", "1.5", "Depends: w (= 3)\n")
        + &stanza("d", "1.10", "Depends: w (= 3)\n")
        + &stanza("y", "1", "Provides: v, w\n")
        + &stanza("x", "1", "Provides: v, w (= 3)\n")
        + &stanza("z", "1", "Provides: u\nPriority: required\n")
        + &stanza("k", "1", "Provides: u\nPriority: optional\n")
        + &stanza("l", "1", "Depends: u\n")
        + &stanza("e", "1", "Depends: y, v\n")
        + &stanza("f", "1", "Depends: b (>> 1)\n")
        + &stanza("i", "1", "Depends: j\n")
        + &stanza("j", "1", "").replace("amd64", "i386");
    assert_eq!(names(&text, &["a"]).unwrap(), ["a 1", "c 1", "d 1.10", "x 1"]);
    assert_eq!(names(&text, &["e"]).unwrap(), ["e 1", "y 1"]);
    assert_eq!(names(&text, &["l"]).unwrap(), ["l 1", "z 1"]);
    assert_eq!(names(&text, &["b", "b"]).unwrap(), ["b 1"]);
    assert_eq!(names(&text, &["f"]).unwrap_err(), "f 1 amd64 depends on b (>> 1), which nothing satisfies");
    assert_eq!(names(&text, &["i"]).unwrap_err(), "i 1 amd64 depends on j, which nothing satisfies");
    assert_eq!(names(&text, &["zz"]).unwrap_err(), "no package zz for amd64");
    let bad = stanza("a", "1", "Depends: (\n");
    assert_eq!(names(&bad, &["a"]).unwrap_err(), "relations of a 1 amd64");
}

#[test]
fn changed_bytes_never_panic() {
    let text = stanza("b", "1:2-3", "Depends: a\nProvides: c (= 1)\n") + &stanza("a", "1", "Source: x (1)\n");
    let text = text.into_bytes();
    for at in 0..text.len() {
        for byte in [0, b'\n', b' ', b':', b'(', 0xff, text[at] ^ 1] {
            let mut bad = text.clone();
            bad[at] = byte;
            if let Ok(index) = Index::parse(bad) {
                for package in index.packages() {
                    let _ = (
                        package.source(),
                        package.depends(),
                        package.provides(),
                        package.version(),
                        package.stanza(),
                    );
                }
                let _ = closure(&[&index], "amd64", &["b"]);
            }
        }
        let _ = Index::parse(text[..at].to_vec());
    }
}

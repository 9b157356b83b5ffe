//! Small binary packages, written without dpkg.

use selfsame_image::codec::Codec;

use super::NOW;

const XZ: Codec = Codec::Xz { preset: 0, x86: false, dict_size: 1 << 16 };

/// A package that is to be built.
#[derive(Clone, Debug)]
pub struct Deb {
    /// Control fields in order.
    pub fields: Vec<(String, String)>,
    control: Vec<(String, u32, Vec<u8>)>,
    data: Vec<(String, u32, Vec<u8>)>,
}

impl Deb {
    /// An empty package for amd64.
    pub fn new(name: &str, version: &str) -> Self {
        let fields = [
            ("Package", name),
            ("Version", version),
            ("Architecture", "amd64"),
            ("Maintainer", "Fixture <fixture@example.org>"),
            ("Description", "fixture package\n Nothing to see."),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { fields, control: Vec::new(), data: Vec::new() }
    }

    /// Sets a control field.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some(field) => field.1 = value.to_owned(),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Adds a file at `path`, which has no leading slash; its directories are added too.
    pub fn file(mut self, path: &str, mode: u32, bytes: &[u8]) -> Self {
        self.data.push((path.to_owned(), mode, bytes.to_vec()));
        self
    }

    /// Adds a maintainer script such as `postinst`, or another control file.
    pub fn script(mut self, name: &str, text: &str) -> Self {
        self.control.push((name.to_owned(), 0o755, text.as_bytes().to_vec()));
        self
    }

    /// The value of a control field; empty if it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// `name_version_architecture.deb`, without the epoch.
    pub fn file_name(&self) -> String {
        let version = self.get("Version");
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        format!("{}_{version}_{}.deb", self.get("Package"), self.get("Architecture"))
    }

    /// The control file.
    pub fn control(&self) -> String {
        self.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    /// The `.deb` file. The same package gives the same bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut control = self.control.clone();
        control.push(("control".to_owned(), 0o644, self.control().into_bytes()));
        let mut out = b"!<arch>\n".to_vec();
        member(&mut out, "debian-binary", b"2.0\n");
        member(&mut out, "control.tar.xz", &XZ.compress(&tar(&control)).unwrap());
        member(&mut out, "data.tar.xz", &XZ.compress(&tar(&self.data)).unwrap());
        out
    }
}

fn member(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.extend(format!("{name:<16}{NOW:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 100_644, bytes.len()).bytes());
    out.extend_from_slice(bytes);
    if bytes.len() % 2 == 1 {
        out.push(b'\n');
    }
}

/// A ustar archive of the files and their directories, in the way dpkg-deb writes names.
fn tar(files: &[(String, u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, "./", 0o755, 0, b'5');
    let mut directories = std::collections::BTreeSet::new();
    for (path, mode, bytes) in files {
        for (end, _) in path.match_indices('/') {
            if directories.insert(&path[..end]) {
                header(&mut out, &format!("./{}/", &path[..end]), 0o755, 0, b'5');
            }
        }
        header(&mut out, &format!("./{path}"), *mode, bytes.len(), b'0');
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn header(out: &mut Vec<u8>, name: &str, mode: u32, size: usize, kind: u8) {
    assert!(name.len() < 100, "fixture paths are short");
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: String| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name.to_owned());
    put(100, format!("{mode:07o}"));
    put(108, format!("{:07o}", 0));
    put(116, format!("{:07o}", 0));
    put(124, format!("{size:011o}"));
    put(136, format!("{NOW:011o}"));
    put(148, " ".repeat(8));
    put(156, char::from(kind).to_string());
    put(257, "ustar\x0000".to_owned());
    put(265, "root".to_owned());
    put(297, "root".to_owned());
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn dpkg_deb_reads_what_is_written() {
        let deb = Deb::new("hello", "1:1.0-1")
            .set("Depends", "libc6")
            .file("usr/bin/hello", 0o755, b"#!/bin/sh\necho hello\n")
            .file("usr/share/doc/hello/copyright", 0o644, b"none")
            .script("postinst", "#!/bin/sh\nexit 0\n");
        assert_eq!(deb.file_name(), "hello_1.0-1_amd64.deb");
        assert_eq!(deb.bytes(), deb.clone().bytes());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(deb.file_name());
        std::fs::write(&path, deb.bytes()).unwrap();
        let run =
            |arguments: &[&str]| crate::oracle_text(Command::new("dpkg-deb").args(arguments).arg(&path));
        let Some(control) = run(&["--field"]) else { return };
        assert_eq!(control, deb.control());
        let list = run(&["--contents"]).unwrap();
        assert!(list.contains("-rwxr-xr-x root/root        21 2026-01-15 12:00 ./usr/bin/hello"), "{list}");
        assert!(run(&["--ctrl-tarfile"]).unwrap().contains("./postinst"));
    }
}

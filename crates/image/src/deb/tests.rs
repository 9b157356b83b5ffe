use super::*;
use crate::ar::tests::archive as ar;

/// A tar of regular files, in the form dpkg-deb writes.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut block = [0u8; 512];
        let name = format!("./{name}");
        block[..name.len()].copy_from_slice(name.as_bytes());
        for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000007")] {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        block[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        block[156] = if name.ends_with('/') { b'5' } else { b'0' };
        block[257..265].copy_from_slice(b"ustar  \0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize((out.len() + 1024).next_multiple_of(10_240), 0);
    out
}

fn gz(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let level = flate2::Compression::new(1);
    flate2::read::GzEncoder::new(plain, level).read_to_end(&mut out).unwrap();
    out
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    liblzma::read::XzEncoder::new(plain, 0).read_to_end(&mut out).unwrap();
    out
}

fn zst(plain: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(plain, 1).unwrap()
}

const STANZA: &[u8] = b"Package: a\nVersion: 1\nArchitecture: all\n";

fn control_tar() -> Vec<u8> {
    tar_of(&[("", b""), ("control", STANZA), ("md5sums", b"")])
}

fn data_tar() -> Vec<u8> {
    tar_of(&[("", b""), ("usr/", b""), ("usr/a", &[b'x'; 700])])
}

fn paths(deb: &Deb<&[u8]>, limit: u64) -> Result<Vec<String>, String> {
    let mut reader = deb.data(limit).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    while let Some(entry) = reader.next().map_err(|e| format!("{e:?}"))? {
        out.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    Ok(out)
}

fn message(bytes: &[u8]) -> String {
    Deb::open(bytes).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn every_compression_that_dpkg_knows_and_we_support() {
    let (control, data) = (control_tar(), data_tar());
    for (ending, pack) in
        [("", (|b| b.to_vec()) as fn(&[u8]) -> Vec<u8>), (".gz", gz), (".xz", xz), (".zst", zst)]
    {
        let (control_name, data_name) = (format!("control.tar{ending}"), format!("data.tar{ending}"));
        let package = ar(&[
            ("debian-binary", b"2.0\n"),
            ("_more", b"1"),
            (&control_name, &pack(&control)),
            ("_yet_more", b""),
            (&data_name, &pack(&data)),
            ("signature", b"after the data archive anything goes"),
        ]);
        let deb = Deb::open(&package[..]).unwrap();
        assert_eq!(deb.version(), b"2.0");
        assert_eq!(deb.control().unwrap().stanza(), STANZA);
        assert_eq!(deb.control().unwrap().files.len(), 2);
        assert_eq!(paths(&deb, wide(data.len())).unwrap(), ["", "usr", "usr/a"]);
        assert!(paths(&deb, wide(data.len()) - 1).unwrap_err().contains("TooLong"), "{ending}");
    }
}

#[test]
fn order_names_and_version_are_those_of_deb_5() {
    let (control, data) = (control_tar(), data_tar());
    let (binary, control, data) =
        (("debian-binary", &b"2.0\n"[..]), ("control.tar", &control[..]), ("data.tar", &data[..]));
    for (members, wanted) in [
        (vec![], "the package has no debian-binary"),
        (vec![control], "member \"control.tar\" at byte 0x8 where debian-binary has to be"),
        (vec![binary, data], "member \"data.tar\" at byte 0x48 where control.tar has to be"),
        (
            vec![binary, ("other", b""), control, data],
            "member \"other\" at byte 0x48 where control.tar has to be",
        ),
        (vec![binary, control], "the package has no data.tar"),
        (
            vec![binary, control, ("data.tar.Z", b"")],
            "member \"data.tar.Z\" at byte 0x2884 where data.tar has to be",
        ),
        (
            vec![binary, control, ("data.tar.bz2", b"")],
            "member \"data.tar.bz2\" is compressed in an unsupported way",
        ),
        (vec![binary, control, ("data.tar.xz", data.1)], "member \"data.tar.xz\" starts like None"),
        (vec![binary, control, ("data.tar", b"\x28\xb5\x2f\xfd")], "member \"data.tar\" starts like Zstd"),
        (vec![("debian-binary", b"3.0\n")], "debian-binary is \"3.0\\n\", not 2.0 or a later 2.x"),
        (vec![("debian-binary", b"2.0")], "debian-binary is \"2.0\", not 2.0 or a later 2.x"),
        (vec![("debian-binary", b"")], "debian-binary is \"\", not 2.0 or a later 2.x"),
    ] {
        assert_eq!(message(&ar(&members)), wanted);
    }
    let later = ar(&[("debian-binary", b"2.17\nmore\n"), control, data]);
    assert_eq!(Deb::open(&later[..]).unwrap().version(), b"2.17");
}

#[test]
fn the_control_archive_holds_files_alone() {
    let data = data_tar();
    let open = |files: &[(&str, &[u8])]| {
        let package =
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar_of(files)), ("data.tar", &data)]);
        Deb::open(&package[..]).unwrap().control().unwrap_err().to_string()
    };
    assert_eq!(open(&[("", b"")]), "the package has no file control in its control archive");
    assert_eq!(
        open(&[("control", b""), ("sub/", b"")]),
        "control archive holds \"sub\", which is no regular file at its top"
    );
    assert_eq!(open(&[("control", b"1"), ("control", b"2")]), "control archive holds \"control\" twice");
}

#[test]
fn a_dump_shows_members_and_headers() {
    let data = tar_of(&[("", b""), ("a b", b"x")]);
    let package = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &gz(&tar_of(&[("control", STANZA)]))),
        ("data.tar", &data),
        ("extra", b""),
    ]);
    let size = Deb::open(&package[..]).unwrap().control_member().0.size;
    let at = 132 + size.next_multiple_of(2);
    let last = at + 60 + 10_240;
    assert_eq!(
        dump(&package, 1 << 20).unwrap(),
        format!(
            "\
00000008 member debian-binary mtime=7 uid=0 gid=0 mode=100644 size=4 data=44
00000048 member control.tar.gz mtime=7 uid=0 gid=0 mode=100644 size={size} data=84
  00000000 name=./control mode=0000644 uid=0000000 gid=0000000 size=00000000050 mtime=00000000007 chksum=007447%00%20 typeflag=0 magic=ustar%20 version=%20
  00000200 data 40 bytes
  00000400 end
{at:08x} member data.tar mtime=7 uid=0 gid=0 mode=100644 size=10240 data={:x}
  00000000 name=./ mode=0000644 uid=0000000 gid=0000000 size=00000000000 mtime=00000000007 chksum=006046%00%20 typeflag=5 magic=ustar%20 version=%20
  00000200 name=./a%20b mode=0000644 uid=0000000 gid=0000000 size=00000000001 mtime=00000000007 chksum=006405%00%20 typeflag=0 magic=ustar%20 version=%20
  00000400 data 1 bytes
  00000600 end
{last:08x} member extra mtime=7 uid=0 gid=0 mode=100644 size=0 data={:x}
",
            at + 60,
            last + 60
        )
    );
}

#[test]
fn mutated_packages_never_panic() {
    for pack in [gz, xz, zst] {
        let ending = match pack(b"")[0] {
            0x1f => ".gz",
            0xfd => ".xz",
            _ => ".zst",
        };
        let good = ar(&[
            ("debian-binary", b"2.0\n"),
            (&format!("control.tar{ending}"), &pack(&control_tar())),
            (&format!("data.tar{ending}"), &pack(&data_tar())),
        ]);
        crate::mutation::mutations(&good, 1_500, |bytes| {
            if let Ok(deb) = Deb::open(bytes) {
                let _ = deb.control();
                let _ = paths(&deb, 1 << 20);
                let _ = dump(&bytes, 1 << 20);
            }
        });
    }
}

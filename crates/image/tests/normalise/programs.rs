//! What is changed still means the same to the programs that it is for.

use std::fs;
use std::path::Path;
use std::process::Command;

use selfsame_testkit::{oracle, oracle_text, scratch, tempfile::TempDir};

use super::changed;

/// Has `python3` make files in a directory. `None` if there is none, as with [`oracle`].
fn made(script: &str) -> Option<TempDir> {
    let dir = scratch();
    let text = oracle_text(Command::new("python3").arg("-c").arg(script).current_dir(dir.path()))?;
    assert_eq!(text, "");
    Some(dir)
}

/// Normalises a file in place.
fn normalise(path: &Path) {
    let bytes = changed(path.to_str().unwrap(), &fs::read(path).unwrap());
    fs::write(path, bytes).unwrap();
}

/// What a program says of a file before and after.
#[track_caller]
fn says_the_same(path: &Path, command: &[&str]) {
    let say = || {
        oracle_text(
            Command::new(command[0]).args(&command[1..]).arg(path).current_dir(path.parent().unwrap()),
        )
    };
    let Some(before) = say() else { return };
    normalise(path);
    assert_eq!(say().unwrap(), before, "{command:?}");
}

/// A zip of Python's, of any kind: names in no order, times of now, and a program in it.
const ZIPS: &str = "
import zipfile, zipapp, os, pathlib
os.mkdir('app')
pathlib.Path('app/__main__.py').write_text('import other; print(other.text)')
pathlib.Path('app/other.py').write_text('text = \"it runs\"')
zipapp.create_archive('app', 'app.pyz', '/usr/bin/env python3', compressed=True)
for name in ['a.zip', 'a.whl', 'a.epub', 'a.jar']:
    with zipfile.ZipFile(name, 'w', zipfile.ZIP_DEFLATED) as z:
        for entry in ['mimetype', 'b/deep', 'META-INF/MANIFEST.MF', 'a']:
            z.writestr(zipfile.ZipInfo(entry, (2022, 1, 2, 3, 4, 6)), (entry + '\\nBuilt-By: me\\n') * 99, zipfile.ZIP_DEFLATED)
with zipfile.ZipFile('large.zip', 'w') as z:
    for entry in ['b', 'a']:
        with z.open(zipfile.ZipInfo(entry, (2022, 1, 2, 3, 4, 6)), 'w', force_zip64=True) as f:
            f.write(b'text' * 99)
";

#[test]
fn zip_archives_are_whole_and_a_zipapp_runs() {
    let Some(dir) = made(ZIPS) else { return };
    let list = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                print(sorted((i.filename, z.read(i)) for i in z.infolist() if i.filename != 'META-INF/MANIFEST.MF'))";
    for name in ["a.zip", "a.whl", "a.epub", "a.jar", "large.zip"] {
        let path = dir.path().join(name);
        says_the_same(&path, &["python3", "-c", list]);
        let tested = oracle_text(Command::new("unzip").arg("-tqq").arg(&path));
        assert_eq!(tested.unwrap_or_default(), "", "{name}");
    }
    assert_eq!(fs::read(dir.path().join("a.epub")).unwrap()[30..38], *b"mimetype");
    let app = dir.path().join("app.pyz");
    says_the_same(&app, &["python3"]);
    assert_eq!(oracle_text(Command::new("python3").arg(&app)).unwrap(), "it runs\n");
}

/// Java reads its own archive's class, and its manifest, in which the program's name is.
#[test]
fn a_jar_runs_in_java() {
    let jar = Path::new("/usr/share/ca-certificates-java/ca-certificates-java.jar");
    let Ok(bytes) = fs::read(jar) else {
        return selfsame_testkit::skip("there is no jar of ca-certificates-java");
    };
    let dir = scratch();
    let path = dir.path().join("program.jar");
    fs::write(&path, &bytes).unwrap();
    let late = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1]); all = [(i, z.read(i)) for i in z.infolist()]\n\
                with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as new:\n    for i, data in reversed(all):\n        \
                i.date_time = (2022, 1, 2, 3, 4, 6)\n        new.writestr(i, data)\n";
    if oracle_text(Command::new("python3").args(["-c", late]).arg(&path)).is_none() {
        return;
    }
    let run = || {
        let output = oracle(Command::new("java").arg("-jar").arg(&path).arg("-help"))?;
        Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let Some(before) = run() else { return };
    normalise(&path);
    assert_eq!(run().unwrap(), before);
}

#[test]
fn compiled_python_is_loaded_without_its_source_being_compiled_again() {
    let script = "
import os, py_compile
open('module.py', 'w').write('text = 1\\n')
os.utime('module.py', (1600000000, 1600000000))
py_compile.compile('module.py')
";
    let Some(dir) = made(script) else { return };
    let cache = dir.path().join("__pycache__");
    let path = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    normalise(&path);
    // The source has the epoch, too, as in an image.
    let load = format!(
        "import os; os.utime('module.py', ({0}, {0})); import module; print(module.text)",
        super::EPOCH
    );
    let mut python = Command::new("python3");
    python.args(["-v", "-B", "-c", &load]).current_dir(dir.path());
    let output = oracle(&mut python).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"1\n", "{said}");
    assert!(said.contains("matches") && said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
}

#[test]
fn images_catalogs_and_archives_hold_the_same() {
    let script = "
import struct, subprocess, zlib
def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
chunks = [(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)), (b'tIME', bytes([7, 0xea, 8, 1, 10, 20, 30])),
          (b'tEXt', b'date:create\\x002026-08-01T10:20:30+02:00'), (b'IDAT', zlib.compress(b'\\0\\1')), (b'IEND', b'')]
open('a.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n' + b''.join(chunk(*one) for one in chunks))
";
    let Some(dir) = made(script) else { return };
    let at = |name: &str| dir.path().join(name);
    normalise(&at("a.png"));
    if let Some(output) = oracle(Command::new("pngcheck").arg("-v").arg(at("a.png"))) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("5 Feb 2015 18:09:31 UTC"), "{said}");
    }
    // The other date is left out by msgfmt itself, since 0.20.
    let header = "Content-Type: text/plain; charset=UTF-8\\nPO-Revision-Date: 2026-01-01 10:00+0100\\n";
    fs::write(at("a.po"), format!("msgid \"\"\nmsgstr \"{header}\"\nmsgid \"yes\"\nmsgstr \"ja\"\n"))
        .unwrap();
    for order in ["little", "big"] {
        let order = format!("--endianness={order}");
        let mut msgfmt = Command::new("msgfmt");
        if oracle_text(msgfmt.args([&order, "-o", "a.mo", "a.po"]).current_dir(dir.path())).is_none() {
            return;
        }
        normalise(&at("a.mo"));
        let text = oracle_text(Command::new("msgunfmt").arg(at("a.mo"))).unwrap();
        assert!(
            text.contains("PO-Revision-Date: 2015-02-05 18:09+0000") && text.contains("msgstr \"ja\""),
            "{text}"
        );
    }
    for name in ["one.txt", "two.txt"] {
        fs::write(at(name), name.repeat(99)).unwrap();
    }
    let shell =
        |text: &str| oracle_text(Command::new("sh").args(["-c", text]).current_dir(dir.path())).unwrap();
    shell("ar rcU lib.a one.txt two.txt && ar rcUT thin.a one.txt two.txt");
    shell("gzip -k one.txt && gzip -c two.txt >> one.txt.gz");
    shell("tar --format=pax -cf a.tar one.txt two.txt && ls *.txt | cpio --quiet -o -H newc > a.cpio");
    says_the_same(&at("lib.a"), &["ar", "p"]);
    says_the_same(&at("thin.a"), &["ar", "p"]);
    says_the_same(&at("one.txt.gz"), &["gzip", "-dc"]);
    says_the_same(&at("a.tar"), &["tar", "-xOf"]);
    says_the_same(&at("a.cpio"), &["bsdtar", "-xOf"]);
    assert!(shell("ar tv lib.a").contains("rw-r--r-- 0/0 "), "owners and permissions");
}

//! SQLite databases as Python's sqlite3 makes them: which page is whose, and which rows are in it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use selfsame_image::compare::{Options, compare as compared};
use selfsame_image::extent::{self, Parsed, Room, Source};
use selfsame_testkit::oracle_text;

use crate::compare;
use crate::support::{load, scratch};

/// Size of a page and way of vacuuming of each kind.
const KINDS: [(u32, u32); 3] = [(4096, 0), (512, 1), (1024, 0)];

/// Numbers of rows by table.
type Rows = BTreeMap<String, Vec<u64>>;

/// A database, and the rows in it.
fn database(dir: &Path, (page, vacuum): (u32, u32), value: &str) -> Option<(Vec<u8>, Rows)> {
    let script = "import os, sqlite3, sys\n\
        path, page, vacuum, value = sys.argv[1:]\n\
        if os.path.exists(path): os.remove(path)\n\
        base = sqlite3.connect(path)\n\
        base.execute('pragma page_size = ' + page)\n\
        base.execute('pragma auto_vacuum = ' + vacuum)\n\
        base.execute('create table words (id integer primary key, word text, more blob)')\n\
        base.execute('create index by_word on words (word)')\n\
        base.execute('create table gone (x)')\n\
        base.execute('create table small (x)')\n\
        base.execute('create view seen as select * from words')\n\
        rows = [(7 * n + 1, 'word %d' % n, bytes([n % 251]) * (20000 if n == 100 else n)) for n in range(300)]\n\
        base.executemany('insert into words values (?, ?, ?)', rows)\n\
        base.executemany('insert into gone values (?)', [('x' * 900,)] * 50)\n\
        base.execute('insert into small values (?)', (value,))\n\
        base.commit()\n\
        base.execute('drop table gone')\n\
        base.commit()\n\
        assert base.execute('pragma integrity_check').fetchall() == [('ok',)]\n\
        for table in ('words', 'small'):\n\
        \x20   print(table, *[row[0] for row in base.execute('select rowid from ' + table + ' order by rowid')])\n\
        base.close()\n";
    let path = dir.join("database");
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(&path).args([page.to_string(), vacuum.to_string()]).arg(value);
    let text = oracle_text(&mut python)?;
    let row = |line: &str| {
        let (name, rows) = line.split_once(' ').unwrap();
        (name.to_owned(), rows.split(' ').map(|row| row.parse().unwrap()).collect())
    };
    Some((load(&path), text.lines().map(row).collect()))
}

fn parsed(bytes: &[u8]) -> Parsed {
    extent::parse(&(Arc::new(bytes.to_vec()) as Source), &Room::new(0, 0)).unwrap().unwrap()
}

#[test]
fn each_page_is_named_and_rows_are_those_of_sqlite() {
    let dir = scratch();
    let mut text = String::new();
    for kind in KINDS {
        let Some((bytes, rows)) = database(dir.path(), kind, "value") else { return };
        let parsed = parsed(&bytes);
        assert_eq!((parsed.format, &parsed.faults[..]), ("sqlite", &[][..]));
        let (mut names, mut found) = (BTreeSet::new(), BTreeMap::<String, Vec<u64>>::new());
        let mut at = 0;
        for extent in parsed.map.extents() {
            assert_eq!(extent.start, at);
            at = extent.end();
            let owner = String::from_utf8_lossy(parsed.map.path(extent.owner)).into_owned();
            names.insert(format!("{} of {owner}", extent.structure.name));
            let range = usize::try_from(extent.start).unwrap()..usize::try_from(at).unwrap();
            if extent.structure.name != "page of rows" || owner == "sqlite_schema" {
                continue;
            }
            for field in (extent.structure.fields)(&bytes[range]) {
                let row = field.name.strip_prefix("row ").map(|row| row.parse::<u64>().unwrap());
                found.entry(owner.clone()).or_default().extend(row);
            }
        }
        assert_eq!(at, u64::try_from(bytes.len()).unwrap());
        found.values_mut().for_each(|rows| rows.sort_unstable());
        assert_eq!(found, rows, "{kind:?}");
        assert!(!names.iter().any(|name| name.starts_with("page in no tree")), "{names:?}");
        text += &format!("{kind:?}: {}\n", names.into_iter().collect::<Vec<_>>().join(", "));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_row_that_differs_is_named() {
    let dir = scratch();
    let of = |value| database(dir.path(), KINDS[0], value).map(|(bytes, _)| Arc::new(bytes) as Source);
    let (Some(a), Some(b)) = (of("value"), of("other")) else { return };
    let report = compared(&a, &b, &Options::new(NonZero::new(1).unwrap())).unwrap();
    assert_eq!(report.unexplained(), 0);
    let changes = report.root.unwrap().changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((changes[0].structure, &*changes[0].path), ("page of rows", &b"small"[..]));
    assert_eq!(changes[0].fields[0].name, "row 1");
}

#[test]
fn one_bit_anywhere_is_named_and_damage_leaves_nothing_out() {
    let dir = scratch();
    for (seed, kind) in (31..).zip(KINDS) {
        let Some((bytes, _)) = database(dir.path(), kind, "value") else { return };
        compare::flips(&format!("sqlite {kind:?}"), &bytes, seed);
        compare::damaged(&format!("sqlite {kind:?}"), &bytes, 500);
    }
}

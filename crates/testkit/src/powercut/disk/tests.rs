use super::*;

const ROOT: &str = "/disk";

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn create(name: &str) -> Op {
    Op::Create { path: path(name), mode: 0o600 }
}

fn write(name: &str, text: &str) -> Op {
    Op::Write { path: path(name), at: 0, bytes: text.into() }
}

fn rename(from: &str, to: &str) -> Op {
    Op::Rename { from: path(from), to: path(to) }
}

/// Makes a file or directory safe; everything if there is no name.
fn sync(name: Option<&str>) -> [Op; 2] {
    [Op::SyncBegins { call: 1, path: name.map(path) }, Op::SyncEnds { call: 1 }]
}

/// A disk with the directories `a` and `b`.
fn disk(ops: impl IntoIterator<Item = Op>) -> Disk {
    let dirs = ["a", "b"].map(|name| (PathBuf::from(name), Entry::Dir));
    let mut disk = Disk::new(Path::new(ROOT), &dirs.into());
    ops.into_iter().for_each(|op| disk.apply(&op));
    disk
}

/// Files with their text, such as `a/x=text`, of all that a cut may leave.
fn outcomes(disk: &Disk) -> BTreeSet<String> {
    let cuts = [Cut::Nothing, Cut::Everything].into_iter().chain((0..400).map(Cut::Some));
    cuts.map(|cut| {
        let files = disk.cut(cut).into_iter().filter_map(|(path, entry)| match entry {
            Entry::File { bytes, .. } => {
                Some(format!("{}={}", path.display(), String::from_utf8_lossy(&bytes).replace('\0', "0")))
            }
            Entry::Dir => None,
        });
        files.collect::<Vec<_>>().join(" ")
    })
    .collect()
}

fn texts<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

#[test]
fn a_name_that_is_safe_before_its_bytes_stands_for_less() {
    let careless = [create("a/new"), write("a/new", "xy"), rename("a/new", "a/it")];
    let careless = disk(careless.into_iter().chain(sync(Some("a"))));
    assert_eq!(outcomes(&careless), texts(["a/it=", "a/it=x", "a/it=xy", "a/it=0", "a/it=00"]));
}

#[test]
fn a_rename_may_be_undone_until_its_directory_is_safe() {
    let begin = [create("a/it"), write("a/it", "old")].into_iter().chain(sync(None));
    let new = [create("a/new"), write("a/new", "new")].into_iter().chain(sync(Some("a/new")));
    let mut disk = disk(begin.chain(new).chain([rename("a/new", "a/it")]));
    // Both names change at once, and that of the new file may never have been there.
    assert_eq!(outcomes(&disk), texts(["a/it=old", "a/it=old a/new=new", "a/it=new"]));
    sync(Some("a")).iter().for_each(|op| disk.apply(op));
    assert_eq!(outcomes(&disk), texts(["a/it=new"]));
}

#[test]
fn between_two_directories_a_file_may_have_both_names_but_never_none() {
    let begin = [create("a/x"), write("a/x", "1")].into_iter().chain(sync(None));
    let moved = disk(begin.chain([rename("a/x", "b/x")]));
    assert_eq!(outcomes(&moved), texts(["a/x=1", "a/x=1 b/x=1", "b/x=1"]));
    for (dir, left) in [("a", &["b/x=1"][..]), ("b", &["a/x=1 b/x=1", "b/x=1"])] {
        let mut moved = moved.clone();
        sync(Some(dir)).iter().for_each(|op| moved.apply(op));
        assert_eq!(outcomes(&moved), left.iter().map(|text| (*text).to_owned()).collect(), "{dir}");
    }
}

#[test]
fn names_change_without_each_other() {
    let begin = [create("a/x"), create("b/y")].into_iter().chain(sync(None));
    let removed = [Op::Remove { path: path("a/x") }, Op::Remove { path: path("b/y") }];
    assert_eq!(outcomes(&disk(begin.chain(removed))), texts(["a/x= b/y=", "a/x=", "b/y=", ""]));
}

#[test]
fn what_is_in_a_directory_goes_with_its_name() {
    let ops = [Op::MakeDir { path: path("a/d") }, create("a/d/x")].into_iter();
    let mut disk = disk(ops.chain(sync(Some("a/d/x"))).chain(sync(Some("a/d"))));
    assert_eq!(outcomes(&disk), texts(["", "a/d/x="]));
    sync(Some("a")).iter().for_each(|op| disk.apply(op));
    assert_eq!(outcomes(&disk), texts(["a/d/x="]));
}

#[test]
fn a_call_that_makes_safe_says_nothing_of_what_came_after_it_began() {
    let [begins, ends] = sync(Some("a/x"));
    let ops = [create("a/x"), write("a/x", "1"), begins, write("a/x", "2"), ends].into_iter();
    assert_eq!(outcomes(&disk(ops.chain(sync(Some("a"))))), texts(["a/x=1", "a/x=2"]));
    let [begins, ends] = sync(None);
    assert_eq!(outcomes(&disk([begins, create("a/x"), ends])), texts(["", "a/x="]));
}

#[test]
fn any_page_may_be_missing() {
    let text = "x".repeat(2 * PAGE) + "y";
    let ops = [create("a/x")].into_iter().chain(sync(None)).chain([write("a/x", &text)]);
    let left = outcomes(&disk(ops));
    let hole = format!("a/x={}{}y", "x".repeat(PAGE), "0".repeat(PAGE));
    assert!(left.contains(&hole) && left.contains("a/x=") && left.contains(&format!("a/x={text}")));
    assert!(left.iter().any(|text| text.ends_with('x') && text.len() % PAGE != 4), "torn within a page");
}

#[test]
fn modes_follow_their_file() {
    let mode = |mode| Op::Mode { path: path("a/x"), mode };
    let disk = disk([create("a/x")].into_iter().chain(sync(None)).chain([mode(0o444)]));
    let of = |cut| match disk.cut(cut)[Path::new("a/x")] {
        Entry::File { mode, .. } => mode,
        Entry::Dir => 0,
    };
    assert_eq!((of(Cut::Nothing), of(Cut::Everything)), (0o600, 0o444));
    assert_eq!((0..50).map(|seed| of(Cut::Some(seed))).collect::<BTreeSet<_>>(), [0o600, 0o444].into());
}

/// The way of the store to give a blob its name, and a record that names it, with one step left out.
fn keep(without: Option<usize>) -> Vec<Op> {
    let steps: [Vec<Op>; 6] = [
        sync(Some("a/new")).into(),
        vec![rename("a/new", "b/blob")],
        sync(Some("b")).into(),
        vec![create("a/next"), write("a/next", "blob")],
        sync(Some("a/next")).into(),
        vec![rename("a/next", "b/record")],
    ];
    let steps = steps.into_iter().enumerate().filter(|(number, _)| Some(*number) != without);
    [create("a/new"), write("a/new", "whole")].into_iter().chain(steps.flat_map(|(_, step)| step)).collect()
}

#[test]
fn a_sync_that_is_left_out_is_noticed_whichever_it_is() {
    let good = |ops: &[Op]| {
        (0..=ops.len()).all(|end| {
            outcomes(&disk(ops[..end].to_vec())).iter().all(|left| {
                let has = |name: &str| left.split(' ').find_map(|file| file.strip_prefix(name));
                let (blob, record) = (has("b/blob="), has("b/record="));
                blob.is_none_or(|text| text == "whole")
                    && record.is_none_or(|text| text == "blob" && blob.is_some())
            })
        })
    };
    assert!(good(&keep(None)));
    for left_out in [0, 2, 4] {
        assert!(!good(&keep(Some(left_out))), "{left_out}");
    }
}

#[test]
fn a_tree_is_written_as_it_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let tree = disk([create("a/x"), write("a/x", "1")]).cut(Cut::Everything);
    write_tree(&tree, &dir.path().join("t"));
    assert_eq!(read_tree(&dir.path().join("t")), tree);
    write_tree(&Tree::new(), &dir.path().join("t"));
    assert_eq!(read_tree(&dir.path().join("t")), Tree::new());
}

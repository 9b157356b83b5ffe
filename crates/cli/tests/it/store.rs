//! `selfsame store stat` and `selfsame store check`

use crate::world;

#[test]
fn an_empty_store_is_in_the_cache_directory() {
    let mut world = world();
    let nothing = |path: &str| format!("{path}: 0 B in 0 files\n");
    assert_eq!(world.run(["store", "stat"]).success(), nothing("$ROOT/home/.cache/selfsame"));
    world.set("SELFSAME_STORE", "elsewhere");
    assert_eq!(world.run(["store", "stat"]).success(), nothing("elsewhere"));
    assert_eq!(world.run(["store", "stat", "--store", "here"]).success(), nothing("here"));
    let json = world.run(["store", "stat", "--json"]).success();
    assert_eq!(json, "{\n  \"path\": \"elsewhere\",\n  \"files\": 0,\n  \"bytes\": 0,\n  \"parts\": []\n}\n");
    assert!(!world.root().join("elsewhere").exists(), "looking makes nothing");
}

#[test]
fn a_directory_that_is_no_store_is_left_alone() {
    let world = world();
    world.write("home/photos/a.jpg", "a photo");
    let message = world.run(["store", "stat", "--store", "home/photos"]).failure(4);
    assert!(message.starts_with("error: cannot open the store home/photos\ncause: "), "{message}");
    let left: Vec<_> = std::fs::read_dir(world.root().join("home/photos")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is added");
}

#[test]
fn a_damaged_file_is_found_once() {
    let world = world();
    let message = world.run(["store", "check", "--store", "none"]).failure(4);
    assert!(message.starts_with("error: there is no store at none"), "{message}");
    let store = selfsame_store::Store::open(world.root().join("s")).unwrap();
    let digest = store.put(b"bytes").unwrap();
    store.cache_put("squashfs", &digest, b"block").unwrap();
    assert_eq!(world.run(["store", "check", "--store", "s"]).success(), "");
    std::fs::remove_file(store.path(&digest)).unwrap();
    std::fs::write(store.path(&digest), "bites").unwrap();
    assert_eq!(world.run(["store", "check", "--store", "s", "--names"]).success(), "");
    let found = world.run(["store", "check", "--store", "s"]);
    assert_eq!(found.status, Some(1), "{}", found.stderr);
    assert!(found.stdout.starts_with("blobs/") && found.stdout.contains("; moved to "), "{}", found.stdout);
    assert_eq!(world.run(["store", "check", "--store", "s"]).success(), "");
}

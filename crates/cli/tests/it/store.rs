//! `selfsame store stat`

use crate::world;

#[test]
fn an_empty_store_is_in_the_cache_directory() {
    let mut world = world();
    let nothing = |path: &str| format!("{path}: 0 B in 0 files\n");
    assert_eq!(
        world.run(["store", "stat"]).success(),
        nothing("$ROOT/home/.cache/selfsame")
    );
    world.set("SELFSAME_STORE", "elsewhere");
    assert_eq!(world.run(["store", "stat"]).success(), nothing("elsewhere"));
    assert_eq!(
        world.run(["store", "stat", "--store", "here"]).success(),
        nothing("here")
    );
    let json = world.run(["store", "stat", "--json"]).success();
    assert_eq!(
        json,
        "{\n  \"path\": \"elsewhere\",\n  \"files\": 0,\n  \"bytes\": 0,\n  \"parts\": []\n}\n"
    );
    assert!(!world.root().join("elsewhere").exists(), "looking makes nothing");
}

//! `selfsame init`

use crate::world;

#[test]
fn a_new_recipe_is_written_and_an_old_one_kept() {
    let world = world();
    assert_eq!(world.run(["init", "image"]).success(), "image/selfsame.toml\n");
    let recipe = std::fs::read_to_string(world.root().join("image/selfsame.toml")).unwrap();
    assert!(recipe.starts_with("# A recipe for selfsame"), "{recipe}");
    world.write("image/selfsame.toml", "mine");
    let message = world.run(["init", "image"]).failure(3);
    assert!(message.contains("image/selfsame.toml exists already"), "{message}");
    assert_eq!(std::fs::read_to_string(world.root().join("image/selfsame.toml")).unwrap(), "mine");
    assert_eq!(world.run(["init", "other", "--json", "--quiet"]).success().lines().count(), 5);
}

#[test]
fn a_file_in_the_way_is_trouble_with_the_machine() {
    let world = world();
    world.write("file", "");
    let message = world.run(["init", "file"]).failure(4);
    assert!(message.starts_with("error: cannot write file\ncause: "), "{message}");
}

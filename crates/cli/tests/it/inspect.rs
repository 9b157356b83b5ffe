//! `selfsame inspect`

use crate::world;

#[test]
fn what_is_no_image_is_refused_with_the_list_of_formats() {
    let world = world();
    let message = world.run(["inspect", "nowhere"]).failure(3);
    assert!(
        message.starts_with("error: cannot read nowhere\ncause: "),
        "{message}"
    );
    world.write("text", "just text");
    let message = world.run(["inspect", "text"]).failure(3);
    assert!(
        message.starts_with("error: text is of no format that selfsame knows\nhint: it knows iso9660, "),
        "{message}"
    );
}

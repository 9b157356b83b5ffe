//! Pairs of directories that other programs are known to compare badly.

use rustix::fs::{XattrFlags, lsetxattr};
use selfsame_testkit::skip;

use crate::world;

#[test]
fn t12_directories_that_differ_in_an_attribute_only_are_not_the_same() {
    let world = world();
    for (path, value) in [("x/etc/motd", b"bar"), ("y/etc/motd", b"baz"), ("z/etc/motd", b"bar")] {
        let path = world.write(path, "hello\n");
        if lsetxattr(&path, "user.foo", value, XattrFlags::empty()).is_err() {
            return skip("the file system has no attributes for users");
        }
    }
    world.write("none/etc/motd", "hello\n");
    let text = world.run(["diff", "x", "y"]).answer(1);
    assert!(text.contains("entry of etc/motd\n    attribute user.foo: bar -> baz\n"), "{text}");
    assert!(text.ends_with("differing bytes: 0, explained: 0, unexplained: 0\n"), "{text}");
    world.run(["diff", "x", "z"]).success();
    for pair in [["none", "x"], ["x", "none"]] {
        let text = world.run(["diff", pair[0], pair[1]]).answer(1);
        assert!(text.contains("entry of etc/motd\n    attribute user.foo: "), "{text}");
    }
}

#[test]
fn t16_one_of_three_hundred_files_is_named_alone() {
    let world = world();
    for number in 0..300 {
        let text = format!("line of file {number}\n").repeat(70_000 / 20);
        world.write(format!("x/{number}"), &text);
        let last = if number == 217 { "another line\n" } else { "" };
        world.write(format!("y/{number}"), text + last);
    }
    assert_eq!(world.run(["diff", "x", "y", "--paths"]).answer(1), "217\n");
    let text = world.run(["diff", "x", "y"]).answer(1);
    assert!(text.contains("+3501: another line\n"), "{text}");
    assert!(text.ends_with("differing bytes: 13, explained: 13, unexplained: 0\n"), "{text}");
}

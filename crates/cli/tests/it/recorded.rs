//! `selfsame diff --old-manifest`: an image against the record of one that is not at hand

use selfsame_image::digest::Digest;
use serde_json::json;

use crate::inspect::live_iso;
use crate::world;

/// What a manifest says of the tree in `live_iso(b"selfsame\n")`, written by hand.
fn manifest() -> String {
    let status = "Package: nano\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.2-1\n\n\
                  Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n";
    let dir = "dir 0755 0:0 0";
    let file = |text: &str| format!("file 0644 0:0 0 {} sha256:{}", text.len(), Digest::of(text.as_bytes()));
    format!(
        "selfsame tree 1\n. {dir}\netc {dir}\netc/hostname {}\nvar {dir}\nvar/lib {dir}\nvar/lib/dpkg {dir}\n\
         var/lib/dpkg/status {}\n",
        file("selfsame\n"),
        file(status)
    )
}

fn record(iso: &[u8], manifest: &str) -> String {
    let subject =
        |name: &str, bytes: &[u8]| json!({"name": name, "digest": {"sha256": Digest::of(bytes).to_string()}});
    let subjects = [subject("live.iso", iso), subject("live.manifest", manifest.as_bytes())];
    json!({"_type": "https://in-toto.io/Statement/v1", "subject": subjects,
        "predicateType": "urn:selfsame:record:1", "predicate": {}})
    .to_string()
}

#[test]
fn an_image_is_compared_with_the_record_of_another_one() {
    let world = world();
    let published = live_iso(b"selfsame\n");
    world.write("published/live.record.json", record(&published, &manifest()));
    world.write("published/live.manifest", manifest());
    let record = "published/live.record.json";
    world.write("same.iso", &published);
    let text = world.run(["diff", "same.iso", "--old-manifest", record]).success();
    assert!(text.starts_with("differing bytes: 0,"), "{text}");

    world.write("other.iso", live_iso(b"amnesia\n"));
    let text = world.run(["diff", "other.iso", "--old-manifest", record]).answer(1);
    for sign in ['-', '+'] {
        let told = |what: &str| {
            let line = |line: &str| line.trim_start().starts_with(sign) && line.contains(what);
            text.lines().filter(|text| line(text)).count()
        };
        let counts = ["live.iso: sha256 ", "etc/hostname file ", "status"].map(told);
        assert_eq!(counts, [1, 1, 0], "{text}");
    }
    assert!(text.ends_with(", unexplained: 0\n"), "{text}");

    // What is outside of the tree is seen by the digest.
    let mut boot_code = published;
    boot_code[3] ^= 1;
    world.write("boot.iso", &boot_code);
    let text = world.run(["diff", "boot.iso", "--old-manifest", record, "--json"]).answer(1);
    assert!(text.contains("live.iso: sha256 ") && !text.contains("etc/hostname"), "{text}");
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let world = world();
    let iso = live_iso(b"selfsame\n");
    world.write("live.iso", &iso);
    let fails = |given: &str, expected: &str| {
        world.write("r/live.record.json", given);
        let message = world.run(["diff", "live.iso", "--old-manifest", "r/live.record.json"]).failure(3);
        assert!(message.contains(expected) && message.contains("\nhint: "), "{message}");
    };
    let good = record(&iso, &manifest());
    fails(&good, "cannot read the manifest r/live.manifest");
    world.write("r/live.manifest", manifest().replace("0644", "0600"));
    fails(&good, "is not the manifest of");
    world.write("r/live.manifest", manifest());
    let later = manifest().replace("tree 1", "tree 2");
    world.write("r/live.manifest", &later);
    fails(&record(&iso, &later), "r/live.manifest is no manifest");
    world.write("r/live.manifest", manifest());
    fails("[]", "is no record of a build");
    fails(&good.replace("record:1", "record:2"), "its predicateType is not \"urn:selfsame:record:1\"");
    fails(&good.replace("live.iso", "live.img"), "is of no image with the extension .iso");
    fails(&good.replace("live.manifest", "../live.manifest"), "names a manifest in another directory");
    world.write("r/live.record.json", &good);
    world.write("text", "text");
    let message = world.run(["diff", "text", "--old-manifest", "r/live.record.json"]).failure(3);
    assert!(message.starts_with("error: text is no ISO image, SquashFS or tar\nhint: "), "{message}");
    world.run(["diff", "live.iso", "text", "--old-manifest", "r/live.record.json"]).failure(2);
}

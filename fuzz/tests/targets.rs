//! Each fuzz target is a file, an entry in the manifest, and a folder of seeds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("it is in the repository");
    let paths = entries.map(|entry| entry.expect("it is there").path());
    paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

#[test]
fn every_target_is_in_the_manifest_and_has_seeds() {
    let manifest = include_str!("../Cargo.toml");
    let entries = manifest.split("[[bin]]\nname = \"").skip(1);
    let listed = entries.map(|entry| entry.split('"').next().unwrap().to_owned()).collect();
    assert_eq!(names("src/bin"), listed);
    assert_eq!(names("src/bin"), names("seeds"));
}

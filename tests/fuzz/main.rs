//! The inputs that the fuzz targets begin with, run by the code that the targets run: what held for them holds.

use std::{fs, path::Path};

use bindery_test_support::fuzz as targets;

#[rstest::rstest]
#[case("provision", targets::provision)]
#[case("update", targets::update)]
#[case("bind", targets::bind)]
#[case("request", targets::request)]
fn the_first_inputs_hold(#[case] target: &str, #[case] run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 5, "{target} has {} inputs", files.len());
    for file in files {
        // Shown when one fails.
        println!("{}", file.display());
        run(&fs::read(file).unwrap());
    }
}

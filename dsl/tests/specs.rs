//! Every spec at hand parses.

use std::fs;
use std::path::{Path, PathBuf};

use attnc_dsl::diag::SourceId;
use attnc_dsl::parse;

/// The `.attn` files of a folder, relative to the workspace.
fn specs_in(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("SKIP: no {}", folder.display());
        return Vec::new();
    };
    let paths = entries
        .map(|it| it.expect("a readable folder").path())
        .filter(|it| it.extension().is_some_and(|it| it == "attn"));
    let mut specs: Vec<_> =
        paths.map(|it| (it.clone(), fs::read_to_string(&it).expect("a readable spec"))).collect();
    specs.sort();
    specs
}

#[test]
fn specs_parse() {
    for (path, text) in
        specs_in("../shared/prototypes/language/specs").iter().chain(&specs_in("examples/gallery"))
    {
        if let Err(errors) = parse(SourceId(0), text) {
            panic!("{}: {errors:#?}", path.display());
        }
    }
}

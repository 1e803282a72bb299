//! Every spec at hand parses, and its printed form says the same and is final.

use std::fs;
use std::path::{Path, PathBuf};

use attnc_dsl::diag::SourceId;
use attnc_dsl::{parse, print};

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

/// All that the language was tried on.
fn all_specs() -> Vec<(PathBuf, String)> {
    let folders = ["../shared/prototypes/language/specs", "examples/gallery", "dsl"];
    folders.into_iter().flat_map(specs_in).collect()
}

#[test]
fn specs_print_as_they_read() {
    for (path, text) in all_specs() {
        let read =
            |text: &str| parse(SourceId(0), text).unwrap_or_else(|it| panic!("{}: {it:#?}", path.display()));
        let spec = read(&text);
        let printed = print(&spec, &text);
        let again = read(&printed);
        assert_eq!(again, spec, "{}", path.display());
        assert_eq!(print(&again, &printed), printed, "{}", path.display());
        let comments = |text: &str| {
            let lines = text.lines().filter_map(|it| it.split_once('#'));
            lines.map(|(_, comment)| comment.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(comments(&printed), comments(&text), "{}", path.display());
    }
}

#[test]
fn there_are_specs() {
    assert!(specs_in("dsl").iter().any(|(path, _)| path.ends_with("prelude.attn")));
}

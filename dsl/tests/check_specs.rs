//! Every spec at hand is accepted.

use std::fs;
use std::path::Path;

use attnc_dsl::check::{Fixed, check};
use attnc_dsl::diag::Source;
use attnc_dsl::{load, render};

fn check_folder(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("SKIP: no {}", folder.display());
        return;
    };
    let mut wrong = String::new();
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|it| it != "attn") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable spec");
        let text = text.replace("fn pick(", "fn choose("); // a prototype's own function, now built in
        let mut fetch = |import: &str| fs::read_to_string(folder.join(import)).map_err(|it| it.to_string());
        let loaded = load(Source { name: path.display().to_string(), text }, &mut fetch);
        wrong += &match loaded.and_then(|it| check(it, &Fixed::default())) {
            Ok(checked) => render::text(&checked.program.sources, &checked.warnings),
            Err(failure) => render::text(&failure.sources, &failure.diagnostics),
        };
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn specs_of_the_prototype_are_accepted() {
    check_folder("../shared/prototypes/language/specs");
}

#[test]
fn the_gallery_is_accepted() {
    check_folder("examples/gallery");
}

/// Functions that no spec at hand calls are looked into, too.
#[test]
fn the_prelude_is_accepted() {
    let text = format!("{}\nkernel k {{ output one = 1 }}", include_str!("../prelude.attn"));
    let loaded =
        load(Source { name: "prelude as a spec".to_owned(), text }, &mut |_| Err("no imports".to_owned()));
    if let Err(failure) = loaded.and_then(|it| check(it, &Fixed::default())) {
        panic!("\n{}", render::text(&failure.sources, &failure.diagnostics));
    }
}

//! Every spec at hand is accepted.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use attnc_dsl::check::{Fixed, check};
use attnc_dsl::diag::{Diagnostic, Source, SourceMap};
use attnc_dsl::load;

/// Code, line, text and message of findings.
fn told(sources: &SourceMap, findings: &[Diagnostic]) -> String {
    let mut out = String::new();
    for it in findings {
        let place = it.labels.first().map(|label| {
            let before = &sources.get(label.span.source).text[..label.span.start as usize];
            format!("{}: `{}`", before.lines().count(), sources.text(label.span))
        });
        writeln!(out, "  {} {} at {}", it.code.as_str(), it.message, place.unwrap_or_default()).unwrap();
    }
    out
}

fn check_folder(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("SKIP: no {}", folder.display());
        return;
    };
    let mut wrong = String::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "attn") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut text = fs::read_to_string(&path).unwrap();
        text = text.replace("fn pick(", "fn choose("); // a prototype's own function, now built in
        let mut fetch = |import: &str| fs::read_to_string(folder.join(import)).map_err(|it| it.to_string());
        let loaded = load(Source { name: name.clone(), text }, &mut fetch);
        let (sources, findings) = match loaded.and_then(|it| check(it, &Fixed::default())) {
            Ok(checked) => (checked.program.sources, checked.warnings),
            Err(failure) => (failure.sources, failure.diagnostics),
        };
        if !findings.is_empty() {
            writeln!(wrong, "{name}:\n{}", told(&sources, &findings)).unwrap();
        }
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

//! Every code of `docs/errors.md` has a spec that earns it, with the rendered text beside it.
//!
//! A case may fix things: `#! set: n = 3` and `#! param: scale = 0.5`.

use std::fs;
use std::path::{Path, PathBuf};

use attnc_dsl::check::{Fixed, check};
use attnc_dsl::diag::{Code, Diagnostic, Source, SourceMap};
use attnc_dsl::{load, render};

/// Codes that no text file of sensible size earns; the tests of the parser and the loader do.
const ELSEWHERE: [Code; 2] = [Code::NotUtf8, Code::TooLarge];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a spec is fixed by.
fn directives(text: &str) -> Fixed {
    let mut fixed = Fixed::default();
    for line in text.lines().filter_map(|it| it.strip_prefix("#!")) {
        let (what, setting) = line.split_once(':').expect("`#! what: name = value`");
        let (name, value) = setting.split_once('=').expect("`#! what: name = value`");
        let (name, value) = (name.trim().to_owned(), value.trim());
        match what.trim() {
            "set" => drop(fixed.sets.insert(name, value.parse().expect("an extent"))),
            "param" => drop(fixed.params.insert(name, value.to_owned())),
            other => panic!("unknown directive `{other}`"),
        }
    }
    fixed
}

/// All that is found in a spec that must not be accepted, or only with a warning.
fn findings(name: &str, text: &str) -> (SourceMap, Vec<Diagnostic>) {
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    let loaded = load(source, &mut |_| Err("there is no such file".to_owned()));
    match loaded.and_then(|it| check(it, &directives(text))).map(|it| (it.warnings.clone(), it.fixed())) {
        Ok((warnings, Ok(checked))) => (checked.program.sources, warnings),
        Ok((_, Err(failure))) | Err(failure) => (failure.sources, failure.diagnostics),
    }
}

#[test]
fn each_case_is_told_as_written() {
    insta::glob!("../../tests/errors", "*.attn", |path| {
        let name = path.file_name().expect("a file").to_string_lossy();
        let text = fs::read_to_string(path).expect("a readable case");
        let (sources, found) = findings(&name, &text);
        assert!(!found.is_empty(), "{name} is accepted");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(root().join("tests/errors"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_suffix("");
        settings.set_omit_expression(true);
        settings.remove_input_file();
        settings.bind(|| {
            insta::assert_snapshot!(name.trim_end_matches(".attn"), render::text(&sources, &found));
        });
    });
}

#[test]
fn each_code_has_a_case() {
    let mut told = String::new();
    for entry in fs::read_dir(root().join("tests/errors")).expect("the cases") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_some_and(|it| it == "snap") {
            told += &fs::read_to_string(path).expect("a readable snapshot");
        }
    }
    for code in Code::ALL.iter().filter(|it| !ELSEWHERE.contains(it)) {
        assert!(
            told.contains(&format!("[{}]", code.as_str())),
            "no case in tests/errors earns {}",
            code.as_str()
        );
    }
}

#[test]
fn each_code_has_an_entry() {
    let guide = fs::read_to_string(root().join("docs/errors.md")).expect("docs/errors.md");
    for code in Code::ALL {
        let entry = format!("## {}: {}\n", code.as_str(), code.title());
        assert!(guide.contains(&entry), "docs/errors.md lacks `{}`", entry.trim());
    }
}

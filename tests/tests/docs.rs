//! Every spec in the documentation is one that attnc accepts, and the gallery is in its place.

use attnc::driver::{Request, outline};
use attnc::files::{fetch, read_spec, root_of};
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_dsl::render;
use attnc_tests::fixture::repository;

const PAGES: [&str; 4] = ["README.md", "docs/language.md", "docs/errors.md", "docs/abi.md"];

#[test]
fn specs_in_the_documentation_are_accepted() {
    let mut n_specs = 0;
    for page in PAGES {
        let text = std::fs::read_to_string(repository(page)).expect("the page can be read");
        for spec in fenced(&text, "attn") {
            n_specs += 1;
            let source = Source { name: page.to_owned(), text: spec.clone() };
            let mut none = |path: &str| Err(format!("the page imports `{path}`"));
            let front = outline(Request { source, fetch: &mut none, fixed: Fixed::default() });
            if let Err(failure) = front {
                panic!("{}\n{spec}", render::text(&failure.sources, &failure.diagnostics));
            }
        }
    }
    assert!(n_specs > 5, "the pages have specs");
}

#[test]
fn every_spec_of_the_gallery_is_accepted_and_documented() {
    let mut n_specs = 0;
    for entry in std::fs::read_dir(repository("examples/gallery")).expect("there is a gallery") {
        let path = entry.expect("an entry can be read").path();
        if path.extension().is_some_and(|it| it == "attn") {
            n_specs += 1;
            let source = read_spec(&path).expect("the spec can be read");
            let root = root_of(&path);
            let mut fetch = |it: &str| fetch(&root, it);
            let front = outline(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
            let front = front.unwrap_or_else(|failure| {
                panic!("{}", render::text(&failure.sources, &failure.diagnostics));
            });
            assert!(front.checked.warnings.is_empty(), "{} is warned of", path.display());
            let documented = front.cascades.iter().all(|it| !it.docs.is_empty());
            assert!(documented, "{} does not say what it is", path.display());
        }
    }
    assert!(n_specs > 100, "the gallery is there");
}

/// The blocks of a page between ```` ```LANGUAGE ```` and ```` ``` ````.
fn fenced(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}");
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if inside && line == "```" {
            inside = false;
        } else if inside {
            blocks.last_mut().expect("a block is open").extend([line, "\n"]);
        } else if line == opening {
            inside = true;
            blocks.push(String::new());
        }
    }
    blocks
}

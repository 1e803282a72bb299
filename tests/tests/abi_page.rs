//! The page on the C ABI: its spec is compiled, its program built and run as it says.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::{Command, Output};

use attnc::Backend;
use attnc::driver::{self, Request};
use attnc::package::{Emit, Packing, package};
use attnc::target::Target;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;

const PAGE: &str = include_str!("../../docs/abi.md");

/// What stands between two marks on the page, the first being the last of its kind.
fn between(start: &str, end: &str) -> &'static str {
    PAGE.rsplit_once(start).unwrap().1.split_once(end).unwrap().0
}

fn shell(folder: &Path, command: &str) -> Output {
    Command::new("sh").args(["-c", command]).current_dir(folder).output().unwrap()
}

#[test]
fn the_program_on_the_page_prints_what_it_says() {
    let (spec, program) = (between("```attn\n", "```"), between("```c\n", "```"));
    let (compile, build) = between("to be built with `", "`").split_once(" && ").unwrap();
    assert_eq!(compile, "attnc compile rms.attn -o out");

    let source = Source { name: "rms.attn".into(), text: spec.into() };
    let mut fetch = |_: &str| Err("no imports".into());
    let front = driver::front(Request { source, fetch: &mut fetch, fixed: Fixed::default() }).unwrap();
    let object = driver::compile(&front, &Target::default(), Backend::Cranelift).unwrap();
    let packing = Packing { stem: "rms".into(), emit: Emit::ALL.to_vec(), linker: None };
    let folder = tempfile::tempdir().unwrap();
    package(&object, &packing).unwrap().write(&folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("main.c"), program).unwrap();

    let built = shell(folder.path(), &format!("{build} -Wall -Wextra -Werror"));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = shell(folder.path(), "./main").stdout;
    let expected = between("r[0], r[1]); /* ", " */");
    assert_eq!(String::from_utf8(said).unwrap().trim_end(), expected);
}

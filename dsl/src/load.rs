//! A spec, the prelude and all imports to one [`Program`].
//!
//! ```text
//! kernel …            \
//! import "x.attn"      >  Program { spec, functions of all, faults }
//! the prelude         /
//! ```

use std::collections::VecDeque;

use indexmap::IndexSet;

use crate::ast::{FnDef, Import, Item, Spec};
use crate::diag::{Code, Diagnostic, Failure, Source, SourceMap, Span};
use crate::functions::{Functions, SPEC_ID};
use crate::model::Program;
use crate::parse::read;

/// The functions that every spec sees, in the language itself.
const PRELUDE: &str = include_str!("../prelude.attn");

/// Parses a spec and what it refers to.
///
/// The spec has source id 0, the prelude 1. Imports are read through `fetch`, which gets a path relative to the root
/// folder; each file is read once and brings its functions and those that it imports. Files may import each other.
///
/// # Errors
/// The spec does not follow the grammar. All else that is wrong is among the program's faults, which
/// [`check`](crate::check::check) reports with its own findings.
pub fn load(
    source: Source,
    fetch: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Program, Box<Failure>> {
    let mut loader = Loader {
        sources: SourceMap::default(),
        functions: Functions::default(),
        faults: Vec::new(),
        incomplete: false,
        fetch,
    };
    let spec = loader.file(source);
    loader.file(Source { name: "prelude.attn".to_owned(), text: PRELUDE.to_owned() });
    if let Some(spec) = &spec {
        loader.imported(spec);
        if !spec.items.iter().any(|it| matches!(it, Item::Kernel(_))) {
            loader.faults.push(no_kernel());
        }
    }
    let Loader { sources, functions, faults, incomplete, .. } = loader;
    match spec {
        Some(spec) => Ok(Program { sources, spec, functions, faults, incomplete }),
        None => Err(Box::new(Failure { sources, diagnostics: faults })),
    }
}

struct Loader<'a> {
    sources: SourceMap,
    functions: Functions,
    faults: Vec<Diagnostic>,
    incomplete: bool,
    fetch: &'a mut dyn FnMut(&str) -> Result<String, String>,
}

impl Loader<'_> {
    /// Reads a file and keeps its functions; what is wrong with it is noted.
    fn file(&mut self, source: Source) -> Option<Spec> {
        let id = self.sources.add(source);
        let parsed = read(id, &self.sources.get(id).text);
        let (spec, faults) =
            parsed.map_or_else(|faults| (None, faults), |(spec, faults)| (Some(spec), faults));
        self.faults.extend(faults);
        for function in spec.iter().flat_map(functions) {
            if let Some(first) = self.functions.add(function) {
                let harmless = first.span.source != function.span.source && says_the_same(first, function);
                self.faults.extend((!harmless).then(|| defined_twice(first, function)));
            }
        }
        spec
    }

    /// Reads all files that a spec imports, directly or not.
    fn imported(&mut self, spec: &Spec) {
        let mut seen = IndexSet::new();
        let mut todo: VecDeque<Import> = imports(spec).cloned().collect();
        while let Some(import) = todo.pop_front() {
            if !seen.insert(import.path.clone()) {
                continue;
            }
            match self.import(&import) {
                Some(spec) => todo.extend(imports(&spec).cloned()),
                None => self.incomplete = true,
            }
        }
    }

    /// Reads an imported file; what is wrong with it is noted.
    fn import(&mut self, import: &Import) -> Option<Spec> {
        match check_path(&import.path).and_then(|()| (self.fetch)(&import.path)) {
            Ok(text) => self.file(Source { name: import.path.clone(), text }),
            Err(why) => {
                self.faults.push(import_failed(import, &why));
                None
            }
        }
    }
}

fn functions(spec: &Spec) -> impl Iterator<Item = &FnDef> {
    spec.items.iter().filter_map(|it| match it {
        Item::Fn(function) => Some(function),
        Item::Import(_) | Item::Kernel(_) => None,
    })
}

fn imports(spec: &Spec) -> impl Iterator<Item = &Import> {
    spec.items.iter().filter_map(|it| match it {
        Item::Import(import) => Some(import),
        Item::Fn(_) | Item::Kernel(_) => None,
    })
}

/// A path that stays under the root folder and names a spec.
fn check_path(path: &str) -> Result<(), String> {
    let plain = |it: &str| !matches!(it, "" | "." | "..") && !it.contains(['\\', ':', '\0']);
    if !path.split('/').all(plain) {
        return Err(
            "a path is relative to the root folder, with `/` between names and without `..`".to_owned()
        );
    }
    if !path.ends_with(".attn") {
        return Err("a path ends in `.attn`".to_owned());
    }
    Ok(())
}

/// Documentation apart.
fn says_the_same(first: &FnDef, second: &FnDef) -> bool {
    (&first.ranks, &first.values, &first.body, &first.result)
        == (&second.ranks, &second.values, &second.body, &second.result)
}

fn no_kernel() -> Diagnostic {
    let start = Span { source: SPEC_ID, start: 0, end: 0 };
    Diagnostic::error(Code::NoKernel, "the file has no kernel")
        .label(start, "in this file")
        .help("a kernel is written `kernel NAME { … }`".to_owned())
}

fn import_failed(import: &Import, why: &str) -> Diagnostic {
    Diagnostic::error(Code::ImportFailed, format!("`{}` cannot be imported: {why}", import.path))
        .label(import.span, "imported here")
}

fn defined_twice(first: &FnDef, second: &FnDef) -> Diagnostic {
    Diagnostic::error(Code::Duplicate, format!("function `{}` is defined twice", second.name.text))
        .label(second.name.span, "defined again here")
        .label(first.name.span, "first defined here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::SourceId;
    use crate::functions::PRELUDE_ID;

    const KERNEL: &str = "kernel k { rank n  input A[n]: f32  output O = sum[n](A) }";

    fn load_from(text: &str, files: &[(&str, &str)]) -> Result<Program, Box<Failure>> {
        let source = Source { name: "main.attn".to_owned(), text: format!("{text}\n{KERNEL}") };
        load(source, &mut |path| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or("no such file".to_owned())
        })
    }

    fn codes(text: &str, files: &[(&str, &str)]) -> Vec<Code> {
        let program = load_from(text, files).unwrap();
        program.faults.iter().map(|it| it.code).collect()
    }

    /// The function of that name that a file sees.
    fn seen<'p>(program: &'p Program, function: &str, from: SourceId) -> &'p FnDef {
        &program.functions[program.functions.seen(function, from).unwrap()]
    }

    #[test]
    fn own_functions_shadow_imported_ones_and_those_the_prelude() {
        let files = [("a/x.attn", "fn own() { 1 } fn causal() { 2 } kernel ignored { rank n }")];
        let program = load_from("import \"a/x.attn\" fn own(a, b) { a + b }", &files).unwrap();
        let imported = SourceId(2);
        assert_eq!(program.sources.get(imported).name, "a/x.attn");
        assert_eq!(seen(&program, "own", SPEC_ID).values.len(), 2);
        assert_eq!(seen(&program, "own", imported).values.len(), 0);
        assert!(program.functions.seen("own", PRELUDE_ID).is_none());
        assert!(seen(&program, "causal", SPEC_ID).ranks.is_empty());
        assert!(seen(&program, "causal", imported).ranks.is_empty());
        assert_eq!(seen(&program, "causal", PRELUDE_ID).ranks.len(), 2);
        assert_eq!(seen(&program, "softmax", SPEC_ID).ranks.len(), 1);
        assert_eq!(program.spec.items.len(), 3);
    }

    #[test]
    fn imports_are_followed_once_each() {
        let files = [
            ("x.attn", "import \"y.attn\" fn f() { g() }"),
            ("y.attn", "import \"x.attn\" import \"z.attn\" fn g() { 1 }"),
            ("z.attn", "## The same, documented.\nfn g() { (1) }"),
        ];
        let program = load_from("import \"x.attn\" import \"y.attn\"", &files).unwrap();
        assert_eq!(program.sources.iter().count(), 5);
        assert!(["f", "g"].iter().all(|it| program.functions.seen(it, SPEC_ID).is_some()));
    }

    #[test]
    fn a_function_has_one_meaning() {
        assert_eq!(codes("fn f() { 1 } fn f() { 1 }", &[]), [Code::Duplicate]);
        let files = [("x.attn", "fn f() { 1 }"), ("y.attn", "fn f() { 2 }")];
        assert_eq!(codes("import \"x.attn\" import \"y.attn\"", &files), [Code::Duplicate]);
    }

    #[test]
    fn what_cannot_be_imported() {
        for path in [
            "/x.attn",
            "../x.attn",
            "a/../x.attn",
            "a//x.attn",
            "./x.attn",
            "x.txt",
            "",
            "c:x.attn",
            "gone.attn",
        ] {
            assert_eq!(
                codes(&format!("import \"{path}\""), &[("x.txt", "")]),
                [Code::ImportFailed],
                "{path}"
            );
        }
    }

    #[test]
    fn errors_of_all_files_are_reported() {
        let files = [("x.attn", "fn f( { 1 }")];
        assert_eq!(codes("import \"x.attn\" import \"y.attn\"", &files), [Code::Syntax, Code::ImportFailed]);
    }

    #[test]
    fn a_spec_has_a_kernel() {
        let source = Source { name: "main.attn".to_owned(), text: "fn f() { 1 }".to_owned() };
        let program = load(source, &mut |_| Err(String::new())).unwrap();
        assert_eq!(program.faults[0].code, Code::NoKernel);
    }
}

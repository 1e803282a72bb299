//! A spec, the prelude and all imports to one [`Program`].
//!
//! ```text
//! kernel …            \
//! import "x.attn"      >  Program { spec, functions: own over imported over the prelude's }
//! the prelude         /
//! ```

use std::collections::VecDeque;

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};

use crate::ast::{FnDef, Import, Item, Spec};
use crate::diag::{Code, Diagnostic, Failure, Source, SourceId, SourceMap, Span};
use crate::model::Program;
use crate::parse::parse;

/// The functions that every spec sees, in the language itself.
const PRELUDE: &str = include_str!("../prelude.attn");

/// The source id of the prelude; that of the spec is 0.
pub(crate) const PRELUDE_ID: SourceId = SourceId(1);

/// Parses a spec and what it refers to.
///
/// The spec has source id 0, the prelude 1. Imports are read through `fetch`, which gets a path relative to the root
/// folder; each file is read once and brings its functions and those that it imports. Files may import each other.
pub fn load(
    source: Source,
    fetch: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Program, Box<Failure>> {
    let mut loader = Loader { sources: SourceMap::default(), diagnostics: Vec::new(), fetch };
    let spec = loader.file(source);
    let prelude = loader.file(Source { name: "prelude.attn".to_owned(), text: PRELUDE.to_owned() });
    let mut functions = prelude.map(|it| loader.functions(&it)).unwrap_or_default();
    if let Some(spec) = &spec {
        functions.extend(loader.imported(spec));
        functions.extend(loader.functions(spec));
        if !spec.items.iter().any(|it| matches!(it, Item::Kernel(_))) {
            loader.diagnostics.push(no_kernel());
        }
    }
    let Loader { sources, diagnostics, .. } = loader;
    match spec {
        Some(spec) if diagnostics.is_empty() => Ok(Program { sources, spec, functions }),
        _ => Err(Box::new(Failure { sources, diagnostics })),
    }
}

type Functions = IndexMap<String, FnDef>;

struct Loader<'a> {
    sources: SourceMap,
    diagnostics: Vec<Diagnostic>,
    fetch: &'a mut dyn FnMut(&str) -> Result<String, String>,
}

impl Loader<'_> {
    /// Reads a file; what is wrong with it is noted.
    fn file(&mut self, source: Source) -> Option<Spec> {
        let id = self.sources.add(source);
        let parsed = parse(id, &self.sources.get(id).text);
        parsed.map_err(|errors| self.diagnostics.extend(errors)).ok()
    }

    /// The functions of all files that a spec imports, directly or not.
    fn imported(&mut self, spec: &Spec) -> Functions {
        let (mut functions, mut seen) = (Functions::new(), IndexSet::new());
        let mut todo: VecDeque<Import> = imports(spec).cloned().collect();
        while let Some(import) = todo.pop_front() {
            if !seen.insert(import.path.clone()) {
                continue;
            }
            let Some(spec) = self.import(&import) else { continue };
            todo.extend(imports(&spec).cloned());
            for (name, function) in self.functions(&spec) {
                self.define(&mut functions, name, function, says_the_same);
            }
        }
        functions
    }

    /// Reads an imported file; what is wrong with it is noted.
    fn import(&mut self, import: &Import) -> Option<Spec> {
        match check_path(&import.path).and_then(|()| (self.fetch)(&import.path)) {
            Ok(text) => self.file(Source { name: import.path.clone(), text }),
            Err(why) => {
                self.diagnostics.push(import_failed(import, &why));
                None
            }
        }
    }

    /// The functions of one file, by name.
    fn functions(&mut self, spec: &Spec) -> Functions {
        let mut functions = Functions::new();
        for item in &spec.items {
            if let Item::Fn(function) = item {
                self.define(&mut functions, function.name.text.clone(), function.clone(), |_, _| false);
            }
        }
        functions
    }

    /// Adds a function, unless its name is taken; that is an error unless `may_repeat` the first one.
    fn define(
        &mut self,
        functions: &mut Functions,
        name: String,
        function: FnDef,
        may_repeat: fn(&FnDef, &FnDef) -> bool,
    ) {
        match functions.entry(name) {
            Entry::Vacant(free) => drop(free.insert(function)),
            Entry::Occupied(taken) if may_repeat(taken.get(), &function) => {}
            Entry::Occupied(taken) => self.diagnostics.push(defined_twice(taken.get(), &function)),
        }
    }
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
    let start = Span { source: SourceId(0), start: 0, end: 0 };
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

    const KERNEL: &str = "kernel k { rank n  input A[n]: f32  output O = sum[n](A) }";

    fn load_from(text: &str, files: &[(&str, &str)]) -> Result<Program, Box<Failure>> {
        let source = Source { name: "main.attn".to_owned(), text: format!("{text}\n{KERNEL}") };
        load(source, &mut |path| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or("no such file".to_owned())
        })
    }

    fn codes(text: &str, files: &[(&str, &str)]) -> Vec<Code> {
        match load_from(text, files) {
            Ok(_) => Vec::new(),
            Err(failure) => failure.diagnostics.iter().map(|it| it.code).collect(),
        }
    }

    fn values_of(program: &Program, function: &str) -> usize {
        program.functions[function].values.len()
    }

    #[test]
    fn own_functions_shadow_imported_ones_and_those_the_prelude() {
        let files = [("a/x.attn", "fn own() { 1 } fn causal() { 2 } kernel ignored { rank n }")];
        let program = load_from("import \"a/x.attn\" fn own(a, b) { a + b }", &files).unwrap();
        assert_eq!(values_of(&program, "own"), 2);
        assert!(program.functions["causal"].ranks.is_empty());
        assert_eq!(program.functions["softmax"].ranks.len(), 1);
        assert_eq!(program.spec.items.len(), 3);
        assert_eq!(program.sources.get(SourceId(2)).name, "a/x.attn");
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
        assert!(program.functions.contains_key("f") && program.functions.contains_key("g"));
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
        let failure = load(source, &mut |_| Err(String::new())).unwrap_err();
        assert_eq!(failure.diagnostics[0].code, Code::NoKernel);
    }
}

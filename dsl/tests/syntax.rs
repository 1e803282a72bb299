//! What users see when a text is wrong: each `syntax/NAME.attn` gives the diagnostics beside it.

use attnc_dsl::diag::{Source, SourceMap};
use attnc_dsl::{parse, render};

#[test]
fn wrong_texts_are_explained() {
    insta::glob!("syntax/*.attn", |path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = Source { name: name.to_owned(), text: std::fs::read_to_string(path).unwrap() };
        let mut sources = SourceMap::default();
        let id = sources.add(source);
        let errors = parse(id, &sources.get(id).text).unwrap_err();
        insta::with_settings!({
            snapshot_path => "syntax", prepend_module_to_snapshot => false, snapshot_suffix => "", omit_expression => true
        }, {
            insta::assert_snapshot!(name.trim_end_matches(".attn"), render::text(&sources, &errors));
        });
    });
}

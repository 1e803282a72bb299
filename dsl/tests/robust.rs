//! No text makes the parser panic, exhaust the stack or take long.

use attnc_dsl::diag::{Code, Source, SourceMap};
use attnc_dsl::{parse, print, render};
use proptest::prelude::*;

/// The codes of what is wrong with a text. All places lie in the text, and what is right survives printing.
fn codes(text: &str) -> Vec<Code> {
    let mut sources = SourceMap::default();
    let id = sources.add(Source { name: "x.attn".to_owned(), text: text.to_owned() });
    match parse(id, text) {
        Ok(spec) => {
            let printed = print(&spec, text);
            assert_eq!(parse(id, &printed).expect("printed text parses"), spec);
            Vec::new()
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let places = errors.iter().flat_map(|it| &it.labels).map(|it| it.span);
            for span in places {
                assert!(span.start <= span.end && text.get(span.start as usize..span.end as usize).is_some());
            }
            if text.len() < 10_000 {
                assert!(render::text(&sources, &errors).contains("x.attn:"));
            }
            errors.iter().map(|it| it.code).collect()
        }
    }
}

/// The codes of a kernel with this value in an equation.
fn codes_of_value(value: &str) -> Vec<Code> {
    codes(&format!("kernel k {{ rank n\n output O[n] = {value}\n }}"))
}

#[test]
fn small_oddities() {
    assert_eq!(codes(""), []);
    assert_eq!(codes("# only a comment"), []);
    assert_eq!(codes("kernel k {\r\n  rank n  # ∑ é\r\n\toutput O[n] = 1;\r\n}\r\n"), []);
    assert_eq!(codes("import \"größe.attn\""), []);
    for text in
        ["\0", "kernel k { rank n\0 }", "kernel é { }", "\u{feff}kernel k {}", "\"", "kernel", "}", ";", "1"]
    {
        assert_eq!(codes(text), [Code::Syntax], "{text:?}");
    }
}

#[test]
fn numbers_are_limited() {
    assert_eq!(codes_of_value("9223372036854775807"), []);
    assert_eq!(codes_of_value("9223372036854775808"), [Code::IntTooLarge]);
    assert_eq!(codes_of_value(&"9".repeat(1 << 20)), [Code::IntTooLarge]);
    assert_eq!(codes("kernel k { rank n <= 9223372036854775808 }"), [Code::IntTooLarge]);
    assert_eq!(codes_of_value("1e308"), []);
    assert_eq!(codes_of_value("1e309"), [Code::Syntax]);
}

#[test]
fn files_are_limited() {
    assert_eq!(codes(&" ".repeat(4 << 20)), []);
    assert_eq!(codes(&" ".repeat((4 << 20) + 1)), [Code::TooLarge]);
}

#[test]
fn nesting_is_limited() {
    let nested = |open: &str, close: &str, depth| format!("{}x{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in
        [("(", ")"), ("f(", ")"), ("A[", "]"), ("A[n = ", "]"), ("topk[n -> j](", ")"), ("sum[n](1 + ", ")")]
    {
        let deepest = if open.contains('+') { 99 } else { 199 };
        assert_eq!(codes_of_value(&nested(open, close, deepest)), [], "{open}");
        assert_eq!(codes_of_value(&nested(open, close, 201)), [Code::TooDeep], "{open}");
        assert_eq!(codes_of_value(&nested(open, close, 10_000)), [Code::TooDeep], "{open}");
        assert_eq!(codes_of_value(&nested(open, "", 1 << 18)), [Code::TooDeep], "{open}");
    }
}

#[test]
fn branches_are_limited() {
    let chain = |length| format!("{}z", "if a then b else ".repeat(length));
    assert_eq!(codes_of_value(&chain(199)), []);
    assert_eq!(codes_of_value(&chain(200)), [Code::TooDeep]);
    assert_eq!(codes_of_value(&chain(100_000)), [Code::TooDeep]);
    assert_eq!(codes_of_value(&"if ".repeat(100_000)), [Code::TooDeep]);
    assert_eq!(codes_of_value(&"if a then ".repeat(100_000)), [Code::TooDeep]);
    let rows = "  A[n] = if x then if y then 1 else 2 else |z|\n".repeat(1000);
    assert_eq!(codes(&format!("kernel k {{\n{rows}}}")), []);
}

#[test]
fn height_is_limited() {
    let long = 100_000;
    for (unit, fits) in [
        ("-", 199),
        ("not ", 199),
        ("a ^ ", 199),
        ("a + ", 199),
        ("a or not ", 198),
        ("a where ", 199),
        ("a^-", 99),
    ] {
        assert_eq!(codes_of_value(&(unit.repeat(fits) + "a")), [], "{unit}");
        assert_eq!(codes_of_value(&(unit.repeat(fits + 2) + "a")), [Code::TooDeep], "{unit}");
        assert_eq!(codes_of_value(&(unit.repeat(long) + "a")), [Code::TooDeep], "{unit}");
    }
    assert_eq!(codes_of_value(&("a < ".repeat(long) + "a")), []);
    assert_eq!(codes_of_value(&format!("f({}a)", "a, ".repeat(long))), []);
}

#[test]
fn long_chains_are_refused() {
    assert_eq!(codes_of_value(&"(".repeat(1 << 20)), [Code::TooDeep]);
    assert_eq!(codes_of_value(&"-".repeat(1 << 20)), [Code::Syntax]);
    assert_eq!(codes_of_value(&("-".repeat(1 << 20) + "a")), [Code::TooDeep]);
}

#[test]
fn long_files_are_read() {
    let ranks: String = (0..10_000).map(|it| format!("  rank r{it}\n")).collect();
    assert_eq!(codes(&format!("kernel k {{\n{ranks}}}")), []);
    let list = (0..10_000).map(|it| format!("r{it}")).collect::<Vec<_>>().join(", ");
    assert_eq!(codes(&format!("kernel k {{ rank {list} }}")), []);
    assert_eq!(codes(&"kernel k { }\n".repeat(10_000)), []);
}

#[test]
fn long_nonsense_is_refused() {
    for unit in [
        "-",
        "not ",
        "{",
        "}",
        "|",
        "!",
        "a ",
        "a\n",
        "#\n(",
        "kernel ",
        "kernel k {",
        "\"",
        "= ",
        "1.",
        "é",
        "rank n\n",
        "else ",
    ] {
        let text = unit.repeat((1 << 18) / unit.len());
        assert!(!codes(&text).is_empty(), "{unit}");
        assert!(!codes_of_value(&text).is_empty(), "{unit}");
    }
}

/// Words of the language and words that are not; line ends come apart.
const WORDS: &str = "kernel fn import rank input param output exact assume where else if then and or not inf pi true k n A \
    f32 0 7 0.5 1e9 1. \"x.attn\" \" ( ) [ ] { } , ; : | = == <= < -> + - * / // % ^ ** && || ! := += . é \0";

fn word() -> impl Strategy<Value = &'static str> {
    let lines = ["\n", "\n\n", "# c\n", "## d\n", "#! e\n"];
    prop::sample::select(WORDS.split_whitespace().chain(lines).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        codes(&text);
    }

    #[test]
    fn any_words_are_read_or_refused(words in prop::collection::vec(word(), 0..60)) {
        codes(&words.join(" "));
        codes(&format!("kernel k {{\n{}\n}}", words.join(" ")));
        codes_of_value(&words.join(" "));
    }
}

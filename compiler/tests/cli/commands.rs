//! `check`, `fmt`, `dump`, `completions`, `man`, and what holds for all.

use crate::folder::{DOT, Folder};

const WRONG: &str =
    "kernel k {\n  rank n\n  input A[n]: f32\n  output B[n] = A + C\n  output D[n] = A + E\n}\n";

#[test]
fn check_reports_every_error() {
    let folder = Folder::with_dot();
    folder.write("wrong.attn", WRONG);
    let ran = folder.attnc("check dot.attn wrong.attn");
    ran.expect(1, &["wrong.attn:4:21", "wrong.attn:5:21", "checked 2 specs: 2 errors, 0 warnings"]);
    assert_eq!(ran.stdout, "");
    folder.attnc("check dot.attn").expect(0, &["checked 1 spec: 0 errors"]);
}

#[test]
fn check_tells_tools() {
    let folder = Folder::new();
    let ran = folder.attnc_with("check - --json", WRONG);
    ran.expect(1, &[]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let findings = json["diagnostics"].as_array().unwrap();
    let lines: Vec<_> = findings.iter().map(|it| it["labels"][0]["line"].as_u64().unwrap()).collect();
    assert_eq!((lines, findings[0]["file"].as_str()), (vec![4, 5], Some("<stdin>")));
    assert_eq!(ran.stderr, "");
}

#[test]
fn check_warns_of_what_must_be_fixed() {
    let folder = Folder::new();
    folder.write("k.attn", "kernel k { rank n output O[n] = n }");
    folder.attnc("check k.attn").expect(0, &["warning[A0605]", "--set n="]);
    folder.attnc("check k.attn --set n=3").expect(0, &["0 warnings"]);
    folder.attnc("check k.attn --set n=-3").expect(1, &["error[A06"]);
}

#[test]
fn imports_are_found_beside_the_spec() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("lib")).unwrap();
    folder.write("lib/twice.attn", "fn twice(x) { x + x }");
    folder.write("lib/k.attn", "import \"twice.attn\" kernel k { output O = twice(1.0) }");
    folder.attnc("check lib/k.attn").expect(0, &[]);
    folder.write("k.attn", "import \"twice.attn\" kernel k { output O = twice(1.0) }");
    folder.attnc("check k.attn").expect(1, &["`twice.attn` cannot be imported"]);
    folder
        .attnc_with("check -", "import \"lib/twice.attn\" kernel k { output O = twice(1.0) }")
        .expect(0, &[]);
}

#[test]
fn fmt_formats_in_place() {
    let folder = Folder::with_dot();
    folder.write("loose.attn", "kernel   k{output O=1.0}");
    folder.write("wrong.attn", "kernel {");
    let ran = folder.attnc("fmt --check dot.attn loose.attn");
    ran.expect(1, &[]);
    assert_eq!(ran.stdout, "loose.attn\n");
    folder.attnc("fmt wrong.attn dot.attn loose.attn").expect(1, &["error[A0001]", "wrong.attn:1:"]);
    assert_eq!(folder.read("loose.attn"), "kernel k {\n  output O = 1.0\n}\n");
    assert_eq!((folder.read("wrong.attn").as_str(), folder.read("dot.attn").as_str()), ("kernel {", DOT));
    folder.attnc("fmt --check dot.attn loose.attn").expect(0, &[]);
    assert_eq!(folder.attnc_with("fmt -", "kernel   k{output O=1.0}").stdout, folder.read("loose.attn"));
}

#[test]
fn dump_prints_each_form() {
    let folder = Folder::with_dot();
    let dump = |stage: &str| {
        let ran = folder.attnc(&format!("dump dot.attn --after {stage}"));
        ran.expect(0, &[]);
        ran.stdout
    };
    assert_eq!(dump("parse"), DOT);
    let model = "kernel dot {\n  input A[m, n]: f32\n  input B[n]: f32\n  output C[m]: f32\n  compute C\n}\n";
    assert_eq!(dump("check"), model);
    assert!(dump("lower").contains("sum"));
    assert!(dump("tile").contains("dot"));
    let code = dump("codegen");
    assert!(code.contains("attnc_dot_run:") && code.contains("ret"), "{code}");
    assert!(dump("package").contains("== manifest.json\n{"));
    folder.attnc("dump dot.attn --after lunch").expect(2, &["lunch", "parse"]);
    folder.attnc("dump dot.attn --after lower --kernel other").expect(1, &["no kernel `other`"]);
}

#[test]
fn shells_and_man_learn_of_it() {
    let folder = Folder::new();
    let script = folder.attnc("completions bash");
    assert!(script.expect(0, &[]).stdout.contains("_attnc()"));
    let page = folder.attnc("man");
    assert!(page.expect(0, &[]).stdout.contains(".TH attnc 1"));
    let page = folder.attnc("man check");
    assert!(page.expect(0, &[]).stdout.contains(".TH attnc-check 1"));
    folder.attnc("man knit").expect(2, &["no command `knit`"]);
}

#[test]
fn usage_is_status_2() {
    let folder = Folder::with_dot();
    folder.attnc("").expect(2, &["Usage"]);
    folder.attnc("knit dot.attn").expect(2, &["knit"]);
    folder.attnc("check gone.attn").expect(2, &["cannot read `gone.attn`"]);
    folder.attnc("check dot.attn --set n").expect(2, &["NAME=VALUE"]);
    folder.attnc("check dot.attn --set n=many").expect(2, &["`many` is no extent"]);
    folder.attnc("check dot.attn --set n=1 --set n=1").expect(2, &["`--set n=…` is given twice"]);
    assert_eq!(folder.attnc("--version").stdout, concat!("attnc ", env!("CARGO_PKG_VERSION"), "\n"));
}

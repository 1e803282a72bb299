//! Specs that want to hurt: each is refused with a code, quickly, and without a crash.

use std::fmt::Write;

use crate::folder::{Folder, Ran};

/// What `check` and `run` make of a spec.
fn refused(spec: impl AsRef<[u8]>, code: &str) {
    let folder = Folder::new();
    for command in ["check -", "run - --backend interp --out O=O.npy"] {
        let ran = folder.attnc_with(command, spec.as_ref());
        ran.expect(1, &[code]);
    }
    assert_eq!(folder.listing(), [""; 0]);
}

fn kernel(value: &str) -> String {
    format!("kernel k {{ rank n = 4  output O[n]: f32 = {value} }}")
}

#[test]
fn deep_nesting() {
    refused(kernel(&format!("{}1.0{}", "(".repeat(10_000), ")".repeat(10_000))), "error[A0003]");
    refused(kernel(&format!("{}1.0", "-".repeat(10_000))), "error[A0003]");
    refused(kernel(&format!("{}1.0", "1.0 ^ ".repeat(10_000))), "error[A0003]");
}

#[test]
fn a_megabyte_of_brackets() {
    for brackets in ["(", "[", "{", ")"] {
        refused(kernel(&brackets.repeat(1 << 20)), "error[A000");
    }
}

#[test]
fn no_text() {
    refused(b"kernel k { \xff\xfe }", "error[A0002]");
    refused(b"\0\0\0", "error[A0001]");
    refused("", "error[A0");
}

#[test]
fn cycles() {
    refused("kernel k { rank n = 4  A[n] = B  B[n] = A  output O[n] = A }", "error[A04");
    refused("fn f(x) { g(x) } fn g(x) { f(x) } kernel k { output O = f(1.0) }", "error[A0503]");
}

#[test]
fn huge_extents() {
    refused("kernel k { rank n = 9223372036854775807 + 1  output O[n]: f32 = 1.0 }", "error[A06");
    refused("kernel k { rank n = 99999999999999999999  output O[n]: f32 = 1.0 }", "error[A00");
    refused("kernel k { rank n = 9223372036854775807  output O[n]: f32 = 1.0 }", "error[A0602]");
    let folder = Folder::new();
    let huge = "kernel k { rank n = 1125899906842624  output O[n]: f32 = 1.0 }";
    folder.attnc_with("run - --backend interp --out O=O.npy", huge).expect(1, &["`O` is too large"]);
    folder.attnc_with("check - --set n=9223372036854775808", huge).expect(2, &["is no extent"]);
}

#[test]
fn ten_thousand_ranks() {
    let mut spec = String::from("kernel k {\n");
    (0..10_000).for_each(|it| writeln!(spec, "  rank r{it} = 1").unwrap());
    spec.push_str("  output O: f32 = sum[r0](1.0)\n}\n");
    let folder = Folder::new();
    let ran: Ran = folder.attnc_with("run - --backend interp --out O=O.npy", spec);
    ran.expect(0, &[]);
    assert_eq!(folder.read_npy::<f64>("O.npy").1, [1.]);
}

#[test]
fn a_flood_of_calls() {
    let mut spec = String::from("fn f0(x) { x + x }\n");
    (1..40).for_each(|it| writeln!(spec, "fn f{it}(x) {{ f{0}(x) + f{0}(x) }}", it - 1).unwrap());
    spec.push_str(&kernel("f39(1.0)"));
    refused(spec, "error[A05");
}

//! `attnc compile` and `attnc verify`.

use crate::folder::{DOT, Folder};

#[test]
fn an_artifact_appears_whole_and_is_reproducible() {
    let folder = Folder::with_dot();
    let ran =
        folder.attnc("compile dot.attn -o deep/one --emit obj --emit header --emit rust --emit manifest");
    ran.expect(0, &["wrote deep/one/dot.o", "wrote deep/one/manifest.json"]);
    assert_eq!(ran.stdout, "");
    folder
        .attnc("compile dot.attn -o two --emit obj --emit header --emit rust --emit manifest")
        .expect(0, &[]);
    for name in ["dot.o", "dot.h", "dot.rs", "manifest.json"] {
        let bytes = |at: &str| std::fs::read(folder.path(at).join(name)).unwrap();
        assert_eq!(bytes("deep/one"), bytes("two"), "{name}");
    }
    folder.attnc("compile dot.attn -o two --emit obj").expect(0, &[]);
}

#[test]
fn several_targets_have_a_folder_each() {
    let folder = Folder::with_dot();
    let words = "compile dot.attn -o out --emit obj --target x86-64-v3 --target aarch64";
    folder.attnc(words).expect(0, &["out/x86-64-v3/dot.o", "out/aarch64/dot.o"]);
    folder.attnc("compile dot.attn -o out --target pdp11").expect(2, &["pdp11", "x86-64-v3"]);
    folder.attnc("compile dot.attn -o out --target native --target native").expect(2, &["given twice"]);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let folder = Folder::with_dot();
    folder.write("wrong.attn", "kernel k { output O = X }");
    let before = folder.listing();
    folder.attnc("compile wrong.attn -o out").expect(1, &["error[A01"]);
    folder.attnc("compile dot.attn -o out --backend ptx").expect(1, &["`ptx`", "`cranelift`"]);
    folder.attnc("compile dot.attn -o out --mapping m.toml").expect(1, &["`m.toml`", "--mapping"]);
    folder.attnc("compile dot.attn -o out --emit wasm").expect(2, &["`obj`, `static`"]);
    folder.attnc("compile dot.attn -o dot.attn/out").expect(4, &["dot.attn/out"]);
    assert_eq!(folder.listing(), before);
    assert_eq!(folder.read("dot.attn"), DOT);
}

#[test]
fn llvm_compiles_where_it_is_built_in() {
    let folder = Folder::with_dot();
    let compiled = folder.attnc("compile dot.attn -o out --backend llvm --target x86-64-v4 --target aarch64");
    let verified = folder.attnc("verify dot.attn --backend llvm");
    if cfg!(feature = "llvm") {
        compiled.expect(0, &["out/x86-64-v4/dot.o", "out/aarch64/dot.o"]);
        verified.expect(0, &[]);
    } else {
        compiled.expect(1, &["without the back end `llvm`", "--features llvm"]);
        verified.expect(1, &["without the back end `llvm`", "--features llvm"]);
        assert!(!folder.path("out").exists());
    }
}

#[test]
fn verify_tells_what_it_compared() {
    let folder = Folder::with_dot();
    let ran = folder.attnc("verify dot.attn --backend interp --backend cranelift --json");
    ran.expect(0, &[]);
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&rows[1]["kernel"], &rows[1]["backend"]), (&"dot".into(), &"cranelift".into()));
    assert_eq!((&rows[1]["calls"], &rows[1]["result"]), (&6.into(), &"ok".into()));
    assert!(rows[0]["error"].as_f64() == Some(0.0) && rows[1]["of_allowed"].as_f64() < Some(1.0));
    let table = folder.attnc("verify .");
    assert!(table.expect(0, &[]).stdout.lines().nth(1).unwrap().starts_with("dot     cranelift"));
}

#[test]
fn verify_meets_the_constraints_of_a_spec() {
    let folder = Folder::new();
    let spec =
        "kernel k { rank i = 3, h = (y, x = 4), n, n2: n, s <= 5  input A[h, n]: f32  input B[i, n2, s]: f16
        output C[y, x] = sum[i, n, n2, s](A * B) }";
    folder.attnc_with("verify -", spec).expect(0, &[]);
    let never = "kernel k { rank n <= 5, m = |n| + 9  input A[n]: f32  input B[m]: f32  assume |n| > 7
        output C = sum[n](A) + sum[m](B) }";
    let ran = folder.attnc_with("verify -", never);
    ran.expect(1, &[]);
    assert!(ran.stdout.contains("untested"), "{}", ran.stdout);
    folder.attnc("verify .").expect(2, &["no .attn file in `.`"]);
}

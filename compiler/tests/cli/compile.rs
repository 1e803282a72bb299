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
fn gpus_get_stages_and_what_a_host_needs() {
    let folder = Folder::with_dot();
    for out in ["one", "two"] {
        let words = format!(
            "compile dot.attn -o {out} --target sm_80 --target sm_90a --emit ptx --emit obj --emit header --emit manifest"
        );
        folder.attnc(&words).expect(0, &["sm_80/dot.ptx", "sm_90a/dot.ptx", "sm_80/dot.h"]);
    }
    for gpu in ["sm_80", "sm_90a"] {
        for name in ["dot.ptx", "dot.o", "dot.h", "manifest.json"] {
            let bytes = |at: &str| std::fs::read(folder.path(at).join(gpu).join(name)).unwrap();
            assert_eq!(bytes("one"), bytes("two"), "{gpu}/{name}");
        }
        let text = folder.read(&format!("one/{gpu}/dot.ptx"));
        assert!(
            text.contains(&format!(".target {gpu}\n")) && text.contains(".entry attnc_dot_stage_0("),
            "{text}"
        );
        let manifest = folder.read(&format!("one/{gpu}/manifest.json"));
        assert!(
            manifest.contains(&format!("\"{gpu}\"")) && manifest.contains("\"nvptx64-nvidia-cuda\""),
            "{manifest}"
        );
    }
    let header = folder.read("one/sm_80/dot.h");
    assert!(header.contains("attnc_dot_tasks(") && !header.contains("attnc_dot_run("), "{header}");
    folder.attnc("compile dot.attn -o three --backend ptx --emit ptx").expect(0, &["wrote three/dot.ptx"]);
    assert_eq!(folder.read("three/dot.ptx"), folder.read("one/sm_80/dot.ptx"));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let folder = Folder::with_dot();
    folder.write("wrong.attn", "kernel k { output O = X }");
    let before = folder.listing();
    folder.attnc("compile wrong.attn -o out").expect(1, &["error[A01"]);
    folder.attnc("compile dot.attn -o out --backend ptx --target native").expect(2, &["`sm_80`", "`sm_90a`"]);
    folder
        .attnc("compile dot.attn -o out --backend cranelift --target sm_80")
        .expect(2, &["`--backend ptx`"]);
    folder.attnc("compile dot.attn -o out --target sm_80 --emit rust").expect(2, &["no `rust` for a GPU"]);
    folder.attnc("compile dot.attn -o out --emit ptx").expect(2, &["no `ptx` for a CPU"]);
    folder.attnc("compile dot.attn -o out --mapping m.toml").expect(2, &["cannot read `m.toml`"]);
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
    // Two calls more are of several tiles of what a kernel is cut along.
    assert_eq!((&rows[0]["calls"], &rows[1]["calls"]), (&6.into(), &8.into()));
    assert_eq!((&rows[1]["result"], &rows[1]["not_tried"]), (&"ok".into(), &serde_json::json!([])));
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

const ATTENTION: &str = "kernel a { rank m, n, d  input Q[m, d]: f32  input K[n, d]: f32  input V[n, d]: f32
    P[m, n] = softmax[n](sum[d](Q * K))  output O[m, d] = sum[n](P * V) }";

#[test]
fn a_mapping_is_followed() {
    let folder = Folder::new();
    folder.write("a.attn", ATTENTION);
    folder.write("a.map.toml", "[ranks.n]\nstream = 3\nchunk = 9\n[ranks.m]\nrows = 2\n");
    let plan = folder.attnc("dump a.attn --after schedule --mapping a.map.toml");
    let plan = &plan.expect(0, &[]).stdout;
    assert!(
        plan.contains("m in 2") && plan.contains("for n in 3") && plan.contains("for n.part of n"),
        "{plan}"
    );
    folder.attnc("verify a.attn --mapping a.map.toml").expect(0, &[]);
    folder.attnc("compile a.attn -o out --emit manifest --mapping a.map.toml").expect(0, &[]);
    assert!(folder.read("out/manifest.json").contains(r#"\"ranks\":{\"m\":{\"rows\":2}"#));
    let explained = folder.attnc("explain a.attn --json --mapping a.map.toml");
    let explained: serde_json::Value = serde_json::from_str(&explained.expect(0, &[]).stdout).unwrap();
    let mapping = &explained["kernels"][0]["mapping"];
    assert_eq!((&mapping["ranks"]["n"]["chunk"], &mapping["stages"][0]["rows"]["m"]), (&9.into(), &2.into()));
    assert_eq!(mapping["stages"][0]["split"]["rank"], "n");
}

#[test]
fn a_mapping_beside_the_spec_is_followed() {
    let folder = Folder::new();
    folder.write("a.attn", ATTENTION);
    folder.write("a.map.toml", "[ranks.m]\nrows = 2\n");
    let plan = |more: &str| {
        folder.attnc(&format!("dump a.attn --after schedule {more}")).expect(0, &[]).stdout.clone()
    };
    let (beside, without) = (plan(""), plan("--mapping none"));
    assert!(beside.contains("m in 2"), "{beside}");
    assert!(without.contains("m in 48"), "{without}");
    folder.write("other.toml", "[ranks.m]\nrows = 5\n");
    assert!(plan("--mapping other.toml").contains("m in 5"));
    folder.attnc("compile a.attn -o out --emit manifest").expect(0, &[]);
    assert!(folder.read("out/manifest.json").contains(r#"\"ranks\":{\"m\":{\"rows\":2}"#));
    folder.write("a.map.toml", "[ranks.x]\nrows = 2\n");
    folder.attnc("compile a.attn -o out").expect(1, &["a.map.toml", "there is no rank `x`"]);
}

#[test]
fn a_mapping_for_other_vectors_is_not_followed() {
    let folder = Folder::new();
    folder.write("a.attn", ATTENTION);
    folder.write("a.map.toml", "vectors = \"avx512\"\n[defaults]\nlanes = 64\nvector = 16\n");
    let why = "it is for vectors `avx512`, but cranelift has `any` for";
    folder.attnc("compile a.attn -o out").expect(0, &["note: a.map.toml is not followed", why]);
    folder.attnc("compile a.attn -o out --mapping a.map.toml").expect(1, &["error: a.map.toml", why]);
}

#[test]
fn a_mapping_that_cannot_be_followed_is_refused() {
    let folder = Folder::new();
    folder.write("a.attn", ATTENTION);
    let cases = [
        ("[ranks.n]\nstream = 0", &["`ranks.n.stream` is 0", "the nearest is 1"][..]),
        ("[ranks.n]\nstream = 60000", &["points", "`ranks.n.stream` of 1365"]),
        ("[ranks.nn]\nstream = 1", &["no rank `nn`", "`m`, `n`, `d`", "did you mean `n`?"]),
        ("[ranks.d]\nrows = 1", &["no stage has boxes of `d`", "`m`"]),
        ("[ranks.n]\nstrem = 1", &["unknown field `strem`", "`stream`"]),
        ("[ranks.n]\nstream = -4", &["-4", "u32"]),
        ("[defaults]\nrow = 1", &["unknown field `row`", "`rows`"]),
        (
            "[defaults]\nlanes = 24",
            &["`defaults.lanes` is 24", "a power of two, 4 to 64", "the nearest is 16"],
        ),
        ("[defaults]\nvector = 16", &["`defaults.vector` is 16", "at most `defaults.lanes`, 8"]),
    ];
    for (text, said) in cases {
        folder.write("a.map.toml", text);
        for command in
            ["compile a.attn -o out", "verify a.attn", "dump a.attn --after tile", "explain a.attn"]
        {
            folder.attnc(&format!("{command} --mapping a.map.toml")).expect(1, said);
        }
    }
    assert!(!folder.path("out").exists());
}

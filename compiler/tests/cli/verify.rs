//! `verify`: what the table, the summary and the status say, and how much memory kernels need.

use crate::folder::Folder;

/// One number for each row is used again by all rows.
const PER_ROW: &str = "kernel rows {\n  rank m, d\n  rank n: m\n  input A[m, d]: f32\n  input B[n, d]: f32\n  \
     most[m] = max[n](sum[d](A * B))\n  output O[m] = most / sum[n](most[m = n] ^ 2)\n}\n";
/// One number for each key is used again at another key.
const GROWS: &str = "kernel grows {\n  rank n, d\n  input A[n, d]: f32\n  most[n] = max[d](A)\n  \
     output O = sum[n](most * most[n = |n| - 1 - n])\n}\n";
/// Keys come in blocks that tables of ids have last; they are twice as many as places in the table.
const PAGED: &str = "kernel paged {\n  rank p, d\n  rank s = 2\n  rank n = (c, s)\n  input K[p, s, d]: f32\n  \
     input table[c]: i32\n  input masks[d, c]: bool\n  output O[d] = sum[n](K[table[c], s, d] where masks[d, c])\n}\n";
const FIXED: &str = "kernel fixed { rank n = 3 input A[n]: f32 output O = sum[n](A) }\n";

/// Pixels of an image whose height is a parameter, in the middle of another one.
const PIXELS: &str = "kernel pixels {\n  param H: i64 = 2\n  rank d\n  rank n = (y = H, x = 3)\n  \
     input A[n, d]: f32\n  most[n] = max[d](A)\n  output O = sum[n](most * most[n = |n| - 1 - n])\n}\n";

fn memory(spec: &str) -> (i32, String, u64, u64) {
    let folder = Folder::new();
    folder.write("k.attn", spec);
    let ran = folder.attnc("verify k.attn --memory --json");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let row = &json[0];
    let bytes = |at: usize| row["bytes"][at].as_u64().unwrap_or(0);
    (ran.status, row["class"].as_str().unwrap_or("unknown").to_owned(), bytes(0), bytes(1))
}

#[test]
fn memory_is_constant_per_row_or_grows_with_the_keys() {
    let (status, class, few, many) = memory(crate::folder::DOT);
    assert_eq!((status, class.as_str(), few), (0, "constant", many));
    let (status, class, few, many) = memory(PER_ROW);
    assert_eq!((status, class.as_str()), (0, "per row"));
    // Besides a float for each row there is what a thread needs.
    assert!(few > 4 * 4096 && many - few >= 4 * 7 * 4096 && many <= 8 * few, "{few} and {many}");
    let (status, class, few, many) = memory(GROWS);
    assert_eq!((status, class.as_str()), (0, "grows with the keys"));
    assert!(many - few >= 4 * 7 * 4096, "{few} and {many}");
}

#[test]
fn keys_that_follow_from_other_ranks_are_as_many_as_asked() {
    let folder = Folder::new();
    folder.write("paged.attn", PAGED);
    let json: serde_json::Value =
        serde_json::from_str(&folder.attnc("verify paged.attn --memory --json").stdout).unwrap();
    assert_eq!(
        (json[0]["rank"].as_str(), json[0]["keys"].to_string()),
        (Some("n"), "[4096,32768]".to_owned())
    );
}

#[test]
fn extents_that_parameters_give_grow_with_them() {
    let (status, class, few, many) = memory(PIXELS);
    assert_eq!((status, class.as_str()), (0, "grows with the keys"));
    assert!(many - few >= 4 * 7 * 4096, "{few} and {many}");
}

#[test]
fn kernels_of_a_folder_are_all_listed() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("specs")).unwrap();
    for (name, text) in [("a", PER_ROW), ("b", FIXED), ("c", GROWS)] {
        folder.write(&format!("specs/{name}.attn"), text);
    }
    let ran = folder.attnc("verify specs --memory");
    ran.expect(0, &["measured 3 kernels: 0 constant, 1 per row, 1 grows with the keys; 1 with keys that cannot grow, 0 unknown"]);
    let starts: Vec<_> =
        ran.stdout.lines().map(|it| it.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(starts, ["kernel", "rows", "fixed", "grows"]);

    folder.write("specs/d.attn", "kernel {");
    let ran = folder.attnc("verify specs --backend cranelift --backend interp");
    ran.expect(
        1,
        &["specs/d.attn:1:", "specs/d.attn: refused", "verified 4 specs: 6 ok, 0 failed, 0 untested"],
    );
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|it| it.split_whitespace().collect()).collect();
    let kernels: Vec<_> = rows[1..].iter().map(|it| (it[0], it[1])).collect();
    let both = |it| [(it, "cranelift"), (it, "interp")];
    assert_eq!(kernels, ["rows", "fixed", "grows"].map(both).concat());
}

#[test]
fn rounding_of_weights_is_allowed_for() {
    let text = "kernel k {\n  rank m = 20\n  rank n = 40\n  rank d = 16\n  input Q[m, d]: bf16\n  input K[n, d]: bf16\n  \
         input V[n, d]: bf16\n  output O[m, d]: f32 = sum[n](softmax[n](0.25 * sum[d](Q * K)) * V)\n}\n";
    let folder = Folder::new();
    for (name, text) in [("bf16.attn", text.to_owned()), ("f16.attn", text.replace("bf16", "f16"))] {
        folder.write(name, &text);
        for backend in ["ptx-emu", "ptx-emu-sm_90a"] {
            folder.attnc(&format!("verify {name} --backend {backend}")).expect(0, &[]);
        }
    }
}

#[test]
fn extents_that_are_too_large_for_the_interpreter_are_untested_and_said_to_be() {
    let folder = Folder::new();
    folder.write("k.attn", PER_ROW);
    let ran = folder.attnc("verify k.attn --backend cranelift --set m=4096 --set d=4096");
    let said = "found no extents that it allows and that come to at most 2000000 points";
    assert!(ran.expect(1, &[]).stdout.contains(said), "{}", ran.stdout);
}

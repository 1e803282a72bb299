//! `attnc bench`: what it tells and what it refuses; never how fast anything is.

use std::sync::OnceLock;

use crate::folder::{Folder, Ran};

/// What the machine was measured to do, once for all tests.
fn machine() -> &'static serde_json::Value {
    static MEASURED: OnceLock<serde_json::Value> = OnceLock::new();
    MEASURED.get_or_init(|| json(&Folder::new().attnc("bench --machine --json"))["machine"].clone())
}

fn bench(folder: &Folder, words: &str) -> Ran {
    machine();
    folder.attnc(&format!("bench {words}"))
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.expect(0, &[]).stdout).unwrap()
}

#[test]
fn a_machine_is_measured_once() {
    let found = machine();
    assert!(found["cores"].as_u64().unwrap() >= 1 && !found["cpu"].as_str().unwrap().is_empty());
    let levels = found["levels"].as_array().unwrap();
    assert_eq!(
        (levels[0]["name"].as_str(), levels.last().unwrap()["name"].as_str()),
        (Some("L1"), Some("memory"))
    );
    let rates = levels.iter().flat_map(|it| [&it["one_stream"], &it["four_streams"]]);
    for rate in rates.chain([&found["flops"]]) {
        let (one, all) = (rate["one"].as_f64().unwrap(), rate["all"].as_f64().unwrap());
        assert!(one > 0.0 && all >= one, "{rate}");
    }
    let folder = Folder::with_dot();
    let ran = bench(&folder, "dot.attn --set m=8 --set n=16 --rounds 1 --json");
    assert_eq!((&json(&ran)["machine"], ran.stderr.as_str()), (found, ""));
}

#[test]
fn a_kernel_is_measured() {
    let folder = Folder::with_dot();
    let ran = bench(&folder, "dot.attn --set m=8 --set n=16 --rounds 2 --threads 1 --backend cranelift");
    let text = &ran.expect(0, &[]).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("kernel") && lines[0].contains("GFLOP/s"), "{text}");
    assert!(lines[1].starts_with("dot     cranelift        1"), "{text}");
}

#[test]
fn tools_learn_all_of_it() {
    let folder = Folder::with_dot();
    let all = json(&bench(&folder, "dot.attn --set m=8 --set n=16 --rounds 2 --threads 1 --json"));
    let kernel = &all["kernels"][0];
    assert_eq!((&kernel["name"], &kernel["threads"], &all["rounds"]), (&"dot".into(), &1.into(), &2.into()));
    assert_eq!(kernel["extents"], serde_json::json!({ "m": 8, "n": 16 }));
    assert_eq!(kernel["flops"], 256.0);
    assert_eq!(kernel["bytes"], f64::from(4 * (8 * 16 + 16 + 8)));
    let seconds = &kernel["seconds"];
    let times = ["best", "low", "median", "high"].map(|it| seconds[it].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{seconds}");
    for key in ["flops_per_second", "bytes_per_second", "intensity", "of_peak"] {
        assert!(kernel[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(kernel["bound"].is_string() && all["machine"]["levels"].is_array());
}

#[test]
fn what_masks_leave_out_is_not_counted() {
    let folder = Folder::new();
    let spec = "kernel k { rank m, n, d  input Q[m, d]: f32  input K[n, d]: f32  input V[n, d]: f32
        S[m, n] = sum[d](Q * K) where MASK  output O[m, d] = sum[n](softmax[n](S) * V) }";
    let flops = |mask: &str| {
        folder.write("k.attn", spec.replace("MASK", mask));
        let all = "k.attn --set m=32 --set n=32 --set d=8 --rounds 1 --threads 1 --json";
        let kernel = json(&bench(&folder, all))["kernels"][0].clone();
        (kernel["flops"].as_f64().unwrap(), kernel["admitted"].as_f64().unwrap())
    };
    let (all, causal) = (flops("true"), flops("n <= m"));
    assert_eq!(all.1, 1.0);
    assert!(causal.1 > 0.5 && causal.1 < 0.6, "{causal:?}");
    assert!(causal.0 < 0.7 * all.0, "{causal:?} of {all:?}");
}

#[test]
fn extents_may_stay_open() {
    let folder = Folder::with_dot();
    folder.write("twice.attn", "kernel k { rank n, j  input A[n]: f32  output B[j, n] = A + j }");
    for command in ["dot.attn --set m=8 --set n=16", "twice.attn --set n=4 --set j=3"] {
        let all = json(&bench(&folder, &format!("{command} --open --rounds 1 --threads 1 --json")));
        assert_eq!(all["kernels"][0]["extents"].as_object().unwrap().len(), 2);
    }
    bench(&folder, "- --open").expect(2, &["standard input can be read only once"]);
}

#[test]
fn a_gpu_times_itself() {
    let folder = Folder::with_dot();
    for words in ["--backend cuda", "--target sm_80"] {
        let ran = bench(&folder, &format!("dot.attn --set m=8 --set n=16 --rounds 2 {words} --json"));
        if !cfg!(feature = "cuda") {
            ran.expect(1, &["without the back end `cuda`", "--features cuda"]);
        } else if ran.status == 0 {
            let all = json(&ran);
            let kernel = &all["kernels"][0];
            assert!(kernel["gpu"].is_string() && kernel["seconds"]["median"].as_f64().unwrap() > 0.0);
            assert!(kernel["of_peak"].is_null() && kernel["threads"].is_null() && all["machine"].is_null());
        } else {
            ran.expect(1, &["there is no driver of NVIDIA"]);
            eprintln!("SKIP: no GPU of NVIDIA");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = Folder::with_dot();
    folder.write("other.attn", "kernel k { rank n, j  input A[n]: f32  output B[j, n] = A + j }");
    for (words, status, said) in [
        ("dot.attn --set m=8 --set q=1", 1, "`--set q=…` names no rank"),
        ("dot.attn --set m=8", 1, "give --set n=N"),
        ("dot.attn", 1, "kernel `dot` is called with extents that are not known: give --set m=N --set n=N"),
        ("other.attn --set n=8", 1, "--set j="),
        ("dot.attn --set m=8 --set n=8 --kernel other", 1, "no kernel `other`, only `dot`"),
        ("dot.attn --set m=8 --set n=8 --target z80", 2, "unknown target `z80`"),
        ("dot.attn --set m=8 --set n=8 --threads 0", 2, "--threads"),
        ("dot.attn --set m=8 --set n=8 --rounds 0", 2, "--rounds"),
        ("dot.attn --set m=8 --set n=8 --backend ptx", 2, "possible values: cranelift, llvm, cuda"),
        ("dot.attn --set m=8 --set n=8 --backend cuda --clock cpu --threads 1", 2, "timed by its own events"),
        ("dot.attn --set m=8 --set n=8 --backend cuda --threads 1", 2, "`--threads` is for CPUs"),
        ("dot.attn --set m=8 --set n=8 --backend cuda --target native", 2, "takes a GPU, `--target` `sm_80`"),
        ("dot.attn --set m=8 --set n=8 --backend cranelift --target sm_80", 2, "takes `--backend cuda` only"),
        ("dot.attn --set m=8 --set n=8 --mapping gone.toml", 2, "cannot read `gone.toml`"),
        ("gone.attn --set m=8", 2, "cannot read `gone.attn`"),
        ("dot.attn --machine", 2, "--machine"),
        ("", 2, "SPEC"),
    ] {
        bench(&folder, words).expect(status, &[said]);
    }
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86-64" };
    let ran = bench(&folder, &format!("dot.attn --set m=8 --set n=8 --target {other}"));
    ran.expect(1, &[&format!("kernels for `{other}`"), "cannot be measured here"]);
    assert_eq!(ran.stdout, "");
}

//! `attnc explore`: the table, the files, and that the mapping it writes is one.

use crate::folder::{Folder, Ran};

const ATTENTION: &str =
    "kernel a { rank m, n, d, e  input Q[m, d]: f32  input K[n, d]: f32  input V[n, e]: f32
    P[m, n] = softmax[n](sum[d](Q * K))  output O[m, e] = sum[n](P * V) }";
const SETS: &str = "--set m=40 --set n=70 --set d=8 --set e=8";

fn explored(folder: &Folder, words: &str) -> Ran {
    folder.write("a.attn", ATTENTION);
    folder.attnc(&format!("explore a.attn {words}"))
}

#[test]
fn mappings_and_cascades_are_listed() {
    let folder = Folder::new();
    let ran = explored(&folder, &format!("--target x86-64-v3 --backend cranelift --threads 1 {SETS}"));
    let text = &ran.expect(0, &[]).stdout;
    assert!(text.starts_with("kernel a\n\n      mapping "), "{text}");
    assert!(text.contains("   1* m:") && text.contains("(default)"), "{text}");
    assert!(
        text.contains("legal mappings") && text.contains("  chosen ") && text.contains("  as written "),
        "{text}"
    );
    assert_eq!((folder.listing(), ran.stderr.as_str()), (vec!["a.attn".to_owned()], ""));
}

#[test]
fn files_hold_all_of_it_and_nothing_of_here_and_now() {
    let folder = Folder::new();
    // Another machine's numbers are the same wherever this runs.
    let words = format!("--target aarch64 --backend cranelift --threads 2 -o out {SETS}");
    explored(&folder, &words).expect(0, &["wrote out/a.csv", "wrote out/a.html", "wrote out/a.map.toml"]);
    let files = ["a.csv", "a.json", "a.html", "a.map.toml"].map(|it| (it, folder.read(&format!("out/{it}"))));
    for (name, text) in &files {
        let here = folder.path("").display().to_string();
        let foreign = ["/tmp", "/home", "2026-", "http", "<script", here.trim_end_matches('/')];
        assert!(foreign.iter().all(|it| !text.contains(it)), "{name}");
    }
    let json: serde_json::Value = serde_json::from_str(&files[1].1).unwrap();
    assert_eq!(
        (&json["kernel"], &json["target"], &json["threads"]),
        (&"a".into(), &"aarch64".into(), &2.into())
    );
    assert_eq!(json["extents"], serde_json::json!({ "m": 40, "n": 70, "d": 8, "e": 8 }));
    let points = json["points"].as_array().unwrap();
    let times: Vec<f64> = points.iter().map(|it| it["model"]["seconds"].as_f64().unwrap()).collect();
    assert!(times.len() > 10 && times.is_sorted());
    assert_eq!(points.iter().filter(|it| it["default"] == true).count(), 1);
    assert!(points.iter().any(|it| it["front"] == true) && points.iter().all(|it| it["measured"].is_null()));
    assert!(points[0]["model"]["footprint"]["task"].as_f64().unwrap() > 0.0);
    assert_eq!(json["cascades"][0]["form"], "chosen");
    assert_eq!(files[0].1.lines().count(), points.len() + 1);
    assert!(files[0].1.starts_with("place,label,model_s,measured_s,"));
    assert!(files[2].1.matches("<svg").count() == 3 && files[2].1.ends_with("</html>\n"));
    explored(&folder, &words).expect(0, &[]);
    for (name, text) in &files {
        assert_eq!(*text, folder.read(&format!("out/{name}")), "{name} is the same again");
    }
}

#[test]
fn the_mapping_is_accepted_and_changes_no_result() {
    let folder = Folder::new();
    let ran = explored(
        &folder,
        &format!("--target native --backend cranelift --measure --top 2 --rounds 1 -o out {SETS}"),
    );
    let text = &ran.expect(0, &["wrote out/a.map.toml"]).stdout;
    assert!(text.contains("measured"), "{text}");
    let noise =
        |len: usize| (0..len as u32).map(|it| (it * 7919 % 64) as f32 / 32.0 - 1.0).collect::<Vec<f32>>();
    folder.npy("Q.npy", &[40, 8], &noise(320));
    folder.npy("K.npy", &[70, 8], &noise(560));
    folder.npy("V.npy", &[70, 8], &noise(560));
    let run = |more: &str| {
        let inputs = "--in Q=Q.npy --in K=K.npy --in V=V.npy --out O=O.npy";
        folder.attnc(&format!("run a.attn --backend cranelift {inputs} {more}")).expect(0, &[]);
        folder.read_npy::<f32>("O.npy").1
    };
    let (plain, mapped) = (run(""), run("--mapping out/a.map.toml"));
    assert!(plain.iter().zip(&mapped).all(|(a, b)| (a - b).abs() <= 1e-5), "{plain:?}\n{mapped:?}");
    folder.attnc("compile a.attn -o lib --emit manifest --mapping out/a.map.toml").expect(0, &[]);
    folder
        .attnc(&format!("bench a.attn --backend cranelift --rounds 1 --mapping out/a.map.toml {SETS}"))
        .expect(0, &[]);
}

#[test]
fn extents_that_are_not_given_are_likely_ones() {
    let folder = Folder::new();
    let ran = explored(&folder, "--target x86-64-v3 --backend cranelift --set m=64 --json");
    ran.expect(0, &["note: the extent of `n` is taken as --set n="]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["assumed"], serde_json::json!(["n", "d", "e"]));
    assert_eq!(json["extents"]["m"], 64);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = Folder::new();
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86-64" };
    let elsewhere = format!("--target {other} --measure -o out");
    for (words, status, said) in [
        ("--target z80", 2, "unknown target `z80`"),
        ("", 2, "--target"),
        ("--target native --set q=1", 1, "`--set q=…` names no rank"),
        ("--target native --kernel b", 1, "no kernel `b`, only `a`"),
        ("--target native --top 3", 2, "--measure"),
        ("--target native --backend ptx", 1, "`ptx` cannot be explored"),
        ("--target sm_80", 1, "is a GPU"),
        ("--target native --measure --clock cpu --threads 2", 2, "--threads 1"),
        (&elsewhere, 1, "cannot be measured here"),
    ] {
        // A machine of one core has one thread.
        if words.contains("--clock") && std::thread::available_parallelism().unwrap().get() == 1 {
            continue;
        }
        let ran = explored(&folder, words);
        ran.expect(status, &[said]);
        assert_eq!((ran.stdout.as_str(), folder.listing()), ("", vec!["a.attn".to_owned()]), "{words}");
    }
}

//! `attnc run`.

use crate::folder::{DOT, Folder};

#[test]
fn inputs_become_outputs() {
    let folder = Folder::with_dot();
    let ran = folder.attnc("run dot.attn --backend interp --in A=A.npy --in B=B.npy --out C=C.npy");
    ran.expect(0, &[]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert_eq!(folder.read_npy::<f64>("C.npy"), (vec![2], vec![321., 654.]));
}

#[test]
fn folders_of_tensors() {
    let folder = Folder::with_dot();
    std::fs::create_dir(folder.path("in")).unwrap();
    std::fs::rename(folder.path("A.npy"), folder.path("in/A.npy")).unwrap();
    folder.npy("in/B.npy", &[3], &[0f32; 3]);
    // An input of its own goes before the folder's.
    folder.attnc("run dot.attn --backend interp --in-dir in --in B=B.npy --out-dir deep/out").expect(0, &[]);
    assert_eq!(folder.read_npy::<f64>("deep/out/C.npy").1, [321., 654.]);
    folder.npy("in/X.npy", &[1], &[0f32]);
    let ran = folder.attnc("run dot.attn --backend interp --in-dir in --out C=C.npy");
    ran.expect(1, &["in/X.npy` is surplus: kernel `dot` has no input `X`, only `A`, `B`"]);
}

#[test]
fn inputs_of_other_types_are_converted() {
    let folder = Folder::with_dot();
    folder.npy("A.npy", &[2, 3], &[1u16, 2, 3, 4, 5, 6]);
    folder.npy("B.npy", &[3], &[true, false, true]);
    folder.attnc("run dot.attn --backend interp --in A=A.npy --in B=B.npy --out C=C.npy").expect(0, &[]);
    assert_eq!(folder.read_npy::<f64>("C.npy").1, [4., 10.]);
}

#[test]
fn outputs_have_the_widest_dtype_of_their_kind() {
    let folder = Folder::new();
    let spec = "kernel k { rank n input A[n]: i8 output B[n] = A + 1 output C[n] = A > 0 output L: f32 = sum[n](A) }";
    folder.npy("A.npy", &[2], &[-1i64, 5]);
    let ran = folder.attnc_with("run - --backend interp --in A=A.npy --out-dir .", spec);
    ran.expect(0, &[]);
    assert_eq!(folder.read_npy::<i64>("B.npy"), (vec![2], vec![0, 6]));
    assert_eq!(folder.read_npy::<bool>("C.npy"), (vec![2], vec![false, true]));
    assert_eq!(folder.read_npy::<f64>("L.npy"), (vec![], vec![4.]));
}

#[test]
fn extents_and_parameters_from_the_command_line() {
    let folder = Folder::new();
    folder.write("s.attn", "kernel s { rank n, j param c: f32 input A[n]: f32 output B[j, n] = A * c + j }");
    folder.npy("A.npy", &[2], &[1f32, 2.]);
    let ran = folder.attnc("run s.attn --backend interp --in A=A.npy --set j=2 --param c=0.5 --out B=B.npy");
    ran.expect(0, &[]);
    assert_eq!(folder.read_npy::<f64>("B.npy"), (vec![2, 2], vec![0.5, 1., 1.5, 2.]));
    let ran = folder.attnc("run s.attn --backend interp --in A=A.npy --param c=0.5 --out B=B2.npy");
    ran.expect(1, &["error[A0605]", "--set j="]);
    let ran = folder.attnc("run s.attn --backend interp --in A=A.npy --set j=2 --out B=B2.npy");
    ran.expect(1, &["parameter `c` has no value"]);
    let ran = folder.attnc("run s.attn --backend interp --in A=A.npy --set j=2 --set k=1 --out B=B2.npy");
    ran.expect(1, &["error[A0607]", "`--set k=…` names no rank"]);
    assert_eq!(folder.listing(), ["A.npy", "B.npy", "s.attn"]);
}

#[test]
fn one_kernel_of_several() {
    let folder = Folder::with_dot();
    folder.write("two.attn", format!("{DOT}kernel other {{ output O = 1.0 }}"));
    let ran = folder.attnc("run two.attn --backend interp --out O=O.npy");
    ran.expect(2, &["several kernels: name one of `dot`, `other` with --kernel"]);
    folder.attnc("run two.attn --backend interp --kernel other --out O=O.npy").expect(0, &[]);
    assert_eq!(folder.read_npy::<f64>("O.npy"), (vec![], vec![1.]));
    let ran = folder.attnc("run two.attn --backend interp --kernel third --out O=O.npy");
    ran.expect(1, &["no kernel `third`, only `dot`, `other`"]);
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    let folder = Folder::with_dot();
    folder.npy("short.npy", &[2], &[1f32, 10.]);
    folder.npy("deep.npy", &[1, 3], &[1f32, 10., 100.]);
    let before = folder.listing();
    for (inputs, status, said) in [
        ("--in A=A.npy", 1, "input `B` is missing"),
        ("--in A=A.npy --in B=B.npy --in X=B.npy", 1, "no input `X`, only `A`, `B`"),
        ("--in A=A.npy --in B=short.npy", 1, "rank `n` has extent 3 in `A`, but input `B` has 2 there"),
        ("--in A=A.npy --in B=deep.npy", 1, "input `B` has 2 dimensions, but 1 are declared"),
        ("--in A=A.npy --in B=B.npy --set n=4", 1, "rank `n` has extent 4, but input `A` has 3 there"),
        ("--in A=A.npy --in B=gone.npy", 2, "cannot read `gone.npy`"),
        ("--in A=A.npy --in B=dot.attn", 2, "cannot read `dot.attn`: it is no .npy file"),
        ("--in A=A.npy --in B=B.npy --in B=A.npy", 2, "`--in B=…` is given twice"),
        ("--in A=A.npy --in B=B.npy --out D=D.npy", 1, "no output `D`, only `C`"),
    ] {
        folder
            .attnc(&format!("run dot.attn --backend interp {inputs} --out C=C.npy"))
            .expect(status, &[said]);
        assert_eq!(folder.listing(), before, "{inputs}");
    }
}

#[test]
fn floats_are_not_taken_for_integers() {
    let folder = Folder::new();
    folder.write("k.attn", "kernel k { rank n input I[n]: i32 output O[n] = I + 1 }");
    folder.npy("I.npy", &[1], &[1f32]);
    let ran = folder.attnc("run k.attn --backend interp --in I=I.npy --out O=O.npy");
    ran.expect(1, &["input `I` is f32 in `I.npy`, but i32 is declared"]);
}

#[test]
fn what_cannot_be_written_is_status_4() {
    let folder = Folder::with_dot();
    std::fs::create_dir(folder.path("taken")).unwrap();
    let before = folder.listing();
    for out in ["--out C=nowhere/C.npy", "--out C=taken", "--out-dir dot.attn/out"] {
        let ran = folder.attnc(&format!("run dot.attn --backend interp --in A=A.npy --in B=B.npy {out}"));
        ran.expect(4, &["error: cannot "]);
        assert_eq!(folder.listing(), before, "{out}");
    }
    if cfg!(target_os = "linux") {
        let out = "--out C=/dev/full";
        let ran = folder.attnc(&format!("run dot.attn --backend interp --in A=A.npy --in B=B.npy {out}"));
        ran.expect(4, &["cannot write `/dev/full`"]);
    }
}

#[test]
fn kernels_for_gpus_run_on_the_emulator() {
    let folder = Folder::with_dot();
    folder.attnc("run dot.attn --backend ptx-emu --in A=A.npy --in B=B.npy --out C=C.npy").expect(0, &[]);
    assert_eq!(folder.read_npy::<f32>("C.npy"), (vec![2], vec![321., 654.]));
    folder.npy("B.npy", &[2], &[1f32, 10.]);
    let ran = folder.attnc("run dot.attn --backend ptx-emu --in A=A.npy --in B=B.npy --out C=C.npy");
    ran.expect(1, &["rank `n` is"]);
}

#[test]
fn back_ends_that_are_not_built_in_are_refused() {
    let folder = Folder::with_dot();
    let ran = folder.attnc("run dot.attn --backend cuda --in A=A.npy --in B=B.npy --out C=C.npy");
    if !cfg!(feature = "cuda") {
        ran.expect(1, &["without the back end `cuda`, only with `interp`", "--features cuda"]);
    } else if ran.status == 0 {
        assert_eq!(folder.read_npy::<f32>("C.npy"), (vec![2], vec![321., 654.]));
    } else {
        ran.expect(1, &["there is no driver of NVIDIA"]);
        eprintln!("SKIP: no GPU of NVIDIA");
    }
    folder.attnc("run dot.attn --backend abacus --out C=C.npy").expect(2, &["abacus", "interp"]);
    folder.attnc("run dot.attn --backend interp --in A=A.npy --in B=B.npy").expect(2, &["--out"]);
}

#[test]
fn compiled_kernels_write_declared_dtypes() {
    let folder = Folder::with_dot();
    let run = |spec: &str, more: &str| {
        folder.write("k.attn", spec);
        folder.attnc(&format!("run k.attn --backend cranelift --in A=A.npy {more}"))
    };
    let ran = run(&DOT.replace("B[n]: f32", "B[n]: bf16"), "--in B=B.npy --out C=C.npy --threads 1");
    ran.expect(0, &[]);
    assert_eq!(folder.read_npy::<f32>("C.npy"), (vec![2], vec![321., 654.]));
    let narrow = "kernel k { rank m, n input A[m, n]: f32 output H: f16 = sum[m, n](A) output T[m]: i4 = i4(sum[n](A)) \
        output Y[m]: bool = sum[n](A) > 7 output F: bf16 = sum[m, n](A) }";
    run(narrow, "--out-dir .").expect(0, &["`T` is i4, which .npy lacks: written as i8", "`F` is bf16"]);
    assert_eq!(folder.read_npy::<i8>("T.npy").1, [6, 7]);
    assert_eq!(folder.read_npy::<bool>("Y.npy").1, [false, true]);
    assert_eq!(folder.read_npy::<f32>("F.npy").1, [21.]);
}

#[test]
fn compiled_kernels_refuse_what_does_not_fit() {
    let folder = Folder::with_dot();
    folder.npy("short.npy", &[2], &[1f32, 10.]);
    let ran = folder.attnc("run dot.attn --backend cranelift --in A=A.npy --in B=short.npy --out C=C.npy");
    ran.expect(1, &["`n`", "`B`", "2", "3"]);
    let ran = folder.attnc("run dot.attn --backend cranelift --in A=A.npy --out C=C.npy");
    ran.expect(1, &["input `B` is missing"]);
    assert!(!folder.path("C.npy").exists());
}

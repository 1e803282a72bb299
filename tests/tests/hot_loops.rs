//! The innermost loops of contractions, as LLVM writes them: how many instructions of which kind, and none that keeps
//! a sum in memory. A check of speed that needs no clock.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used, reason = "what a test cannot do fails it")]

use std::collections::BTreeMap;
use std::fmt::Write;

use attnc::codegen::{Backend, HotLoop, emit_object, hot_loops};
use attnc::driver::{self, plan};
use attnc::schedule::Mapping;
use attnc::target::{Target, Tiles};
use attnc::tile::tile;
use attnc_tests::spec;

#[test]
fn sums_of_register_tiles_stay_in_registers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/cpu/specs");
    let mut report = String::from(
        "fused products, instructions, and accesses of vectors on the stack, in an iteration: loops\n",
    );
    for target in ["x86-64-v4", "x86-64-v3", "aarch64"] {
        let machine = Target::named(target).unwrap();
        for name in ["plain", "causal", "sigmoid"] {
            let text = std::fs::read_to_string(format!("{folder}/{name}.attn")).unwrap();
            let cascade = spec::cascade(&text).unwrap();
            let nest = tile(&plan(&cascade, &Mapping::of(&machine, Backend::Llvm)));
            let object = emit_object(&[nest], &machine, Backend::Llvm).unwrap();
            let loops = hot_loops(&object, &machine).unwrap();
            let spilled: Vec<&HotLoop> = loops.iter().filter(|it| it.stack > 0).collect();
            assert!(spilled.is_empty(), "{name} for {target} keeps sums in memory: {spilled:?}");
            let mut kinds: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
            let counts = loops.iter().map(|it| (it.fused, it.instructions, it.stack));
            counts.for_each(|it| *kinds.entry(it).or_default() += 1);
            assert!(!kinds.is_empty(), "{name} for {target} has no loop of a register tile");
            for ((fused, instructions, stack), number) in kinds {
                writeln!(report, "{target} {name}: {fused}, {instructions}, {stack}: {number}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(report);
}

/// Its scores are weighted by decays, for which LLVM keeps so many registers that sums of 6 rows do not fit.
#[test]
fn a_tile_that_does_not_fit_has_fewer_rows() {
    let machine = Target::named("x86-64-v4").unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/gallery/vir_released_parallel.attn");
    let front = spec::front_of(&std::fs::read_to_string(path).unwrap()).unwrap();
    let usual = Mapping::of(&machine, Backend::Llvm);
    let kept =
        |object: &[u8]| -> usize { hot_loops(object, &machine).unwrap().iter().map(|it| it.kept).sum() };
    let nest = tile(&plan(&front.cascades[0], &usual));
    assert!(
        kept(&emit_object(&[nest], &machine, Backend::Llvm).unwrap()) > 0,
        "the usual tile fits: take another"
    );
    let object = driver::compile(&front, &machine, Backend::Llvm).unwrap();
    assert_eq!(kept(&object.bytes), 0);
    assert_ne!(object.kernels[0].mapping, usual.to_json(), "the manifest has the mapping that was used");
    // Who asks for a tile gets it.
    let asked = Mapping { defaults: Tiles { strip: 7, ..usual.defaults }, ..usual };
    let object = driver::compile_by(&front, &asked, &machine, Backend::Llvm).unwrap();
    assert_eq!(object.kernels[0].mapping, asked.to_json());
}

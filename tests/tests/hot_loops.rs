//! The innermost loops of contractions, as the back ends write them: how many instructions of which kind, and none that
//! keeps a sum in memory. A check of speed that needs no clock.
#![allow(clippy::unwrap_used, reason = "what a test cannot do fails it")]

use std::collections::BTreeMap;
use std::fmt::Write;

use attnc::codegen::{Backend, listing};
#[cfg(feature = "llvm")]
use attnc::codegen::{HotLoop, emit_object, hot_loops};
use attnc::driver::plan;
use attnc::ir::nest::Nest;
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc::tile::tile;
use attnc_tests::spec;

/// A function with so many fused products is one of a register tile.
const HOT: usize = 12;

/// What a loop does in an iteration, or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counts {
    fused: usize,
    instructions: usize,
    stack: usize,
    /// Of those on the stack, the vectors that are written there: sums that are kept in memory.
    kept: usize,
}

/// The loops of one block each that have many fused products, as LLVM writes them.
#[cfg(feature = "llvm")]
fn loops(nest: &Nest, machine: &Target) -> Vec<Counts> {
    let object = emit_object(std::slice::from_ref(nest), machine, Backend::Llvm).unwrap();
    let found = hot_loops(&object, machine).unwrap().into_iter();
    let counts = |it: HotLoop| {
        let HotLoop { fused, instructions, stack, kept, .. } = it;
        Counts { fused, instructions, stack, kept }
    };
    found.map(counts).collect()
}

/// What the functions do that add products by Cranelift, in an iteration of several steps and one of a single step.
fn products(nest: &Nest, machine: &Target) -> Vec<Counts> {
    let listing = listing(nest, machine, Backend::Cranelift).unwrap();
    let mut functions = listing.split("attnc.products.");
    functions.next().expect("what stands before the first of them");
    // A line that is not indented is a label; what has a `label` is a jump, of which most go nowhere.
    let is_instruction = |line: &&str| line.starts_with("  ") && !line.contains("label");
    let all = functions.map(|function| {
        let end = function.find("\nattnc").unwrap_or(function.len());
        counts(&function[..end].lines().filter(is_instruction).collect::<Vec<_>>())
    });
    all.filter(|it| it.fused >= HOT).collect()
}

fn counts(lines: &[&str]) -> Counts {
    let number = |test: &dyn Fn(&str) -> bool| lines.iter().map(|it| it.trim()).filter(|it| test(it)).count();
    let fused = number(&|it| ["vfmadd", "vpdpbusd", "fmla"].iter().any(|op| it.starts_with(op)));
    // Of vectors; an address may well lie there.
    let stack =
        number(&|it| it.contains("(%rsp)") && it.contains("mm") || it.contains("[sp") && it.contains(" q"));
    // What a function saves is read again where it ends; a loop would not.
    Counts { fused, instructions: lines.len(), stack, kept: stack }
}

/// Checks the loops of each kind of attention on each target, and lists them.
fn report(backend: Backend, targets: &[&str], found: fn(&Nest, &Target) -> Vec<Counts>) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/cpu/specs");
    let mut report = String::from(
        "fused products, instructions, and accesses of vectors on the stack, in each: how many\n",
    );
    for target in targets {
        let machine = Target::named(target).unwrap();
        let names = if target.contains("vnni") { &["int8"][..] } else { &["plain", "causal", "sigmoid"] };
        for name in names {
            let text = std::fs::read_to_string(format!("{folder}/{name}.attn")).unwrap();
            let cascade = spec::cascade(&text).unwrap();
            let nest = tile(&plan(&cascade, &Mapping::of(&machine, backend)));
            let loops = found(&nest, &machine);
            let spilled: Vec<&Counts> = loops.iter().filter(|it| it.kept > 0).collect();
            assert!(spilled.is_empty(), "{name} for {target} keeps sums in memory: {spilled:?}");
            let mut kinds: BTreeMap<Counts, usize> = BTreeMap::new();
            loops.into_iter().for_each(|it| *kinds.entry(it).or_default() += 1);
            assert!(!kinds.is_empty(), "{name} for {target} has no loop of a register tile");
            for (Counts { fused, instructions, stack, .. }, number) in kinds {
                writeln!(report, "{target} {name}: {fused}, {instructions}, {stack}: {number}").unwrap();
            }
        }
    }
    report
}

#[cfg(feature = "llvm")]
#[test]
fn sums_of_register_tiles_stay_in_registers() {
    insta::assert_snapshot!(report(
        Backend::Llvm,
        &["x86-64-v4", "x86-64-v4+avx512vnni", "x86-64-v3", "x86-64-v3+avxvnni", "aarch64"],
        loops
    ));
}

#[test]
fn sums_stay_in_registers_by_cranelift() {
    insta::assert_snapshot!(report(Backend::Cranelift, &["x86-64-v3", "aarch64"], products));
}

/// Of caches each line is fetched once for all heads of a group, and queries, which are near, are not; what a chunk of tokens
/// reads is fetched a chunk before, also where it is only copied, or read element by element.
#[cfg(feature = "llvm")]
#[test]
fn what_is_read_once_is_fetched_ahead() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let machine = Target::named("x86-64-v4").unwrap();
    let mut report = String::from("fused products, and lines fetched, of blocks that fetch: how many\n");
    for path in ["bench/cpu/decode.attn", "examples/gallery/retention.attn"] {
        let cascade = spec::cascade(&std::fs::read_to_string(format!("{folder}/{path}")).unwrap()).unwrap();
        let nest = tile(&plan(&cascade, &Mapping::of(&machine, Backend::Llvm)));
        let listing = listing(&nest, &machine, Backend::Llvm).unwrap();
        let mut kinds: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for block in listing.split("\n.LBB") {
            let number = |name: &str| block.matches(&format!("\t{name}")).count();
            if number("prefetch") > 0 {
                *kinds.entry((number("vfmadd"), number("prefetch"))).or_default() += 1;
            }
        }
        for ((fused, fetched), number) in kinds {
            writeln!(report, "{path}: {fused}, {fetched}: {number}").unwrap();
        }
    }
    insta::assert_snapshot!(report);
}

/// What it takes of each score keeps so many registers that sums of 6 rows do not fit.
#[cfg(feature = "llvm")]
#[test]
fn a_tile_that_does_not_fit_has_fewer_rows() {
    use attnc::driver::{compile, compile_by};
    use attnc::target::Tiles;

    let machine = Target::named("x86-64-v4").unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/gallery/cosformer.attn");
    let front = spec::front_of(&std::fs::read_to_string(path).unwrap()).unwrap();
    let usual = Mapping::of(&machine, Backend::Llvm);
    let fits = |object: &[u8]| hot_loops(object, &machine).unwrap().iter().all(HotLoop::fits);
    let nest = tile(&plan(&front.cascades[0], &usual));
    let object = emit_object(&[nest], &machine, Backend::Llvm).unwrap();
    assert!(!fits(&object), "the usual tile fits: take another kernel");
    let object = compile(&front, &machine, Backend::Llvm).unwrap();
    assert!(fits(&object.bytes));
    assert_ne!(object.kernels[0].mapping, usual.to_json(), "the manifest has the mapping that was used");
    // Who asks for a tile gets it.
    let asked = Mapping { defaults: Tiles { strip: 7, ..usual.defaults }, ..usual };
    let object = compile_by(&front, &asked, &machine, Backend::Llvm).unwrap();
    assert_eq!(object.kernels[0].mapping, asked.to_json());
}

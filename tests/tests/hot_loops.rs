//! The innermost loops of contractions, as the back ends write them: how many instructions of which kind, and none that
//! keeps a sum in memory. A check of speed that needs no clock.
#![allow(clippy::unwrap_used, reason = "what a test cannot do fails it")]

use std::collections::BTreeMap;
use std::fmt::Write;

use attnc::codegen::{Backend, listing};
use attnc::driver::plan;
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc::tile::tile;

/// A loop with so many fused products, and not many other instructions, is one of a register tile.
const HOT: usize = 12;

/// What a loop does in an iteration, or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counts {
    fused: usize,
    instructions: usize,
    stack: usize,
}

/// The loops of one block each that have many fused products.
#[cfg(feature = "llvm")]
fn hot_loops(assembly: &str) -> Vec<Counts> {
    let mut found = Vec::new();
    let mut block: (&str, Vec<&str>) = ("", Vec::new());
    for line in assembly.lines().map(without_comment) {
        if let Some(label) = line.strip_suffix(':') {
            block = (label, Vec::new());
            continue;
        }
        if line.is_empty() || line.starts_with('.') {
            continue;
        }
        block.1.push(line);
        let jumps_back = line.starts_with(['j', 'b']) && line.split_whitespace().last() == Some(block.0);
        if jumps_back {
            let counts = counts(&block.1);
            if counts.fused >= HOT && 3 * counts.fused >= counts.instructions {
                found.push(counts);
            }
        }
    }
    found
}

/// What the functions do that add products by Cranelift, in an iteration of several steps and one of a single step.
fn products(listing: &str) -> Vec<Counts> {
    let functions = listing.split("attnc.products.").skip(1);
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
    let fused = number(&|it| it.starts_with("vfmadd") || it.starts_with("fmla"));
    // Of vectors; an address may well lie there.
    let stack =
        number(&|it| it.contains("(%rsp)") && it.contains("mm") || it.contains("[sp") && it.contains(" q"));
    Counts { fused, instructions: lines.len(), stack }
}

#[cfg(feature = "llvm")]
fn without_comment(line: &str) -> &str {
    let ends = ["//", "#"].map(|it| line.find(it).unwrap_or(line.len()));
    line[..ends[0].min(ends[1])].trim()
}

/// Checks the loops of each kind of attention on each target, and lists them.
fn report(backend: Backend, targets: &[&str], found: fn(&str) -> Vec<Counts>) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/cpu/specs");
    let mut report = String::from(
        "fused products, instructions, and accesses of vectors on the stack, in each: how many\n",
    );
    for target in targets {
        let machine = Target::named(target).unwrap();
        for name in ["plain", "causal", "sigmoid"] {
            let text = std::fs::read_to_string(format!("{folder}/{name}.attn")).unwrap();
            let cascade = attnc_tests::spec::cascade(&text).unwrap();
            let nest = tile(&plan(&cascade, &Mapping::of(&machine, backend)));
            let loops = found(&listing(&nest, &machine, backend).unwrap());
            let spilled: Vec<&Counts> = loops.iter().filter(|it| it.stack > 0).collect();
            assert!(spilled.is_empty(), "{name} for {target} keeps sums in memory: {spilled:?}");
            let mut kinds: BTreeMap<Counts, usize> = BTreeMap::new();
            loops.into_iter().for_each(|it| *kinds.entry(it).or_default() += 1);
            assert!(!kinds.is_empty(), "{name} for {target} has no loop of a register tile");
            for (Counts { fused, instructions, stack }, number) in kinds {
                writeln!(report, "{target} {name}: {fused}, {instructions}, {stack}: {number}").unwrap();
            }
        }
    }
    report
}

#[cfg(feature = "llvm")]
#[test]
fn sums_of_register_tiles_stay_in_registers() {
    insta::assert_snapshot!(report(Backend::Llvm, &["x86-64-v4", "x86-64-v3", "aarch64"], hot_loops));
}

#[test]
fn sums_stay_in_registers_by_cranelift() {
    insta::assert_snapshot!(report(Backend::Cranelift, &["x86-64-v3", "aarch64"], products));
}

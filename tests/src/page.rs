//! The gallery to `docs/gallery.md`: what each system is, how often it reads its keys, and what its plan stores and why.
//!
//! ```text
//! #! Passes over the keys (`n`): 3 -> 1.   ->   | `n` 3 → 1, chosen 1 |
//! ```

use std::path::{Path, PathBuf};

use attnc::analyze::passes::passes;
use attnc::choose::choose;
use attnc::driver::{Request, outline, plan};
use attnc::files::{fetch, read_spec, root_of};
use attnc::ir::cascade::{Cascade, Einsum, ExprId, Extent, Op, RankId, Role, Step, TensorId};
use attnc::ir::expr::Expr;
use attnc::rewrite::{carried, saturate};
use attnc::schedule::{Mapping, Plan, Stage};
use attnc_dsl::check::Fixed;

use crate::fixture::repository;

/// One system of the gallery.
pub struct System {
    /// The name of its file.
    pub name: String,
    /// What its author says it computes, and where it comes from.
    pub what: String,
    /// Passes over the rank that its header names.
    pub passes: Counts,
    /// What has to be kept for it, beside inputs and outputs.
    pub memory: &'static str,
    /// How much of it runs in stages that stream or walk.
    pub fused: &'static str,
    /// How it is evaluated.
    pub stages: String,
}

/// Passes over one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The rank.
    pub rank: String,
    /// Of the cascade as written.
    pub written: u32,
    /// Of no equal cascade that is known fewer.
    pub bound: u32,
    /// Of the cascade that is compiled.
    pub chosen: u32,
}

/// The specs of the gallery, in order of their names.
pub fn specs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository("examples/gallery")).expect("there is a gallery");
    let paths = entries.map(|it| it.expect("an entry can be read").path());
    let mut specs: Vec<PathBuf> = paths.filter(|it| it.extension().is_some_and(|it| it == "attn")).collect();
    specs.sort();
    specs
}

/// What is known of a spec's first kernel, given the rank that its header counts passes over.
pub fn system(path: &Path, rank: &str) -> System {
    let name = path.file_stem().expect("a spec has a name").to_string_lossy().into_owned();
    let (open, bound) = cascades(path);
    let found = open.ranks.iter().find(|(_, it)| it.name == rank && !it.local);
    let (id, _) = found.unwrap_or_else(|| panic!("{name}: its header names `{rank}`, which it lacks"));
    let variants = saturate(&carried(&open));
    let chosen = choose(&variants, &Mapping::default());
    let passes = Counts {
        rank: rank.to_owned(),
        written: passes(&open, id).passes,
        bound: variants.bound(id).0,
        chosen: chosen.passes(id),
    };
    let plan = plan(&bound, &Mapping::default());
    let about = |it: &&String| !it.starts_with("Passes over ");
    let what = open.docs.iter().filter(about).map(|it| it.trim()).collect::<Vec<_>>().join(" ");
    System { name, what, passes, memory: memory(&plan, rank), fused: fused(&plan), stages: stages(&plan) }
}

/// The first kernel with its ranks open, and with those that nothing binds given an extent.
fn cascades(path: &Path) -> (Cascade, Cascade) {
    const EXTENT: i64 = 3;
    let front = |fixed: Fixed| {
        let source = read_spec(path).expect("the spec can be read");
        let mut fetch = |it: &str| fetch(&root_of(path), it);
        let front = outline(Request { source, fetch: &mut fetch, fixed });
        front.unwrap_or_else(|it| panic!("{}: {:?}", path.display(), it.diagnostics))
    };
    let mut open = front(Fixed::default());
    let unbound = std::mem::take(&mut open.checked.unbound);
    let sets = unbound.into_iter().map(|it| (it, EXTENT)).collect();
    let mut bound = front(Fixed { sets, ..Fixed::default() });
    (open.cascades.swap_remove(0), bound.cascades.swap_remove(0))
}

/// Whether what is stored between stages grows with the rank whose passes are counted.
fn memory(plan: &Plan, rank: &str) -> &'static str {
    let cascade = &plan.cascade;
    let keys: Vec<RankId> =
        cascade.ranks.iter().filter(|(_, it)| it.name == rank).map(|(id, _)| id).collect();
    let mut keys: Vec<RankId> = keys.iter().flat_map(|&it| cascade.exprs.atoms(it).to_vec()).collect();
    // A place in a block of known size does not grow.
    let is_open = |it: &RankId| !matches!(cascade.ranks[*it].extent, Extent::Fixed(_));
    if keys.iter().any(is_open) {
        keys.retain(is_open);
    }
    let stored = plan.stored();
    let has_keys = |it: &TensorId| {
        let dims = cascade.tensors[*it].dims.iter();
        dims.flat_map(|dim| cascade.exprs.atoms(dim.rank).to_vec()).any(|it| keys.contains(&it))
    };
    if stored.iter().any(has_keys) {
        "grows with the keys"
    } else if stored.iter().any(|it| !cascade.tensors[*it].dims.is_empty()) {
        "per row"
    } else {
        "constant"
    }
}

/// How much of a plan streams or walks; what has no size, and what is handed back anyway, counts for nothing.
fn fused(plan: &Plan) -> &'static str {
    let has_size = |it: &&Einsum| {
        let tensor = &plan.cascade.tensors[it.tensor];
        !tensor.dims.is_empty() && tensor.role != Role::Output
    };
    let whole = plan.stages.iter().any(|stage| match stage {
        Stage::Whole(Step::Einsum(it)) => has_size(&it),
        Stage::Whole(Step::Recurrence(it)) => it.body.iter().any(|it| has_size(&it)),
        Stage::Stream(_) | Stage::Walk(_) => false,
    });
    let some = plan.stages.iter().any(|it| matches!(it, Stage::Stream(_) | Stage::Walk(_)));
    match (some, whole) {
        (true, false) => "all",
        (true, true) => "in part",
        (false, true) => "nothing",
        // What is asked for is computed from what is given, and nothing lies between.
        (false, false) => "all",
    }
}

/// How many stages stream, what carries a state, and what is evaluated whole, each with the reason.
fn stages(plan: &Plan) -> String {
    let streams = plan.streams().count();
    let mut parts = Vec::new();
    match streams {
        0 => {}
        1 => parts.push("1 stage streams".to_owned()),
        _ => parts.push(format!("{streams} stages stream")),
    }
    for stage in &plan.stages {
        match stage {
            Stage::Whole(Step::Einsum(it)) => parts.extend(reason(plan, it)),
            Stage::Whole(Step::Recurrence(it)) => {
                let mut names: Vec<String> = it.body.iter().map(|it| quoted(plan, it.tensor)).collect();
                names.dedup();
                let rank = &plan.cascade.ranks[it.rank].name;
                parts.push(format!("{} step by step along `{rank}`", names.join(", ")));
            }
            Stage::Walk(it) => {
                let rank = &plan.cascade.ranks[it.rank].name;
                parts.push(match rank.strip_suffix(".chunk") {
                    Some(tokens) => format!("1 stage walks along chunks of `{tokens}`"),
                    None => format!("1 stage walks along `{rank}`"),
                });
            }
            Stage::Stream(_) => {}
        }
    }
    let mut once: Vec<String> = Vec::new();
    for part in parts {
        if !once.contains(&part) {
            once.push(part);
        }
    }
    once.join("; ")
}

/// Why a tensor is stored whole; nothing is said of what the caller asks for and what is no more than a number.
fn reason(plan: &Plan, einsum: &Einsum) -> Option<String> {
    let tensor = &plan.cascade.tensors[einsum.tensor];
    let name = quoted(plan, einsum.tensor);
    let rank = |it: &RankId| format!("`{}`", plan.cascade.ranks[*it].name);
    match &einsum.op {
        Op::Select(_, from, _) => return Some(format!("{name} selects along {}", rank(from))),
        Op::Place(along) => return Some(format!("{name} ranks along {}", rank(along))),
        Op::Arg(_, along) => return Some(format!("{name} looks for a place along {}", rank(along))),
        Op::Scan(_, along) => {
            let chunk = plan.cascade.ranks[*along].name.strip_suffix(".place");
            let along = chunk.map_or_else(|| rank(along), |it| format!("a chunk of `{it}`"));
            return Some(format!("{name} runs along {along}"));
        }
        Op::Map | Op::Reduce(..) => {}
    }
    if tensor.role == Role::Output || tensor.dims.is_empty() {
        return None;
    }
    let exprs = &plan.cascade.exprs;
    let in_place = |coords: &[ExprId]| {
        coords
            .iter()
            .zip(&tensor.dims)
            .all(|(it, dim)| *exprs.get(*it) == Expr::Index(dim.rank) && dim.lag == 0)
    };
    // Who is called otherwise is a better reason.
    let (others, rest): (Vec<&Einsum>, Vec<&Einsum>) = plan
        .einsums()
        .into_iter()
        .filter(|it| it.tensor != einsum.tensor)
        .partition(|it| quoted(plan, it.tensor) != name);
    let readers: Vec<&Einsum> = others.into_iter().chain(rest).collect();
    let elsewhere = readers.iter().find(|reader| {
        let mut reads = exprs.reads(reader.value);
        reads.any(|(it, coords)| it == einsum.tensor && !in_place(coords))
    });
    match elsewhere {
        Some(reader) => {
            Some(format!("{name} is stored: read at other coordinates by {}", called(plan, &name, reader)))
        }
        None => {
            let reads = |it: &&&Einsum| exprs.reads(it.value).any(|(it, _)| it == einsum.tensor);
            let reader = readers.iter().find(reads)?;
            Some(format!("{name} is stored {}", used(plan, einsum, reader, &called(plan, &name, reader))))
        }
    }
}

/// Who reads something of that name.
fn called(plan: &Plan, name: &str, reader: &Einsum) -> String {
    let reader = quoted(plan, reader.tensor);
    if reader == name { format!("the rest of {name}") } else { reader }
}

/// Who reads a tensor, and for which ranks it would compute each point of it again.
fn used(plan: &Plan, einsum: &Einsum, reader: &Einsum, called: &str) -> String {
    let atoms = |ranks: &[RankId]| -> Vec<RankId> {
        ranks.iter().flat_map(|&it| plan.cascade.exprs.atoms(it).to_vec()).collect()
    };
    let own = atoms(&einsum.iterated());
    let all = atoms(&[reader.iterated().as_slice(), reader.op.reduced()].concat());
    let list = |ranks: &[RankId]| {
        let mut names: Vec<String> = Vec::new();
        for &rank in ranks {
            let name = &plan.cascade.ranks[rank].name;
            let name = format!("`{}`", name.split('.').next().unwrap_or(name));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    };
    let again: Vec<RankId> = all.into_iter().filter(|it| !own.contains(it)).collect();
    let whom = match again.as_slice() {
        [] => format!("for {called}"),
        again => format!("once for all {} of {called}", list(again)),
    };
    match einsum.op.reduced() {
        [] => whom,
        over => format!("{whom}, reduced over {}", list(over)),
    }
}

/// The tensor by the name that its author gave it, or what it serves.
fn quoted(plan: &Plan, tensor: TensorId) -> String {
    let name = &plan.cascade.tensors[tensor].name;
    format!("`{}`", name.split(['.', '~']).next().unwrap_or(name))
}

/// The page, given the systems and the pictures of their masks.
pub fn page(systems: &[System], pictures: &[(String, String)]) -> String {
    let number = |fused: &str| systems.iter().filter(|it| it.fused == fused).count();
    let [all, part] = ["all", "in part"].map(number);
    let mut text = format!(
        "# The gallery\n\n\
         Generated by `ATTNC_BLESS=1 cargo test -p attnc-tests --test gallery_page`; do not edit.\n\n\
         {} systems of the literature, each one file in [`examples/gallery`](../examples/gallery).\n\
         *Passes* are traversals of the rank that is named: as written → the fewest of any equal cascade that is known, and those of what is compiled.\n\
         *Memory* is what is stored beside inputs, outputs and tiles: nothing that has a size (constant), something for each row, or something that grows with the rank named.\n\
         *Plan* says how many stages stream over tiles, which walk along a rank with a carried state, and what is evaluated whole, and why.\n\
         A name there stands for what its author calls so, and for what is computed on the way to it.\n\
         *Fused* says how much of it runs in stages that stream or walk: {all} systems all, {part} in part.\n\n\
         All of this holds for all back ends that compile, Cranelift, LLVM and PTX, without exception: the plan is made before any of them is asked, and each compiles all of it; they differ in instructions and in the sizes of tiles.\n\
         What one materialises, the others do, and for the reason given.\n\
         The interpreter is the meaning and not a plan: it evaluates every tensor whole, as written.\n\n\
         | system | passes | memory | fused | plan |\n|---|---|---|---|---|\n",
        systems.len()
    );
    for it in systems {
        let Counts { rank, written, bound, chosen } = &it.passes;
        text += &format!(
            "| [{0}](../examples/gallery/{0}.attn) | `{rank}` {written} → {bound}, compiled {chosen} | {1} | {2} | {3} |\n",
            it.name, it.memory, it.fused, it.stages
        );
    }
    text += "\n## What they are\n\n";
    for it in systems {
        text += &format!("**{}**: {}\n\n", it.name, it.what);
        if let Some((_, picture)) = pictures.iter().find(|(name, _)| *name == it.name) {
            text += &format!(
                "![Which key each query sees: rows are queries, columns are keys](gallery/{picture}.svg)\n\n"
            );
        }
    }
    text
}

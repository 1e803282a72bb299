//! Recurrences and scans that carry what they need: the same results as the interpreter's, in memory that does not
//! grow with the rank that is walked along.

use attnc::driver::jit as compile;
use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::schedule::{Act, Mapping, Stage, Walk, schedule};
use attnc_runtime::Workspace;
use attnc_tests::case::{
    self, Sizes, agree, all_agree, call, compiled, expected, on_machine, on_nest, sized,
};
use attnc_tests::jit::{self, Placement};

/// What is fused: the rank walked along, and the tensors that the stages of the plan store, in order.
type Wanted = &'static [(&'static str, &'static [&'static str])];

/// A case: its file, its extents, and what its stages store: those that are no walks are along nothing.
const CASES: [(&str, Sizes<'_>, Wanted); 13] = [
    (
        "retention",
        &[("b", 2), ("h", 3), ("t", 19), ("d", 9), ("e", 70)],
        &[("", &["decay"]), ("t", &["O", "F"])],
    ),
    ("gated", &[("b", 2), ("h", 2), ("t", 17), ("d", 9), ("e", 11)], &[("t", &["O"])]),
    ("delta", &[("b", 2), ("h", 2), ("t", 18), ("d", 8), ("e", 67)], &[("t", &["O"])]),
    ("second_order", &[("b", 2), ("t", 13), ("d", 10)], &[("t", &["Y", "E", "P"])]),
    ("backwards", &[("b", 3), ("t", 12), ("d", 5), ("e", 9)], &[("t", &["O"])]),
    (
        "masked",
        &[("b", 3), ("h", 2), ("t", 14), ("d", 5), ("e", 9)],
        &[("t", &["O", "F"]), ("t", &["N", "R"])],
    ),
    ("scans", &[("b", 2), ("t", 15), ("d", 70)], &[("t", &["C", "M", "Y"]), ("", &["A"])]),
    ("matrices", &[("b", 3), ("t", 11), ("j", 5)], &[("t", &["O"])]),
    ("chunks", &[("b", 2), ("h", 2), ("t", 29), ("c", 4), ("d", 9), ("e", 10)], &[("c", &["O"])]),
    ("grid", &[("b", 2), ("y", 4), ("u", 3), ("t", 11), ("r", 5), ("d", 9)], &[("t", &["O", "F"])]),
    (
        "functions",
        &[("b", 2), ("c", 5), ("t", 21), ("n", 16)],
        &[("", &["step"]), ("t", &["Y"]), ("", &["O"])],
    ),
    ("lighter", &[("b", 3), ("h", 4), ("t", 17)], &[("t", &["O"])]),
    ("kept", &[("b", 2), ("t", 9), ("d", 5), ("s", 7)], &[("t", &["H", "Y"]), ("", &["O"]), ("", &["R"])]),
];

fn cascade(name: &str) -> Cascade {
    compiled(name, case::text(&format!("walks/{name}")))
}

/// The tensors in memory that a walk defines, each once.
fn stored(
    cascade: &Cascade,
    walk: &Walk,
    tiles: &std::collections::BTreeSet<attnc::ir::cascade::TensorId>,
) -> Vec<String> {
    let mut names = Vec::new();
    for act in walk.acts() {
        let (Act::Define(it) | Act::Fold(it)) = act else { continue };
        let name = &cascade.tensors[it.tensor].name;
        if !tiles.contains(&it.tensor) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[test]
fn what_is_read_at_hand_is_not_stored() {
    for (name, _, wanted) in CASES {
        let plan = schedule(&cascade(name), &Mapping::default());
        let found: Vec<(String, Vec<String>)> = plan
            .stages
            .iter()
            .map(|stage| match stage {
                Stage::Walk(it) => {
                    (plan.cascade.ranks[it.rank].name.clone(), stored(&plan.cascade, it, &plan.tiles))
                }
                Stage::Whole(_) | Stage::Stream(_) => (String::new(), Vec::new()),
            })
            .collect();
        let wanted: Vec<(String, Vec<String>)> = wanted
            .iter()
            .map(|(rank, names)| {
                let names = names.iter().filter(|_| !rank.is_empty()).map(|&it| it.to_owned());
                ((*rank).to_owned(), names.collect())
            })
            .collect();
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn nests_agree_with_the_cascade() {
    for (name, sizes, _) in CASES {
        let cascade = cascade(name);
        let call = call(&cascade, &sized(sizes), 1.0);
        let expected = expected(&cascade, &call);
        for backwards in [false, true] {
            agree(name, &on_nest(&cascade, &call, backwards), &expected, 2e-5);
        }
    }
}

#[test]
fn machine_code_agrees_with_the_cascade() {
    for (name, sizes, _) in CASES {
        let cascade = cascade(name);
        let call = call(&cascade, &sized(sizes), 1.0);
        all_agree(name, &on_machine(&cascade, &call), &expected(&cascade, &call), 2e-5);
    }
}

#[test]
fn any_extent_may_be_small() {
    for (name, sizes, _) in CASES {
        let cascade = cascade(name);
        for (rank, _) in sizes {
            for small in [0, 1, 2] {
                let of = |it: &str| if it == *rank { small } else { sized(sizes)(it).min(9) };
                // The last coordinates of major parts have minor ones.
                let of = |it: &str| match (name, it) {
                    ("chunks", "t") if *rank == "c" => (8 * small).saturating_sub(3),
                    ("chunks", "c") => {
                        if *rank == "c" {
                            small
                        } else {
                            of("t").div_ceil(8)
                        }
                    }
                    ("grid", "t") if *rank == "y" => (3 * small).saturating_sub(1),
                    ("grid", "y") => {
                        if *rank == "y" {
                            small
                        } else {
                            of("t").div_ceil(3)
                        }
                    }
                    ("grid", "r") if *rank == "u" => (2 * small).saturating_sub(1),
                    ("grid", "u") => {
                        if *rank == "u" {
                            small
                        } else {
                            of("r").div_ceil(2)
                        }
                    }
                    ("matrices", "j") => 5,
                    _ => of(it),
                };
                let call = call(&cascade, &of, 1.0);
                let label = format!("{name} with {rank} = {small}");
                agree(&label, &on_nest(&cascade, &call, false), &expected(&cascade, &call), 2e-5);
            }
        }
    }
}

#[test]
fn a_long_walk_needs_no_more_workspace() {
    for name in ["retention", "gated", "delta", "second_order", "backwards", "masked", "chunks"] {
        let cascade = cascade(name);
        let kernel = compile(&cascade, attnc::Backend::default()).unwrap();
        let bytes = |t: usize| {
            let of = |rank: &str| match rank {
                "t" => t,
                "c" => t / 8,
                _ => 2,
            };
            let mut workspace = Workspace::new();
            let on = (&mut workspace, 1);
            jit::call_on(&kernel, on, &cascade, &call(&cascade, &of, 1.0), Placement::Dense).unwrap();
            workspace.bytes()
        };
        assert_eq!(bytes(1 << 16), bytes(1 << 10), "{name}");
    }
}

#[test]
fn threads_change_no_bit() {
    for (name, sizes, _) in CASES {
        let cascade = cascade(name);
        let call = call(&cascade, &sized(sizes), 1.0);
        for backend in jit::backends() {
            let kernel = compile(&cascade, backend).unwrap();
            let on = |threads| {
                let on = (&mut Workspace::new(), threads);
                jit::call_on(&kernel, on, &cascade, &call, Placement::Dense).unwrap()
            };
            let (one, two) = (on(1), on(2));
            for (tensor, array) in &one {
                match (&array.data, &two[tensor].data) {
                    (Data::Real(one), Data::Real(two)) => {
                        let bits = |it: &[f64]| it.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
                        assert_eq!(bits(one), bits(two), "{name}: {tensor}");
                    }
                    (one, two) => assert_eq!(one, two, "{name}: {tensor}"),
                }
            }
        }
    }
}

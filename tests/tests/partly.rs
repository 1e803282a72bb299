//! Calls of several tiles: of cases, and of systems of the gallery of which some extents are known when they are compiled, for
//! what is traversed then differs from what is where all are known, or none.

use attnc::ir::cascade::Cascade;
use attnc_tests::case::{
    Sizes, agree, all_agree, call, compiled, expected, on_machine, on_nest, sized, text,
};
use attnc_tests::fixture::{compile, repository};

/// A system, the extents that are known, and those of the call.
type Case = (&'static str, &'static [(&'static str, i64)], &'static [(&'static str, usize)]);

const CASES: [Case; 6] = [
    // Scores are integers, so weights are f64: they are not taken before it is known that they are in range.
    ("shiftaddvit_quadratic", &[], &[("b", 1), ("h", 2), ("m", 5), ("n", 600), ("d", 16), ("e", 9)]),
    // Scores of far groups are added up along features for all groups at once, while near ones come in tiles.
    ("cca", &[("c", 64), ("d", 64), ("j", 16)], &[("b", 1), ("h", 2), ("n", 64)]),
    // A composite rank is known to have all combinations of its parts, so none of them ends early.
    ("sage2", &[("n", 128)], &[("b", 1), ("h", 1), ("m", 130), ("d", 20), ("e", 9)]),
    (
        "seer_attention",
        &[("m", 16)],
        &[("b", 1), ("h", 1), ("n", 20), ("d", 5), ("e", 9), ("g", 3), ("c", 15)],
    ),
    ("gaussian_adaptive_attention", &[("ch", 16)], &[("b", 2), ("n", 12), ("h", 2), ("g", 3)]),
    ("sparse_query_attention", &[("hd", 16)], &[("b", 1), ("n", 70), ("c", 20), ("kd", 8), ("i", 6)]),
];

#[test]
fn systems_agree_with_the_interpreter() {
    for (name, sets, sizes) in CASES {
        let path = repository(&format!("examples/gallery/{name}.attn"));
        let sets = sets.iter().map(|(rank, extent)| ((*rank).to_owned(), *extent)).collect();
        agrees(name, &compile(&path, sets, &serde_json::Map::new()), sizes);
    }
}

#[test]
fn cases_agree_with_the_interpreter() {
    let cases: [(&str, Sizes<'_>); 3] = [
        ("whole_beside_tiles", &[("m", 37), ("n", 130), ("d", 3)]),
        ("scores_in_sums", &[("m", 5), ("n", 200), ("d", 16)]),
        ("rescaled_once", &[("i", 50), ("n", 203), ("e", 9)]),
    ];
    for (name, sizes) in cases {
        agrees(name, &compiled(name, text(&format!("tiles/{name}"))), sizes);
    }
}

fn agrees(name: &str, cascade: &Cascade, sizes: Sizes<'_>) {
    let call = call(cascade, &sized(sizes), 1.0);
    let expected = expected(cascade, &call);
    agree(name, &on_nest(cascade, &call, false), &expected, 2e-5);
    all_agree(name, &on_machine(cascade, &call), &expected, 2e-5);
}

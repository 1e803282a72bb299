//! The golden cascades: passes and depth as written, stated in each spec as `# passes n: 3` and
//! `# depth n: 2` inside its kernel.

use attnc::analyze::passes::passes;
use attnc::driver::{Request, outline};
use attnc::files::{fetch, read_spec, root_of};
use attnc::ir::cascade::Cascade;
use attnc_dsl::check::Fixed;
use attnc_tests::fixture::repository;

/// What a line of a kernel states.
struct Stated {
    kernel: String,
    rank: String,
    what: What,
    count: u32,
}

#[derive(Debug, PartialEq)]
enum What {
    Passes,
    Depth,
}

#[test]
fn golden_cascades_have_their_counts() {
    let mut n_stated = 0;
    for n in 1..=20 {
        let path = repository(&format!("tests/cases/passes/g{n:02}.attn"));
        let source = read_spec(&path).expect("the case can be read");
        let stated = statements(&source.text);
        assert!(stated.iter().any(|it| it.what == What::Passes), "g{n:02} states no passes");
        let mut fetch = |it: &str| fetch(&root_of(&path), it);
        let front = outline(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
        let cascades = front.unwrap_or_else(|it| panic!("g{n:02}: {:?}", it.diagnostics)).cascades;
        for it in stated {
            let (passes, depth) = counts(&cascades, &it);
            let found = if it.what == What::Passes { passes } else { depth };
            assert_eq!(found, it.count, "{:?} of `{}` over `{}`", it.what, it.kernel, it.rank);
            n_stated += 1;
        }
    }
    assert!(n_stated > 20, "each case states something");
}

fn counts(cascades: &[Cascade], stated: &Stated) -> (u32, u32) {
    let cascade = cascades.iter().find(|it| it.name == stated.kernel).expect("the kernel is there");
    let rank = cascade.ranks.iter().find(|(_, it)| it.name == stated.rank).expect("the rank is there").0;
    let counted = passes(cascade, rank);
    (counted.passes, counted.depth)
}

fn statements(text: &str) -> Vec<Stated> {
    let mut kernel = String::new();
    let mut stated = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["kernel", name, ..] => kernel = (*name).to_owned(),
            ["#", what @ ("passes" | "depth"), rank, count] => stated.push(Stated {
                kernel: kernel.clone(),
                rank: rank.trim_end_matches(':').to_owned(),
                what: if *what == "passes" { What::Passes } else { What::Depth },
                count: count.parse().expect("a count is a number"),
            }),
            _ => {}
        }
    }
    stated
}

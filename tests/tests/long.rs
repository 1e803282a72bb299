//! Calls that are long for what cuts a kernel, which `verify` draws: more than two tiles of what a block of threads goes along,
//! and on CPUs about two of everything that is cut.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::Backend;
use attnc::driver;
use attnc::ir::cascade::{Cascade, Extent, Rank};
use attnc::ir::nest::Nest;
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};
use attnc::tile::tile;
use attnc::verify::{Several, Short, Tiles, Tiling, on_all_cores};
use attnc_tests::{attention, carrying, decoding, jit};

fn made_of(cascade: &Cascade, target: &Target) -> (Nest, Vec<Tiles>) {
    let plan = driver::plan(cascade, &Mapping::of(target, Backend::default()));
    let nest = tile(&plan);
    let tiles = Tiles::of(cascade, &plan, &nest);
    (nest, tiles)
}

/// Kernels with the rank that blocks go along, and whether they see keys only up to their own.
fn kernels() -> Vec<(String, Cascade, &'static str, bool)> {
    let of =
        |it: &attention::Attention| (it.name.to_owned(), it.cascade(), "n", it.scores.contains("n <= m"));
    let mut all: Vec<_> = attention::VARIANTS.iter().map(of).collect();
    all.push(("groups".to_owned(), decoding::of(decoding::GROUPS), "n", false));
    all.push(("pages".to_owned(), decoding::of(decoding::PAGES), "n", false));
    all.extend(carrying::all((64, 64), "bf16").into_iter().map(|(name, it)| (name, it, "t", false)));
    all
}

#[test]
fn several_tiles_of_what_blocks_go_along_are_drawn_and_the_last_is_cut_off() {
    for (name, cascade, along, is_causal) in kernels() {
        let rank = |name: &str| cascade.ranks.iter().find(|it| it.1.name == name).unwrap().0;
        for gpu in Gpu::ALL {
            let (_, tiles) = made_of(&cascade, &Target::of_gpu(gpu));
            assert!(tiles.iter().any(|it| it.rank == rank(along)), "{name}: {tiles:?}");
            for it in tiles.iter().filter(|it| it.rank == rank(along)) {
                let extents = it.extents(&cascade, 1).unwrap_or_else(|| panic!("{name}: {it:?}"));
                let keys = extents[it.rank.idx()];
                assert!(keys > 2 * it.size && keys % it.size != 0, "{name}: {keys} in tiles of {}", it.size);
                let rows = if is_causal { extents[rank("m").idx()] } else { keys };
                assert!(rows >= keys, "{name}: {rows} rows do not see {keys} keys");
            }
        }
        assert!(made_of(&cascade, &Target::default()).1.is_empty(), "{name}: there are no blocks on a CPU");
    }
}

/// Lengths of sequences are such that all tiles matter.
#[test]
fn what_says_how_many_keys_there_are_says_nearly_all() {
    for text in [decoding::GROUPS, decoding::PAGES] {
        let cascade = decoding::of(text);
        let (_, tiles) = made_of(&cascade, &Target::of_gpu(Gpu::Sm80));
        let case = tiles[0].case(&cascade, 1).unwrap().unwrap();
        let keys = case.extents[tiles[0].rank.idx()];
        let attnc::ir::array::Data::Int(lengths) = &case.call.inputs["E"].data else { panic!("integers") };
        assert!(lengths.iter().all(|it| (keys - 3..=keys).contains(it)), "{lengths:?} of {keys}");
    }
}

#[test]
fn blocks_agree_on_them() {
    let few = [attention::CAUSAL, attention::VARIANTS[0]];
    let few = few.map(|it| attention::Attention { features: (16, 16), ..it }.cascade());
    let pairs: Vec<(&Cascade, Gpu)> = few.iter().flat_map(|it| Gpu::ALL.map(|gpu| (it, gpu))).collect();
    on_all_cores(&pairs, |&(cascade, gpu)| {
        let (nest, tiles) = made_of(cascade, &Target::of_gpu(gpu));
        let case = tiles[0].case(cascade, 1).unwrap().unwrap();
        let kernel = driver::emulate(cascade, gpu).unwrap();
        let found = jit::call_kernel(&kernel, cascade, &case.call, jit::Placement::Dense).unwrap();
        let short = Short::of(&nest, cascade, &case.call).unwrap();
        let distance = case.reference.compare_short(&found, &short);
        assert!(distance.of_allowed <= 1.0, "{}: {}", case.describe(cascade), distance.worst);
    });
}

/// A causal softmax with ragged blocks of keys.
const BLOCKS: &str = "
kernel blocks {
  rank m, d, e
  rank n = (j, w = 6)
  input q[m, d]: f32
  input k[n, d]: f32
  input v[n, e]: f32
  S[m, n] = sum[d](q * k) where n <= m + |n| - |m|
  output o[m, e] = sum[n](softmax[n](S) * v)
}";

fn tilings(cascade: &Cascade, rank: &str) -> Vec<i64> {
    let plan = driver::plan(cascade, &Mapping::default());
    let of = Tiling::of(cascade, &plan).into_iter().filter(|it| cascade.ranks[it.rank].name == rank);
    of.map(|it| it.size).collect()
}

fn several(cascade: &Cascade) -> Several {
    Several::of(cascade, &Tiling::of(cascade, &driver::plan(cascade, &Mapping::default())), 1)
}

#[test]
fn calls_on_cpus_have_one_more_and_one_less_than_two_tiles_of_all_that_is_cut() {
    for (name, cascade, along, _) in kernels().into_iter().filter(|it| it.2 == "n") {
        let calls = several(&cascade).calls;
        for rank in [along, "m"] {
            let varies = |it: &Rank| it.name == rank && it.extent == Extent::Carried;
            let Some(id) = cascade.ranks.iter().find(|it| varies(it.1)).map(|it| it.0) else { continue };
            let sizes = tilings(&cascade, rank);
            // Parts of keys have so many that few of anything else go with them, and a single row has no tiles.
            for size in sizes.iter().filter(|it| **it < 200) {
                for off in [1, -1] {
                    let has =
                        |it: &Vec<i64>| it[id.idx()] >= 2 * size + off && (it[id.idx()] - off) % size == 0;
                    assert!(calls.iter().any(has), "{name}: {rank} in {size}, {off}: {calls:?}");
                }
            }
        }
    }
}

#[test]
fn what_no_call_has_is_said() {
    let cascade = attnc_tests::spec::cascade(BLOCKS).unwrap();
    let (several, j) = (several(&cascade), cascade.ranks.iter().find(|it| it.1.name == "j").unwrap().0);
    let has = |extent: &i64| several.calls.iter().any(|it| it[j.idx()] >= *extent);
    for extent in tilings(&cascade, "j").iter().flat_map(|it| [2 * it + 1, 2 * it - 1]) {
        let said = several.too_many.iter().chain(&several.excluded).any(|it| it.0 == j && it.1 >= extent);
        assert!(has(&extent) || said, "{extent}: {several:?}");
    }
    // At most five rows are never two boxes of them.
    let few = BLOCKS.replace("rank m, d, e", "rank m <= 5\n  rank d, e");
    let few = attnc_tests::spec::cascade(&few).unwrap();
    let m = few.ranks.iter().find(|it| it.1.name == "m").unwrap().0;
    assert!(self::several(&few).excluded.iter().any(|it| it.0 == m));
}

//! Products of bytes four at a time, on targets that have an instruction for them.

use attnc::driver::plan;
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::nest::Manner;
use attnc::ir::interp::{self, Call, Layout};
use attnc::ir::verify;
use attnc::schedule::Mapping;
use attnc::target::{Target, Tiles};
use attnc::tile::tile;
use attnc_tests::jit::{self, Placement};
use attnc_tests::spec;

/// Attention of bytes that are handed in, with keys in ragged blocks; what rows see ends at a diagonal if `causal`.
const BLOCKS: &str = "
kernel blocks {
  param w: i64 = 5
  rank h, m, e
  rank d <= 65536
  rank n = (j, u = w)
  input q[h, m, d]: i8
  input k[h, n, d]: i8
  input v[h, n, e]: f32
  input s[j]: f32
  S[h, m, n] = f32(sum[d](f32(q) * f32(k))) * s * 0.000001   where n <= m + 3
  output o[h, m, e] = sum[n](softmax[n](S) * v)
}";

/// The same with keys of their own, and queries that are bytes only once they are computed.
const COMPUTED: &str = "
kernel computed {
  rank m, n
  rank d <= 1024
  rank e
  input q[m, d]: f32
  input k[n, d]: i4
  input v[n, e]: f32
  Q[m, d]: i8 = i8(q * 3)
  S[m, n] = sum[d](Q * k) * 0.01
  output o[m, e] = sum[n](softmax[n](S) * v)
}";

fn small(words: bool) -> Mapping {
    let defaults = Tiles {
        rows: 6,
        inner_rows: 4,
        stream: 8,
        outer: 2,
        strip: 3,
        lanes: 4,
        vector: 4,
        square: 4,
        words,
        ..Tiles::default()
    };
    Mapping { defaults, ..Mapping::default() }
}

/// How often a nest multiplies words.
fn dots(cascade: &Cascade, mapping: &Mapping) -> usize {
    let text = attnc::ir::print::nest(&tile(&plan(cascade, mapping)));
    text.matches("= dot ").count()
}

fn call(cascade: &Cascade, [m, n, d]: [usize; 3]) -> Call {
    let sizes = |rank: &str| match rank {
        "m" => m,
        "n" => n,
        "d" => d,
        "e" => 3,
        "j" => n.div_ceil(5),
        "h" => 2,
        other => panic!("there is no rank {other}"),
    };
    let mut call = Call::default();
    for (at, id) in cascade.inputs().enumerate() {
        let it = &cascade.tensors[id];
        let shape: Vec<usize> = it.dims.iter().map(|dim| sizes(&cascade.ranks[dim.rank].name)).collect();
        let number = |place: usize| ((place * 7919 + place / 11 + at * 31) % 256) as i64 - 128;
        let all = 0..shape.iter().product();
        let data = match it.dtype.expect("inputs have one").name() {
            // The first are as small as can be.
            "i8" => Data::Int(all.map(|it| if it < d { -128 } else { number(it) }).collect()),
            "i4" => Data::Int(all.map(|it| number(it).rem_euclid(16) - 8).collect()),
            // Three times as much is exact, too.
            _ => Data::Real(all.map(|it| number(it) as f64 / 64.0).collect()),
        };
        call.inputs.insert(it.name.clone(), Array { shape, data });
    }
    call
}

fn largest_difference(found: &Array, expected: &Array) -> f64 {
    let (Data::Real(a), Data::Real(b)) = (&found.data, &expected.data) else { panic!("outputs are reals") };
    assert_eq!(found.shape, expected.shape);
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

const SIZES: [[usize; 3]; 7] =
    [[7, 9, 4], [1, 1, 1], [13, 21, 5], [6, 8, 16], [20, 30, 67], [2, 0, 3], [9, 17, 0]];

/// Scores are up to 3, or 20, in f32, with some four roundings; weights are off by as much as those, and values are up to 2.
const TOLERANCE: f64 = 4.0 * 20.0 * f32::EPSILON as f64 * 4.0;

#[test]
fn words_are_for_bytes_alone() {
    for text in [BLOCKS, COMPUTED] {
        let cascade = spec::cascade(text).expect("the spec is right");
        assert!(dots(&cascade, &small(true)) > 0, "{}", cascade.name);
        assert_eq!(dots(&cascade, &small(false)), 0);
        let wider = text.replace(": i8", ": i16");
        assert_eq!(dots(&spec::cascade(&wider).expect("the spec is right"), &small(true)), 0);
    }
    // More features than sums of 32 bits hold.
    let more = spec::cascade(&BLOCKS.replace("65536", "65537")).expect("the spec is right");
    assert_eq!(dots(&more, &small(true)), 0);
}

/// In boxes of several rows, and row by row.
#[test]
fn nests_of_words_agree_with_the_cascade() {
    for (text, rows) in [(BLOCKS, 6), (COMPUTED, 6), (BLOCKS, 1), (COMPUTED, 1)] {
        let cascade = spec::cascade(text).expect("the spec is right");
        let usual = small(true);
        let defaults = Tiles { rows, inner_rows: rows.min(usual.defaults.inner_rows), ..usual.defaults };
        let nest = tile(&plan(&cascade, &Mapping { defaults, ..usual }));
        verify::nest(&nest).unwrap_or_else(|it| panic!("{it}"));
        for sizes in SIZES {
            let call = call(&cascade, sizes);
            let expected = interp::cascade::run(&cascade, &call).expect("it runs");
            for layout in [Layout::Contiguous, Layout::Reversed] {
                let found = interp::nest::run(&nest, &cascade, &call, Manner { layout, backwards: false });
                let found = found.unwrap_or_else(|it| panic!("{} at {sizes:?}: {it}", cascade.name));
                let off = largest_difference(&found["o"], &expected["o"]);
                assert!(off <= TOLERANCE, "{} at {sizes:?} is off by {off}", cascade.name);
            }
        }
    }
}

/// By the instructions of this machine, if it has them, and by whatever it has in their stead.
#[test]
fn machine_code_agrees_with_the_cascade() {
    let here = attnc::Backend::ALL.into_iter().any(|it| it.is_built_in() && Target::native().tiles(it).words);
    println!("this machine multiplies words: {here}");
    for text in [BLOCKS, COMPUTED] {
        let cascade = spec::cascade(text).expect("the spec is right");
        for backend in jit::backends() {
            let kernel = attnc::driver::jit(&cascade, backend).expect("it compiles");
            for sizes in SIZES.into_iter().chain([[50, 131, 64], [200, 300, 83]]) {
                let call = call(&cascade, sizes);
                let expected = interp::cascade::run(&cascade, &call).expect("it runs");
                for placement in [Placement::Dense, Placement::Padded(1), Placement::Padded(3)] {
                    let found = jit::call_kernel(&kernel, &cascade, &call, placement).expect("it runs");
                    let off = largest_difference(&found["o"], &expected["o"]);
                    let name = (backend.name(), &cascade.name, sizes, placement);
                    assert!(off <= TOLERANCE, "{name:?} is off by {off}");
                }
            }
        }
    }
}

//! Keys that lie one after the other in several inputs: something is there at every coordinate, so nothing asks whether.

use attnc::Backend;
use attnc::driver::plan;
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc_tests::case::{agree, all_agree, call, compiled, expected, on_machine, on_nest, sized};

/// Attention over keys of which those of `n` come first, then those of `r`, with these values and extent.
fn text(values: &str, extent: &str) -> String {
    format!(
        "kernel concatenated {{
  rank h, m, n, r, d, e
  rank j = {extent}
  input q[h, m, d]: f32
  input k[h, n, d]: f32
  input v[h, n, e]: f32
  input k_ref[h, r, d]: f32
  input v_ref[h, r, e]: f32
  input seen[r]: bool
  K[h, j, d] = k[n = j] else k_ref[r = j - |n|]
  V[h, j, e] = {values}
  A[h, m, j] = sum[d](q * K) / sqrt(|d|)
  output o[h, m, e] = sum[j](softmax[j](A) * V)
  output all[h, m] = mean[j](if present(V[e = 0]) then 1.0 else 0.0)
}}"
    )
}

const ALL: &str = "|n| + |r|";
/// Values and extents, and whether something is there at every key.
const CASES: [(&str, &str, bool); 8] = [
    ("v[n = j] else v_ref[r = j - |n|]", ALL, true),
    ("v_ref[r = j] else v[n = j - |r|]", ALL, true),
    ("(v[n = j] where j < |n|) else (v_ref[r = j - |n|] where j >= |n|)", ALL, true),
    ("v[n = j] else v_ref[r = j - |n|]", "|n| + |r| + 1", false),
    ("v[n = j] else v_ref[r = j - |n| - 1]", ALL, false),
    ("v[n = j] else (v_ref[r = j - |n|] where seen[r = j - |n|])", ALL, false),
    ("(v[n = j] where j != 2) else v_ref[r = j - |n|]", ALL, false),
    ("(v[n = j] where j + 9223372036854775807 > 0) else v_ref[r = j - 1]", ALL, false),
];

#[test]
fn what_is_there_agrees_with_the_interpreter() {
    for (values, extent, _) in CASES {
        let cascade = compiled(values, text(values, extent));
        for (n, r) in [(70, 13), (0, 5), (5, 0), (3, 64)] {
            let sizes = [("h", 2), ("m", 7), ("n", n), ("r", r), ("d", 5), ("e", 9)];
            let call = call(&cascade, &sized(&sizes), 1.0);
            let (expected, label) = (expected(&cascade, &call), format!("{values}, {n} and {r}"));
            agree(&label, &on_nest(&cascade, &call, false), &expected, 2e-5);
            all_agree(&label, &on_machine(&cascade, &call), &expected, 2e-5);
        }
    }
}

#[test]
fn values_that_are_there_have_no_scale_of_their_own() {
    for (values, extent, covers) in CASES {
        let made = plan(
            &compiled(values, text(values, extent)),
            &Mapping::of(&Target::default(), Backend::default()),
        );
        let features = made.cascade.ranks.iter().find(|(_, it)| it.name == "e").map(|it| it.0);
        let has_features = made
            .tiles
            .iter()
            .map(|it| &made.cascade.tensors[*it])
            .any(|it| it.name.contains("scale") && it.dims.iter().any(|dim| Some(dim.rank) == features));
        assert_eq!(has_features, !covers, "{values} over {extent}");
    }
}

//! Cascades that stream: the same results as the interpreter's, in memory that does not grow with the keys.

use attnc::Backend;
use attnc::driver::{jit as compile, plan};
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::{Cascade, Role};
use attnc::ir::nest::{self, Block, Nest, Stmt};
use attnc::schedule::{Mapping, Plan, schedule};
use attnc::target::Target;
use attnc::tile::tile;
use attnc_runtime::{TensorView, TensorViewMut, Workspace};
use attnc_tests::case::{
    self, Outputs, Sizes, agree, all_agree, call, compiled, expected, on_machine, on_nest, sized,
};
use attnc_tests::spec;
use indexmap::IndexMap;

const CASES: [(&str, Sizes<'_>); 16] = [
    ("one_pass", &[("b", 2), ("m", 37), ("n", 75), ("d", 9), ("e", 11), ("hk", 2), ("h", 5)]),
    ("three_pass", &[("b", 1), ("h", 2), ("m", 70), ("n", 70), ("d", 8), ("e", 17)]),
    ("two_pass", &[("b", 1), ("h", 2), ("m", 33), ("n", 66), ("d", 5), ("e", 8)]),
    ("sinks", &[("b", 2), ("h", 3), ("m", 9), ("n", 130), ("p", 65), ("d", 7), ("e", 8)]),
    ("differential", &[("h", 2), ("m", 34), ("n", 67), ("d", 8), ("e", 9)]),
    ("gradients", &[("h", 2), ("m", 68), ("n", 66), ("d", 8), ("e", 9)]),
    (
        "neighbours",
        &[("h", 2), ("q", 35), ("k", 48), ("qy", 5), ("qx", 7), ("ky", 6), ("kx", 8), ("d", 4), ("e", 9)],
    ),
    ("triples", &[("m", 35), ("n", 6), ("p", 70), ("d", 5), ("e", 8)]),
    ("plain", &[("h", 2), ("m", 40), ("n", 90), ("d", 6), ("e", 9)]),
    ("columns", &[("h", 2), ("m", 70), ("n", 69), ("d", 5)]),
    ("ragged", &[("b", 2), ("t", 131), ("n", 130), ("d", 5)]),
    ("selections", &[("h", 2), ("m", 33), ("n", 131), ("d", 5), ("e", 3)]),
    ("segments", &[("h", 2), ("m", 47), ("j", 12), ("d", 5), ("e", 3)]),
    ("nested", &[("h", 2), ("m", 9), ("y", 11), ("x", 5), ("d", 5), ("e", 3)]),
    ("factors", &[("b", 1), ("h", 2), ("m", 70), ("n", 75), ("d", 9), ("e", 11)]),
    ("heads", &[("b", 2), ("m", 35), ("n", 66), ("c", 17), ("h", 2), ("d", 18), ("f", 36)]),
];

fn text(name: &str) -> String {
    case::text(&format!("streams/{name}"))
}

fn cascade(name: &str) -> Cascade {
    compiled(name, text(name))
}

fn streams(plan: &Plan) -> usize {
    plan.streams().count()
}

#[test]
fn every_case_streams_as_often_as_it_has_passes() {
    let found: Vec<(&str, usize, usize)> = CASES
        .iter()
        .map(|(name, _)| {
            let plan = schedule(&cascade(name), &Mapping::default());
            (*name, streams(&plan), plan.traversals())
        })
        .collect();
    let wanted = [
        ("one_pass", 1, 1),
        ("three_pass", 1, 3),
        ("two_pass", 1, 2),
        ("sinks", 1, 2),
        ("differential", 1, 1),
        ("gradients", 5, 1),
        ("neighbours", 1, 1),
        ("triples", 1, 1),
        ("plain", 1, 1),
        ("columns", 3, 1),
        ("ragged", 1, 1),
        ("selections", 3, 3),
        ("segments", 1, 2),
        ("nested", 2, 3),
        ("factors", 1, 3),
        ("heads", 2, 3),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn nests_agree_with_the_cascade() {
    for (name, sizes) in CASES {
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
    for (name, sizes) in CASES {
        let cascade = cascade(name);
        let call = call(&cascade, &sized(sizes), 1.0);
        all_agree(name, &on_machine(&cascade, &call), &expected(&cascade, &call), 2e-5);
    }
}

#[test]
fn any_extent_may_be_small() {
    for (name, sizes) in CASES {
        let cascade = cascade(name);
        for (rank, _) in
            sizes.iter().filter(|it| !["q", "k", "h", "hk", "qy", "qx", "ky", "kx", "f"].contains(&it.0))
        {
            for small in [0, 1, 2] {
                let of = |it: &str| if it == *rank { small } else { sized(sizes)(it).min(9) };
                let of = |it: &str| match it {
                    "q" => of("qy") * of("qx"),
                    "k" => of("ky") * of("kx"),
                    "f" => of("h") * of("d"),
                    it => of(it),
                };
                let call = call(&cascade, &of, 1.0);
                let label = format!("{name} with {rank} = {small}");
                agree(&label, &on_nest(&cascade, &call, false), &expected(&cascade, &call), 2e-5);
            }
        }
    }
}

/// What is replaced in a text, and by what.
type Replaced<'a> = &'a [(&'a str, &'a str)];

/// The same attention with a maximum, for a reference that stays in the range of f64: what is replaced in the text.
const WITH_MAXIMUM: [(&str, &str, Replaced<'_>); 4] = [
    ("one_pass", "O", &[("exp(S)", "exp(S - max[n](S))")]),
    ("neighbours", "O", &[("exp(S)", "exp(S - max[k](S))")]),
    ("triples", "O", &[("exp(S)", "exp(S - max[n, p](S))")]),
    ("differential", "O", &[("exp(S1)", "exp(S1 - max[n](S1))"), ("exp(S2)", "exp(S2 - max[n](S2))")]),
];

#[test]
fn large_logits_stay_in_range() {
    for (name, output, replaced) in WITH_MAXIMUM {
        let spec = cascade(name);
        let sizes = CASES.iter().find(|it| it.0 == name).unwrap().1;
        let mut call = call(&spec, &sized(sizes), 1.0);
        // Scores of some 10⁴, sums of few products of small integers, so that they are exact.
        for (tensor, array) in &mut call.inputs {
            if let Data::Real(values) = &mut array.data
                && (tensor.starts_with('Q') || tensor.starts_with('K') || tensor.starts_with('J'))
            {
                values.iter_mut().for_each(|it| *it = (*it * 3.0).round() * 16.0);
            }
        }
        let mut stable = text(name);
        for (from, to) in replaced {
            stable = stable.replace(from, to);
        }
        let reference = expected(&compiled(name, stable), &call);
        let only = |it: &Outputs| IndexMap::from([(output.to_owned(), it[output].clone())]);
        let is_nan = |it: &Array| matches!(&it.data, Data::Real(it) if it.iter().any(|it| it.is_nan()));
        for found in on_machine(&spec, &call) {
            agree(name, &only(&found), &only(&reference), 2e-4);
            assert!(!found.values().any(is_nan));
        }
    }
}

#[test]
fn visible_infinities_and_nan_stay_in_their_rows() {
    let cascade = cascade("one_pass");
    let sizes = CASES[0].1;
    let mut call = call(&cascade, &sized(sizes), 1.0);
    let Data::Real(q) = &mut call.inputs["Q"].data else { panic!("queries are real") };
    let (m, d) = (37, 9);
    q[3 * d] = f64::NAN;
    q[(m + 5) * d] = f64::INFINITY;
    let Data::Real(v) = &mut call.inputs["V"].data else { panic!("values are real") };
    // The last key is seen by the last row only.
    v[74 * 11] = f64::NAN;
    let expected = expected(&cascade, &call);
    agree("one_pass", &on_nest(&cascade, &call, false), &expected, 2e-5);
    all_agree("one_pass", &on_machine(&cascade, &call), &expected, 2e-5);
}

/// How often a block writes to buffers of a name that ends so.
fn writes(nest: &Nest, block: &Block, end: &str) -> usize {
    let of = |stmt: &Stmt| match stmt {
        Stmt::Let(..) => 0,
        Stmt::Store { buffer, .. } => usize::from(nest.buffers[*buffer].name.ends_with(end)),
        Stmt::Loop(it) => writes(nest, &it.body, end),
        Stmt::If { then, otherwise, .. } => [then, otherwise].map(|it| writes(nest, it, end)).iter().sum(),
    };
    block.stmts.iter().map(of).sum()
}

#[test]
fn what_is_done_whether_or_not_a_mask_hides_points_is_written_once() {
    let cascade = spec::cascade(
        "kernel t {
  rank m, n, d, e
  input q[m, d]: f32
  input k[n, d]: f32
  input v[n, e]: f32
  s[m, n] = sum[d](q * k) where n <= m
  output o[m, e]: f32 = sum[n](softmax[n](s) * v)
}",
    )
    .unwrap();
    let nest = tile(&plan(&cascade, &Mapping::of(&Target::default(), Backend::default())));
    let all = |end| nest.stages.iter().map(|it| writes(&nest, &it.body, end)).sum::<usize>();
    // Weights are made with the mask and without it, and under old scales; new scales are taken over for either.
    assert!(all(".part.weight~") > 1);
    assert_eq!(all(".part.factor~"), 1);
}

#[test]
fn many_keys_need_no_more_workspace() {
    let cascade = cascade("one_pass");
    let bytes = |n: usize| {
        let kernel = compile(&cascade, Backend::default()).unwrap();
        let (keys, values) = (vec![0.25f32; n * 4], vec![0.5f32; n * 4]);
        let queries = vec![1.0f32; 2 * 3 * 4];
        let (mut out, mut lse) = (vec![0.0f32; 2 * 3 * 4], vec![0.0f32; 2 * 3]);
        let mut workspace = Workspace::new();
        kernel
            .call_in(&mut workspace)
            .input("Q", TensorView::new(&queries, &[1, 3, 2, 4]).unwrap())
            .input("K", TensorView::new(&keys, &[1, 1, n, 4]).unwrap())
            .input("V", TensorView::new(&values, &[1, 1, n, 4]).unwrap())
            .output("O", TensorViewMut::new(&mut out, &[1, 3, 2, 4]).unwrap())
            .output("L", TensorViewMut::new(&mut lse, &[1, 3, 2]).unwrap())
            .run()
            .unwrap();
        assert!(out.iter().all(|it| (it - 0.5).abs() < 1e-6));
        workspace.bytes()
    };
    // From where there are as many parts as there ever are.
    assert_eq!(bytes(1 << 17), bytes(1 << 15));
}

#[test]
fn many_pairs_of_keys_need_no_more_workspace() {
    let kernel = compile(&cascade("triples"), Backend::default()).unwrap();
    let bytes = |n: usize| {
        let (queries, keys, shape) = (vec![0.5f32; 3 * 4], vec![0.5f32; n * 4], [n, 4]);
        let mut call = kernel.call().input("Q", TensorView::new(&queries, &[3, 4]).unwrap());
        for name in ["K", "J", "V", "U"] {
            call = call.input(name, TensorView::new(&keys, &shape).unwrap());
        }
        call.workspace_bytes(1).unwrap()
    };
    assert_eq!(bytes(1 << 16), bytes(1 << 12));
}

#[test]
fn one_query_without_a_rank_of_its_own_streams_over_its_keys() {
    let text = "kernel one {
  rank n, d, e
  input q[d]: f32
  input K[n, d]: f32
  input V[n, e]: f32
  S[n] = sum[d](q * K)
  Z = sum[n](exp(S))
  output O[e] = sum[n](exp(S) * V) / Z
  output L = log(Z)
}";
    let cascade = compiled("one", text.to_owned());
    let plan = schedule(&cascade, &Mapping::default());
    assert_eq!((streams(&plan), plan.traversals(), plan.parts_powers), (1, 1, false));
    for n in [0, 1, 3000] {
        let call = call(&cascade, &sized(&[("n", n), ("d", 5), ("e", 9)]), 1.0);
        all_agree("one", &on_machine(&cascade, &call), &expected(&cascade, &call), 2e-5);
    }
}

fn in_gallery(name: &str) -> Plan {
    let path = format!("{}/../examples/gallery/{name}.attn", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the gallery has it");
    let cascade = spec::cascade(&text).expect("the spec is right");
    attnc::driver::plan(&cascade, &Mapping::default())
}

#[test]
fn weights_of_caches_have_no_features_and_pages_are_gone_along_one_by_one() {
    // Codes of four bits are shifted by what may be 0 or 4, so they are all there.
    for name in ["paged_decode", "kv_cache_int4"] {
        let plan = in_gallery(name);
        let name = |rank| plan.cascade.ranks[rank].name.as_str();
        let weights = plan.cascade.tensors.iter().filter(|(_, it)| it.name.contains("weight"));
        for (_, tensor) in weights {
            assert!(tensor.dims.iter().all(|it| !name(it.rank).starts_with('e')), "{tensor:?}");
        }
    }
    // The slots of a page lie next to each other, the pages anywhere.
    let text = attnc::ir::print::plan(&in_gallery("paged_decode"));
    assert!(text.contains("for i in ") && text.contains(", s in "), "{text}");
}

#[test]
fn what_is_dear_is_computed_once_and_never_for_pairs() {
    let once = |name| {
        let plan = in_gallery(name);
        let rank = |rank| plan.cascade.ranks[rank].name.clone();
        let all = plan.cascade.tensors.iter().filter(|(_, it)| it.role == Role::Once);
        let mut all: Vec<String> =
            all.map(|(_, it)| it.dims.iter().map(|it| rank(it.rank)).collect::<Vec<_>>().join(" ")).collect();
        all.sort();
        all
    };
    // Turned queries and keys, the cosines and sines of their angles, and the powers of the base.
    assert_eq!(once("rope_attention"), ["b h m d", "b h n d", "d", "m d", "m d", "n d", "n d"]);
    // Keys are turned by positions in the cache of each query.
    assert_eq!(once("streaming_llm_cache_positions"), ["b h m d", "d", "m d", "m d"]);
}

/// The shapes of all contractions in a block.
fn contractions(nest: &Nest, block: &Block, found: &mut Vec<usize>) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(value, nest::Op::Contract { .. }) => found.push(nest.values[*value].points()),
            Stmt::Let(..) | Stmt::Store { .. } => {}
            Stmt::Loop(it) => contractions(nest, &it.body, found),
            Stmt::If { then, otherwise, .. } => {
                for block in [then, otherwise] {
                    contractions(nest, block, found);
                }
            }
        }
    }
}

#[test]
fn heads_that_are_a_part_of_features_are_projected_in_tiles() {
    let made = plan(&cascade("heads"), &Mapping::of(&Target::default(), Backend::default()));
    let nest = tile(&made);
    let mut points = Vec::new();
    contractions(&nest, &nest.stages[0].body, &mut points);
    // Four rows and eight features at a time.
    assert!(points.contains(&32), "{points:?}");
}

/// A sum of powers, the last of which is large and hidden by what its weight lacks.
fn hidden(weight: &str) -> String {
    format!(
        "kernel hidden {{
  rank m, n, d, e
  input q[m, d]: f32
  input k[n, d]: f32
  input v[n, e]: f32
  input r[n]: f32
  last[n] = n == |n| - 1
  S[m, n] = sum[d](q * k) + (if last then 1000.0 else 0.0)
  W[n, e] = {weight}
  output o[m, e] = sum[n](exp(S) * W) / sum[n](exp(S) where not last)
}}"
    )
}

#[test]
fn what_is_hidden_decides_on_no_scale() {
    let weights = [
        "r[n + 1] * v",
        "(if r > -9.0 then (1.0 where not last) else 0.5) * v",
        "(if ((r > 0.0) where not last) and n >= 0 then 1.0 else 0.5) * v",
        "tanh(r[n + 1] * v)",
        "(if n >= 0 then r[n + 1] else 2.0) * v",
    ];
    for weight in weights {
        let cascade = compiled(weight, hidden(weight));
        let call = call(&cascade, &sized(&[("m", 7), ("n", 70), ("d", 5), ("e", 9)]), 1.0);
        let expected = expected(&cascade, &call);
        agree(weight, &on_nest(&cascade, &call, false), &expected, 2e-5);
        all_agree(weight, &on_machine(&cascade, &call), &expected, 2e-5);
    }
}

#[test]
fn indices_under_conditions_are_read_at_any_stride() {
    for index in ["(d where d > 1)", "(d else 0)", "(if m > 2 then d else d)", "d + 2", "d - 1"] {
        let text = format!(
            "kernel strides {{
  rank m, d
  input q[m, d]: f32
  input k[m, d]: f32
  output o[m, d] = q[m, {index}] * k else 3.0
}}"
        );
        let cascade = compiled(index, text);
        let call = call(&cascade, &sized(&[("m", 5), ("d", 70)]), 1.0);
        all_agree(index, &on_machine(&cascade, &call), &expected(&cascade, &call), 1e-6);
    }
}

#[test]
fn nothing_is_computed_once_for_no_points() {
    let text = "kernel none {
  rank m, n, d, e
  rank z = 0
  input q[m, d]: f32
  input k[n, d]: f32
  input t[z, n]: f32
  input v[n, e]: f32
  S[m, n] = sum[d](q * k) + sum[z](cos(sin(z * 1.5) ^ 2.5) * t)
  output o[m, e] = sum[n](softmax[n](S) * v)
}";
    let cascade = compiled("none", text.to_owned());
    let call = call(&cascade, &sized(&[("m", 5), ("n", 70), ("d", 3), ("e", 4)]), 1.0);
    all_agree("none", &on_machine(&cascade, &call), &expected(&cascade, &call), 2e-5);
}

#[test]
fn rows_do_not_depend_on_threads_or_on_the_batch() {
    for (name, sizes) in [CASES[0], CASES[3]] {
        let cascade = cascade(name);
        let whole = call(&cascade, &sized(sizes), 3.0);
        let all = on_machine(&cascade, &whole);
        let mut part = whole.clone();
        for id in cascade.inputs() {
            let it = &cascade.tensors[id];
            let batched = it.dims.first().is_some_and(|dim| cascade.ranks[dim.rank].name == "b");
            if batched {
                let array = &mut part.inputs[&it.name];
                let kept = array.data.len() / array.shape[0];
                array.shape[0] = 1;
                match &mut array.data {
                    Data::Real(it) => it.truncate(kept),
                    Data::Int(it) => it.truncate(kept),
                    Data::Bool(it) => it.truncate(kept),
                }
            }
        }
        let alone = on_machine(&cascade, &part);
        for (tensor, array, all) in alone
            .iter()
            .zip(&all)
            .flat_map(|(alone, all)| alone.iter().map(move |(tensor, array)| (tensor, array, all)))
        {
            let (Data::Real(found), Data::Real(all)) = (&array.data, &all[tensor].data) else { continue };
            let bits = |it: &[f64]| it.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(found), bits(&all[..found.len()]), "{name}: {tensor}");
        }
    }
}

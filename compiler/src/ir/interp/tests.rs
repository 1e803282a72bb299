//! The rules of the language, one by one, against values derived by hand.

use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use indexmap::IndexMap;

use super::cascade::run;
use super::nest::Manner;
use super::{Call, CallError, Layout, nest};
use crate::driver::{Request, front};
use crate::ir::arena::Id;
use crate::ir::array::{Array, Data, Value};
use crate::ir::cascade::Cascade;
use crate::ir::nest::{Block, Op, Stmt};
use crate::ir::{print, verify};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// A kernel of inputs `x = [3, NaN, 1]`, `i = [7, -7, 0]` and `f = [true, false, true]` along `n`, beside a function `own`
/// and another of that name in a file that it imports.
fn lowered(items: &str) -> Cascade {
    let inputs = "rank n; input x[n]: f64; input i[n]: i64; input f[n]: bool";
    let text = format!("import \"own.attn\" fn own(x) {{ 10 * x }} kernel k {{ {inputs} {items} }}");
    let source = Source { name: "k.attn".to_owned(), text };
    let mut fetch = |_: &str| Ok("fn own(x) { x } fn twice(x) { own(x) + own(x) }".to_owned());
    let front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
    let front = front.unwrap_or_else(|failure| {
        panic!("{}", attnc_dsl::render::text(&failure.sources, &failure.diagnostics));
    });
    let cascade = front.cascades.into_iter().next().unwrap();
    verify::cascade(&cascade).unwrap_or_else(|broken| panic!("{broken}\n{}", print::cascade(&cascade)));
    cascade
}

fn call() -> Call {
    let array = |data| Array { shape: vec![3], data };
    let inputs = [
        ("x", array(Data::Real(vec![3.0, NAN, 1.0]))),
        ("i", array(Data::Int(vec![7, -7, 0]))),
        ("f", array(Data::Bool(vec![true, false, true]))),
    ];
    let inputs = inputs.map(|(name, array)| (name.to_owned(), array));
    Call { inputs: IndexMap::from(inputs), params: IndexMap::new() }
}

fn reals(array: &Array) -> Vec<f64> {
    let real = |at| match array.data.get(at) {
        Value::Real(it) => it,
        Value::Int(it) => it as f64,
        Value::Bool(it) => f64::from(u8::from(it)),
    };
    (0..array.data.len()).map(real).collect()
}

/// The output `o` of these items, from the cascade and from its nest, however that is run.
fn check(items: &str, expected: &[f64]) {
    let cascade = lowered(items);
    let same = |found: &[f64]| {
        found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12 || a == b || a.is_nan() && b.is_nan())
    };
    let found = reals(&run(&cascade, &call()).unwrap()["o"]);
    assert!(same(&found), "{items}: {found:?} instead of {expected:?}\n{}", print::cascade(&cascade));
    let nest = crate::tile::tile(&crate::schedule::schedule(&cascade, &crate::schedule::Mapping::default()));
    verify::nest(&nest).unwrap_or_else(|broken| panic!("{items}: {broken}\n{}", print::nest(&nest)));
    for layout in [Layout::Contiguous, Layout::Reversed, Layout::Spread] {
        for backwards in [false, true] {
            let found = nest::run(&nest, &cascade, &call(), Manner { layout, backwards });
            let found = found.unwrap_or_else(|error| panic!("{items}: {error}\n{}", print::nest(&nest)));
            let found = reals(&found["o"]);
            assert!(same(&found), "{items}: {found:?} instead of {expected:?}\n{}", print::nest(&nest));
        }
    }
}

#[test]
fn integers_divide_down_and_wrap() {
    check("output o[n] = i // 2", &[3.0, -4.0, 0.0]);
    check("output o[n] = i % 2", &[1.0, 1.0, 0.0]);
    check("output o[n] = i % (-2)", &[-1.0, -1.0, 0.0]);
    check("output o[n] = present(1 // i)", &[1.0, 1.0, 0.0]);
    check("output o[n] = present(1 % i)", &[1.0, 1.0, 0.0]);
    check("output o[n] = present(shl(1, 10 * i))", &[0.0, 0.0, 1.0]);
    check("output o[n] = shr(i, 1)", &[3.0, -4.0, 0.0]);
    check("output o[n] = present(ilog2(i))", &[1.0, 0.0, 0.0]);
    check("output o[n] = ilog2(i) else 9", &[2.0, 9.0, 9.0]);
    check("output o[n]: bool = i + 9223372036854775807 < 0", &[1.0, 0.0, 0.0]);
}

#[test]
fn a_file_calls_its_own_functions() {
    check("output o[n] = own(i)", &[70.0, -70.0, 0.0]);
    check("output o[n] = twice(i)", &[14.0, -14.0, 0.0]);
}

#[test]
fn an_absent_point_of_an_output_has_a_value() {
    check("output o[n] = 5.0 where f", &[5.0, 0.0, 5.0]);
    check("output o[n] = 5 where f", &[5.0, -1.0, 5.0]);
    check("output o[n]: u8 = 5 where f", &[5.0, 0.0, 5.0]);
    check("output o[n] = true where f", &[1.0, 0.0, 1.0]);
}

#[test]
fn absence_spreads_but_where_it_is_decided() {
    check("output o[n] = (i where f) + 1", &[8.0, -1.0, 1.0]);
    check("output o[n] = (i where f) else 9", &[7.0, 9.0, 0.0]);
    check("output o[n] = if f then 1 else (2 where false)", &[1.0, -1.0, 1.0]);
    check("output o[n] = if (f where i != 7) then 1 else 2", &[-1.0, 2.0, 1.0]);
    check("output o[n] = present((true where f) and false)", &[1.0, 1.0, 1.0]);
    check("output o[n] = present((true where f) and true)", &[1.0, 0.0, 1.0]);
    check("output o[n] = present(true or (true where f))", &[1.0, 1.0, 1.0]);
    check("output o[n] = present(false or (true where f))", &[1.0, 0.0, 1.0]);
    check("output o[n] = pick(n, 4, 5 where false)", &[4.0, -1.0, -1.0]);
    check("output o[n] = x[n + 1]", &[NAN, 1.0, 0.0]);
    check("output o[n] = present(x[n - 1])", &[0.0, 1.0, 1.0]);
}

#[test]
fn a_reduction_skips_absent_points() {
    check("output o = sum[n](x where f)", &[4.0]);
    check("output o = prod[n](x where f)", &[3.0]);
    check("output o = mean[n](x where f)", &[2.0]);
    check("output o = max[n](x where f)", &[3.0]);
    check("output o = min[n](x where f)", &[1.0]);
    check("output o = max[n](i where i < 7)", &[0.0]);
    check("output o = any[n]((i < 0) where f)", &[0.0]);
    check("output o = all[n]((i < 0) where i != 7 and i != 0)", &[1.0]);
    check("output o = count[n](f where i != 0)", &[1.0]);
    check("output o = sum[n](1)", &[3.0]);
}

#[test]
fn a_reduction_of_nothing_is_its_identity() {
    check("output o = sum[n](x where false)", &[0.0]);
    check("output o = prod[n](x where false)", &[1.0]);
    check("output o = max[n](x where false)", &[-INF]);
    check("output o = min[n](x where false)", &[INF]);
    check("output o = any[n](f where false)", &[0.0]);
    check("output o = all[n](f where false)", &[1.0]);
    check("output o = count[n](f where false)", &[0.0]);
    check("output o = present(mean[n](x where false))", &[0.0]);
    check("output o = present(max[n](i where false))", &[0.0]);
    check("output o = present(argmin[n](x where false))", &[0.0]);
}

#[test]
fn nan_is_passed_on_by_extremes_and_least_in_selections() {
    check("output o = max[n](x)", &[NAN]);
    check("output o = min[n](x)", &[NAN]);
    check("output o[n] = max(x, 2.0)", &[3.0, NAN, 2.0]);
    check("output o[n] = relu(x)", &[3.0, NAN, 1.0]);
    check("output o[n] = cummax[n](x)", &[3.0, NAN, NAN]);
    check("output o = argmax[n](x)", &[0.0]);
    check("output o = argmin[n](x)", &[1.0]);
    check("rank j = 4; output o[j] = topk[n -> j](x)", &[0.0, 2.0, 1.0, -1.0]);
    check("rank j = 4; output o[j] = argsort[n -> j](x)", &[1.0, 2.0, 0.0, -1.0]);
    check("output o[n] = place[n](x)", &[0.0, 2.0, 1.0]);
}

#[test]
fn selections_prefer_the_smaller_index_and_skip_absent_points() {
    check("rank j = 2; output o[j] = topk[n -> j](abs(i))", &[0.0, 1.0]);
    check("rank j = 3; output o[j] = topk[n -> j](i where f)", &[0.0, 2.0, -1.0]);
    check("output o = argmax[n](abs(i))", &[0.0]);
    check("output o[n] = place[n](i where f)", &[0.0, -1.0, 1.0]);
}

#[test]
fn prefixes_are_present_everywhere() {
    check("output o[n] = cumsum[n](x where f)", &[3.0, 3.0, 4.0]);
    check("output o[n] = cumprod[n](x where f)", &[3.0, 3.0, 3.0]);
    check("output o[n] = cummax[n](x where not f)", &[-INF, NAN, NAN]);
    check("output o[n] = present(cummax[n](i where not f))", &[0.0, 1.0, 1.0]);
    check("output o[n] = cumsum[n](i where f)", &[7.0, 7.0, 7.0]);
}

#[test]
fn casts_round_to_even_and_saturate() {
    check("output o[n] = i8(x * 100.5)", &[127.0, 0.0, 100.0]);
    check("output o[n] = i4(i + 1)", &[7.0, -6.0, 1.0]);
    check("output o[n] = u8(i)", &[7.0, 0.0, 0.0]);
    check("output o[n]: f64 = f8e4m3(x * 200.0)", &[448.0, NAN, 192.0]);
    check("output o[n]: f64 = f16(x * 30000.0)", &[INF, NAN, 30000.0]);
    check("output o[n]: f64 = bf16(x + 0.01)", &[3.015625, NAN, 1.0078125]);
}

#[test]
fn a_recurrence_carries_its_own_earlier_coordinates() {
    check("h[0] = 1; h[n+1] = 2 * h[n] + i; output o[n] = h[n + 1]", &[9.0, 11.0, 22.0]);
    check("h[n] = (h[n-1] else 0) + i; output o[n] = h", &[7.0, 0.0, 0.0]);
    check("h[0] = 0; h[n+1] = (h[n] + i where f) else h[n]; output o = h[|n|]", &[7.0]);
    let two = "a[0] = 1; a[n+1] = b[n] + a[n]; b[0] = 1; b[n+1] = a[n+1] * 2; output o[n] = b[n + 1]";
    check(two, &[4.0, 12.0, 36.0]);
}

#[test]
fn points_beyond_a_composite_do_not_exist() {
    let composite = "rank p = (r, c = 2); input y[p]: f64;";
    let mut call = call();
    let y = Array { shape: vec![3], data: Data::Real(vec![1.0, 2.0, 4.0]) };
    call.inputs.insert("y".to_owned(), y);
    for (items, expected) in [
        ("output o[r] = sum[c](1)", vec![2.0, 1.0]),
        ("output o[r] = sum[c](y)", vec![3.0, 4.0]),
        ("output o[r, c] = p", vec![0.0, 1.0, 2.0, -1.0]),
        ("output o[p] = 10 * r + c", vec![0.0, 1.0, 10.0]),
    ] {
        let cascade = lowered(&format!("{composite} {items}"));
        assert_eq!(reals(&run(&cascade, &call).unwrap()["o"]), expected, "{items}");
    }
}

#[test]
fn a_call_that_makes_no_sense_is_refused() {
    let cascade = lowered("param s: i64; output o[n] = i * s; assume i * s < 20");
    let with = |change: &dyn Fn(&mut Call)| {
        let mut call = call();
        call.params.insert("s".to_owned(), Value::Int(2));
        change(&mut call);
        run(&cascade, &call).map(|outputs| reals(&outputs["o"]))
    };
    let short = Array { shape: vec![2], data: Data::Int(vec![1, 2]) };
    let real = Array { shape: vec![3], data: Data::Real(vec![0.0; 3]) };
    assert_eq!(with(&|_| {}), Ok(vec![14.0, -14.0, 0.0]));
    assert_eq!(with(&|it| it.params.clear()), Err(CallError::MissingParam("s".to_owned())));
    let surplus = with(&|it| {
        it.params.insert("t".to_owned(), Value::Int(0));
    });
    assert_eq!(surplus, Err(CallError::UnknownParam("t".to_owned())));
    let missing = with(&|it| {
        it.inputs.shift_remove("x");
    });
    assert_eq!(missing, Err(CallError::MissingInput("x".to_owned())));
    let disagreeing = with(&|it| {
        it.inputs.insert("i".to_owned(), short.clone());
    });
    assert_eq!(
        disagreeing,
        Err(CallError::Disagree("n".to_owned(), 3, Some("x".to_owned()), "i".to_owned(), 2))
    );
    let of_reals = with(&|it| {
        it.inputs.insert("i".to_owned(), real.clone());
    });
    assert_eq!(of_reals, Err(CallError::Kind("i".to_owned())));
    let beyond = with(&|it| {
        it.params.insert("s".to_owned(), Value::Int(3));
    });
    assert_eq!(beyond, Err(CallError::Assume("i * s < 20".to_owned())));
}

/// What the interpreter says of the nest of these items after a change to its first stage.
fn fault(items: &str, change: impl Fn(&mut Stmt)) -> String {
    let cascade = lowered(items);
    let mut nest =
        crate::tile::tile(&crate::schedule::schedule(&cascade, &crate::schedule::Mapping::default()));
    nest.stages[0].body.stmts.iter_mut().for_each(|it| each(it, &change));
    nest::run(&nest, &cascade, &call(), Manner::default()).unwrap_err().to_string()
}

fn each(stmt: &mut Stmt, change: &impl Fn(&mut Stmt)) {
    match stmt {
        Stmt::Loop(it) => it.body.stmts.iter_mut().for_each(|it| each(it, change)),
        Stmt::If { then, otherwise, .. } => {
            then.stmts.iter_mut().chain(&mut otherwise.stmts).for_each(|it| each(it, change));
        }
        Stmt::Let(..) | Stmt::Store { .. } => {}
    }
    change(stmt);
}

#[test]
fn a_nest_that_leaves_a_buffer_is_told_where() {
    let unguarded = fault("output o[n] = x[n + 1]", |stmt| {
        if let Stmt::Let(_, Op::Load { guard, .. }) = stmt {
            *guard = None;
        }
    });
    assert_eq!(unguarded, "the nest is wrong: x[3] is outside the extents [3]");
}

#[test]
fn a_nest_that_reads_what_nobody_wrote_is_told_where() {
    let unwritten = fault("a[n] = 2 * i; output o[n] = a[0]", |stmt| {
        if let Stmt::Store { .. } = stmt {
            *stmt = Stmt::If { condition: Id::new(0), then: Block::default(), otherwise: Block::default() };
        }
    });
    assert_eq!(unwritten, "the nest is wrong: a[0] is read before it is written");
}

#[test]
fn tasks_that_write_the_same_element_are_found() {
    let shared = fault("rank r: n; output o[r, n] = r + n", |stmt| {
        if let Stmt::Store { index, .. } = stmt {
            index[0] = index[1];
        }
    });
    assert!(shared.contains("is written by two tasks"), "{shared}");
}

//! Each verifier accepts what the stages make, and tells what is wrong with a copy that was damaged.

use attnc_dsl::ast::{CompareOp, Kind};
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;

use super::{Broken, cascade, nest};
use crate::driver::{Request, front};
use crate::ir::cascade::{At, Cascade, Recurrence, Step};
use crate::ir::expr::Expr;
use crate::ir::nest::{Nest, Op, Scalar, Stmt};
use crate::rewrite::{Walker, in_chunks};
use crate::schedule::{Mapping, schedule};
use crate::tile::tile;

fn lowered() -> Cascade {
    cascade_of(
        "kernel k { rank m, n; input x[m, n]: f32
        output p[m, n] = softmax[n](x)
        h[m, 0] = 0.0  h[m, n+1] = h[m, n] + p
        output o[m] = h[m, |n|] }",
    )
}

fn cascade_of(text: &str) -> Cascade {
    let source = Source { name: "k.attn".to_owned(), text: text.to_owned() };
    let mut fetch = |_: &str| Err("there are no imports".to_owned());
    let front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() }).unwrap();
    front.cascades.into_iter().next().unwrap()
}

fn tells(verdict: Result<(), Broken>, expected: &str) {
    let broken = verdict.expect_err(expected);
    assert!(broken.faults.iter().any(|it| it == expected), "{broken}");
}

#[test]
fn a_whole_cascade_and_its_nest_are_accepted() {
    assert_eq!(cascade(&lowered()), Ok(()));
    assert_eq!(nest(&tile(&schedule(&lowered(), &Mapping::default()))), Ok(()));
}

#[test]
fn a_damaged_cascade_is_told_what_is_wrong() {
    let check = |expected: &str, damage: &dyn Fn(&mut Cascade)| {
        let mut damaged = lowered();
        damage(&mut damaged);
        tells(cascade(&damaged), expected);
    };
    check("p.sum: `p.max` is defined before it is read", &|it| it.steps.swap(0, 1));
    check("o: an output is defined", &|it| drop(it.steps.pop()));
    check("p: a tensor is defined once", &|it| it.steps.push(it.steps[2].clone()));
    check("p: the result has the kind of the tensor", &|it| {
        let p = it.outputs().next().unwrap();
        it.tensors[p].kind = Kind::Int;
    });
    check("p.max: rank `m` is walked where it is mentioned", &|it| {
        if let Step::Einsum(einsum) = &mut it.steps[0] {
            einsum.at = vec![At::Const(0)];
        }
    });
    let recurrence = |it: &mut Cascade, damage: &dyn Fn(&mut Recurrence)| {
        let steps = it.steps.iter_mut();
        let found = steps.filter_map(|step| if let Step::Recurrence(it) = step { Some(it) } else { None });
        found.for_each(damage);
    };
    check("h: there is a base for each coordinate in front", &|it| recurrence(it, &|it| it.bases.clear()));
    check("h: a step writes behind its bases", &|it| {
        recurrence(it, &|it| {
            it.body.iter_mut().flat_map(|it| &mut it.at).for_each(|at| {
                if let At::Rank(_, shift) = at {
                    *shift = 0;
                }
            });
        });
    });
}

#[test]
fn all_earlier_coordinates_may_be_read_where_they_are_earlier() {
    let text = "kernel k { rank t, d, e; input k[t, d]: f32; input v[t, e]: f32
        H[0, d, e] = 0.0  H[t+1, d, e] = H[t, d, e] + k * (v - sum[d](k * H[t, d, e]))
        output o[t, e] = sum[d](k * H[t, d, e]) }";
    let mut solved = in_chunks(&cascade_of(text), Walker::Thread);
    assert_eq!(cascade(&solved), Ok(()));
    let mut steps = solved.steps.clone();
    for step in &mut steps {
        let Step::Recurrence(it) = step else { continue };
        for einsum in &mut it.body {
            if let &Expr::Where(x, condition) = solved.exprs.get(einsum.value)
                && let &Expr::Compare(CompareOp::Lt, a, b) = solved.exprs.get(condition)
            {
                let too_late = solved.exprs.compare(CompareOp::Le, a, b);
                einsum.value = solved.exprs.add(Expr::Where(x, too_late));
            }
        }
    }
    solved.steps = steps;
    tells(cascade(&solved), "H.inverse.sum: `H.inverse` is written before it is read");
}

#[test]
fn a_damaged_nest_is_told_what_is_wrong() {
    let check = |expected: &str, damage: &dyn Fn(&mut Nest)| {
        let mut damaged = tile(&schedule(&lowered(), &Mapping::default()));
        damage(&mut damaged);
        let broken = nest(&damaged).expect_err(expected);
        assert!(broken.faults.iter().any(|it| it.ends_with(expected)), "{broken}");
    };
    check("a value is defined once", &|it| it.prologue.stmts.push(it.prologue.stmts[0].clone()));
    check("a value is defined before it is used, in this block or around it", &|it| {
        it.prologue.stmts.remove(0);
    });
    check("what runs before the stages defines values and reads no memory", &|it| {
        let store = it.stages[0].body.stmts.iter().find(|it| !matches!(it, Stmt::Let(..))).cloned();
        it.prologue.stmts.extend(store);
    });
    check("operands and result have the scalars that the operation takes and gives", &|it| {
        for stmt in &it.prologue.stmts {
            if let Stmt::Let(id, Op::Int(_)) = stmt {
                it.values[*id].scalar = Scalar::F32;
            }
        }
    });
    check("a condition is a bool", &|it| {
        let tasks = it.stages[0].tasks;
        it.extent_checks.faults.iter_mut().for_each(|(condition, _)| *condition = tasks);
    });
}

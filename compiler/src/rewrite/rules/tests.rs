//! Every rule fires where its law applies, says what is true there, and keeps silent where its condition fails.

use std::collections::HashMap;

use attnc_dsl::ast::Kind;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use egg::Language;

use super::{Rule, all};
use crate::driver::{Request, outline};
use crate::ir::cascade::{Cascade, Dim, Role, Tensor};
use crate::rewrite::build::Build;
use crate::rewrite::extract::Choice;
use crate::rewrite::facts::Graph;
use crate::rewrite::term::{Class, Term};
use crate::rewrite::{translate, write};
use crate::verify::{Character, Trial};

/// A rule, equations of a kernel where it fires, and those of one where its condition fails.
type Row = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("commute", "output O[m, n] = A * X + (X + log(exp(A)))", "output O[m] = sum[n](X)"),
    ("associate", "output O[m, n] = (X + Y) + A", "output O[m, n] = X + Y"),
    ("distribute", "output O[m, n] = 2 * (X + Y)", "output O[m, n] = X * (Y + A)"),
    ("factor", "S[m] = sum[n](X)  output O[m, n] = S * X + S * Y", "output O[m, n] = A * X + A * Y"),
    ("add-powers", "output O[m, n] = X * X", "output O[m, n] = X / X"),
    ("add-multiples", "output O[m, n] = X + X", "output O[m, n] = X + Y"),
    ("power-of-product", "output O[m, n] = 1 / (X * Y)", "output O[m, n] = sqrt(X * Y)"),
    ("power-of-power", "output O[m, n] = 1 / (1 / X)", "output O[m, n] = sqrt(X * X)"),
    ("homogeneous", "S[m] = sum[n](exp(X))  output O[m, n] = relu(Y * S)", "S[m] = sum[n](X)  output O[m, n] = relu(Y * S)"),
    ("exp-of-sum", "S[m] = max[n](X)  output O[m, n] = exp(X - S)", "output O[m, n] = exp(X + Y)"),
    ("exp-of-multiple", "S[m] = max[n](X)  output O[m, n] = exp(X - S)", "output O[m, n] = exp(2 * X)"),
    ("exp-base", "output O[m, n] = exp2(X) + log2(exp(Y))", "output O[m, n] = exp(X) + log(Y)"),
    ("exp-of-log", "output O[m, n] = exp(log(exp(X) + 1))", "output O[m, n] = exp(log(X))"),
    ("log-of-exp", "output O[m, n] = log(exp(X))", "output O[m, n] = log(X)"),
    ("log-of-product", "output O[m, n] = log(exp(X) * (exp(Y) + 1))", "output O[m, n] = log(X * Y)"),
    ("log-of-power", "output O[m, n] = log(1 / (exp(X) + 1))", "output O[m, n] = log(1 / X)"),
    ("where-known", "output O[m, n] = (X where P) where P", "output O[m, n] = X where P"),
    ("where-as-factor", "output O[m, n] = C where P", "output O[m, n] = X where P"),
    ("else-known", "S[m] = sum[n](X)  output O[m] = sum[n](Y * S)", "output O[m, n] = (X where P) else 0"),
    ("else-unneeded", "output O[m, n] = ((X where P) else 0) + (Y where P)", "output O[m, n] = ((X where P) else 0) + Y"),
    ("else-outward", "output O[m, n] = exp((X where P) else 0)", "output O[m, n] = exp(X where P)"),
    ("if-zero", "output O[m, n] = if X == 0 then 0 else X * Y", "output O[m, n] = if X == 0 then 1 else X * Y"),
    ("zero-of-exp", "output O[m, n] = if exp(X) == 0 then A else C", "output O[m, n] = if exp(X) == 1 then A else C"),
    ("zero-of-product", "S[m] = sum[n](exp(X))  output O[m, n] = if relu(Y) / S == 0 then A else C", "S[m] = sum[n](X)  output O[m, n] = if relu(Y) / S == 0 then A else C"),
    ("zero-absorbs", "output O[m, n] = ((X where P) else 0) * Y", "Z[m] = sum[n](X where P)  output O[m, n] = ((X where P) else 0) / Z  output R[m, n] = ((X where P) else 1) * Y"),
    ("present-known", "output O[m, n] = 1 where present(X where P)", "output O[m, n] = X where P"),
    ("if-known", "output O[m, n] = if exp(X) < 0 then X else Y", "output O[m, n] = if X > 0 then X else Y"),
    ("join", "output O[m, n] = ((X where P) else 0) + Y", "output O[m, n] = ((X where P) else 1) + Y"),
    ("join-identity", "output O[m, n] = ((X where P) else 0) + Y", "output O[m, n] = ((X where P) else 1) + Y"),
    ("factor-out", "output O[m] = sum[n](X * C)", "output O[m] = sum[n](X * Y)"),
    ("push-in", "Z[k] = sum[n](A * W)  output O[m] = sum[k](Z * U)", "Z[k] = sum[n](A * W)  output O[m] = sum[k](Z * exp(U))"),
    ("merge-ranks", "S[m] = sum[n](X)  output O = sum[m](S)", "S[m] = max[n](X)  output O = sum[m](S)"),
    ("compose", "rank t = (u, v = 2)  input T[t]: f64  output O[m] = sum[u, v](T * C) + sum[t](T)", "rank t = (u, v = 2)  input T[t]: f64  output O[m, u] = sum[v](T * C)"),
    ("sum-of-sum", "output O[m] = sum[n](C + X)", "output O[m] = sum[n](X + Y)"),
    ("narrow", "S[m] = sum[n](X)  output O[m] = sum[n](exp(Y - S) * (X - S)^2)", "output O[m] = sum[n](exp(Y - C) * (X - C)^2)"),
    ("shift-out", "output O[m] = max[n](C + X)", "output O[m] = max[n](X + Y)"),
    ("scale-out", "output O[m] = max[n](exp(C) * X)", "output O[m] = max[n](C * X)"),
    ("count", "output O[m] = sum[n](C)", "output O[m] = sum[n](X)"),
    ("skip-identity", "D[m] = sum[n]((X where P) else 0)  output O[m] = sum[n](X / D)", "D[m] = sum[n]((X where P) else 1)  output O[m] = sum[n](X / D)"),
];

fn cascade(equations: &str) -> Cascade {
    let equations = equations.replace("  ", "\n  ");
    let text = format!(
        "kernel rule {{\n  rank m, n, k, d\n  input X[m, n]: f64\n  input Y[m, n]: f64\n  input A[n]: f64\n  input C[m]: f64\n  \
         input W[n, k]: f64\n  input U[m, k]: f64\n  input V[n, d]: f64\n  input P[m, n]: bool\n  {equations}\n}}\n"
    );
    let source = Source { name: "rule".to_owned(), text };
    let front =
        outline(Request { source, fetch: &mut |_| Err("nothing".to_owned()), fixed: Fixed::default() });
    let mut cascades = front.unwrap_or_else(|it| panic!("{equations}: {:?}", it.diagnostics)).cascades;
    cascades.remove(0)
}

/// What a rule finds once everything is found.
fn equations(rule: &Rule, cascade: &Cascade) -> (Graph, Vec<(Class, Class)>) {
    let mut graph = translate::empty(cascade).with_explanations_enabled();
    translate::translate(&mut graph);
    graph.rebuild();
    let mut found = Vec::new();
    for _ in 0..8 {
        let classes: Vec<Class> = graph.classes().map(|it| it.id).collect();
        let terms: Vec<Term> = classes.into_iter().flat_map(|it| graph.terms(it)).collect();
        for other in all() {
            for term in &terms {
                for (before, after) in (other.find)(&mut graph, term) {
                    if other.name == rule.name && before != after {
                        found.push((before, after));
                    }
                    graph.union_trusted(before, after, other.name);
                }
            }
            graph.rebuild();
        }
        if graph.total_size() > 2000 {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    (graph, found)
}

/// The cascade whose output is exactly that term, and 12345 where it is absent.
fn computing(cascade: &Cascade, graph: &Graph, class: Class, other: Class) -> Cascade {
    let mut page = translate::empty(cascade);
    let mut tensors = translate::translate(&mut page);
    let mut copies = HashMap::new();
    let copy = copied(graph, &mut page, class, &mut copies);
    let twin = copied(graph, &mut page, other, &mut copies);
    let mut free = page.facts(copy).free.clone();
    free.extend(page.facts(twin).free.clone());
    free.sort_unstable();
    free.dedup();
    let kind = page.facts(copy).kind;
    let stand_in = match kind {
        Kind::Real => page.real(12345.0),
        Kind::Int => page.exactly(&Term::Int(12345)),
        Kind::Bool => page.exactly(&Term::Bool(true)),
    };
    let total = page.exactly(&Term::Else([copy, stand_in]));
    let own = &mut page.analysis.cascade;
    for id in own.tensors.ids() {
        if own.tensors[id].role == Role::Output {
            own.tensors[id].role = Role::Intermediate;
        }
    }
    let dims = free.into_iter().map(|rank| Dim { rank, lag: 0 }).collect();
    let name = "side".to_owned();
    let side = own.tensors.push(Tensor { name, dims, kind, dtype: None, role: Role::Output });
    tensors.insert(side, total);
    write::write(&page, &Choice::only(&page), &tensors)
}

fn copied(from: &Graph, to: &mut Graph, class: Class, copies: &mut HashMap<Class, Class>) -> Class {
    if let Some(&copy) = copies.get(&class) {
        return copy;
    }
    let term = from.id_to_node(class).clone();
    let operands: Vec<Class> = term.children().iter().map(|&it| copied(from, to, it, copies)).collect();
    let copy = to.exactly(&term.with(&operands));
    copies.insert(class, copy);
    copy
}

fn row(rule: &Rule) -> Row {
    let found = ROWS.iter().find(|it| it.0 == rule.name);
    *found.unwrap_or_else(|| panic!("the law `{}` has no test", rule.name))
}

#[test]
fn every_law_fires_and_is_true_there() {
    let wrong: Vec<String> = all().filter_map(|it| fires_and_is_true(it).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn fires_and_is_true(rule: &Rule) -> Result<(), String> {
    let cascade = cascade(row(rule).1);
    let (graph, found) = equations(rule, &cascade);
    if found.is_empty() {
        return Err(format!("`{}` does not fire", rule.name));
    }
    let mut n_compared = 0;
    for (before, after) in found.into_iter().take(12) {
        let sides =
            [(before, after), (after, before)].map(|(it, other)| computing(&cascade, &graph, it, other));
        // A side may mention a coordinate that it does not depend on, which no einsum computes.
        if sides.iter().any(|it| crate::ir::verify::cascade(it).is_err()) {
            continue;
        }
        let is_truth = sides[0].outputs().any(|it| sides[0].tensors[it].kind == Kind::Bool);
        for (seed, character) in (1..).zip(Trial::CHARACTERS) {
            let trial = Trial::new(&sides[0], character, seed).expect("the call is in order");
            match trial.map(|it| it.compare(&sides[1]).expect("the call is in order")) {
                Some(None) => n_compared += 1,
                // Laws are those of the reals; what −∞ makes of them, and NaN of a truth, is for the chosen cascade to
                // answer.
                Some(Some(what))
                    if character != Character::Sunken && !(is_truth && character == Character::Poisoned) =>
                {
                    let [a, b] = sides.map(|it| crate::ir::print::cascade(&it));
                    return Err(format!(
                        "`{}` is not true on {character:?} inputs: {what}\n{a}\n{b}",
                        rule.name
                    ));
                }
                Some(Some(_)) | None => {}
            }
        }
    }
    if n_compared > 4 { Ok(()) } else { Err(format!("`{}` is compared {n_compared} times only", rule.name)) }
}

#[test]
fn every_law_keeps_silent_where_its_condition_fails() {
    for rule in all() {
        let (_, found) = equations(rule, &cascade(row(rule).2));
        assert!(found.is_empty(), "`{}` fires where it must not", rule.name);
    }
}

#[test]
fn every_test_has_a_law() {
    for (name, ..) in ROWS {
        assert!(all().any(|it| it.name == *name), "there is no law `{name}`");
    }
}

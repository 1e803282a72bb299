//! Maps, reductions, scans, recurrences, selections and gathers, as they come.
//!
//! Equations `E0`, `E1` … over the ranks a, c and t: the value of each is a random tree, and its ranks are those that
//! the tree leaves free.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::extent;
use super::text::Text;

/// A real.
#[derive(Debug, Clone)]
enum Tree {
    Input(usize),
    Constant(i8),
    Index(&'static str),
    /// An earlier equation.
    Earlier(usize),
    Unary(&'static str, Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Reduce(&'static str, &'static str, Box<Tree>),
    Where(Box<Tree>, Test, Box<Tree>),
    Else(Box<Tree>, Test, Box<Tree>, Box<Tree>),
    If(Test, Box<Tree>, Box<Tree>, Box<Tree>),
    /// An earlier equation, or an input, at other coordinates along t.
    Moved(usize, &'static str),
}

/// A condition; those of values compare the tree beside it.
#[derive(Debug, Clone, Copy)]
enum Test {
    Order(&'static str),
    Positive,
    Flag,
    Reached,
    Any,
    Rare,
}

/// What an equation defines.
#[derive(Debug, Clone)]
enum Form {
    Map,
    /// A state along t that keeps this part of itself, in tenths.
    State(u8),
    /// The largest points along t: the values there.
    Largest,
}

const INPUTS: [(&str, &[&str]); 4] =
    [("X", &["a", "t"]), ("Y", &["t", "c"]), ("Z", &["a"]), ("W", &["a", "c"])];

/// Kernels of equations that read each other.
pub(super) fn texts() -> impl Strategy<Value = Text> {
    let form =
        prop_oneof![5 => Just(Form::Map), 1 => (0_u8..10).prop_map(Form::State), 1 => Just(Form::Largest)];
    let equation = (form, tree(), any::<bool>());
    (vec(equation, 1..4), (extent(4), extent(9), extent(70))).prop_map(|(equations, (a, c, t))| {
        let mut text = Text::default();
        for (rank, extent) in [("a", a), ("c", c), ("t", t)] {
            text.carried(rank, extent);
        }
        for (name, ranks) in INPUTS {
            text.input(name, ranks, "f32");
        }
        text.input("I", &["t"], "i32");
        text.input("B", &["a", "t"], "bool");
        text.rank("k", " = 4", 4);
        let mut earlier = Vec::new();
        for (number, (form, tree, is_output)) in equations.iter().enumerate() {
            let is_output = *is_output || number + 1 == equations.len();
            write(form, tree, is_output, &mut earlier, &mut text);
        }
        text
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (0..INPUTS.len()).prop_map(Tree::Input),
        1 => (-9_i8..10).prop_map(Tree::Constant),
        1 => select(vec!["a", "c", "t"]).prop_map(Tree::Index),
        3 => (0_usize..4).prop_map(Tree::Earlier),
        2 => (0_usize..4, select(vec!["t - 1", "|t| - 1 - t", "I", "2 * t", "t // 2", "(t + 3) % 5"]))
            .prop_map(|(of, to)| Tree::Moved(of, to)),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let one = || inner.clone().prop_map(Box::new);
        let unary = vec![
            "exp", "tanh", "sigmoid", "relu", "abs", "sign", "floor", "softplus", "silu", "-", "log1p(abs", "sqrt(abs",
            "square", "rsqrt(1 + square", "round", "erf", "cumsum[t]", "cummax[t]", "exp(-abs",
        ];
        let binary = vec!["+", "-", "*", "/", "min", "max"];
        let reductions = vec!["sum", "max", "min", "mean", "count", "argmax"];
        let ranks = vec!["a", "c", "t"];
        prop_oneof![
            4 => (select(unary), one()).prop_map(|(op, a)| Tree::Unary(op, a)),
            5 => (select(binary), one(), one()).prop_map(|(op, a, b)| Tree::Binary(op, a, b)),
            4 => (select(reductions), select(ranks), one()).prop_map(|(op, rank, a)| Tree::Reduce(op, rank, a)),
            1 => (one(), test(), one()).prop_map(|(a, test, of)| Tree::Where(a, test, of)),
            1 => (one(), test(), one(), one()).prop_map(|(a, test, of, b)| Tree::Else(a, test, of, b)),
            1 => (test(), one(), one(), one()).prop_map(|(test, of, a, b)| Tree::If(test, of, a, b)),
        ]
    })
}

fn test() -> impl Strategy<Value = Test> {
    let orders = vec!["t < 2 * a + 3", "t % 3 != 1", "c <= a", "t < 0", "a == 0 or t > c"];
    prop_oneof![
        3 => select(orders).prop_map(Test::Order),
        1 => Just(Test::Positive),
        1 => Just(Test::Flag),
        1 => Just(Test::Reached),
        1 => Just(Test::Any),
        1 => Just(Test::Rare),
    ]
}

type Ranks = BTreeSet<&'static str>;

/// The ranks of the equations so far.
type Earlier = Vec<Ranks>;

/// Writes one equation.
fn write(form: &Form, tree: &Tree, is_output: bool, earlier: &mut Earlier, text: &mut Text) {
    let (value, mut ranks) = tree.write(earlier);
    let name = format!("E{}", earlier.len());
    let output = |text: &mut Text, ranks: &Ranks, value: &str| {
        let ranks: Vec<&str> = ranks.iter().copied().collect();
        match is_output {
            true => text.output(&name, &ranks, "f32", value),
            false => text.equation(&name, &ranks, value),
        }
    };
    match form {
        Form::Map => output(text, &ranks, &value),
        Form::State(kept) => {
            ranks.remove("t");
            let left: String = ranks.iter().map(|it| format!("{it}, ")).collect();
            text.line(format!("H{name}[{left}0] = 0.5"));
            text.line(format!("H{name}[{left}t + 1] = 0.{kept} * H{name}[{left}t] + ({value})"));
            ranks.insert("t");
            output(text, &ranks, &format!("H{name}[{left}t + 1]"));
        }
        Form::Largest => {
            ranks.insert("t");
            let of: Vec<&str> = ranks.iter().copied().collect();
            text.equation(&format!("F{name}"), &of, &value);
            ranks.remove("t");
            let mut ranks: Vec<&str> = ranks.into_iter().collect();
            ranks.push("k");
            text.equation(&format!("G{name}"), &ranks, &format!("topk[t -> k](F{name})"));
            ranks.pop();
            let read = format!("sum[k](F{name}[t = G{name}] * (k + 1))");
            return finish_largest(&name, &ranks, is_output, earlier, (text, &read));
        }
    }
    earlier.push(ranks);
}

fn finish_largest(
    name: &str,
    ranks: &[&'static str],
    is_output: bool,
    earlier: &mut Earlier,
    (text, read): (&mut Text, &str),
) {
    if is_output {
        text.output(name, ranks, "f32", read);
    } else {
        text.equation(name, ranks, read);
    }
    earlier.push(ranks.iter().copied().collect());
}

impl Tree {
    /// Its text, and the ranks that it leaves free.
    fn write(&self, earlier: &Earlier) -> (String, Ranks) {
        match self {
            Tree::Input(number) => input(*number),
            Tree::Constant(it) => (format!("({it} / 4)"), Ranks::new()),
            Tree::Index(rank) => (format!("(0.1 * {rank})"), Ranks::from([*rank])),
            Tree::Earlier(number) => named(*number, earlier),
            Tree::Moved(number, to) => {
                let (name, mut ranks) = named(*number, earlier);
                if !ranks.contains("t") {
                    return (name, ranks);
                }
                ranks.insert("t");
                (format!("({name}[t = {to}] else 0)"), ranks)
            }
            Tree::Unary(op, a) => {
                let (a, mut ranks) = a.write(earlier);
                if op.ends_with("[t]") {
                    ranks.insert("t");
                }
                (unary(op, &a), ranks)
            }
            Tree::Binary(op, a, b) => {
                let ((a, mut ranks), (b, others)) = (a.write(earlier), b.write(earlier));
                ranks.extend(others);
                let text = match *op {
                    "min" | "max" => format!("{op}({a}, {b})"),
                    "/" => format!("({a} / (1 + abs({b})))"),
                    op => format!("({a} {op} {b})"),
                };
                (text, ranks)
            }
            Tree::Reduce(op, rank, a) => {
                let (a, mut ranks) = a.write(earlier);
                ranks.remove(rank);
                let text = match *op {
                    "count" => format!("count[{rank}](present({a}))"),
                    "argmax" => format!("(argmax[{rank}]({a}) else 7)"),
                    op => format!("{op}[{rank}]({a})"),
                };
                (text, ranks)
            }
            Tree::Where(a, test, of) => {
                let ((a, mut ranks), (test, others)) = (a.write(earlier), test.write(of, earlier));
                ranks.extend(others);
                (format!("({a} where {test})"), ranks)
            }
            Tree::Else(a, test, of, b) => {
                let ((a, mut ranks), (test, others)) = (a.write(earlier), test.write(of, earlier));
                let (b, more) = b.write(earlier);
                ranks.extend(others.into_iter().chain(more));
                (format!("(({a} where {test}) else {b})"), ranks)
            }
            Tree::If(test, of, a, b) => {
                let ((a, mut ranks), (test, others)) = (a.write(earlier), test.write(of, earlier));
                let (b, more) = b.write(earlier);
                ranks.extend(others.into_iter().chain(more));
                (format!("(if {test} then {a} else {b})"), ranks)
            }
        }
    }
}

impl Test {
    fn write(self, of: &Tree, earlier: &Earlier) -> (String, Ranks) {
        let (value, mut ranks) = of.write(earlier);
        let text = match self {
            Test::Order(text) => {
                let mentioned =
                    ["a", "c", "t"].into_iter().filter(|it| text.split(' ').any(|word| word == *it));
                return (text.to_owned(), mentioned.collect());
            }
            Test::Positive => format!("{value} > 0"),
            Test::Flag => return ("B".to_owned(), Ranks::from(["a", "t"])),
            Test::Reached => format!("present({value})"),
            Test::Any => {
                ranks.remove("t");
                format!("any[t]({value} > 1)")
            }
            Test::Rare => format!("not ({value} < -1 or {value} > 1)"),
        };
        (text, ranks)
    }
}

fn unary(op: &str, a: &str) -> String {
    match op {
        "-" => format!("(-{a})"),
        "square" => format!("(({a})^2)"),
        "rsqrt(1 + square" => format!("rsqrt(1 + ({a})^2)"),
        op if op.contains('(') => format!("{op}({a}))"),
        op => format!("{op}({a})"),
    }
}

fn input(number: usize) -> (String, Ranks) {
    let (name, ranks) = INPUTS[number];
    (name.to_owned(), ranks.iter().copied().collect())
}

/// An earlier equation, or an input if there are not so many.
fn named(number: usize, earlier: &Earlier) -> (String, Ranks) {
    match earlier.get(number) {
        Some(ranks) => (format!("E{number}"), ranks.clone()),
        None => input(number % INPUTS.len()),
    }
}

//! Sums of sums: what is traversed along several ranks, more than once and for more than one end, under conditions that stand
//! anywhere.
//!
//! Equations `A0`, `A1` … are made of inputs and of each other. Each says what it takes and what of them it reduces; its ranks
//! are those that are left.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::extent;
use super::text::Text;

/// In the order in which tensors have them.
const RANKS: [&str; 7] = ["s", "m", "n", "j", "w", "d", "e"];

/// Scores come first, so that most of what is made depends on them.
const INPUTS: [(&str, &[&str], &str); 7] = [
    ("V", &["n", "e"], "f32"),
    ("P", &["s", "m", "d"], "f32"),
    ("F", &["n"], "f32"),
    ("G", &["m"], "f32"),
    ("I", &["m", "n"], "i8"),
    ("Q", &["m", "d"], "f32"),
    ("K", &["n", "d"], "f32"),
];

const SCORES: [&str; 6] = [
    "sum[d](Q * K)",
    "sum[d](Q * K) * 0.5",
    "sum[d](Q * K) / sqrt(|d|)",
    "(0.01 * sum[d](i8(20 * Q) * i8(20 * K)))",
    "sum[d](relu(Q) * relu(K))",
    "(-sum[d]((Q - K)^2))",
];

/// A condition, and the ranks that it mentions.
const TESTS: [(&str, &[&str]); 11] = [
    ("n <= m + |n| - |m|", &["m", "n"]),
    ("n <= m", &["m", "n"]),
    ("n > m + 20", &["m", "n"]),
    ("m % 2 == 0", &["m"]),
    ("n % 3 != 1", &["n"]),
    ("n >= 70", &["n"]),
    ("on", &["m"]),
    ("keep", &["m", "n"]),
    ("n < len", &["n"]),
    ("S0 > 0.5", &["m", "n"]),
    ("n < 0", &["n"]),
];

/// An equation: numbers say which of the tensors so far it takes.
#[derive(Debug, Clone)]
struct Equation {
    form: Form,
    of: (u8, u8),
    /// Where it has a value, and what stands for it elsewhere.
    test: Option<(usize, Option<i8>)>,
    /// Where what it is made of has one.
    inner: Option<(usize, Option<i8>)>,
    is_output: bool,
}

#[derive(Debug, Clone)]
enum Form {
    Map(&'static str),
    /// Two factors, reduced along one of their ranks.
    Sum(u8),
    Mean(u8),
    Max(u8),
    Count(u8),
    Best(u8),
    LogSumExp(u8),
    Softmax(u8),
    /// The same without a maximum.
    Powers(u8),
    /// Weights along a rank times something, summed along it.
    Weighed(u8),
    /// The same divided after the sum.
    Quotient(u8),
    State(u8),
}

/// Whether keys are cut by the spec, and how.
#[derive(Debug, Clone, Copy)]
enum Keys {
    Plain,
    Blocks(i64),
}

pub(super) fn texts() -> impl Strategy<Value = Text> {
    let keys = prop_oneof![2 => Just(Keys::Plain), 1 => select(vec![2, 6, 7, 16]).prop_map(Keys::Blocks)];
    let sizes = (extent(40), extent(150), extent(17), extent(17));
    let score = (select(SCORES.to_vec()), test());
    (keys, sizes, score, vec(equation(), 1..6)).prop_map(|(keys, (m, n, d, e), (score, test), equations)| {
        let mut text = Text::default();
        for (rank, extent) in [("m", m), ("d", d), ("e", e)] {
            text.carried(rank, extent);
        }
        text.rank("s", " = 3", 3);
        match keys {
            Keys::Plain => text.carried("n", n),
            Keys::Blocks(size) => text.rank("n", &format!(" = (j, w = {size})"), n),
        }
        for (name, ranks, dtype) in INPUTS {
            text.input(name, ranks, dtype);
        }
        for (name, ranks, dtype) in
            [("on", &["m"][..], "bool"), ("keep", &["m", "n"], "bool"), ("len", &[], "i32")]
        {
            text.input(name, ranks, dtype);
        }
        let mut pool = Pool { keys, known: Vec::new(), equations: 0 };
        text.equation("S0", &["m", "n"], score);
        text.equation("S", &["m", "n"], &tested("S0".to_owned(), &mut Ranks::from(["m", "n"]), test));
        pool.known.push(("S".to_owned(), Ranks::from(["m", "n"])));
        pool.known.extend(INPUTS.map(|(name, ranks, _)| (name.to_owned(), ranks.iter().copied().collect())));
        for (number, it) in equations.iter().enumerate() {
            it.write(number + 1 == equations.len(), &mut pool, &mut text);
        }
        text
    })
}

fn test() -> impl Strategy<Value = Option<(usize, Option<i8>)>> {
    option::weighted(0.4, (0..TESTS.len(), option::weighted(0.3, -1_i8..3)))
}

fn equation() -> impl Strategy<Value = Equation> {
    let map = vec!["+", "-", "*", "/", "exp", "tanh", "max"];
    let form = prop_oneof![
        2 => select(map).prop_map(Form::Map),
        5 => any::<u8>().prop_map(Form::Sum),
        1 => any::<u8>().prop_map(Form::Mean),
        2 => any::<u8>().prop_map(Form::Max),
        1 => any::<u8>().prop_map(Form::Count),
        1 => any::<u8>().prop_map(Form::Best),
        1 => any::<u8>().prop_map(Form::LogSumExp),
        3 => any::<u8>().prop_map(Form::Softmax),
        1 => any::<u8>().prop_map(Form::Powers),
        4 => any::<u8>().prop_map(Form::Weighed),
        2 => any::<u8>().prop_map(Form::Quotient),
        1 => (0_u8..10).prop_map(Form::State),
    ];
    // Mostly of the scores and of what was made last.
    let of = || prop_oneof![1 => Just(0_u8), 2 => 0_u8..8, 2 => 248_u8..=255];
    (form, (of(), of()), test(), test(), any::<bool>())
        .prop_map(|(form, of, test, inner, is_output)| Equation { form, of, test, inner, is_output })
}

type Ranks = BTreeSet<&'static str>;

/// The tensors so far, with their ranks.
struct Pool {
    keys: Keys,
    known: Vec<(String, Ranks)>,
    /// How many equations there are.
    equations: usize,
}

impl Pool {
    /// The one of that number, counted from the last where it is large.
    fn at(&self, number: u8) -> (String, Ranks) {
        let number = usize::from(number);
        let at = if number >= 248 {
            self.known.len() - 1 - (255 - number) % self.known.len()
        } else {
            number % self.known.len()
        };
        self.known[at].clone()
    }

    /// One of some ranks, or of what they are made of.
    fn rank(&self, of: &Ranks, number: u8) -> Option<&'static str> {
        let mut all: Vec<&'static str> = ordered(of);
        if matches!(self.keys, Keys::Blocks(_)) && of.contains("n") {
            all.extend(["j", "w"]);
        }
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()])
    }
}

fn ordered(of: &Ranks) -> Vec<&'static str> {
    // A composite rank stands for its parts.
    let has = |it: &&str| of.contains(it) && !(of.contains("n") && ["j", "w"].contains(it));
    RANKS.into_iter().filter(has).collect()
}

/// What is left of some ranks when one is reduced.
fn without(mut ranks: Ranks, rank: &'static str) -> Ranks {
    match rank {
        "j" | "w" if ranks.remove("n") => {
            ranks.insert(if rank == "j" { "w" } else { "j" });
        }
        "n" => ranks.retain(|it| !["n", "j", "w"].contains(it)),
        _ => {
            ranks.remove(rank);
        }
    }
    ranks
}

/// A value under a condition, whose ranks it gets.
fn tested(value: String, ranks: &mut Ranks, test: Option<(usize, Option<i8>)>) -> String {
    let Some((number, other)) = test else { return value };
    let (test, more) = TESTS[number];
    ranks.extend(more);
    match other {
        None => format!("({value} where {test})"),
        Some(it) => format!("(({value} where {test}) else {it}.0)"),
    }
}

/// What a tensor may have at most, or a call of several tiles would have too many points.
const MOST_RANKS: usize = 3;

impl Equation {
    fn write(&self, is_last: bool, pool: &mut Pool, text: &mut Text) {
        let ((a, mut ranks), (b, of_b)) = (pool.at(self.of.0), pool.at(self.of.1));
        let a = if a == "I" { "(1.0 * I)".to_owned() } else { a };
        let (b, of_b) = if b == "I" { ("(1.0 * I)".to_owned(), of_b) } else { (b, of_b) };
        let joined: Ranks = ranks.union(&of_b).copied().collect();
        let takes_both = ordered(&joined).len() <= MOST_RANKS + 1;
        let (b, of_b) = if takes_both { (b, of_b) } else { (a.clone(), ranks.clone()) };
        let inner = |value: String, ranks: &mut Ranks| tested(value, ranks, self.inner);
        let name = format!("A{}", pool.equations);
        let value = match &self.form {
            Form::Map(op @ ("exp" | "tanh")) => format!("{op}({})", inner(a, &mut ranks)),
            Form::Map(op) => {
                let b = inner(b, &mut ranks);
                ranks.extend(of_b);
                match *op {
                    "max" => format!("max({a}, {b})"),
                    "/" => format!("{a} / (1 + abs({b}))"),
                    op => format!("{a} {op} {b}"),
                }
            }
            Form::Sum(rank) => {
                ranks.extend(of_b);
                let product = inner(format!("{a} * {b}"), &mut ranks);
                reduced("sum", &product, &mut ranks, *rank, pool)
            }
            Form::Mean(rank) => of_one("mean", inner(a, &mut ranks), &mut ranks, *rank, pool),
            Form::Max(rank) => of_one("max", inner(a, &mut ranks), &mut ranks, *rank, pool),
            Form::LogSumExp(rank) => of_one("logsumexp", inner(a, &mut ranks), &mut ranks, *rank, pool),
            Form::Count(rank) => {
                let value = format!("present({})", inner(a, &mut ranks));
                format!("(1.0 * {})", of_one("count", value, &mut ranks, *rank, pool))
            }
            Form::Best(rank) => {
                let best = of_one("argmax", inner(a, &mut ranks), &mut ranks, *rank, pool);
                format!("(1.0 * {best} else 7.0)")
            }
            Form::Softmax(rank) => {
                let a = inner(a, &mut ranks);
                pool.rank(&ranks, *rank).map_or(a.clone(), |rank| format!("softmax[{rank}]({a})"))
            }
            Form::Powers(rank) => {
                let a = inner(a, &mut ranks);
                pool.rank(&ranks, *rank).map_or(a.clone(), |rank| format!("exp({a}) / sum[{rank}](exp({a}))"))
            }
            Form::Weighed(rank) => self.weighed((a, b), (&mut ranks, of_b), (*rank, pool), |a, b, along| {
                format!("sum[{along}](softmax[{along}]({a}) * {b})")
            }),
            Form::Quotient(rank) => self.weighed((a, b), (&mut ranks, of_b), (*rank, pool), |a, b, along| {
                format!("sum[{along}](exp({a}) * {b}) / sum[{along}](exp({a}))")
            }),
            Form::State(kept) if ranks.contains("n") => {
                return self.state((a, ranks), *kept, is_last, pool, text);
            }
            Form::State(_) => a,
        };
        let value = tested(value, &mut ranks, self.test);
        self.define((name, value), ranks, is_last, pool, text);
    }

    /// Weighs one value with another along a rank of it, if it has any.
    fn weighed(
        &self,
        (a, b): (String, String),
        (ranks, of_b): (&mut Ranks, Ranks),
        (rank, pool): (u8, &Pool),
        write: impl Fn(&str, &str, &str) -> String,
    ) -> String {
        let a = tested(a, ranks, self.inner);
        let Some(along) = pool.rank(ranks, rank) else { return a };
        ranks.extend(of_b);
        *ranks = without(std::mem::take(ranks), along);
        write(&a, &b, along)
    }

    /// A state along the keys.
    fn state(
        &self,
        (value, ranks): (String, Ranks),
        kept: u8,
        is_last: bool,
        pool: &mut Pool,
        text: &mut Text,
    ) {
        let mut ranks = ranks;
        let value = tested(value, &mut ranks, self.inner);
        let name = format!("A{}", pool.equations);
        let left: String =
            ordered(&ranks).into_iter().filter(|it| *it != "n").map(|it| format!("{it}, ")).collect();
        text.line(format!("H{name}[{left}0] = 0.5"));
        text.line(format!("H{name}[{left}n + 1] = 0.{kept} * H{name}[{left}n] + ({value} else 0.0)"));
        let value = tested(format!("H{name}[{left}n + 1]"), &mut ranks, self.test);
        self.define((name, value), ranks, is_last, pool, text);
    }

    fn define(
        &self,
        (name, value): (String, String),
        ranks: Ranks,
        is_last: bool,
        pool: &mut Pool,
        text: &mut Text,
    ) {
        let at = ordered(&ranks);
        match self.is_output || is_last {
            true => text.output(&name, &at, "f32", &value),
            false => text.equation(&name, &at, &value),
        }
        pool.equations += 1;
        if at.len() <= MOST_RANKS {
            pool.known.push((name, ranks));
        }
    }
}

/// A reduction along one of the ranks, which they lose.
fn reduced(op: &str, value: &str, ranks: &mut Ranks, rank: u8, pool: &Pool) -> String {
    let Some(rank) = pool.rank(ranks, rank) else { return value.to_owned() };
    *ranks = without(std::mem::take(ranks), rank);
    format!("{op}[{rank}]({value})")
}

fn of_one(op: &str, value: String, ranks: &mut Ranks, rank: u8, pool: &Pool) -> String {
    // What has no rank to reduce is taken along one of the rows, over which it does not vary.
    if ranks.is_empty() {
        return format!("{op}[m]({value})");
    }
    reduced(op, &value, ranks, rank, pool)
}

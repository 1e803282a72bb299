//! Attention: heads, keys, a score, a mask, weights, and what is made of them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::extent;
use super::mask::{Mask, mask};
use super::outputs::{Output, write_outputs};
use super::score::{Bias, Score, biases, score};
use super::text::Text;
use super::weights::{Weights, weights};

/// Who shares keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Heads {
    One,
    Own,
    /// So many query heads to each head of keys.
    Grouped(i64),
    /// One head of keys.
    Shared,
}

/// What a query looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Keys {
    Plain,
    /// The queries' own tokens: n has m's extent.
    Own,
    /// In blocks of so many, the last one ragged.
    Blocks(i64),
    /// Pairs of keys: two ranks.
    Pairs,
    /// The nearest so many, by offset.
    Near(i64),
}

#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub(super) batch: bool,
    pub(super) heads: Heads,
    pub(super) keys: Keys,
    dtypes: (&'static str, &'static str),
    score: Score,
    cap: Option<u8>,
    biases: Vec<Bias>,
    mask: Option<Mask>,
    weights: Weights,
    outputs: Vec<Output>,
    sizes: Sizes,
}

#[derive(Debug, Clone)]
pub(super) struct Sizes {
    pub(super) n_heads: i64,
    pub(super) m: i64,
    pub(super) n: i64,
    pub(super) d: i64,
    pub(super) e: i64,
}

/// Kernels of attention.
pub(super) fn texts() -> impl Strategy<Value = Text> {
    let heads = prop_oneof![
        Just(Heads::One),
        Just(Heads::Own),
        (1_i64..4).prop_map(Heads::Grouped),
        Just(Heads::Shared)
    ];
    let keys = prop_oneof![
        6 => Just(Keys::Plain),
        1 => Just(Keys::Own),
        1 => (2_i64..20).prop_map(Keys::Blocks),
        1 => Just(Keys::Pairs),
        1 => (1_i64..6).prop_map(Keys::Near),
    ];
    let dtype = || prop_oneof![6 => Just("f32"), 1 => Just("f16"), 1 => Just("bf16"), 1 => Just("f64")];
    let sizes = (1_i64..3, extent(40), extent(150), extent(17), extent(17))
        .prop_map(|(n_heads, m, n, d, e)| Sizes { n_heads, m, n, d, e });
    let all: Vec<Output> = Output::ALL.to_vec();
    let outputs = prop_oneof![
        2 => Just(vec![Output::Values]),
        3 => subsequence(all, 1..4),
    ];
    let shape = (any::<bool>(), heads, keys, (dtype(), dtype()), sizes);
    let cap = option::weighted(0.2, select(vec![2_u8, 5, 30]));
    (shape, score(), cap, biases(), option::weighted(0.7, mask()), weights(), outputs).prop_map(
        |((batch, heads, keys, dtypes, sizes), score, cap, biases, mask, weights, outputs)| {
            Attention { batch, heads, keys, dtypes, score, cap, biases, mask, weights, outputs, sizes }.text()
        },
    )
}

impl Attention {
    /// The ranks of batch and heads.
    pub(super) fn outer(&self) -> Vec<&'static str> {
        let batch = self.batch.then_some("b");
        batch.into_iter().chain((self.heads != Heads::One).then_some("h")).collect()
    }

    /// The ranks of batch and heads that keys have.
    fn outer_of_keys(&self) -> Vec<&'static str> {
        let head = match self.heads {
            Heads::One | Heads::Shared => None,
            Heads::Own => Some("h"),
            Heads::Grouped(_) => Some("hk"),
        };
        self.batch.then_some("b").into_iter().chain(head).collect()
    }

    /// The ranks that weights are summed over.
    pub(super) fn key_ranks(&self) -> &'static [&'static str] {
        match self.keys {
            Keys::Plain | Keys::Own | Keys::Blocks(_) => &["n"],
            Keys::Pairs => &["n", "p"],
            Keys::Near(_) => &["j"],
        }
    }

    /// The ranks of scores.
    pub(super) fn of_scores(&self) -> Vec<&'static str> {
        [self.outer().as_slice(), &["m"], self.key_ranks()].concat()
    }

    /// The coordinate of a key among all of them.
    pub(super) fn key(&self) -> String {
        match self.keys {
            Keys::Plain | Keys::Own | Keys::Blocks(_) | Keys::Pairs => "n".to_owned(),
            Keys::Near(_) => "(m + j - 2)".to_owned(),
        }
    }

    /// The keys' tensor of that name as queries look at it.
    pub(super) fn seen(&self, name: &str) -> String {
        match self.keys {
            Keys::Plain | Keys::Own | Keys::Blocks(_) | Keys::Pairs => name.to_owned(),
            Keys::Near(_) => format!("{name}[n = m + j - 2]"),
        }
    }

    fn text(&self) -> Text {
        let mut text = Text::default();
        self.declare(&mut text);
        let scores = self.of_scores();
        let dot = self.score.write(self, &mut text);
        text.equation("S0", &scores, &dot);
        let mut value = "S0".to_owned();
        for bias in &self.biases {
            value += &bias.write(self, &mut text);
        }
        if let Some(cap) = self.cap {
            value = format!("softcap({value}, {cap}.0)");
        }
        if let Keys::Near(_) = self.keys {
            value = format!("{value} where 0 <= m + j - 2 < |n|");
        }
        if let Some(mask) = &self.mask {
            value = format!("{value} where {}", mask.write(self, &mut text));
        }
        text.equation("S", &scores, &value);
        let weighed = self.weights.write(self, &mut text);
        write_outputs(&self.outputs, self, &weighed, &mut text);
        text
    }

    fn declare(&self, text: &mut Text) {
        let Sizes { n_heads, m, n, d, e } = self.sizes;
        // Pairs of keys are many.
        let n = if self.keys == Keys::Pairs { n.min(20) } else { n };
        if self.batch {
            text.carried("b", 3);
        }
        match self.heads {
            Heads::One => {}
            Heads::Own | Heads::Shared => text.carried("h", n_heads),
            Heads::Grouped(group) => {
                text.carried("hk", n_heads);
                text.rank("h", &format!(" = (hk, g = {group})"), n_heads * group);
            }
        }
        text.carried("m", m);
        match self.keys {
            Keys::Plain => text.carried("n", n),
            Keys::Own => text.rank("n", ": m", m),
            Keys::Blocks(block) => text.rank("n", &format!(" = (block, place = {block})"), n),
            Keys::Pairs => {
                text.carried("n", n);
                text.carried("p", 1 + n % 7);
            }
            Keys::Near(near) => {
                text.carried("n", n);
                text.rank("j", &format!(" = {near}"), near);
            }
        }
        text.carried("d", d);
        text.carried("e", e);
        text.input("Q", &[self.outer().as_slice(), &["m", "d"]].concat(), self.dtypes.0);
        self.input_of_keys(text, "K", &["n", "d"]);
        self.input_of_keys(text, "V", &["n", "e"]);
        if self.keys == Keys::Pairs {
            self.input_of_keys(text, "J", &["p", "d"]);
            self.input_of_keys(text, "U", &["p", "e"]);
        }
    }

    /// An input with the heads and the dtype of keys.
    pub(super) fn input_of_keys(&self, text: &mut Text, name: &str, ranks: &[&str]) {
        text.input(name, &[self.outer_of_keys().as_slice(), ranks].concat(), self.dtypes.1);
    }

    /// An input with the heads of queries.
    pub(super) fn input_of_heads(&self, text: &mut Text, name: &str, ranks: &[&str]) {
        let head = (self.heads != Heads::One).then_some("h");
        text.input(name, &head.into_iter().chain(ranks.iter().copied()).collect::<Vec<_>>(), "f32");
    }

    /// What is summed with the weights.
    pub(super) fn values(&self) -> String {
        let pairs = if self.keys == Keys::Pairs { " * U" } else { "" };
        format!("{}{pairs}", self.seen("V"))
    }
}

/// So many of something, mostly few.
pub(super) fn some<T: std::fmt::Debug>(
    of: impl Strategy<Value = T> + 'static,
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(0_usize), 1 => 1..=most].prop_flat_map({
        let of = of.boxed();
        move |number| vec(of.clone(), number)
    })
}

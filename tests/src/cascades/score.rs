//! Scores of keys, and what is added to them.

use proptest::prelude::*;
use proptest::sample::select;

use super::attention::{Attention, Heads, Keys, some};
use super::text::Text;

/// How queries meet keys, and what the result is multiplied by.
#[derive(Debug, Clone)]
pub(super) struct Score {
    product: Product,
    scale: Scale,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Product {
    Dot,
    /// Of two ranks of features, one of them without heads.
    Split,
    Normed,
    Cosine,
    Distance,
    Additive,
    Quantised,
    /// Of positive feature maps.
    Features,
    /// Of rotated features.
    Rotated,
}

#[derive(Debug, Clone, Copy)]
enum Scale {
    None,
    Features,
    Constant,
    Param,
    Heads,
    Rows,
}

/// Something that is added to a score.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bias {
    Alibi,
    Relative,
    Keys,
    Heads,
    Points,
    Distance,
}

pub(super) fn score() -> impl Strategy<Value = Score> {
    let product = prop_oneof![
        8 => Just(Product::Dot),
        6 => select(vec![
            Product::Split,
            Product::Normed,
            Product::Cosine,
            Product::Distance,
            Product::Additive,
            Product::Quantised,
            Product::Features,
            Product::Rotated,
        ]),
    ];
    let scale =
        select(vec![Scale::None, Scale::Features, Scale::Constant, Scale::Param, Scale::Heads, Scale::Rows]);
    (product, scale).prop_map(|(product, scale)| Score { product, scale })
}

pub(super) fn biases() -> impl Strategy<Value = Vec<Bias>> {
    let all = vec![Bias::Keys, Bias::Alibi, Bias::Relative, Bias::Heads, Bias::Points, Bias::Distance];
    some(select(all), 2)
}

impl Score {
    pub(super) fn write(&self, of: &Attention, text: &mut Text) -> String {
        let keys = of.seen("K");
        let keys = if of.keys == Keys::Pairs { format!("{keys} * J") } else { keys };
        let product = match self.product {
            Product::Dot => format!("sum[d](Q * {keys})"),
            Product::Split => {
                text.carried("c", 3);
                text.input("A", &[of.outer().as_slice(), &["m", "c"]].concat(), "f32");
                text.input("C", &["n", "c"], "f32");
                format!("(sum[d](Q * {keys}) + sum[c](A * {}))", of.seen("C"))
            }
            Product::Normed => format!("sum[d](rmsnorm[d](Q, 1e-3) * rmsnorm[d]({keys}, 1e-3))"),
            Product::Cosine => format!("cosine[d](Q, {keys})"),
            Product::Distance => format!("(-sum[d]((Q - {keys})^2))"),
            Product::Additive => {
                text.input("w", &["d"], "f32");
                format!("sum[d](w * tanh(Q + {keys}))")
            }
            Product::Quantised => {
                format!("(0.0025 * sum[d](i8(20 * Q) * i8(20 * {keys})))")
            }
            Product::Features => format!("sum[d](elu1(Q) * elu1({keys}))"),
            Product::Rotated => {
                let key = of.key();
                format!(
                    "sum[d](rope_half[d](Q, angle_half[d](m, 100.0)) * {keys} * cos(angle_half[d]({key}, 10.0)))"
                )
            }
        };
        match self.scale {
            Scale::None => product,
            Scale::Features => format!("{product} / sqrt(|d|)"),
            Scale::Constant => format!("0.3 * {product}"),
            Scale::Param => {
                text.param("scale", "1 / sqrt(|d| + 1)");
                format!("{product} * scale")
            }
            Scale::Heads => {
                of.input_of_heads(text, "tau", &[]);
                format!("{product} * (1 + abs(tau))")
            }
            Scale::Rows => {
                text.input("temperature", &["m"], "f32");
                format!("{product} / (1 + abs(temperature))")
            }
        }
    }
}

impl Bias {
    pub(super) fn write(self, of: &Attention, text: &mut Text) -> String {
        let key = of.key();
        match self {
            Bias::Alibi => {
                of.input_of_heads(text, "slope", &[]);
                format!(" + slope * ({key} - m)")
            }
            Bias::Relative => {
                text.rank("r", " = 15", 15);
                of.input_of_heads(text, "table", &["r"]);
                let ranks = if of.heads == Heads::One { "" } else { "h, " };
                format!(" + (table[{ranks}m - {key} + 7] else 0)")
            }
            Bias::Keys => {
                text.input("kb", &["n"], "f32");
                format!(" + {}", of.seen("kb"))
            }
            Bias::Heads => {
                of.input_of_heads(text, "fb", &["m", "n"]);
                format!(" + {}", of.seen("fb"))
            }
            Bias::Points => {
                text.input("pb", &["m", "n"], "f32");
                format!(" + 0.5 * {}", of.seen("pb"))
            }
            Bias::Distance => format!(" - 0.25 * abs(m - {key})"),
        }
    }
}

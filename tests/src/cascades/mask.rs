//! Which keys a query sees: conditions of every kind, and what `and`, `or` and `not` make of them.

use proptest::prelude::*;
use proptest::sample::select;

use super::attention::Attention;
use super::text::Text;

#[derive(Debug, Clone)]
pub(super) enum Mask {
    Leaf(Leaf, i64),
    Not(Box<Mask>),
    And(Box<Mask>, Box<Mask>),
    Or(Box<Mask>, Box<Mask>),
}

/// A condition; a number says how many, how far or which.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leaf {
    Causal,
    Before,
    Window,
    Length,
    From,
    Documents,
    Blocks,
    Strided,
    Points,
    Padding,
    /// Rows that see nothing.
    Rows,
    Score,
    Never,
    Sinks,
}

pub(super) fn mask() -> impl Strategy<Value = Mask> {
    let leaves = vec![
        Leaf::Causal,
        Leaf::Before,
        Leaf::Window,
        Leaf::Length,
        Leaf::From,
        Leaf::Documents,
        Leaf::Blocks,
        Leaf::Strided,
        Leaf::Points,
        Leaf::Padding,
        Leaf::Rows,
        Leaf::Score,
        Leaf::Never,
        Leaf::Sinks,
    ];
    let leaf = (select(leaves), 1_i64..40).prop_map(|(leaf, number)| Mask::Leaf(leaf, number));
    leaf.prop_recursive(2, 6, 2, |inner| {
        let pair = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            pair().prop_map(|(a, b)| Mask::And(a, b)),
            pair().prop_map(|(a, b)| Mask::Or(a, b)),
            inner.clone().prop_map(|it| Mask::Not(Box::new(it))),
        ]
    })
}

impl Mask {
    pub(super) fn write(&self, of: &Attention, text: &mut Text) -> String {
        match self {
            Mask::Leaf(leaf, number) => leaf.write(*number, of, text),
            Mask::Not(it) => format!("not ({})", it.write(of, text)),
            Mask::And(a, b) => format!("({}) and ({})", a.write(of, text), b.write(of, text)),
            Mask::Or(a, b) => format!("({}) or ({})", a.write(of, text), b.write(of, text)),
        }
    }
}

impl Leaf {
    fn write(self, number: i64, of: &Attention, text: &mut Text) -> String {
        let key = of.key();
        match self {
            Leaf::Causal => format!("{key} <= m + |n| - |m|"),
            Leaf::Before => format!("{key} < m"),
            Leaf::Window => format!("0 <= m - {key} < {number}"),
            Leaf::Length => {
                text.input("len", if of.batch { &["b"] } else { &[] }, "i32");
                format!("{key} < len")
            }
            Leaf::From => format!("{key} >= {number}"),
            Leaf::Documents => {
                text.input("qdoc", &["m"], "i32");
                text.input("kdoc", &["n"], "i32");
                format!("qdoc == {}", of.seen("kdoc"))
            }
            Leaf::Blocks => format!("m // {number} == {key} // {number}"),
            Leaf::Strided => format!("(m - {key}) % {number} == 0"),
            Leaf::Points => {
                text.input("allow", &["m", "n"], "bool");
                of.seen("allow")
            }
            Leaf::Padding => {
                text.input("pad", if of.batch { &["b", "n"] } else { &["n"] }, "bool");
                format!("not {}", of.seen("pad"))
            }
            Leaf::Rows => format!("m % {number} != 1"),
            Leaf::Score => format!("S0 > {number} / 40 - 0.5"),
            Leaf::Never => format!("{key} < 0"),
            Leaf::Sinks => format!("{key} < {}", number % 4),
        }
    }
}

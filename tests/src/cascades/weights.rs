//! Scores to weights.

use proptest::prelude::*;
use proptest::sample::select;

use super::attention::{Attention, Heads, Keys};
use super::text::Text;

/// How weights come from scores.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    form: Form,
    max: bool,
    divided: Divided,
}

/// When weights are divided by their sum.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Divided {
    Before,
    After,
    /// After the value sum, where there is a score.
    Guarded,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Softmax,
    Exp,
    Exp2,
    Sink,
    OffByOne,
    LogSumExp,
    /// By functions of the spec's own.
    Called,
    Sigmoid,
    ReluPower,
    Softplus,
    Power,
    Raw,
    Segments,
    Difference,
    /// A factor that the normaliser lacks.
    Factor,
    Clipped,
    Top,
    Decay,
}

/// The weights as sums of values take them.
pub(super) struct Weighed {
    /// Of each point, in terms of the scores' ranks.
    pub(super) weight: String,
    /// What sums of weights are divided by, or nothing.
    pub(super) divisor: Option<String>,
    /// Only where there is a score.
    pub(super) is_guarded: bool,
    /// Another sum that joins that of the values.
    pub(super) more: Option<String>,
}

pub(super) fn weights() -> impl Strategy<Value = Weights> {
    let form = prop_oneof![
        3 => Just(Form::Softmax),
        3 => Just(Form::Exp),
        8 => select(vec![
            Form::Exp2,
            Form::Sink,
            Form::OffByOne,
            Form::LogSumExp,
            Form::Called,
            Form::Sigmoid,
            Form::ReluPower,
            Form::Softplus,
            Form::Power,
            Form::Raw,
            Form::Segments,
            Form::Difference,
            Form::Factor,
            Form::Clipped,
            Form::Top,
            Form::Decay,
        ]),
    ];
    let divided = select(vec![Divided::Before, Divided::After, Divided::Guarded]);
    (form, any::<bool>(), divided).prop_map(|(form, max, divided)| Weights { form, max, divided })
}

impl Weights {
    pub(super) fn write(&self, of: &Attention, text: &mut Text) -> Weighed {
        let whole = |weight: &str| Weighed {
            weight: weight.to_owned(),
            divisor: None,
            is_guarded: false,
            more: None,
        };
        let keys = of.key_ranks().join(", ");
        let rows = [of.outer().as_slice(), &["m"]].concat();
        match self.form {
            Form::Softmax => whole(&format!("softmax[{keys}](S)")),
            Form::Exp => self.divided(of, text, "exp", "", ""),
            Form::Exp2 => self.divided(of, text, "exp2", "", ""),
            Form::Sink => {
                of.input_of_heads(text, "sink", &[]);
                let sink = if self.max { " + exp(sink - M)" } else { " + exp(sink)" };
                self.divided(of, text, "exp", "", sink)
            }
            Form::OffByOne => self.divided(of, text, "exp", "", " + 1"),
            Form::LogSumExp => {
                text.equation("L", &rows, &format!("logsumexp[{keys}](S)"));
                whole("exp(S - L)")
            }
            Form::Called => {
                text.function(
                    "fn soft[n](s, c) {\n  u = s / c;\n  w = exp(u - most[n](u));\n  w / sum[n](w)\n}",
                );
                text.function("fn most[n](s) { max[n](s where not isinf(s)) }");
                whole(&format!("soft[{keys}](S, 1.5)"))
            }
            Form::Sigmoid => whole("sigmoid(S - log(|n|))"),
            Form::ReluPower => self.divided_terms(of, text, "relu(S)^2", "", " + 0.001"),
            Form::Softplus => self.divided_terms(of, text, "softplus(S)", "", ""),
            Form::Power => self.divided_terms(of, text, "abs(S)^1.5", "", ""),
            Form::Raw => self.divided_terms(of, text, "S", "", " + 100"),
            Form::Segments => self.segments(of, text),
            Form::Difference => {
                text.input("Q2", &[rows.as_slice(), &["d"]].concat(), "f32");
                text.param("lambda", "0.4");
                text.equation(
                    "S2",
                    &of.of_scores(),
                    &format!("sum[d](Q2 * {}) where present(S)", of.seen("K")),
                );
                whole(&format!("(softmax[{keys}](S) - lambda * softmax[{keys}](S2))"))
            }
            Form::Factor => {
                text.input("gate", &["n"], "f32");
                self.divided(of, text, "exp", &format!(" * {}", of.seen("gate")), "")
            }
            Form::Clipped => whole(&format!("clamp(1.1 * softmax[{keys}](S) - 0.05, 0, 1)")),
            Form::Top => {
                text.rank("kept", " = 3", 3);
                let key = of.key_ranks()[0];
                whole(&format!("softmax[{keys}](S where top[{key}, kept](S))"))
            }
            Form::Decay => {
                text.input("decay", if of.heads == Heads::One { &[] } else { &["h"] }, "f32");
                whole(&format!("(S * exp(-abs(decay) * abs(m - {})))", of.key()))
            }
        }
    }

    /// Powers of the scores, over their sum.
    fn divided(&self, of: &Attention, text: &mut Text, power: &str, factor: &str, more: &str) -> Weighed {
        let rows = [of.outer().as_slice(), &["m"]].concat();
        let scores = if self.max {
            text.equation("M", &rows, &format!("max[{}](S)", of.key_ranks().join(", ")));
            "S - M"
        } else {
            "S"
        };
        self.divided_terms(of, text, &format!("{power}({scores})"), factor, more)
    }

    /// Terms over their sum, which has more than them, while they have a factor.
    fn divided_terms(
        &self,
        of: &Attention,
        text: &mut Text,
        term: &str,
        factor: &str,
        more: &str,
    ) -> Weighed {
        let rows = [of.outer().as_slice(), &["m"]].concat();
        text.equation("N", &of.of_scores(), term);
        text.equation("D", &rows, &format!("sum[{}](N){more}", of.key_ranks().join(", ")));
        let is_guarded = self.divided == Divided::Guarded;
        if self.divided == Divided::Before {
            let weight = format!("N{factor} / D");
            return Weighed { weight: format!("({weight})"), divisor: None, is_guarded, more: None };
        }
        Weighed { weight: format!("N{factor}"), divisor: Some("D".to_owned()), is_guarded, more: None }
    }

    /// A second segment of keys under the same normaliser.
    fn segments(&self, of: &Attention, text: &mut Text) -> Weighed {
        let outer = of.outer();
        let rows = [outer.as_slice(), &["m"]].concat();
        text.carried("x", 66);
        of.input_of_keys(text, "K2", &["x", "d"]);
        of.input_of_keys(text, "V2", &["x", "e"]);
        text.equation("T", &[rows.as_slice(), &["x"]].concat(), "sum[d](Q * K2) where x <= m + 2");
        let keys = of.key_ranks().join(", ");
        let (scores, others) = if self.max {
            text.equation("M", &rows, &format!("max(max[{keys}](S), max[x](T))"));
            ("exp(S - M)", "exp(T - M)")
        } else {
            ("exp(S)", "exp(T)")
        };
        text.equation("D", &rows, &format!("sum[{keys}]({scores}) + sum[x]({others})"));
        let is_guarded = self.divided == Divided::Guarded;
        if self.divided == Divided::Before && of.keys != Keys::Pairs {
            return Weighed {
                weight: format!("({scores} / D)"),
                divisor: None,
                is_guarded,
                more: Some(format!("sum[x]({others} / D * V2)")),
            };
        }
        Weighed {
            weight: scores.to_owned(),
            divisor: Some("D".to_owned()),
            is_guarded,
            more: Some(format!("sum[x]({others} * V2)")),
        }
    }
}

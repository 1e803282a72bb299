//! What is made of weights and scores.

use super::attention::Attention;
use super::text::Text;
use super::weights::Weighed;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Output {
    Values,
    /// Through another matrix.
    Projected,
    Normed,
    Variance,
    LogSumExp,
    Entropy,
    Max,
    Mean,
    Moment,
    Columns,
    Count,
    Best,
    Total,
    Weights,
}

impl Output {
    pub(super) const ALL: [Output; 14] = [
        Output::Values,
        Output::Projected,
        Output::Normed,
        Output::Variance,
        Output::LogSumExp,
        Output::Entropy,
        Output::Max,
        Output::Mean,
        Output::Moment,
        Output::Columns,
        Output::Count,
        Output::Best,
        Output::Total,
        Output::Weights,
    ];

    /// Whether it is made of sums of values.
    fn sums_values(self) -> bool {
        match self {
            Output::Values | Output::Projected | Output::Normed | Output::Variance => true,
            Output::LogSumExp
            | Output::Entropy
            | Output::Max
            | Output::Mean
            | Output::Moment
            | Output::Columns
            | Output::Count
            | Output::Best
            | Output::Total
            | Output::Weights => false,
        }
    }
}

/// Writes all of them, in terms of `S` and the weights.
pub(super) fn write_outputs(outputs: &[Output], of: &Attention, weighed: &Weighed, text: &mut Text) {
    let (rows, keys) = ([of.outer().as_slice(), &["m"]].concat(), of.key_ranks().join(", "));
    let sum = |of_what: &str, more: Option<&String>| {
        let sum = format!("sum[{keys}]({of_what})");
        let sum = more.map_or(sum.clone(), |more| format!("({sum} + {more})"));
        let divided = weighed.divisor.as_ref().map_or(sum.clone(), |divisor| format!("{sum} / {divisor}"));
        match weighed.is_guarded {
            true => format!("if any[{keys}](present(S)) then {divided} else 0"),
            false => divided,
        }
    };
    let Weighed { weight, divisor, more, .. } = weighed;
    let one = divisor.as_ref().map_or(weight.clone(), |divisor| format!("{weight} / {divisor}"));
    if outputs.iter().any(|it| it.sums_values()) {
        let values = sum(&format!("{weight} * {}", of.values()), more.as_ref());
        text.equation("O", &[rows.as_slice(), &["e"]].concat(), &values);
    }
    let channels = [rows.as_slice(), &["e"]].concat();
    for output in outputs {
        match output {
            Output::Values => text.output("out", &channels, "f32", "O"),
            Output::Projected => {
                text.carried("f", 5);
                text.input("W", &["e", "f"], "f32");
                let ranks = [rows.as_slice(), &["f"]].concat();
                text.output("projected", &ranks, "f32", "sum[e](O * W)");
            }
            Output::Normed => text.output("normed", &channels, "f32", "rmsnorm[e](O, 1e-3)"),
            Output::Variance => {
                let squares = sum(&format!("{weight} * ({})^2", of.values()), None);
                text.output("variance", &channels, "f32", &format!("({squares}) - O^2"));
            }
            Output::LogSumExp => text.output("lse", &rows, "f32", &format!("logsumexp[{keys}](S)")),
            Output::Entropy => text.output("entropy", &rows, "f32", &format!("entropy[{keys}]({one})")),
            Output::Max => text.output("most", &rows, "f32", &format!("max[{keys}](S)")),
            Output::Mean => text.output("middle", &rows, "f32", &format!("mean[{keys}](S)")),
            Output::Moment => {
                let moment = sum(&format!("{weight} * ({} - m)^2", of.key()), None);
                text.output("moment", &rows, "f32", &moment);
            }
            Output::Columns => {
                let ranks = [of.outer().as_slice(), of.key_ranks()].concat();
                text.output("columns", &ranks, "f32", &format!("sum[m]({one})"));
            }
            Output::Count => text.output("number", &rows, "i32", &format!("count[{keys}](present(S))")),
            Output::Best => {
                let ranks = [rows.as_slice(), &of.key_ranks()[1..]].concat();
                text.output("best", &ranks, "i32", &format!("argmax[{}](S)", of.key_ranks()[0]));
            }
            Output::Total => text.output("total", &rows, "f32", &sum(weight, None)),
            Output::Weights => text.output("weights", &of.of_scores(), "f32", &one),
        }
    }
}

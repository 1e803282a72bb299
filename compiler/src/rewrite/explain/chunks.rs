//! Laws that take one cascade to another, as steps of a derivation.
//!
//! ```text
//! o.sum[b, t, e] = sum[d](q * H[b, t + 1, d, e])
//! = o.sum.before[b, t, e] = sum[d](q * H.carried[b, t.chunk, d, e]) …
//! ```

use super::{Step, Whole};
use crate::analyze::passes::passes;
use crate::ir::cascade::Cascade;
use crate::ir::print;
use crate::rewrite::chunk::Applied;

/// One step for each law that was applied.
pub(super) fn steps(first: &Cascade, applied: &[Applied]) -> Vec<Step> {
    let before = std::iter::once(first).chain(applied.iter().map(|it| &it.cascade));
    before.zip(applied).map(|(before, after)| step(before, after)).collect()
}

fn step(before: &Cascade, applied: &Applied) -> Step {
    let (law, after) = (applied.law, &applied.cascade);
    let (old, new) = (print::cascade(before), print::cascade(after));
    let ranks = before.ranks.iter().filter(|(_, it)| !it.local).map(|(rank, _)| rank);
    let counted = ranks.map(|it| (it, passes(before, it).passes, passes(after, it).passes));
    Step {
        rule: law.name,
        law: law.law,
        exactness: law.exactness.name(),
        forward: true,
        before: lines_without(&old, &new),
        after: lines_without(&new, &old),
        // A rank whose tokens another rank walks along now is read as often as that one.
        passes: counted.filter(|it| it.1 > 0 && it.2 > 0).collect(),
        whole: Whole::Cascade(Box::new(after.clone())),
    }
}

/// The equations of a text that another lacks.
fn lines_without(text: &str, other: &str) -> String {
    let others: Vec<&str> = other.lines().map(str::trim).collect();
    let own = text.lines().map(str::trim).filter(|it| it.contains(" = ") && !others.contains(it));
    own.collect::<Vec<_>>().join("\n        ")
}

//! What is held of the tiles of a block, and what goes by element.
//!
//! An operation on elements gives each when it is wanted, and all that is made of an element is made of it at once. So its
//! result is held only where something that is made of it has to wait for a sum along rows, or a product, of what is made of
//! it, too: then all elements are there before the first one is used up.
//!
//! ```text
//! %x = %s * %f;  %m = reduce max %x;  %d = %s - %m;  %p = exp %d;  %z = reduce sum %p    ->   %s is held; %x, %d and %p are not
//! ```

use std::collections::{HashMap, HashSet};

use crate::ir::factors::Factors;
use crate::ir::nest::{Op, ValueId};

/// An operation in its block.
pub(super) type Defined<'a> = (ValueId, &'a Op, usize);

/// The values of operations that go by element, of all in the order in which they are defined; `elsewhere` are used by what is
/// no operation.
pub(super) fn passing(
    defined: &[Defined<'_>],
    elsewhere: &HashSet<ValueId>,
    factors: &Factors<'_>,
) -> HashSet<ValueId> {
    let mixes = |op: &Op| matches!(op, Op::Contract { .. } | Op::Reduce(..));
    // By value: the sums and products that it takes.
    let mut taken: HashMap<ValueId, HashSet<ValueId>> = HashMap::new();
    let mut uses: HashMap<ValueId, Vec<Defined<'_>>> = HashMap::new();
    for &(value, op, block) in defined {
        let mut all = HashSet::new();
        for it in op.operands() {
            all.extend(taken.get(&it).into_iter().flatten());
            uses.entry(it).or_default().push((value, op, block));
        }
        all.extend(mixes(op).then_some(value));
        taken.insert(value, all);
    }
    // By value: those that what is made of its elements waits for, and those that it is a part of.
    let mut waits: HashMap<ValueId, (HashSet<ValueId>, HashSet<ValueId>)> = HashMap::new();
    let mut passing = HashSet::new();
    for &(value, op, block) in defined.iter().rev() {
        let (mut late, mut fed) = (HashSet::new(), HashSet::new());
        // Products take all elements of a factor at once.
        let mut is_factor = factors.is_factor(value);
        let uses = uses.get(&value).map_or(&[][..], Vec::as_slice);
        for (user, op, _) in uses {
            is_factor |= matches!(op, Op::Contract { a, .. } if *a == value);
            if mixes(op) {
                fed.insert(*user);
                continue;
            }
            late.extend(&taken[user]);
            let (further, parts) = &waits[user];
            late.extend(further);
            fed.extend(parts);
        }
        // Loads are under way together.
        let is_load = matches!(op, Op::Load { .. });
        let by_element = !mixes(op) && !is_load && !is_factor && !factors.is_sum(value);
        let is_local = !elsewhere.contains(&value) && uses.iter().all(|it| it.2 == block);
        if by_element && is_local && late.is_disjoint(&fed) {
            passing.insert(value);
        }
        waits.insert(value, (late, fed));
    }
    passing
}

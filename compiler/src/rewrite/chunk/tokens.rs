//! The tokens of a rank in chunks: the rank becomes composite, so that every tensor that has it keeps it.
//!
//! ```text
//! rank t    ->    rank t = (chunk, place of 32); rank keys = (chunk, key of 32), the tokens of the same chunk
//! ```

use super::draft::Draft;
use crate::ir::cascade::{ExprId, Extent, RankId};
use crate::ir::expr::{BinaryOp, Expr};

/// The tokens of a rank in chunks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    /// The rank: `(chunk, place)`.
    pub(super) rank: RankId,
    pub(super) chunk: RankId,
    pub(super) place: RankId,
    /// The place of an earlier token, and that token: `(chunk, key)`.
    pub(super) key: RankId,
    pub(super) keys: RankId,
    /// How many tokens a chunk has.
    pub(super) size: i64,
}

impl Tokens {
    /// Splits a rank.
    pub(super) fn split(draft: &mut Draft, rank: RankId, size: i64) -> Tokens {
        let name = draft.cascade.ranks[rank].name.clone();
        let whole = draft.extent(rank);
        let (rest, all) = (draft.exprs().int(size - 1), draft.exprs().int(size));
        let sum = draft.plus(whole, rest);
        let chunks = draft.exprs().binary(BinaryOp::FloorDiv, sum, all);
        let known = |draft: &mut Draft, it: ExprId| match *draft.cascade.exprs.get(it) {
            Expr::Int(it) => Extent::Fixed(it),
            _ => Extent::Derived(it),
        };
        let (chunks, tokens) = (known(draft, chunks), known(draft, whole));
        let chunk = draft.rank(&format!("{name}.chunk"), Vec::new(), chunks);
        let place = draft.rank(&format!("{name}.place"), Vec::new(), Extent::Fixed(size));
        let key = draft.rank(&format!("{name}.key"), Vec::new(), Extent::Fixed(size));
        let keys = draft.rank(&format!("{name}.keys"), vec![chunk, key], tokens);
        draft.split(rank, vec![chunk, place]);
        Tokens { rank, chunk, place, key, keys, size }
    }
}

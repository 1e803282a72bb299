//! Functions are compiled on several threads.

use std::cmp::Reverse;

use rayon::prelude::*;

/// The results of some work, in order. The longest is begun first, so that no thread is left with it at the end.
pub(super) fn longest_first<T: Send, R: Send, E: Send>(
    items: Vec<T>,
    cost: impl Fn(&T) -> usize,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let mut items: Vec<(usize, T)> = items.into_iter().enumerate().collect();
    items.sort_by_key(|(_, it)| Reverse(cost(it)));
    let done = items.into_iter().par_bridge().map(|(at, it)| Ok((at, work(it)?)));
    let mut done = done.collect::<Result<Vec<_>, E>>()?;
    done.sort_unstable_by_key(|it| it.0);
    Ok(done.into_iter().map(|it| it.1).collect())
}

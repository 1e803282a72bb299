//! Functions are compiled on several threads.

use std::cmp::Reverse;
use std::sync::LazyLock;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Bytes of stack: compilers go down into expressions, and threads have less by themselves than programs.
const STACK: usize = 64 << 20;

/// Threads with stacks of that size, if the system has room for them.
static THREADS: LazyLock<Option<ThreadPool>> =
    LazyLock::new(|| ThreadPoolBuilder::new().stack_size(STACK).build().ok());

/// The results of some work, in order. The longest is begun first, so that no thread is left with it at the end.
///
/// # Errors
///
/// That of the first that has one.
pub(super) fn longest_first<T: Send, R: Send, E: Send>(
    items: Vec<T>,
    cost: impl Fn(&T) -> usize,
    work: impl Fn(T) -> Result<R, E> + Send + Sync,
) -> Result<Vec<R>, E> {
    let mut items: Vec<(usize, T)> = items.into_iter().enumerate().collect();
    items.sort_by_key(|(_, it)| Reverse(cost(it)));
    let run = || items.into_iter().par_bridge().map(|(at, it)| (at, work(it))).collect();
    let mut done: Vec<(usize, Result<R, E>)> = match &*THREADS {
        Some(threads) => threads.install(run),
        None => run(),
    };
    done.sort_unstable_by_key(|it| it.0);
    done.into_iter().map(|it| it.1).collect()
}

//! Few rows with many keys, in short parts, in the precision in which products of matrices take it.

use attnc::Backend;
use attnc::driver;
use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};

use crate::case::{call, round_to_short, sized};
use crate::spec;

/// Short parts of keys, so that few keys have several.
pub const CUT: &str = "[ranks.n]\nchunk = 48\nparts = 5";
/// The same of pages.
pub const CUT_PAGES: &str = "[ranks.i]\nchunk = 48\nparts = 5";

/// Heads of three share keys; the last of them have fewer heads.
pub const GROUPS: &str = "kernel t {
  param group: i64 = 3
  rank b, k, n
  rank m = 2
  rank d = 64
  rank e = 48
  rank h = (k, g = group)
  input Q[b, h, m, d]: bf16
  input K[b, k, n, d]: bf16
  input V[b, k, n, e]: bf16
  input E[b]: i64
  S[b, h, m, n] = 0.125 * sum[d](Q * K) where n < E[b] + m
  output O[b, h, m, e]: f32 = sum[n](softmax[n](S) * V)
  output L[b, h, m]: f32 = logsumexp[n](S)
}";

/// Keys and values of pages that a table names.
pub const PAGES: &str = "kernel t {
  param page: i64 = 16
  param group: i64 = 3
  rank b, k
  rank d = 64
  rank e = 48
  rank p
  rank h = (k, g = group)
  rank n = (i, s = page)
  input Q[b, h, d]: bf16
  input K[p, s, k, d]: bf16
  input V[p, s, k, e]: bf16
  input T[b, i]: i64
  input E[b]: i64
  S[b, h, n] = 0.125 * sum[d](Q * K[p = T]) where n < E
  output O[b, h, e]: f32 = sum[n](softmax[n](S) * V[p = T])
  output L[b, h]: f32 = logsumexp[n](S)
}";

/// The cascade of a kernel.
///
/// # Panics
/// Where the text is wrong.
pub fn of(text: &str) -> Cascade {
    spec::cascade(text).unwrap_or_else(|it| panic!("{it}"))
}

/// Kernels with some features and with many.
pub fn all() -> Vec<(String, Cascade)> {
    let many = |it: &str| it.replace("d = 64", "d = 128").replace("e = 48", "e = 128");
    let both = [("decoding", GROUPS), ("pages", PAGES)].map(|(name, text)| {
        [(name.to_owned(), of(text)), (format!("{name}, 128 features"), of(&many(text)))]
    });
    both.into_iter().flatten().collect()
}

/// The mapping of a GPU but for what a text says.
///
/// # Panics
/// Where it cannot be followed.
pub fn mapping(cascade: &Cascade, text: &str, gpu: Gpu) -> Mapping {
    let target = Target::of_gpu(gpu);
    let mapping = driver::mapping(text, std::slice::from_ref(cascade), &target, Backend::default());
    mapping.unwrap_or_else(|it| panic!("{}", it.iter().map(ToString::to_string).collect::<String>()))
}

/// A call with sequences of these lengths.
pub fn call_of(cascade: &Cascade, sizes: &[(&str, usize)], lengths: &[i64]) -> Call {
    let batch = ("b", lengths.len());
    let sizes: Vec<_> = std::iter::once(batch).chain(sizes.iter().copied()).collect();
    let mut call = call(cascade, &sized(&sizes), 4.0);
    round_to_short(&mut call);
    if let Some(input) = call.inputs.get_mut("E") {
        input.data = Data::Int(lengths.to_vec());
    }
    call
}

/// A call with pages in some order, of which a few numbers may name none.
///
/// # Panics
/// Where the kernel has no table.
pub fn call_of_pages(cascade: &Cascade, (heads, pages): (usize, usize), lengths: &[i64], all: bool) -> Call {
    let per = pages.div_ceil(16);
    let sizes = [("k", heads.div_ceil(3)), ("h", heads), ("p", 2 * per + 1), ("s", 16), ("i", per)];
    let mut call = call_of(cascade, &sizes, lengths);
    let many = (2 * per + 1) as i64;
    let page = |at: i64| if !all && at % 5 == 3 { many + at } else { (at * 7 + 3) % many };
    call.inputs["T"].data = Data::Int((0..(lengths.len() * per) as i64).map(page).collect());
    call
}

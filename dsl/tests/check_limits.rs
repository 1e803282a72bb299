//! Large and hostile specs are told apart quickly: a diagnostic or acceptance, never an abort.

use std::fmt::Write;
use std::time::{Duration, Instant};

use attnc_dsl::check::{Fixed, check};
use attnc_dsl::diag::{Code, Source};
use attnc_dsl::{load, render};

/// The codes that a spec earns, each once.
fn codes(text: String) -> Vec<Code> {
    let start = Instant::now();
    let loaded = load(Source { name: "spec".to_owned(), text }, &mut |_| Err("no imports".to_owned()));
    let found = loaded.and_then(|it| check(it, &Fixed::default()).and_then(|it| it.fixed()));
    let mut codes: Vec<Code> =
        found.err().into_iter().flat_map(|it| it.diagnostics).map(|it| it.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?} for {codes:?}", start.elapsed());
    codes
}

fn lines(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).fold(String::new(), |mut text, i| {
        writeln!(text, "{}", line(i)).expect("a string takes all");
        text
    })
}

fn kernel(items: &str) -> String {
    format!("kernel k {{\nrank n, t\ninput A[n]: f32\ninput U[t]: f32\n{items}\n}}")
}

#[test]
fn many_ranks() {
    let declared = lines(10_000, |i| format!("rank r{i}"));
    let listed: Vec<String> = (0..10_000).map(|i| format!("r{i}")).collect();
    let all = listed.join(", ");
    let items = format!("{declared}\ninput X[{all}]: f32\nY[{all}] = X + X\noutput s = sum[{all}](Y)");
    assert_eq!(codes(kernel(&items)), []);
    assert_eq!(codes(kernel(&format!("{declared}\noutput Z[{all}] = 1"))), [Code::UnboundRank]);
    assert_eq!(codes(kernel(&format!("output Z = sum[{all}](1)"))), [Code::UnknownRank]);
}

#[test]
fn long_chains_of_ranks() {
    let aliases = format!("rank r0\n{}", lines(10_000, |i| format!("rank r{}: r{i}", i + 1)));
    assert_eq!(codes(kernel(&format!("{aliases}\ninput X[r10000]: f32\noutput Y[r0] = 1"))), []);
    let extents = format!("rank r0 = 1\n{}", lines(10_000, |i| format!("rank r{} = |r{i}| + 1", i + 1)));
    assert_eq!(codes(kernel(&format!("{extents}\noutput Y[r10000] = 1"))), []);
    let doubling = format!("rank r0 = 1\n{}", lines(100, |i| format!("rank r{} = 2 * |r{i}|", i + 1)));
    assert_eq!(codes(kernel(&format!("{doubling}\noutput Y[r100] = 1"))), [Code::ExtentTooLarge]);
    let circle = lines(10_000, |i| format!("rank r{i}: r{}", (i + 1) % 10_000));
    assert_eq!(codes(kernel(&circle)), [Code::RankCycle]);
    let nested = lines(5_000, |i| format!("rank c{i} = (p{i}, c{})", i + 1));
    assert_eq!(codes(kernel(&nested)), [Code::TooLarge]);
}

#[test]
fn circles_of_declarations() {
    assert_eq!(codes(kernel("rank a = |b|, b = |a|\noutput Y[a] = 1")), [Code::UnboundRank]);
    assert_eq!(codes(kernel("rank a = |b|, b = |a|\ninput X[a]: f32\noutput Y[b] = sum[a](X)")), []);
    assert_eq!(
        codes(kernel("param p: i32 = q\nparam q: i32 = p\nrank a = p\noutput Y[a] = 1")),
        [Code::Cycle]
    );
}

#[test]
fn long_chains_of_equations() {
    let chain = lines(20_000, |i| format!("x{}[n] = x{i} + 1", i + 1));
    assert_eq!(codes(kernel(&format!("x0[n] = A\n{chain}\noutput y[n] = x20000"))), []);
    let circle = lines(20_000, |i| format!("x{i}[n] = x{} + 1", (i + 1) % 20_000));
    assert_eq!(codes(kernel(&circle)), [Code::Cycle]);
    let steps = lines(2_000, |i| format!("x{i}[t] = (x{}[t - 1] else 0) + U", (i + 1) % 2_000));
    assert_eq!(codes(kernel(&format!("{steps}\noutput y[t] = x0"))), []);
}

#[test]
fn calls_within_calls() {
    let twice = lines(64, |i| format!("fn twice{}(x) {{ twice{i}(x) + twice{i}(x) }}", i + 1));
    let text = format!("fn twice0(x) {{ x }}\n{twice}\n{}", kernel("output B[n] = twice64(A)"));
    assert_eq!(codes(text), [Code::TooManyCalls]);
    let chain = lines(20_000, |i| format!("fn g{}(x) {{ g{i}(x) }}", i + 1));
    let text =
        |n: usize| format!("fn g0(x) {{ x }}\n{}\n{}", &chain, kernel(&format!("output B[n] = g{n}(A)")));
    assert_eq!(codes(text(400)), [Code::TooDeep]);
    let circle = lines(20_000, |i| format!("fn h{i}(x) {{ h{}(x) }}", (i + 1) % 20_000));
    assert_eq!(codes(format!("{circle}\n{}", kernel("output B[n] = h7(A)"))), [Code::Recursion]);
    let wide = "exp(A) + ".repeat(150);
    let many = lines(600, |i| format!("output B{i}[n] = {wide} softmax[n](A)"));
    assert_eq!(codes(kernel(&many)), []);
}

#[test]
fn calls_are_counted_up_to_the_limit() {
    let text = |n: usize| {
        let calls = vec!["one()"; n].join(", ");
        format!("fn one() {{ 1 }}\n{}", kernel(&format!("output B[n] = A * max(0, {calls})")))
    };
    assert_eq!(codes(text(20_000)), []);
    assert_eq!(codes(text(20_001)), [Code::TooManyCalls]);
}

#[test]
fn a_line_full_of_errors() {
    let items = (0..20_000).map(|i| format!("x{i}[n] = y{i} + 1; ")).collect::<String>();
    let source = Source { name: "spec".to_owned(), text: kernel(&items) };
    let loaded = load(source, &mut |_| Err("no imports".to_owned()));
    let failure = loaded.and_then(|it| check(it, &Fixed::default())).expect_err("20 000 unknown names");
    assert_eq!(failure.diagnostics.len(), 1000);
    let told = render::text(&failure.sources, &failure.diagnostics);
    assert!(told.contains("19000 further findings") && told.len() < 1_000_000);
}

//! The intermediate forms as text, for people and for tests.

mod cascade;
mod expr;
mod nest;
mod plan;

pub use cascade::cascade;
pub use nest::nest;
pub use plan::plan;

use crate::ir::cascade::{Cascade, ExprId};

/// An expression as one line.
pub fn formula(cascade: &Cascade, root: ExprId) -> String {
    let (mut lines, text) = expr::expr(cascade, root);
    lines.push(text);
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use attnc_dsl::check::Fixed;
    use attnc_dsl::diag::Source;

    use crate::driver::{Request, front};

    fn printed(text: String) -> String {
        let source = Source { name: "k.attn".to_owned(), text };
        let mut fetch = |_: &str| Err("there are no imports".to_owned());
        let front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
        let front = front.unwrap_or_else(|it| {
            panic!("{}", attnc_dsl::render::text(&it.sources, &it.diagnostics));
        });
        super::cascade(&front.cascades[0])
    }

    #[test]
    fn a_cascade_reads_like_the_language() {
        let text = printed(
            "kernel k { rank m, n; param s: f32 = 1 / |n|; input x[m, n]: f32
             output o[m] = max[n](-(x[m, n - 1] + 2.0) * s where n <= m and x != inf)
             h[m, 0] = 0.0  h[m, n+1] = h[m, n] + x  output l[m] = h[m, |n|] }"
                .to_owned(),
        );
        let expected = "\
kernel k
  rank m
  rank n
  param s: f32 = f32(1.0 / real(|n|))
  input x[m, n]: f32
  check range of m: 0 <= |m|
  check range of n: 0 <= |n|
  output o[m]: f32 = max[n](-(x[m, n - 1] + 2.0) * s where n <= m and x != inf)
  recurrence n
    h[m, 0]: real n+1 = 0.0
  for n
    h[m, n+1]: real n+1 = h[m, n] + x
  output l[m]: f32 = h[m, |n|]
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_shared_part_is_printed_once() {
        let doubled = (0..20).fold("x + 1.0".to_owned(), |it, at| format!("step{at}({it})"));
        let functions: String =
            (0..20).map(|at| format!("fn step{at}(y) {{ (y + {at}.5) * (y - {at}.25) }} ")).collect();
        let text = format!("{functions} kernel k {{ rank n; input x[n]: f32; output o[n] = {doubled} }}");
        let text = printed(text);
        assert_eq!(text.matches("- 19.25").count(), 1, "{text}");
        assert!(text.len() < 3000, "{} bytes", text.len());
    }
}

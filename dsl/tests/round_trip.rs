//! Printing is the inverse of parsing, and comments survive it.

mod trees;

use attnc_dsl::ast::Spec;
use attnc_dsl::diag::SourceId;
use attnc_dsl::{parse, print};
use proptest::prelude::*;

fn read(text: &str) -> Spec {
    parse(SourceId(0), text).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"))
}

/// Texts with every kind of place for a comment.
const TEXTS: [&str; 3] = [
    "#! A file.\n\nimport \"x.attn\"\nfn f[n](x, y) { t = x where x != -inf; rank i = 2; sum[n](t) + y }\n",
    "fn g(x) {\n  y = x + 1;\n\n  y * y\n}\n\n## A kernel.\nkernel k {\n  ## Ranks.\n  rank n, h = (hk, g = 4)\n\n  \
     input A[n]: f32\n  output O[n]: f16 = if n == 0 then A else A[n-1]   where n < 3\n}\n\nkernel l { }\n",
    "kernel a { rank n; input A[n]: f32; assume |A| <= 3; exact output O = sum[n](A * B[n = n + 1]) }",
];

/// A text with comments `c0`, `c1`, … put where there was a space.
fn commented() -> impl Strategy<Value = (String, usize)> {
    let comment = (
        any::<prop::sample::Index>(),
        prop::sample::select(vec![" # @\n", "\n# @\n", "\n\n#@\n\n", "\n### @\n", " ## @\n"]),
    );
    (prop::sample::select(TEXTS.to_vec()), prop::collection::vec(comment, 0..6)).prop_map(
        |(text, comments)| {
            let spaces: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
            let outside =
                |at: &usize| !text[..*at].lines().next_back().is_some_and(|line| line.contains('#'));
            let spaces: Vec<usize> = spaces.into_iter().filter(outside).collect();
            let mut places: Vec<_> =
                comments.iter().map(|(index, form)| (*index.get(&spaces), *form)).collect();
            places.sort();
            places.dedup_by_key(|it| it.0);
            let mut out = text.to_owned();
            for (number, (at, form)) in places.iter().enumerate().rev() {
                out.insert_str(*at, &form.replace('@', &format!("c{number}")));
            }
            (out, places.len())
        },
    )
}

proptest! {
    #[test]
    fn printed_trees_parse_to_themselves(spec in trees::spec()) {
        let text = print(&spec, "");
        let again = read(&text);
        prop_assert_eq!(&again, &spec, "{}", text);
        prop_assert_eq!(print(&again, &text), text);
    }

    #[test]
    fn printed_operations_parse_to_themselves(value in trees::operations()) {
        let spec = trees::equation(value);
        let text = print(&spec, "");
        prop_assert_eq!(&read(&text), &spec, "{}", text);
    }

    #[test]
    fn lines_are_short_where_they_can_be(spec in trees::spec()) {
        for line in print(&spec, "").lines().filter(|it| !it.trim_start().starts_with('#')) {
            prop_assert!(line.len() <= 120 || !line.trim().contains(' '), "{}", line);
        }
    }

    #[test]
    fn comments_survive((text, count) in commented()) {
        let spec = read(&text);
        let printed = print(&spec, &text);
        let again = read(&printed);
        prop_assert_eq!(&again, &spec, "{}", printed);
        prop_assert_eq!(print(&again, &printed), printed.as_str());
        for number in 0..count {
            let comment = format!("c{number}");
            let found = printed.lines().filter(|it| it.contains('#') && it.trim_end().ends_with(&comment)).count();
            prop_assert_eq!(found, 1, "{} in {}", comment, printed);
        }
    }
}

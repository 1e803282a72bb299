//! What a text means: precedence, items, documentation, places.

use attnc_dsl::ast::{Expr, ExprKind, Item, Kernel, KernelItemKind, RankDef, Spec};
use attnc_dsl::diag::{SourceId, Span};
use attnc_dsl::{parse, print};

fn read(text: &str) -> Spec {
    parse(SourceId(0), text).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"))
}

fn kernel(text: &str) -> Kernel {
    match read(text).items.remove(0) {
        Item::Kernel(kernel) => kernel,
        Item::Fn(_) | Item::Import(_) => panic!("{text}"),
    }
}

fn value(text: &str) -> Expr {
    let item = kernel(&format!("kernel k {{ A = {text} }}")).items.remove(0);
    let KernelItemKind::Equation(equation) = item.kind else { panic!("{text}") };
    equation.value
}

/// The text under a span.
fn at(text: &str, span: Span) -> &str {
    &text[span.start as usize..span.end as usize]
}

#[test]
fn operators_bind_as_the_guide_says() {
    let readings = [
        ("a where p else b", "(a where p) else b"),
        ("a else b where p", "(a else b) where p"),
        ("a where p or q", "a where (p or q)"),
        ("if p then a else b else c", "(if p then a else b) else c"),
        ("if p then a else b where q", "(if p then a else b) where q"),
        ("if p then a else if q then b else c", "if p then a else (if q then b else c)"),
        ("if if p then q else r then a else b", "if (if p then q else r) then a else b"),
        ("if p then if q then a else b else c", "if p then (if q then a else b) else c"),
        ("a or b and c", "a or (b and c)"),
        ("not a and b", "(not a) and b"),
        ("not a < b", "not (a < b)"),
        ("not not a", "not (not a)"),
        ("a - b - c", "(a - b) - c"),
        ("a - b * c", "a - (b * c)"),
        ("a / b * c % d // e", "(((a / b) * c) % d) // e"),
        ("a + b < c * d", "(a + b) < (c * d)"),
        ("-a^2", "-(a^2)"),
        ("-a//2", "(-a) // 2"),
        ("a * -b", "a * (-b)"),
        ("--a", "-(-a)"),
        ("a - -b", "a - (-b)"),
        ("2^-a", "2^(-a)"),
        ("2^-a * b", "(2^(-a)) * b"),
        ("2^-a^b", "2^(-(a^b))"),
        ("a^b^c", "a^(b^c)"),
        ("|a|^|b|", "(|a|)^(|b|)"),
    ];
    for (written, meant) in readings {
        assert_eq!(value(written), value(meant), "{written}");
    }
    for (one, other) in
        [("a^b^c", "(a^b)^c"), ("0 < a < b", "(0 < a) < b"), ("a - b - c", "a - (b - c)"), ("f(x)", "f[x]")]
    {
        assert_ne!(value(one), value(other), "{one}");
    }
}

#[test]
fn forms_of_names() {
    assert!(matches!(value("n").kind, ExprKind::Name(_)));
    assert!(matches!(value("|n|").kind, ExprKind::Bars(_)));
    assert!(matches!(value("K[]").kind, ExprKind::Read { coords, .. } if coords.is_empty()));
    assert!(matches!(value("K[n == 2]").kind, ExprKind::Read { coords, .. } if coords.len() == 1));
    assert!(
        matches!(value("K[n = 2, m = n + 1]").kind, ExprKind::Reindex { coords, .. } if coords.len() == 2)
    );
    assert!(
        matches!(value("f(x, y)").kind, ExprKind::Call { ranks, args, .. } if ranks.is_empty() && args.len() == 2)
    );
    assert!(
        matches!(value("f[m, n]()").kind, ExprKind::Call { ranks, args, .. } if ranks.len() == 2 && args.is_empty())
    );
    assert!(matches!(value("topk[n -> j](-x)").kind, ExprKind::Select { .. }));
    assert!(matches!(value("info + pin - nota").kind, ExprKind::Binary(..)));
}

#[test]
fn items_need_no_separators() {
    let text = "kernel k { rank n, d = 2 * w + 1 rank n2: n rank u <= 8 rank h = (hk, g = 4) rank q = (hk)
        input A[n]: f32 input s: i4 param w: i64 = |n| param eps: f64 assume |A| <= 30
        exact output B[n]: f16 = A + 1 exact C[t + 1] = A D = B[n = 2]; output E[] = pi }";
    let kernel = kernel(text);
    let mut defs = Vec::new();
    let (mut inputs, mut params, mut facts, mut equations) = (0, 0, 0, Vec::new());
    for item in &kernel.items {
        match &item.kind {
            KernelItemKind::Ranks(decls) => defs.extend(decls.iter().map(|it| &it.def)),
            KernelItemKind::Input(_) => inputs += 1,
            KernelItemKind::Param(_) => params += 1,
            KernelItemKind::Assume(_) => facts += 1,
            KernelItemKind::Equation(it) => equations.push((it.exact, it.output, at(text, it.name.span))),
        }
    }
    assert!(matches!(
        defs[..],
        [
            RankDef::Symbolic,
            RankDef::Fixed(_),
            RankDef::Alias(_),
            RankDef::Bounded(8, _),
            RankDef::Composite(_),
            RankDef::Fixed(_)
        ]
    ));
    assert_eq!((inputs, params, facts), (2, 2, 1));
    assert_eq!(equations, [(true, true, "B"), (true, false, "C"), (false, false, "D"), (false, true, "E")]);
}

#[test]
fn spans_hold_no_space_and_no_comment() {
    let text = "kernel k {\n rank a , b # x\n  A [ a ] = ( a + b )  * sum [ a ] ( b ) # y\n\n}\n";
    let kernel = kernel(text);
    assert_eq!(at(text, kernel.span), text.trim_end());
    let items: Vec<_> = kernel.items.iter().map(|it| at(text, it.span)).collect();
    assert_eq!(items, ["rank a , b", "A [ a ] = ( a + b )  * sum [ a ] ( b )"]);
    let KernelItemKind::Equation(equation) = &kernel.items[1].kind else { panic!("an equation") };
    let ExprKind::Binary(_, left, right) = &equation.value.kind else { panic!("a product") };
    assert_eq!([at(text, left.span), at(text, right.span)], ["( a + b )", "sum [ a ] ( b )"]);
}

#[test]
fn documentation_belongs_to_the_next_item() {
    let text = "## Doubles.\n# A remark.\n##\n##  x is real.\nfn f(x) { 2 * x } ## behind\n\n#! A file.\n\
                kernel k {\n  ## The scores.\n  A = 1\n  ## of nothing\n}\n### a line\n";
    let spec = read(text);
    assert_eq!(spec.docs, ["A file."]);
    let Item::Fn(function) = &spec.items[0] else { panic!("a function") };
    assert_eq!(function.docs, ["Doubles.", "", " x is real."]);
    let Item::Kernel(kernel) = &spec.items[1] else { panic!("a kernel") };
    assert_eq!(kernel.items[0].docs, ["The scores."]);
    let comments: Vec<_> = spec.comments.iter().map(|it| (it.own_line, it.text.as_str())).collect();
    let expected =
        [(true, "# A remark."), (false, "## behind"), (true, "## of nothing"), (true, "### a line")];
    assert_eq!(comments, expected);
}

#[test]
fn printing_has_one_form() {
    let text = "# License.\n#! A file.\nimport   \"x.attn\" # why\nfn f( x,y ){ t=(x*(y)); # kept\n\n\n  if((t>0))then t else-t }\n\
        kernel k{ # head\n\n rank n,m  =4 ; input A[n] :f32\n\n\n # own\n B[n+1,m]=(A[n-1]^2.50)^(m) where((m<n)) # behind\n\
        C[n] = sum[n](A # inside\n * B)\n  # last\n\n} # end\nkernel l { }";
    insta::assert_snapshot!(print(&read(text), text));
}

#[test]
fn long_lines_are_broken() {
    let long = "first_operand * second_operand + f(third_operand, fourth_operand)";
    let text = format!(
        "fn f(x) {{ {long} + {long} }} kernel k {{ A[n] = if {long} then {long} else {long} where n < 3 and n > 2 }}"
    );
    insta::assert_snapshot!(print(&read(&text), &text));
}

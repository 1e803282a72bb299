//! Random syntax trees, such as text can mean.

use attnc_dsl::ast::{
    BinaryOp, CompareOp, Equation, Expr, ExprKind, FnDef, FnStmt, Import, Input, Item, Kernel, KernelItem,
    KernelItemKind, Name, Param, Part, RankDecl, RankDef, Spec, UnaryOp,
};
use attnc_dsl::diag::{SourceId, Span};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const NOWHERE: Span = Span { source: SourceId(0), start: 0, end: 0 };

/// A file of any content.
pub(crate) fn spec() -> impl Strategy<Value = Spec> {
    (docs(), vec(item(), 0..5)).prop_map(|(docs, items)| Spec { docs, items, comments: Vec::new() })
}

fn item() -> impl Strategy<Value = Item> {
    let import = select(vec!["a.attn", "masks/größe.attn", "a # b.attn"]);
    prop_oneof![
        import.prop_map(|path| Item::Import(Import { path: path.to_owned(), span: NOWHERE })),
        function().prop_map(Item::Fn),
        kernel().prop_map(Item::Kernel),
    ]
}

/// A kernel of one equation.
pub(crate) fn equation(value: Expr) -> Spec {
    let name = Name { text: "A".to_owned(), span: NOWHERE };
    let equation =
        Equation { exact: false, output: false, name: name.clone(), coords: Vec::new(), dtype: None, value };
    let item = KernelItem { docs: Vec::new(), kind: KernelItemKind::Equation(equation), span: NOWHERE };
    let kernel = Kernel { docs: Vec::new(), name, items: vec![item], span: NOWHERE };
    Spec { docs: Vec::new(), items: vec![Item::Kernel(kernel)], comments: Vec::new() }
}

fn docs() -> impl Strategy<Value = Vec<String>> {
    vec(
        select(vec!["", "Text.", "  indented", "# not", "! not", "ends in a ω"]).prop_map(str::to_owned),
        0..3,
    )
}

fn name() -> impl Strategy<Value = Name> {
    text().prop_map(|text| Name { text, span: NOWHERE })
}

/// Names that keywords begin with or that begin with keywords, among others.
fn text() -> impl Strategy<Value = String> {
    let names = [
        "b", "hk", "m", "n", "t", "Q", "part_lse", "sum", "f32", "info", "nota", "or_", "i", "If", "ranks",
        "_x1",
    ];
    select(names.to_vec()).prop_map(str::to_owned)
}

fn function() -> impl Strategy<Value = FnDef> {
    let stmt = prop_oneof![
        rank_decl().prop_map(FnStmt::Rank),
        (name(), expr()).prop_map(|(n, e)| FnStmt::Let(n, e))
    ];
    (docs(), name(), vec(name(), 0..3), vec(name(), 0..3), vec(stmt, 0..3), expr()).prop_map(
        |(docs, name, ranks, values, body, result)| FnDef {
            docs,
            name,
            ranks,
            values,
            body,
            result,
            span: NOWHERE,
        },
    )
}

fn kernel() -> impl Strategy<Value = Kernel> {
    (docs(), name(), vec(kernel_item(), 0..6)).prop_map(|(docs, name, items)| Kernel {
        docs,
        name,
        items,
        span: NOWHERE,
    })
}

fn kernel_item() -> impl Strategy<Value = KernelItem> {
    let input =
        (name(), vec(name(), 0..4), name()).prop_map(|(name, ranks, dtype)| Input { name, ranks, dtype });
    let param = (name(), name(), option::of(expr()));
    let param = param.prop_map(|(name, dtype, default)| Param { name, dtype, default });
    let equation = (any::<bool>(), any::<bool>(), name(), vec(expr(), 0..3), option::of(name()), expr());
    let equation = equation.prop_map(|(exact, output, name, coords, dtype, value)| {
        KernelItemKind::Equation(Equation { exact, output, name, coords, dtype, value })
    });
    let kind = prop_oneof![
        vec(rank_decl(), 1..4).prop_map(KernelItemKind::Ranks),
        input.prop_map(KernelItemKind::Input),
        param.prop_map(KernelItemKind::Param),
        expr().prop_map(KernelItemKind::Assume),
        equation,
    ];
    (docs(), kind).prop_map(|(docs, kind)| KernelItem { docs, kind, span: NOWHERE })
}

fn rank_decl() -> impl Strategy<Value = RankDecl> {
    let part = (name(), option::of(expr())).prop_map(|(name, extent)| Part { name, extent });
    let whole = |parts: &Vec<Part>| parts.len() > 1 || parts[0].extent.is_some();
    let def = prop_oneof![
        Just(RankDef::Symbolic),
        expr().prop_map(RankDef::Fixed),
        (0..=i64::MAX).prop_map(|it| RankDef::Bounded(it, NOWHERE)),
        name().prop_map(RankDef::Alias),
        vec(part, 1..4)
            .prop_filter("a name in parentheses is an expression", whole)
            .prop_map(RankDef::Composite),
    ];
    (name(), def).prop_map(|(name, def)| RankDecl { name, def, span: NOWHERE })
}

/// An expression of any form.
fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(6, 40, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let some = || vec(inner.clone(), 0..3);
        let named = vec((name(), inner.clone()), 1..3);
        let kind = prop_oneof![
            (name(), some()).prop_map(|(name, coords)| ExprKind::Read { name, coords }),
            (name(), named).prop_map(|(name, coords)| ExprKind::Reindex { name, coords }),
            (name(), vec(name(), 0..3), some()).prop_map(|(name, ranks, args)| ExprKind::Call {
                name,
                ranks,
                args
            }),
            (name(), name(), name(), boxed()).prop_map(|(name, from, to, arg)| ExprKind::Select {
                name,
                from,
                to,
                arg
            }),
        ];
        prop_oneof![kind.prop_map(|kind| Expr { kind, span: NOWHERE }), operation(inner)]
    })
}

/// An expression of nothing but names and operators.
pub(crate) fn operations() -> impl Strategy<Value = Expr> {
    let name = text().prop_map(|text| Expr { kind: ExprKind::Name(text), span: NOWHERE });
    name.prop_recursive(6, 60, 3, operation)
}

fn operation<'a>(inner: impl Strategy<Value = Expr> + Clone + 'a) -> impl Strategy<Value = Expr> + 'a {
    let boxed = || inner.clone().prop_map(Box::new);
    let compared = vec((compare_op(), inner.clone()), 1..3);
    let kind = prop_oneof![
        2 => (select(vec![UnaryOp::Neg, UnaryOp::Not]), boxed()).prop_map(|(op, it)| ExprKind::Unary(op, it)),
        4 => (binary_op(), boxed(), boxed()).prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
        1 => (boxed(), compared).prop_map(|(it, rest)| ExprKind::Compare(it, rest)),
        1 => (boxed(), boxed(), boxed()).prop_map(|(condition, yes, no)| ExprKind::If(condition, yes, no)),
        1 => (boxed(), boxed()).prop_map(|(value, condition)| ExprKind::Where(value, condition)),
        1 => (boxed(), boxed()).prop_map(|(value, other)| ExprKind::Else(value, other)),
    ];
    kind.prop_map(|kind| Expr { kind, span: NOWHERE })
}

fn leaf() -> impl Strategy<Value = Expr> {
    let positive = prop::num::f64::POSITIVE | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let kind = prop_oneof![
        prop_oneof![0..10i64, 0..=i64::MAX].prop_map(ExprKind::Int),
        positive.prop_map(|it| ExprKind::Real(it.abs())),
        any::<bool>().prop_map(ExprKind::Bool),
        Just(ExprKind::Inf),
        Just(ExprKind::Pi),
        text().prop_map(ExprKind::Name),
        name().prop_map(ExprKind::Bars),
    ];
    kind.prop_map(|kind| Expr { kind, span: NOWHERE })
}

fn binary_op() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::{Add, And, Div, FloorDiv, Mod, Mul, Or, Pow, Sub};
    select(vec![Or, And, Add, Sub, Mul, Div, FloorDiv, Mod, Pow])
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
    select(vec![Eq, Ne, Lt, Le, Gt, Ge])
}

//! What is fixed from outside: settings that fit nothing, and what is still missing.

use crate::ast::{DType, Item, Kernel, KernelItemKind, Kind, Name, RankDef, Spec};
use crate::check::atoms::RankId;
use crate::check::constant::Value;
use crate::check::extents::{Extents, Known};
use crate::check::ranks::Def;
use crate::check::report::Report;
use crate::check::{Cx, Fixed};
use crate::diag::{Code, Diagnostic, Span};

/// Reports settings that belong to no kernel.
pub(super) fn check_settings(spec: &Spec, fixed: &Fixed, report: &mut Report) {
    let kernels =
        || spec.items.iter().filter_map(|it| if let Item::Kernel(kernel) = it { Some(kernel) } else { None });
    let Some(first) = kernels().next() else { return };
    let ranks: Vec<&str> = kernels().flat_map(rank_names).collect();
    let params: Vec<&str> = kernels().flat_map(param_names).collect();
    let sets = fixed.sets.keys().map(|it| ("--set", "rank", it, &ranks));
    for (option, what, name, known) in
        sets.chain(fixed.params.keys().map(|it| ("--param", "parameter", it, &params)))
    {
        if !known.contains(&name.as_str()) {
            let suggestion = report.suggest(name, known.iter().copied());
            report.push_setting(
                Diagnostic::error(Code::BadSetting, format!("`{option} {name}=…` names no {what}"))
                    .label(first.name.span, format!("no {what} `{name}`"))
                    .help(suggestion),
            );
        }
    }
}

fn rank_names(kernel: &Kernel) -> impl Iterator<Item = &str> {
    let decls = kernel
        .items
        .iter()
        .filter_map(|it| if let KernelItemKind::Ranks(decls) = &it.kind { Some(decls) } else { None });
    decls.flatten().flat_map(|decl| {
        let parts = if let RankDef::Composite(parts) = &decl.def { parts.as_slice() } else { &[] };
        std::iter::once(decl.name.text.as_str()).chain(parts.iter().map(|it| it.name.text.as_str()))
    })
}

fn param_names(kernel: &Kernel) -> impl Iterator<Item = &str> {
    kernel.items.iter().filter_map(|it| {
        if let KernelItemKind::Param(param) = &it.kind { Some(param.name.text.as_str()) } else { None }
    })
}

/// Reads a parameter as written on a command line.
pub(super) fn read_value(text: &str, dtype: DType) -> Option<Value> {
    match dtype.kind() {
        Kind::Bool => text.to_ascii_lowercase().parse().ok().map(Value::Bool),
        Kind::Real => text.parse().ok().map(Value::Real),
        Kind::Int => {
            let (low, high) = dtype.int_range()?;
            text.parse().ok().filter(|it| (low..=high).contains(it)).map(Value::Int)
        }
    }
}

impl<'a> Cx<'a, '_> {
    /// The ranks that must be bound before the kernel can be compiled, and are not.
    pub(super) fn unbound(&self, all: &Extents<'a>) -> Vec<(&'a str, Span)> {
        let open = |id: RankId| all.known[id.idx()] == Known::No;
        let unbound: Vec<_> = self.ranks.of_kernel().filter(|(id, rank)| rank.used && open(*id)).collect();
        let is_root = |def: &Def<'_>| matches!(def, Def::Symbolic | Def::Bounded(..));
        let any_root = unbound.iter().any(|(_, it)| is_root(&it.def));
        let unbound = unbound.into_iter().filter(|(_, it)| is_root(&it.def) || !any_root);
        unbound.map(|(_, it)| (it.name, it.span)).collect()
    }

    /// The parameters without a value on which extents depend, directly or by way of defaults.
    pub(super) fn unfixed_params(&self, all: &Extents<'a>) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut seen = vec![false; self.params.len()];
        for (_, rank) in self.ranks.of_kernel() {
            let Def::Fixed(extent) = rank.def else { continue };
            let mut todo = self.needed(extent, all.n_ranks);
            while let Some(at) = todo.pop() {
                let Some(at) = at.checked_sub(all.n_ranks).filter(|it| !seen[*it]) else { continue };
                seen[at] = true;
                let param = self.params[at];
                match &param.ast.default {
                    Some(default) => todo.extend(self.needed(default, all.n_ranks)),
                    None if matches!(all.known[all.n_ranks + at], Known::Value(..)) => {}
                    None => found.push(unfixed_param(&param.ast.name, rank.name, extent.span)),
                }
            }
        }
        found
    }
}

/// The error of a rank that nothing binds.
pub(super) fn unbound_rank(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(Code::UnboundRank, format!("nothing binds the extent of rank `{name}`"))
        .label(span, "no input has this rank, and its declaration gives no extent")
        .help(format!("give it with `--set {name}=…`, or in its declaration: `rank {name} = …`"))
}

fn unfixed_param(param: &Name, rank: &str, extent: Span) -> Diagnostic {
    let name = &param.text;
    Diagnostic::error(
        Code::UnfixedParam,
        format!("parameter `{name}` must be fixed, for an extent depends on it"),
    )
    .label(param.span, "has no default")
    .label(extent, format!("the extent of `{rank}`"))
    .help(format!("give it with `--param {name}=…`, or a default in its declaration"))
}

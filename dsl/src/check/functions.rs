//! Functions on their own: what is wrong with them whether or not a kernel calls them.

use std::collections::{HashMap, HashSet};

use crate::ast::{Expr, ExprKind, FnDef, FnStmt, Kind, Name, RankDecl, RankDef};
use crate::builtins::builtins;
use crate::check::Cx;
use crate::check::atoms::RankId;
use crate::check::infer::MAX_HEIGHT;
use crate::check::names::{FnScope, Scope, Typed};
use crate::check::ranks::Def;
use crate::check::report::{Report, duplicate};
use crate::check::walk::walk;
use crate::diag::{Code, Diagnostic};
use crate::functions::PRELUDE_ID;
use crate::model::Program;

/// Reports functions named like a built-in one, or with a name twice inside.
pub(super) fn check_names(program: &Program, report: &mut Report) {
    for f in program.functions.iter() {
        let name = &f.name.text;
        if builtins(name).next().is_some() {
            report.push(
                Diagnostic::error(Code::BuiltinShadowed, format!("`{name}` is a built-in function"))
                    .label(f.name.span, "declared here")
                    .help(format!("give it another name, such as `my_{name}`")),
            );
        }
        let mut seen = HashMap::new();
        let own = f.body.iter().map(|it| match it {
            FnStmt::Rank(decl) => &decl.name,
            FnStmt::Let(name, _) => name,
        });
        for name in f.ranks.iter().chain(&f.values).chain(own) {
            if let Some(first) = seen.insert(&name.text, name.span) {
                report.push(duplicate(
                    name,
                    format!("`{}` is declared twice in `{}`", name.text, f.name.text),
                    first,
                ));
            }
        }
    }
}

/// The functions that call themselves, directly or through others; one error for each circle.
pub(super) fn find_recursive(program: &Program, report: &mut Report) -> HashSet<usize> {
    let calls: Vec<Vec<usize>> = program.functions.iter().map(|f| callees(program, f)).collect();
    let mut recursive = HashSet::new();
    for circle in super::graph::components(&calls) {
        let names: Vec<&FnDef> = circle.iter().map(|it| &program.functions[*it]).collect();
        let own = names.len() > 1 || calls[circle[0]].contains(&circle[0]);
        if !own {
            continue;
        }
        recursive.extend(&circle);
        let first =
            names.iter().min_by_key(|it| (it.name.span.source, it.name.span.start)).unwrap_or(&names[0]);
        let mut error =
            Diagnostic::error(Code::Recursion, format!("function `{}` calls itself", first.name.text))
                .label(first.name.span, "is inlined without end");
        for other in names.iter().filter(|it| it.name.text != first.name.text).take(8) {
            error = error.label(other.name.span, "by way of this one");
        }
        report.push(error.help("functions are inlined; write a recurrence in the kernel instead".to_owned()));
    }
    recursive
}

/// The functions that one calls, by their places in the program.
pub(super) fn callees(program: &Program, f: &FnDef) -> Vec<usize> {
    let mut found = Vec::new();
    walk_body(f, &mut |e| {
        if let ExprKind::Call { name, .. } = &e.kind {
            found.extend(program.functions.place(name));
        }
    });
    found
}

/// Every expression in a function.
pub(super) fn walk_body(f: &FnDef, visit: &mut impl FnMut(&Expr)) {
    for statement in &f.body {
        match statement {
            FnStmt::Let(_, value) => walk(value, visit),
            FnStmt::Rank(decl) => match &decl.def {
                RankDef::Fixed(e) => walk(e, visit),
                RankDef::Composite(parts) => {
                    parts.iter().filter_map(|it| it.extent.as_ref()).for_each(|e| walk(e, visit));
                }
                RankDef::Symbolic | RankDef::Bounded(..) | RankDef::Alias(_) => {}
            },
        }
    }
    walk(&f.result, visit);
}

impl<'a> Cx<'a, '_> {
    /// Looks into every function of the user's with nothing known of its values.
    pub(super) fn check_functions(&mut self) {
        let program = self.program;
        for (place, f) in program.functions.iter().enumerate() {
            if f.span.source == PRELUDE_ID || self.recursive.contains(&place) {
                continue;
            }
            let ranks = f.ranks.iter().map(|it| {
                let id = self.ranks.add(&it.text, it.span, Def::Symbolic);
                (it.text.as_str(), vec![id])
            });
            let ranks = ranks.collect();
            let locals = f.values.iter().map(|it| (it.text.as_str(), Typed::unknown())).collect();
            (self.height, self.highest, self.n_calls) = (0, 0, 0);
            self.infer_body(f, FnScope { def: f, ranks, locals });
            if self.highest > MAX_HEIGHT {
                let message =
                    format!("`{}` is more than {MAX_HEIGHT} levels high with its calls inlined", f.name.text);
                self.report
                    .push(Diagnostic::error(Code::TooDeep, message).label(f.name.span, "beyond the limit"));
                return;
            }
        }
    }

    /// Declares a rank of a function body, fresh at each look into it.
    pub(super) fn body_rank(&mut self, decl: &'a RankDecl, scope: &mut Scope<'a>) -> Vec<RankId> {
        let mut own = Vec::new();
        let mut declare = |cx: &mut Self, scope: &mut Scope<'a>, name: &'a Name, def: Def<'a>| {
            let id = cx.ranks.add(&name.text, name.span, def);
            own.push(id);
            if let Scope::Fn(f) = scope {
                f.ranks.insert(&name.text, vec![id]);
            }
            id
        };
        if let RankDef::Composite(parts) = &decl.def {
            for part in parts {
                let known = matches!(scope, Scope::Fn(f) if f.ranks.contains_key(part.name.text.as_str()));
                if part.extent.is_some() || !known {
                    declare(self, scope, &part.name, part.extent.as_ref().map_or(Def::Symbolic, Def::Fixed));
                }
                part.extent.iter().for_each(|it| self.body_extent(&part.name, it, scope));
            }
        }
        if let RankDef::Fixed(extent) = &decl.def {
            self.body_extent(&decl.name, extent, scope);
        }
        if let RankDef::Symbolic | RankDef::Bounded(..) = decl.def {
            self.report.push(body_rank_without_extent(&decl.name));
        }
        let def = self.rank_def(decl, scope);
        let id = declare(self, scope, &decl.name, def.clone());
        if let Def::Composite(parts) = def {
            self.ranks.compose(id, &parts, self.report);
        }
        own
    }

    fn body_extent(&mut self, name: &Name, extent: &'a Expr, scope: &Scope<'a>) {
        let found = self.infer(extent, scope);
        let what = format!("the extent of `{}`", name.text);
        let constant = self.check_constant(&found, extent.span, &what);
        if constant {
            self.check_holds(&found, extent.span, Kind::Int, &what);
        }
    }
}

fn body_rank_without_extent(name: &Name) -> Diagnostic {
    let text = &name.text;
    Diagnostic::error(Code::UnboundRank, format!("rank `{text}` of a function has no extent"))
        .label(name.span, "nothing can bind it")
        .help(format!("give it one, `rank {text} = 2` or `rank {text}: n`, or make it a parameter"))
}

//! Equations to tensors: dimensions, kind, and the order in which they can be computed.

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::ast::{BinaryOp, DType, Equation, Expr, ExprKind, Kind, Name};
use crate::check::atoms::{Atoms, RankId};
use crate::check::kinds::words;
use crate::check::names::What;
use crate::check::walk::{bound_ranks, children, read_name};
use crate::check::{Cx, Dim};
use crate::diag::{Code, Diagnostic, Span};

/// A coordinate on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// `t + 1`, or `t`
    Rank(Dim),
    /// `0`: the first coordinates of a recurrence.
    Base(i64),
}

/// An equation and what its left side says.
pub(super) struct EquationInfo<'a> {
    /// What is written.
    pub(super) ast: &'a Equation,
    /// Its place among the items of the kernel.
    pub(super) item: usize,
    /// The tensor it defines, by its place; none if its name means something else.
    pub(super) tensor: Option<usize>,
    /// Its left coordinates, unless one is none.
    pub(super) left: Option<Vec<Left>>,
}

impl EquationInfo<'_> {
    /// The ranks on the left.
    pub(super) fn ranks(&self) -> impl Iterator<Item = RankId> {
        self.left.iter().flatten().filter_map(|it| match it {
            Left::Rank(dim) => Some(dim.rank),
            Left::Base(_) => None,
        })
    }

    fn is_base(&self) -> bool {
        self.left.iter().flatten().any(|it| matches!(it, Left::Base(_)))
    }
}

/// A name plus a constant: `t`, `t + 3`, `3 + t`, `t - 3`.
pub(super) fn shifted(e: &Expr) -> Option<(&str, i64)> {
    if let ExprKind::Name(name) = &e.kind {
        return Some((name, 0));
    }
    let ExprKind::Binary(op, a, b) = &e.kind else { return None };
    match (op, &a.kind, &b.kind) {
        (BinaryOp::Add, ExprKind::Name(name), ExprKind::Int(c))
        | (BinaryOp::Add, ExprKind::Int(c), ExprKind::Name(name)) => Some((name, *c)),
        (BinaryOp::Sub, ExprKind::Name(name), ExprKind::Int(c)) => Some((name, -c)),
        (_, _, _) => None,
    }
}

impl<'a> Cx<'a, '_> {
    /// Reads the left side of an equation.
    pub(super) fn left_side(&mut self, item: usize, ast: &'a Equation) -> EquationInfo<'a> {
        let tensor = self.names.get(ast.name.text.as_str()).and_then(|it| match it.what {
            What::Defined(place) => Some(place),
            What::Input(_) | What::Rank(_) | What::Param(_) => None,
        });
        let coords: Vec<_> = ast.coords.iter().map(|it| self.left_coord(it)).collect();
        let ranks = coords.iter().zip(&ast.coords).filter_map(|(coord, e)| match coord {
            Some(Left::Rank(dim)) => Some((dim.rank, e.span)),
            Some(Left::Base(_)) | None => None,
        });
        let ranks: Vec<_> = ranks.collect();
        self.ranks.check_disjoint(&ast.name.text, &ranks, self.report);
        EquationInfo { ast, item, tensor, left: coords.into_iter().collect() }
    }

    fn left_coord(&mut self, e: &'a Expr) -> Option<Left> {
        if let ExprKind::Int(c) = e.kind {
            return Some(Left::Base(c));
        }
        let Some((name, lag)) = shifted(e).filter(|it| it.1 >= 0) else {
            self.report.push(
                Diagnostic::error(Code::LeftCoordinate, "a coordinate on the left must be a rank")
                    .label(e.span, "expected a rank, a rank plus a positive constant, or a constant")
                    .help(
                        "compute on the right: read the other tensors at the inverse coordinate".to_owned(),
                    ),
            );
            return None;
        };
        let place = children(e).into_iter().find(|it| matches!(it.kind, ExprKind::Name(_))).unwrap_or(e);
        let name = Name { text: name.to_owned(), span: place.span };
        let rank = self.one_rank(&name, &super::names::Scope::Kernel)?;
        Some(Left::Rank(Dim { rank, lag }))
    }

    /// Sorts the equations of each tensor into bases and step; reports what does not fit.
    pub(super) fn assemble(&mut self) {
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); self.tensors.len()];
        for (at, equation) in self.equations.iter().enumerate() {
            if let Some(place) = equation.tensor {
                groups[place].push(at);
            }
        }
        for (place, group) in groups.into_iter().enumerate() {
            if !group.is_empty() {
                self.assemble_one(place, &group);
            }
        }
    }

    fn assemble_one(&mut self, place: usize, group: &[usize]) {
        let name = self.tensors[place].name;
        let broken = group.iter().any(|it| self.equations[*it].left.is_none());
        let (bases, steps): (Vec<usize>, Vec<usize>) =
            group.iter().partition(|it| self.equations[**it].is_base());
        if let [first, again, ..] = steps[..] {
            let (first, again) = (self.equations[first].ast, self.equations[again].ast);
            if !broken {
                self.report.push(
                    Diagnostic::error(Code::DefinedTwice, format!("`{name}` has two equations"))
                        .label(again.name.span, "the second")
                        .label(first.name.span, "the first")
                        .help("a tensor has one equation; cases are written with `else` or `if`".to_owned()),
                );
            }
        }
        let Some(&step) = steps.first() else {
            self.report.push(
                Diagnostic::error(
                    Code::LeftCoordinate,
                    format!("`{name}` is defined only at constant coordinates"),
                )
                .label(self.tensors[place].span, "no equation with ranks on the left")
                .help("constants on the left belong to a recurrence: `H[0] = …`, `H[t+1] = …`".to_owned()),
            );
            self.tensors[place].step = group.first().copied();
            return;
        };
        self.tensors[place].step = Some(step);
        self.tensors[place].equations = group.to_vec();
        self.tensors[place].output = group.iter().any(|it| self.equations[*it].ast.output);
        self.declared_dtype(place, group);
        let Some(left) = self.equations[step].left.clone().filter(|_| !broken) else { return };
        let dims: Vec<Dim> =
            left.iter().filter_map(|it| if let Left::Rank(dim) = it { Some(*dim) } else { None }).collect();
        let ranks: Vec<RankId> = dims.iter().map(|it| it.rank).collect();
        self.tensors[place].atoms = self.ranks.atoms(&ranks);
        let bases = self.bases_of(place, step, &dims, &bases);
        self.tensors[place].dims = Some(dims);
        self.tensors[place].bases = bases;
    }

    /// The equations of coordinates 0, 1, … of a recurrence, in order.
    fn bases_of(&mut self, place: usize, step: usize, dims: &[Dim], bases: &[usize]) -> Vec<usize> {
        let name = self.tensors[place].name;
        let step = self.equations[step].ast;
        let mut lags = dims.iter().enumerate().filter(|(_, it)| it.lag > 0);
        let axis = lags.next().map(|(axis, dim)| (axis, dim.lag));
        if let Some((second, _)) = lags.next() {
            self.report.push(
                Diagnostic::error(Code::LeftCoordinate, format!("`{name}` is shifted along two ranks"))
                    .label(step.coords[second].span, "the second shifted coordinate")
                    .help("a recurrence runs along one rank, perhaps a composite of them".to_owned()),
            );
            return Vec::new();
        }
        let mut found: HashMap<i64, usize> = HashMap::new();
        let mut misfit = false;
        for &base in bases {
            let c = match self.base_coordinate(base, dims, axis) {
                Some(c) => c,
                None => {
                    misfit = true;
                    self.report.push(self.base_misfit(name, base, step));
                    continue;
                }
            };
            let first = if c >= axis.map_or(0, |it| it.1) {
                Some(step)
            } else {
                found.get(&c).map(|it| self.equations[*it].ast)
            };
            if let Some(first) = first {
                self.report.push(
                    Diagnostic::error(
                        Code::DefinedTwice,
                        format!("coordinate {c} of `{name}` is defined twice"),
                    )
                    .label(self.equations[base].ast.name.span, "defined again here")
                    .label(first.name.span, "defined by this one"),
                );
            }
            found.entry(c).or_insert(base);
        }
        let lag = if misfit { 0 } else { axis.map_or(0, |it| it.1) };
        if let Some(missing) = (0..lag).find(|it| !found.contains_key(it)) {
            self.report.push(self.missing_base(name, step, axis.map_or(0, |it| it.0), missing));
        }
        let mut sorted: Vec<_> = found.into_iter().collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, base)| base).collect()
    }

    fn base_coordinate(&self, base: usize, dims: &[Dim], axis: Option<(usize, i64)>) -> Option<i64> {
        let left = self.equations[base].left.as_ref().filter(|it| it.len() == dims.len())?;
        let (axis, _) = axis?;
        let fits = |(i, it): (usize, &Left)| i == axis || *it == Left::Rank(dims[i]);
        let Left::Base(c) = left[axis] else { return None };
        left.iter().enumerate().all(fits).then_some(c)
    }

    fn base_misfit(&self, name: &str, base: usize, step: &Equation) -> Diagnostic {
        Diagnostic::error(Code::BaseMisfit, format!("the equations of `{name}` do not fit"))
            .label(self.equations[base].ast.name.span, "this one")
            .label(step.name.span, "and this one")
            .help(
                "they have the same ranks on the left, but for the constant in the place of `t + c`"
                    .to_owned(),
            )
    }

    fn missing_base(&self, name: &str, step: &Equation, axis: usize, missing: i64) -> Diagnostic {
        let shown: Vec<String> = step
            .coords
            .iter()
            .enumerate()
            .map(|(i, it)| {
                if i == axis {
                    missing.to_string()
                } else {
                    shifted(it).map_or(String::new(), |it| it.0.to_owned())
                }
            })
            .collect();
        Diagnostic::error(Code::MissingBase, format!("`{name}` has no equation for coordinate {missing}"))
            .label(step.coords[axis].span, format!("defines the coordinates after {missing} only"))
            .help(format!("add `{name}[{}] = …`", shown.join(", ")))
    }

    fn declared_dtype(&mut self, place: usize, group: &[usize]) {
        let mut first: Option<(DType, &Name)> = None;
        for &at in group {
            let ast = self.equations[at].ast;
            let Some(name) = &ast.dtype else { continue };
            let Some(dtype) = self.dtype(name) else {
                self.tensors[place].dtype_unknown = true;
                continue;
            };
            let (before, earlier) = *first.get_or_insert((dtype, &ast.name));
            if before != dtype {
                let message = format!("`{}` is {} and {}", ast.name.text, before.name(), dtype.name());
                self.report.push(
                    Diagnostic::error(Code::BaseMisfit, message)
                        .label(ast.name.span, format!("{} here", dtype.name()))
                        .label(earlier.span, format!("{} here", before.name())),
                );
            }
        }
        let dtype = first.map(|it| it.0);
        self.tensors[place].dtype = dtype;
        self.tensors[place].kind = dtype.map(DType::kind);
    }

    /// Finds the kinds of tensors that need each other: from what is known, until nothing new follows.
    pub(super) fn infer_group(&mut self, members: &[usize], needs: &[Vec<usize>]) {
        let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
        for &place in members {
            needs[place].iter().for_each(|it| readers.entry(*it).or_default().push(place));
        }
        let mut todo: IndexSet<usize> = members.iter().rev().copied().collect();
        while let Some(place) = todo.pop() {
            let before = self.tensors[place].kind;
            self.infer_tensor_equations(place);
            if self.tensors[place].kind != before {
                todo.extend(readers.get(&place).into_iter().flatten());
            }
        }
    }

    /// Finds the kind of a tensor that does not need itself.
    pub(super) fn infer_tensor_equations(&mut self, place: usize) {
        for at in self.tensors[place].equations.clone() {
            self.infer_equation(place, at);
        }
    }

    fn infer_equation(&mut self, place: usize, at: usize) {
        let ast = self.equations[at].ast;
        let found = self.infer_root(&ast.value);
        if self.equations[at].left.is_some() {
            let ranks: Vec<RankId> = self.equations[at].ranks().collect();
            let left = self.ranks.atoms(&ranks);
            self.check_free(&found.free, &left, ast);
        }
        let tensor = &self.tensors[place];
        if let Some(dtype) = tensor.dtype {
            self.check_holds(
                &found,
                ast.value.span,
                dtype.kind(),
                &format!("`{}`, which is {},", ast.name.text, dtype.name()),
            );
            return;
        }
        if tensor.dtype_unknown {
            return;
        }
        let span = ast.value.span;
        let (old, new) = (tensor.kind, found.kind);
        let joined = self.join((old, tensor.span), (new, span), span);
        self.tensors[place].kind = joined.or(old);
    }

    fn check_free(&mut self, free: &Atoms, left: &Atoms, ast: &Equation) {
        for atom in free.iter().filter(|it| !left.contains(*it)) {
            let (rank, name) = (self.ranks.name(atom), &ast.name.text);
            let message = format!("rank `{rank}` is neither on the left of `{name}` nor reduced");
            let place = self.first_use(atom, &ast.value).unwrap_or(ast.value.span);
            self.report.push(
                Diagnostic::error(Code::FreeRank, message)
                    .label(place, format!("depends on `{rank}`"))
                    .label(ast.name.span, "on the left")
                    .help(format!("reduce it, `sum[{rank}](…)`, or add it on the left: `{name}[…, {rank}]`")),
            );
        }
    }

    /// The first name under an expression that depends on an atom and is not below what binds it.
    fn first_use(&self, atom: RankId, e: &Expr) -> Option<Span> {
        let has = |id: RankId| self.ranks.get(id).atoms.contains(atom);
        let bound = bound_ranks(e);
        let mut bound = bound.iter().filter_map(|it| self.names.get(it.text.as_str()));
        if bound.any(|it| matches!(it.what, What::Rank(id) if has(id))) {
            return None;
        }
        let here = read_name(e).filter(|_| !matches!(e.kind, ExprKind::Read { .. }));
        let depends = here.and_then(|it| self.names.get(it)).is_some_and(|it| match it.what {
            What::Rank(id) => !matches!(e.kind, ExprKind::Bars(_)) && has(id),
            What::Input(place) | What::Defined(place) => self.tensors[place].atoms.contains(atom),
            What::Param(_) => false,
        });
        let named = if let ExprKind::Reindex { coords, .. } = &e.kind { coords.as_slice() } else { &[] };
        let mut named = named.iter().filter_map(|(rank, _)| self.names.get(rank.text.as_str()));
        let depends = depends && !named.any(|it| matches!(it.what, What::Rank(id) if has(id)));
        if depends {
            return Some(e.span);
        }
        children(e).into_iter().find_map(|it| self.first_use(atom, it))
    }

    /// Checks an assumption.
    pub(super) fn check_assume(&mut self, e: &'a Expr) {
        let found = self.infer_root(e);
        let Some(kind) = found.kind.filter(|it| *it != Kind::Bool) else { return };
        self.report.push(
            Diagnostic::error(Code::WrongKind, format!("`assume` takes a bool, found {}", words(kind)))
                .label(e.span, format!("this is {}", words(kind)))
                .help("state a range: `assume |S| <= 30`".to_owned()),
        );
    }
}

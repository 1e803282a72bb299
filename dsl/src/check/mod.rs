//! A program to a checked one, or to every error in it.
//!
//! Names are resolved first, then ranks, the left sides of equations, kinds and free ranks in the order
//! of computation, and at last the extents that are known before a call. What an error leaves unknown is
//! accepted everywhere, so that each mistake is reported once, where it was made.

mod atoms;
mod calls;
mod constant;
mod equations;
mod extents;
mod functions;
mod graph;
mod infer;
mod kinds;
mod lint;
mod names;
mod ranks;
mod recurrences;
pub use report::nearest;
mod report;
mod settings;
mod walk;

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use crate::ast::{self, DType, Input, Item, Kernel, KernelItemKind, Kind, Name};
use crate::check::atoms::{Atoms, RankId};
use crate::check::calls::{CallKey, Inlined};
use crate::check::equations::EquationInfo;
use crate::check::extents::Extents;
use crate::check::names::{Decl, Scope};
use crate::check::ranks::Ranks;
use crate::check::recurrences::Group;
use crate::check::report::{Report, duplicate};
use crate::check::settings::unbound_rank;
use crate::diag::{Failure, Severity, Span};
use crate::model::{Checked, DimModel, GroupModel, KernelModel, Program, Role, TensorModel};

/// What is fixed from outside before a kernel is compiled.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// Extents by rank: `--set n=64`.
    pub sets: IndexMap<String, i64>,
    /// Values by parameter, as written: `--param scale=0.5`.
    pub params: IndexMap<String, String>,
}

/// Checks a program; all errors are reported, not only the first.
///
/// What compiling needs besides is told by [`Checked::fixed`].
pub fn check(program: Program, fixed: &Fixed) -> Result<Checked, Box<Failure>> {
    let mut report = Report::of(&program.faults);
    functions::check_names(&program, &mut report);
    let recursive = functions::find_recursive(&program, &mut report);
    Cx::new(&program, &mut report, recursive.clone()).check_functions();
    settings::check_settings(&program.spec, fixed, &mut report);
    let exponentials = lint::exponentials(&program);
    let (mut kernels, mut unfixed, mut unbound) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for (item, kernel) in program.spec.items.iter().enumerate() {
        let Item::Kernel(kernel) = kernel else { continue };
        let name = &kernel.name;
        if let Some(first) = seen.insert(&name.text, name.span) {
            report.push(duplicate(name, format!("kernel `{}` is declared twice", name.text), first));
        }
        let mut cx = Cx::new(&program, &mut report, recursive.clone());
        let (groups, extents) = cx.check_kernel(kernel, fixed);
        let ranks = cx.unbound(&extents);
        unbound.extend(ranks.iter().map(|(name, _)| (*name).to_owned()));
        unfixed.extend(ranks.into_iter().map(|(name, span)| unbound_rank(name, span)));
        unfixed.extend(cx.unfixed_params(&extents));
        cx.lint(&groups, &extents, &exponentials);
        kernels.push(cx.model(item, kernel, &groups));
    }
    let findings = report.finish();
    if findings.iter().any(|it| it.severity == Severity::Error) {
        return Err(Box::new(Failure { sources: program.sources, diagnostics: findings }));
    }
    Ok(Checked { program, kernels, warnings: findings, unfixed, unbound })
}

/// What is known of a kernel while it is checked, and where findings go.
struct Cx<'a, 'r> {
    program: &'a Program,
    report: &'r mut Report,
    recursive: HashSet<usize>,
    names: IndexMap<&'a str, Decl>,
    /// Names that are declared as different things; what they mean is not known.
    clashing: HashSet<&'a str>,
    ranks: Ranks<'a>,
    tensors: Vec<Tensor<'a>>,
    params: Vec<Param<'a>>,
    equations: Vec<EquationInfo<'a>>,
    inlined: HashMap<CallKey, Inlined>,
    /// How deep the expression lies that is looked at, calls inlined.
    height: usize,
    /// The greatest `height` so far.
    highest: usize,
    /// How many calls were inlined so far.
    n_calls: usize,
}

/// A dimension: `|rank| + lag` coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dim {
    rank: RankId,
    lag: i64,
}

/// A parameter.
#[derive(Clone, Copy)]
struct Param<'a> {
    ast: &'a ast::Param,
    /// None if it is in error.
    dtype: Option<DType>,
}

/// An input, or what equations define.
struct Tensor<'a> {
    name: &'a str,
    span: Span,
    /// None if its ranks are in error.
    dims: Option<Vec<Dim>>,
    atoms: Atoms,
    kind: Option<Kind>,
    dtype: Option<DType>,
    /// Its dtype is in error, so that its kind is not known.
    dtype_unknown: bool,
    input: bool,
    output: bool,
    /// All its equations, the one of no constant coordinates, and the others in order.
    equations: Vec<usize>,
    step: Option<usize>,
    bases: Vec<usize>,
}

impl<'a> Tensor<'a> {
    fn defined(name: &'a Name) -> Tensor<'a> {
        Tensor {
            name: &name.text,
            span: name.span,
            dims: None,
            atoms: Atoms::none(),
            kind: None,
            dtype: None,
            dtype_unknown: false,
            input: false,
            output: false,
            equations: Vec::new(),
            step: None,
            bases: Vec::new(),
        }
    }

    fn input(name: &'a Name, dtype: Option<DType>) -> Tensor<'a> {
        Tensor { kind: dtype.map(DType::kind), dtype, input: true, ..Tensor::defined(name) }
    }
}

impl<'a, 'r> Cx<'a, 'r> {
    fn new(program: &'a Program, report: &'r mut Report, recursive: HashSet<usize>) -> Cx<'a, 'r> {
        Cx {
            program,
            report,
            recursive,
            names: IndexMap::new(),
            clashing: HashSet::new(),
            ranks: Ranks::default(),
            tensors: Vec::new(),
            params: Vec::new(),
            equations: Vec::new(),
            inlined: HashMap::new(),
            height: 0,
            highest: 0,
            n_calls: 0,
        }
    }

    fn check_kernel(&mut self, kernel: &'a Kernel, fixed: &Fixed) -> (Vec<Group>, Extents<'a>) {
        self.declare_all(kernel);
        self.ranks.resolve(self.report);
        self.ranks.clear_used();
        for item in &kernel.items {
            if let KernelItemKind::Input(input) = &item.kind {
                self.input_dims(input);
            }
        }
        for (at, item) in kernel.items.iter().enumerate() {
            if let KernelItemKind::Equation(equation) = &item.kind {
                let info = self.left_side(at, equation);
                self.equations.push(info);
            }
        }
        self.assemble();
        let constants = self.check_constants();
        let groups = self.infer_tensors();
        for item in &kernel.items {
            if let KernelItemKind::Assume(e) = &item.kind {
                self.check_assume(e);
            }
        }
        self.ranks.spread_used();
        let extents = self.check_extents(kernel, fixed, &constants);
        (groups, extents)
    }

    fn input_dims(&mut self, input: &'a Input) {
        let found: Vec<_> = input.ranks.iter().map(|it| self.one_rank(it, &Scope::Kernel)).collect();
        let known = found.iter().zip(&input.ranks).filter_map(|(id, name)| Some(((*id)?, name.span)));
        let known: Vec<_> = known.collect();
        self.ranks.check_disjoint(&input.name.text, &known, self.report);
        let mine = |it: &&mut Tensor<'a>| it.input && it.name == input.name.text;
        let Some(tensor) = self.tensors.iter_mut().find(mine) else { return };
        let ids: Option<Vec<RankId>> = found.into_iter().collect();
        if let Some(ids) = ids {
            tensor.atoms = self.ranks.atoms(&ids);
            tensor.dims = Some(ids.into_iter().map(|rank| Dim { rank, lag: 0 }).collect());
        }
    }

    fn model(&self, item: usize, kernel: &Kernel, groups: &[Group]) -> KernelModel {
        let tensors = self.tensors.iter().map(|it| (it.name.to_owned(), self.tensor_model(it)));
        let groups = groups.iter().map(|it| GroupModel {
            rank: it.rank.map(|id| self.ranks.name(id).to_owned()),
            tensors: it.members.iter().map(|it| self.tensors[*it].name.to_owned()).collect(),
        });
        KernelModel {
            item,
            name: kernel.name.text.clone(),
            tensors: tensors.collect(),
            groups: groups.collect(),
        }
    }

    fn tensor_model(&self, tensor: &Tensor<'a>) -> TensorModel {
        let dims = tensor.dims.iter().flatten();
        let dims = dims.map(|it| DimModel { rank: self.ranks.name(it.rank).to_owned(), lag: it.lag });
        let item = |at: usize| self.equations[at].item;
        let kind = tensor.kind.unwrap_or(Kind::Real);
        let role = match tensor.step {
            Some(step) if !tensor.input => Role::Defined {
                step: item(step),
                bases: tensor.bases.iter().map(|it| item(*it)).collect(),
                output: tensor.output,
            },
            Some(_) | None => Role::Input,
        };
        let default = tensor.output.then_some(match kind {
            Kind::Real => DType::F32,
            Kind::Int => DType::I32,
            Kind::Bool => DType::Bool,
        });
        TensorModel { dims: dims.collect(), kind, dtype: tensor.dtype.or(default), role, span: tensor.span }
    }
}

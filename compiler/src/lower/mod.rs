//! A checked spec to cascades: names become ids, functions are inlined, every reduction, scan and
//! selection becomes an einsum of its own, and einsums are put into an order of evaluation.
//!
//! ```text
//! P[m, n] = softmax[n](S)        P.max[m] = max[n](S where S != -inf)
//!                           ->   P.sum[m] = sum[n](exp((S where S != -inf) - P.max))
//!                                P[m, n]  = exp((S where S != -inf) - P.max) / P.sum
//! ```
//!
//! The checker has accepted the spec, so lowering reports nothing; what it finds broken is our bug.

mod call;
mod equation;
mod expr;
mod extents;
mod order;
mod scope;

use std::collections::HashMap;

use attnc_dsl::ast::{self, Item, KernelItemKind};
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::SourceMap;
use attnc_dsl::functions::Functions;
use attnc_dsl::model::{Checked, KernelModel};

use crate::ir::arena::Arena;
use crate::ir::cascade::{Cascade, Einsum, ExprId, Op, ParamId, RankId, TensorId};
use crate::ir::expr::Exprs;
use crate::ir::order::Order;

/// All kernels of a spec as cascades, in the order written.
pub fn lower(checked: &Checked, fixed: &Fixed) -> Vec<Cascade> {
    checked.kernels.iter().map(|model| Lowering::new(checked, model, fixed).run()).collect()
}

/// One kernel on its way.
struct Lowering<'a> {
    functions: &'a Functions,
    kernel: &'a ast::Kernel,
    model: &'a KernelModel,
    fixed: &'a Fixed,
    sources: &'a SourceMap,
    /// Extents and parameters may be open: the cascade is only looked at.
    open: bool,
    cascade: Cascade,
    ranks: HashMap<String, RankId>,
    params: HashMap<String, ParamId>,
    tensors: HashMap<String, TensorId>,
    /// What the uses of a parameter that is fixed at compile time become.
    constants: HashMap<ParamId, ExprId>,
    /// Composite ranks whose extent may be less than the product of their parts'.
    partial: Vec<RankId>,
    /// Temporaries by what they hold.
    temporaries: HashMap<(Op, ExprId, bool), TensorId>,
    /// How many temporaries have a stem as their name.
    stems: HashMap<String, usize>,
    /// How many ranks belong to calls of functions.
    n_local: usize,
    /// All einsums so far, in no order.
    einsums: Vec<Einsum>,
    /// The equation at hand.
    target: Target,
    /// In which order temporaries have their ranks.
    rank_order: Order,
}

/// What temporaries are named after.
#[derive(Default)]
struct Target {
    name: String,
    exact: bool,
}

impl<'a> Lowering<'a> {
    fn new(checked: &'a Checked, model: &'a KernelModel, fixed: &'a Fixed) -> Lowering<'a> {
        let Item::Kernel(kernel) = &checked.program.spec.items[model.item] else {
            unreachable!("the model of a kernel points at a kernel")
        };
        Lowering {
            functions: &checked.program.functions,
            kernel,
            model,
            fixed,
            sources: &checked.program.sources,
            open: !checked.unfixed.is_empty(),
            cascade: Cascade {
                name: kernel.name.text.clone(),
                docs: docs(&checked.program.spec, kernel),
                ranks: Arena::default(),
                params: Arena::default(),
                tensors: Arena::default(),
                exprs: Exprs::default(),
                steps: Vec::new(),
                checks: Vec::new(),
                assumes: Vec::new(),
            },
            ranks: HashMap::new(),
            params: HashMap::new(),
            tensors: HashMap::new(),
            constants: HashMap::new(),
            partial: Vec::new(),
            temporaries: HashMap::new(),
            stems: HashMap::new(),
            n_local: 0,
            einsums: Vec::new(),
            target: Target::default(),
            rank_order: Order::default(),
        }
    }

    fn run(mut self) -> Cascade {
        self.declare_ranks();
        self.declare_params();
        self.bind_extents();
        self.declare_tensors();
        self.rank_order = Order::of(&self.cascade);
        self.equations();
        self.assumes();
        self.order();
        self.cascade
    }

    /// The items of the kernel.
    fn items(&self) -> impl Iterator<Item = &'a KernelItemKind> + use<'a> {
        self.kernel.items.iter().map(|it| &it.kind)
    }
}

/// A file with one kernel documents it; `##` documents one of several.
fn docs(spec: &ast::Spec, kernel: &ast::Kernel) -> Vec<String> {
    let kernels = spec.items.iter().filter(|it| matches!(it, Item::Kernel(_))).count();
    let of_file = if kernels == 1 { spec.docs.as_slice() } else { &[] };
    of_file.iter().chain(&kernel.docs).cloned().collect()
}

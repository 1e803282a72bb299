//! Ranks, parameters and where their values come from.

use attnc_dsl::ast::{self, CompareOp, DType, KernelItemKind, Kind, RankDecl, RankDef};

use super::Lowering;
use super::scope::{Scope, collect_names};
use crate::ir::cascade::{Check, ExprId, Extent, ExtentFault, Param, ParamValue, Rank, RankId};
use crate::ir::expr::{BinaryOp, Expr};

/// A rank whose extent is still looked for.
const UNKNOWN: Extent = Extent::Fixed(-1);

impl<'a> Lowering<'a> {
    /// Gives every declared rank an id; parts that are declared nowhere else are declared by appearing.
    pub(super) fn declare_ranks(&mut self) {
        let decls = self.rank_decls();
        for decl in &decls {
            self.new_rank(&decl.name.text);
        }
        for decl in &decls {
            if let RankDef::Composite(parts) = &decl.def {
                for part in parts.iter().filter(|it| it.extent.is_some()) {
                    self.new_rank(&part.name.text);
                }
            }
        }
        for decl in &decls {
            if let RankDef::Composite(parts) = &decl.def {
                for part in parts {
                    if !self.ranks.contains_key(&part.name.text) {
                        self.new_rank(&part.name.text);
                    }
                }
                let ids = parts.iter().map(|it| self.ranks[&it.name.text]).collect();
                let rank = self.ranks[&decl.name.text];
                self.cascade.ranks[rank].parts = ids;
            }
        }
        for rank in self.cascade.ranks.ids() {
            let atoms = self.cascade.atoms(rank);
            self.cascade.exprs.add_rank(rank, atoms);
        }
    }

    fn rank_decls(&self) -> Vec<&'a RankDecl> {
        self.items()
            .filter_map(|it| if let KernelItemKind::Ranks(decls) = it { Some(decls) } else { None })
            .flatten()
            .collect()
    }

    fn new_rank(&mut self, name: &str) {
        let rank = Rank { name: name.to_owned(), parts: Vec::new(), extent: UNKNOWN, local: false };
        let id = self.cascade.ranks.push(rank);
        self.ranks.insert(name.to_owned(), id);
    }

    /// A rank that belongs to one call of a function.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn local_rank(&mut self, name: &str, extent: ExprId) -> RankId {
        self.n_local += 1;
        let extent = match self.cascade.exprs.get(extent) {
            Expr::Int(value) => Extent::Fixed(*value),
            _ => Extent::Derived(extent),
        };
        let rank = Rank { name: format!("{name}.{}", self.n_local), parts: Vec::new(), extent, local: true };
        let id = self.cascade.ranks.push(rank);
        self.cascade.exprs.add_rank(id, vec![id]);
        id
    }

    /// Gives every parameter an id. One that a rank declaration uses, and one given by `--param`, is fixed.
    pub(super) fn declare_params(&mut self) {
        let mut params = Vec::new();
        for item in self.items() {
            if let KernelItemKind::Param(param) = item {
                params.push(param);
            }
        }
        for param in &params {
            let (name, value) = (param.name.text.clone(), ParamValue::Launch(None));
            let id = self.cascade.params.push(Param { name: name.clone(), dtype: dtype_of(param), value });
            self.params.insert(name, id);
        }
        let fixed = self.fixed_params(&params);
        let mut pending: Vec<_> = params.clone();
        // A default may use other parameters, in any order; those that are fixed must be lowered first.
        while !pending.is_empty() {
            let ready = pending
                .iter()
                .position(|it| {
                    it.default.as_ref().is_none_or(|e| !self.waits(e, &pending, &fixed, &it.name.text))
                })
                .expect("defaults of parameters are not cyclic");
            let param = pending.remove(ready);
            let id = self.params[&param.name.text];
            self.cascade.params[id].value = self.param_value(param, fixed.contains(&param.name.text));
            if let ParamValue::Fixed(value) = self.cascade.params[id].value {
                self.constants.insert(id, value);
            }
        }
    }

    fn waits(
        &self,
        default: &attnc_dsl::ast::Expr,
        pending: &[&ast::Param],
        fixed: &[String],
        own: &str,
    ) -> bool {
        let mut names = Vec::new();
        collect_names(default, &mut names);
        !self.fixed.params.contains_key(own)
            && names.iter().any(|it| fixed.contains(it) && pending.iter().any(|p| p.name.text == *it))
    }

    /// Parameters that rank declarations use, directly or through defaults, and those given by `--param`.
    fn fixed_params(&self, params: &[&ast::Param]) -> Vec<String> {
        let mut todo: Vec<String> = self.fixed.params.keys().cloned().collect();
        for decl in self.rank_decls() {
            match &decl.def {
                RankDef::Fixed(extent) => collect_names(extent, &mut todo),
                RankDef::Composite(parts) => {
                    parts
                        .iter()
                        .filter_map(|it| it.extent.as_ref())
                        .for_each(|it| collect_names(it, &mut todo));
                }
                RankDef::Symbolic | RankDef::Bounded(..) | RankDef::Alias(_) => {}
            }
        }
        let mut fixed: Vec<String> = Vec::new();
        while let Some(name) = todo.pop() {
            if let Some(param) = params.iter().find(|it| it.name.text == name)
                && !fixed.contains(&name)
            {
                if let Some(default) = &param.default
                    && !self.fixed.params.contains_key(&name)
                {
                    collect_names(default, &mut todo);
                }
                fixed.push(name);
            }
        }
        fixed
    }

    fn param_value(&mut self, param: &ast::Param, fixed: bool) -> ParamValue {
        let dtype = dtype_of(param);
        let given = self.fixed.params.get(&param.name.text).map(|text| self.literal(text, dtype));
        let default = param.default.as_ref().map(|it| {
            let scope = self.top_scope();
            self.expr(it, &scope, &[])
        });
        let value = given.or(default).map(|it| self.cascade.exprs.cast(dtype, it));
        match value {
            Some(value) if fixed => ParamValue::Fixed(value),
            _ => ParamValue::Launch(value),
        }
    }

    fn literal(&mut self, text: &str, dtype: DType) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        match dtype.kind() {
            Kind::Bool => exprs.add(Expr::Bool(text == "true" || text == "1")),
            Kind::Int => exprs.int(text.parse().expect("the checker has read it")),
            Kind::Real => exprs.real(text.parse().expect("the checker has read it")),
        }
    }

    /// Finds out where the extent of each rank comes from, and what must hold between them.
    pub(super) fn bind_extents(&mut self) {
        for (name, &extent) in &self.fixed.sets {
            if let Some(&rank) = self.ranks.get(name) {
                self.cascade.ranks[rank].extent = Extent::Fixed(extent);
            }
        }
        let relations = self.relations();
        for relation in &relations {
            // What a declaration fixes is no argument of the kernel, also where an input has the rank.
            if let Relation::Is(rank, extent) = *relation
                && let (&Expr::Int(extent), false) = (self.cascade.exprs.get(extent), self.known(rank))
            {
                self.cascade.ranks[rank].extent = Extent::Fixed(extent);
            }
        }
        let carried: Vec<String> = self
            .items()
            .filter_map(|it| if let KernelItemKind::Input(input) = it { Some(&input.ranks) } else { None })
            .flatten()
            .map(|it| it.text.clone())
            .collect();
        for name in carried {
            let rank = self.ranks[&name];
            if self.cascade.ranks[rank].extent == UNKNOWN {
                self.cascade.ranks[rank].extent = Extent::Carried;
            }
        }
        let mut open: Vec<bool> = vec![true; relations.len()];
        while let Some(idx) = (0..relations.len()).find(|&idx| open[idx] && self.solve(&relations[idx])) {
            open[idx] = false;
        }
        for (relation, open) in relations.iter().zip(open) {
            if open {
                self.require(relation);
            }
        }
        // Where all extents are known, none of the points of its parts is beyond a rank that has as many.
        let cascade = &self.cascade;
        self.partial.retain(|it| cascade.is_ragged(*it));
        for rank in self.cascade.ranks.ids() {
            if !self.known(rank) {
                // Either nothing uses it, or the cascade is only looked at.
                self.cascade.ranks[rank].extent = if self.open { Extent::Carried } else { Extent::Fixed(0) };
            }
            let extent = self.extent(rank);
            let zero = self.cascade.exprs.int(0);
            self.check(rank, CompareOp::Le, zero, extent, ExtentFault::Range);
        }
    }

    /// What declarations say about extents, in the order declared.
    fn relations(&mut self) -> Vec<Relation> {
        let mut relations = Vec::new();
        let scope = self.top_scope();
        for decl in self.rank_decls() {
            let rank = self.ranks[&decl.name.text];
            match &decl.def {
                RankDef::Symbolic => {}
                RankDef::Fixed(extent) => relations.push(Relation::Is(rank, self.expr(extent, &scope, &[]))),
                RankDef::Bounded(bound, _) => relations.push(Relation::AtMost(rank, *bound)),
                RankDef::Alias(of) => relations.push(Relation::Alias(rank, self.ranks[&of.text])),
                RankDef::Composite(parts) => {
                    for part in parts {
                        if let Some(extent) = &part.extent {
                            let extent = self.expr(extent, &scope, &[]);
                            relations.push(Relation::Is(self.ranks[&part.name.text], extent));
                        }
                    }
                    relations.push(Relation::Parts(rank));
                }
            }
        }
        relations
    }

    fn known(&self, rank: RankId) -> bool {
        self.cascade.ranks[rank].extent != UNKNOWN
    }

    /// The extents that an expression mentions are known.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn computable(&self, expr: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        exprs.postorder(expr).into_iter().all(|it| match exprs.get(it) {
            Expr::Extent(rank) => self.known(*rank),
            _ => true,
        })
    }

    /// Derives the one extent that a relation leaves open, if it leaves just one.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn solve(&mut self, relation: &Relation) -> bool {
        let (rank, extent) = match *relation {
            Relation::Is(rank, extent) if !self.known(rank) && self.computable(extent) => (rank, extent),
            Relation::Alias(rank, of) if self.known(rank) != self.known(of) => {
                let (open, from) = if self.known(of) { (rank, of) } else { (of, rank) };
                (open, self.extent(from))
            }
            Relation::Parts(rank) => {
                let parts = self.cascade.ranks[rank].parts.clone();
                let open: Vec<RankId> = parts.iter().copied().filter(|&it| !self.known(it)).collect();
                match (self.known(rank), open.as_slice()) {
                    (false, []) => (rank, self.product(&parts)),
                    (true, &[part]) => {
                        self.partial.extend((part == parts[0]).then_some(rank));
                        (part, self.last_part(rank, &parts, part))
                    }
                    _ => return false,
                }
            }
            Relation::Is(..) | Relation::Alias(..) | Relation::AtMost(..) => return false,
        };
        // An extent that does not depend on the call is as good as one given by `--set`.
        self.cascade.ranks[rank].extent = match self.cascade.exprs.get(extent) {
            Expr::Int(value) => Extent::Fixed(*value),
            _ => Extent::Derived(extent),
        };
        true
    }

    /// The extent of one part from that of the whole: the major part is rounded up, another divides.
    fn last_part(&mut self, rank: RankId, parts: &[RankId], part: RankId) -> ExprId {
        let others: Vec<RankId> = parts.iter().copied().filter(|&it| it != part).collect();
        let (whole, others) = (self.extent(rank), self.product(&others));
        if part != parts[0] {
            let exprs = &mut self.cascade.exprs;
            let (rest, zero) = (exprs.binary(BinaryOp::Mod, whole, others), exprs.int(0));
            let rest = exprs.add(Expr::Else(rest, zero));
            self.check(rank, CompareOp::Eq, rest, zero, ExtentFault::Disagree);
        }
        self.rounded_up(whole, others)
    }

    /// `whole / divisor` rounded up; 0 for a divisor of 0.
    fn rounded_up(&mut self, whole: ExprId, divisor: ExprId) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let (zero, one) = (exprs.int(0), exprs.int(1));
        let most = exprs.binary(BinaryOp::Sub, divisor, one);
        let sum = exprs.binary(BinaryOp::Add, whole, most);
        let quotient = exprs.binary(BinaryOp::FloorDiv, sum, divisor);
        if let Expr::Int(_) = exprs.get(quotient) { quotient } else { exprs.add(Expr::Else(quotient, zero)) }
    }

    /// Makes a condition of a relation between extents that are all known.
    fn require(&mut self, relation: &Relation) {
        match *relation {
            Relation::Is(rank, expected) => {
                let extent = self.extent(rank);
                self.check(rank, CompareOp::Eq, extent, expected, ExtentFault::Disagree);
            }
            Relation::Alias(rank, of) => {
                let (extent, expected) = (self.extent(rank), self.extent(of));
                self.check(rank, CompareOp::Eq, extent, expected, ExtentFault::Disagree);
            }
            Relation::AtMost(rank, bound) => {
                let (extent, bound) = (self.extent(rank), self.cascade.exprs.int(bound));
                self.check(rank, CompareOp::Le, extent, bound, ExtentFault::Range);
            }
            Relation::Parts(rank) => {
                let parts = self.cascade.ranks[rank].parts.clone();
                let (whole, major) = (self.extent(rank), self.extent(parts[0]));
                let minor = self.product(&parts[1..]);
                let expected = self.rounded_up(whole, minor);
                self.partial.push(rank);
                self.check(rank, CompareOp::Eq, major, expected, ExtentFault::Disagree);
            }
        }
    }

    fn check(&mut self, rank: RankId, op: CompareOp, a: ExprId, b: ExprId, fault: ExtentFault) {
        let exprs = &mut self.cascade.exprs;
        if let (Expr::Int(a), Expr::Int(b)) = (exprs.get(a), exprs.get(b))
            && op.holds(a.cmp(b))
        {
            return;
        }
        let condition = exprs.compare(op, a, b);
        self.cascade.checks.push(Check { rank, condition, fault });
    }

    fn product(&mut self, ranks: &[RankId]) -> ExprId {
        let extents: Vec<ExprId> = ranks.iter().map(|&it| self.extent(it)).collect();
        let exprs = &mut self.cascade.exprs;
        let one = exprs.int(1);
        extents.into_iter().fold(one, |a, b| exprs.binary(BinaryOp::Mul, a, b))
    }

    /// The extent of a rank, as a constant where it is one.
    pub(super) fn extent(&mut self, rank: RankId) -> ExprId {
        self.cascade.extent_of(rank)
    }

    /// What names mean outside functions.
    pub(super) fn top_scope(&self) -> Scope {
        Scope { ranks: self.ranks.iter().map(|(name, &id)| (name.clone(), vec![id])).collect(), locals: None }
    }
}

/// What a declaration says about extents.
#[derive(Debug, Clone, Copy)]
enum Relation {
    Is(RankId, ExprId),
    AtMost(RankId, i64),
    Alias(RankId, RankId),
    Parts(RankId),
}

fn dtype_of(param: &ast::Param) -> DType {
    DType::from_name(&param.dtype.text).expect("the checker refuses what is no dtype")
}

//! What a call must meet, and the defaults of parameters.

use attnc_dsl::ast::{CompareOp, Kind};
use attnc_runtime::abi::Code;

use super::{Bytes, Tiling};
use crate::ir::cascade::{ExprId, ExtentFault, ParamId, ParamValue};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::nest::{BufferId, Checks, Default, Op, Place, Scalar, Status, ValueId, bytes_of};

/// The most bytes that a tensor or the workspace may have.
const MOST_BYTES: f64 = (1u64 << 62) as f64;

impl Tiling<'_> {
    /// Extents fit each other.
    pub(super) fn extent_checks(&mut self) {
        self.builder.open_body();
        let mut faults = Vec::new();
        for check in &self.cascade.checks {
            let known = self.value(check.condition);
            let holds = known.present.map_or(known.value, |there| self.builder.and(there, known.value));
            let code = match check.fault {
                ExtentFault::Range => Code::BadExtent,
                ExtentFault::Disagree => Code::ExtentsDisagree,
            };
            faults.push((holds, status(code, check.rank.idx())));
        }
        let block = self.builder.close_body();
        self.builder.nest.extent_checks = Checks { block, faults };
    }

    /// What parameters are when the caller leaves them out, each after those that it depends on.
    pub(super) fn defaults(&mut self) {
        self.in_defaults = true;
        let mut open: Vec<(ParamId, ExprId)> = Vec::new();
        for (param, it) in self.cascade.params.iter() {
            if let ParamValue::Launch(Some(default)) = it.value {
                open.push((param, default));
            }
        }
        while !open.is_empty() {
            let ready = open.iter().position(|(_, default)| {
                let exprs = &self.cascade.exprs;
                exprs.postorder(*default).into_iter().all(
                    |it| !matches!(exprs.get(it), Expr::Param(on, _) if open.iter().any(|(it, _)| it == on)),
                )
            });
            let (param, default) = open.remove(ready.expect("defaults of parameters are not cyclic"));
            self.builder.open_body();
            let known = self.value(default);
            let real = self.cascade.params[param].dtype.kind() == Kind::Real;
            let value = self.builder.convert(known.value, if real { Scalar::F64 } else { Scalar::I64 });
            let block = self.builder.close_body();
            let word = self.param_words[&param];
            self.builder.nest.defaults.push(Default { param: param.idx(), word, block, value });
        }
        self.in_defaults = false;
    }

    /// The bytes of workspace, −1 where they are too many.
    pub(super) fn workspace_size(&mut self) {
        let (shared, scratch) = (self.workspace, self.most_scratch);
        let b = &mut self.builder;
        (b.nest.shared, b.nest.scratch) = (shared.exact, scratch.exact);
        let threads = b.threads();
        let wide = b.convert(threads, Scalar::F64);
        let all = b.binary(BinaryOp::Mul, threads, scratch.exact);
        let all_wide = b.binary(BinaryOp::Mul, wide, scratch.wide);
        let total = self.grown(shared, Bytes { exact: all, wide: all_wide });
        let (most, none) = (self.builder.real(MOST_BYTES, Scalar::F64), self.builder.int(-1));
        let fits = self.builder.compare(CompareOp::Lt, total.wide, most);
        self.builder.nest.workspace = self.builder.select(fits, total.exact, none);
    }

    /// Pointers, alignment, sizes, overlaps and the workspace.
    pub(super) fn call_checks(&mut self) {
        self.builder.open_body();
        let mut faults = Vec::new();
        let nest = &self.builder.nest;
        let tensors: Vec<BufferId> = nest
            .buffers
            .iter()
            .filter(|(_, it)| matches!(it.place, Place::Input(_) | Place::Output(_)))
            .map(|(id, _)| id)
            .collect();
        let reaches: Vec<Reach> =
            tensors.iter().enumerate().map(|(idx, &it)| self.reach(idx, it, &mut faults)).collect();
        for (idx, reach) in reaches.iter().enumerate() {
            if matches!(self.builder.nest.buffers[reach.buffer].place, Place::Output(_)) {
                self.no_broadcast(idx, reach, &mut faults);
                for other in &reaches[..idx] {
                    self.apart(idx, reach, other, &mut faults);
                }
            }
        }
        self.workspace_checks(tensors.len(), &mut faults);
        let block = self.builder.close_body();
        self.builder.nest.call_checks = Checks { block, faults };
    }

    /// The bytes that a tensor reaches over, and checks of its own.
    fn reach(&mut self, idx: usize, buffer: BufferId, faults: &mut Vec<(ValueId, Status)>) -> Reach {
        let it = self.builder.nest.buffers[buffer].clone();
        let b = &mut self.builder;
        let address = b.given(Op::Address(buffer));
        let size = i64::from(bytes_of(it.dtype));
        let (zero, one, bytes) = (b.int(0), b.int(1), b.int(size));
        let (mut empty, mut elements) = (b.bool(false), b.real(size as f64, Scalar::F64));
        let (mut low, mut high) = (zero, zero);
        for (&extent, &stride) in it.extents.iter().zip(&it.strides) {
            let none = b.compare(CompareOp::Eq, extent, zero);
            empty = b.or(empty, none);
            let wide = b.convert(extent, Scalar::F64);
            elements = b.binary(BinaryOp::Mul, elements, wide);
            let last = b.binary(BinaryOp::Sub, extent, one);
            let span = b.binary(BinaryOp::Mul, last, stride);
            let (down, up) = (b.binary(BinaryOp::Min, span, zero), b.binary(BinaryOp::Max, span, zero));
            low = b.binary(BinaryOp::Add, low, down);
            high = b.binary(BinaryOp::Add, high, up);
        }
        let most = b.real(MOST_BYTES, Scalar::F64);
        let fits = b.compare(CompareOp::Lt, elements, most);
        faults.push((fits, status(Code::TooLarge, idx)));
        let there = b.compare(CompareOp::Ne, address, zero);
        let there = b.or(there, empty);
        faults.push((there, status(Code::NullPointer, idx)));
        let (mask, low_bytes) = (b.int(size - 1), b.binary(BinaryOp::Mul, low, bytes));
        let off = b.binary(BinaryOp::BitAnd, address, mask);
        let aligned = b.compare(CompareOp::Eq, off, zero);
        let aligned = b.or(aligned, empty);
        faults.push((aligned, status(Code::Misaligned, idx)));
        let first = b.binary(BinaryOp::Add, address, low_bytes);
        let past = b.binary(BinaryOp::Add, high, one);
        let past = b.binary(BinaryOp::Mul, past, bytes);
        let past = b.binary(BinaryOp::Add, address, past);
        Reach { buffer, first, past, empty }
    }

    /// No two points of an output are one element.
    fn no_broadcast(&mut self, idx: usize, reach: &Reach, faults: &mut Vec<(ValueId, Status)>) {
        let it = self.builder.nest.buffers[reach.buffer].clone();
        let b = &mut self.builder;
        let (zero, one) = (b.int(0), b.int(1));
        let mut distinct = b.bool(true);
        for (&extent, &stride) in it.extents.iter().zip(&it.strides) {
            let moves = b.compare(CompareOp::Ne, stride, zero);
            let single = b.compare(CompareOp::Le, extent, one);
            let fine = b.or(moves, single);
            distinct = b.and(distinct, fine);
        }
        let fine = b.or(distinct, reach.empty);
        faults.push((fine, status(Code::Overlap, idx)));
    }

    /// An output lies apart from another tensor.
    fn apart(&mut self, idx: usize, a: &Reach, other: &Reach, faults: &mut Vec<(ValueId, Status)>) {
        let b = &mut self.builder;
        let before = b.compare(CompareOp::Le, a.past, other.first);
        let behind = b.compare(CompareOp::Le, other.past, a.first);
        let apart = b.or(before, behind);
        let apart = b.or(apart, a.empty);
        let apart = b.or(apart, other.empty);
        faults.push((apart, status(Code::Overlap, idx)));
    }

    fn workspace_checks(&mut self, n_tensors: usize, faults: &mut Vec<(ValueId, Status)>) {
        let needed = self.builder.nest.workspace;
        let b = &mut self.builder;
        let (address, bytes) = (b.given(Op::WorkspaceAddress), b.given(Op::WorkspaceBytes));
        let zero = b.int(0);
        let mask = b.int(attnc_runtime::abi::WORKSPACE_ALIGN as i64 - 1);
        let fits = b.compare(CompareOp::Ge, needed, zero);
        faults.push((fits, status(Code::TooLarge, n_tensors)));
        let unused = b.compare(CompareOp::Eq, needed, zero);
        let there = b.compare(CompareOp::Ne, address, zero);
        let there = b.or(there, unused);
        faults.push((there, status(Code::NullPointer, n_tensors)));
        let enough = b.compare(CompareOp::Le, needed, bytes);
        let off = b.binary(BinaryOp::BitAnd, address, mask);
        let aligned = b.compare(CompareOp::Eq, off, zero);
        let fine = b.and(enough, aligned);
        let fine = b.or(fine, unused);
        faults.push((fine, status(Code::BadWorkspace, n_tensors)));
    }
}

/// The bytes from a tensor's first element in memory to past its last.
struct Reach {
    buffer: BufferId,
    first: ValueId,
    past: ValueId,
    empty: ValueId,
}

fn status(code: Code, idx: usize) -> Status {
    Status { code, index: u32::try_from(idx).expect("a kernel has fewer than 2^32 arguments") }
}

//! What each instruction does: one arm for each form, by groups in the files of this folder.

mod access;
mod atomic;
mod bank;
mod bulk;
mod lane;
mod matrix;
mod plain;
mod sync;
mod wgmma;

use attnc_ptx::Op;
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;

use super::block::Block;
use super::fault::{Done, Problem};
use super::number::{convert, float, int, low};
use super::program::{Arg, Code, Place};
use super::race::{Access, Agent};
use super::warp::{LANES, Strand, Wait, Warp, Wide};

/// An instruction that is run.
pub(super) struct Cx<'c, 'b> {
    pub(super) block: &'c mut Block<'b>,
    pub(super) warp: &'c mut Warp,
    pub(super) code: &'c Code,
    /// Where the lanes stand.
    pub(super) strand: Strand,
    /// Those of them whose guard holds.
    pub(super) lanes: u32,
}

/// What follows an instruction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// The next one.
    Step,
    /// The lanes go elsewhere.
    Jump(u32),
    /// The lanes end.
    End,
    /// The next one, after a wait.
    Wait(Wait),
    /// The same again, after a wait.
    Retry(Wait),
}

impl Cx<'_, '_> {
    /// Runs the instruction.
    #[allow(clippy::too_many_lines, reason = "one arm for each form")]
    pub(super) fn execute(&mut self) -> Done<Next> {
        match self.code.op {
            Op::IntBinary { op, ty } => self.map2(|a, b| int::binary(op, ty, a, b))?,
            Op::IntSign { op, ty } => self.map1(|a| int::sign(op, ty, a))?,
            Op::MulWide { ty } => self.map2(|a, b| int::wide(ty, a, b))?,
            Op::Mad { half, ty } => self.map3(|a, b, c| int::mad(half, ty, a, b, c))?,
            Op::MadWide { ty } => self.map3(|a, b, c| int::wide(ty, a, b).wrapping_add(c))?,
            Op::Logic { op, .. } => self.map2(|a, b| int::logic(op, a, b))?,
            Op::Not { .. } => self.map1(|a| !a)?,
            Op::Shl { ty } => self.map2(|a, b| int::shl(ty, a, b))?,
            Op::Shr { ty } => self.map2(|a, b| int::shr(ty, a, b))?,
            Op::Count { op, ty } => self.map1(|a| int::count(op, ty, a))?,
            Op::Brev { ty } => self.map1(|a| int::brev(ty, a))?,
            Op::Bfind { mode, ty } => self.map1(|a| int::bfind(mode, ty, a))?,
            Op::Bfe { ty } => self.map3(|a, from, length| int::bfe(ty, a, from, length))?,
            Op::Bfi { ty } => self.map4(|a, into, from, length| int::bfi(ty, a, into, from, length))?,
            Op::Lop3 => self.map4(int::lop3)?,
            Op::Prmt => self.map3(int::prmt)?,
            Op::FunnelShift { direction, excess } => {
                self.map3(|a, b, by| int::funnel(direction, excess, a, b, by))?;
            }
            Op::FloatBinary { op, round, flush, ty } => {
                self.map2(|a, b| float::binary(op, round, flush, ty, a, b))?;
            }
            Op::Extreme { op, flush, nan, ty } => {
                self.map2(|a, b| float::extreme(op, flush, nan, ty, a, b))?
            }
            Op::FloatSign { op, flush, ty } => self.map1(|a| float::sign(op, flush, ty, a))?,
            Op::Fma { round, flush, ty } => self.map3(|a, b, c| float::fma(round, flush, ty, a, b, c))?,
            Op::Div { how, flush, ty } => self.map2(|a, b| float::div(how, flush, ty, a, b))?,
            Op::Function { f, flush, ty } => self.map1(|a| float::function(f, flush, ty, a))?,
            Op::Copysign { ty } => self.map2(|a, b| float::copysign(ty, a, b))?,
            Op::IntSetp { cmp, combine, ty } => {
                self.setp(combine, |a, b| int::compare(cmp, ty, a, b))?;
            }
            Op::FloatSetp { cmp, combine, flush, ty } => {
                self.setp(combine, |a, b| float::compare(cmp, flush, ty, a, b))?;
            }
            Op::Selp { .. } => self.map3(|a, b, p| if p & 1 == 1 { a } else { b })?,
            Op::Mov { .. } | Op::MovPred => self.map1(|a| a)?,
            Op::Pack { ty } => self.pack(Type::from(ty).bits() / 2)?,
            Op::Unpack { ty } => self.unpack(Type::from(ty).bits() / 2)?,
            Op::Cvt { round, saturate, to, from } => {
                self.map1(|a| convert::cvt(round, saturate, to, from, a))?;
            }
            Op::CvtPair { relu, to } => self.map2(|high, low| convert::pair(relu, to, high, low))?,
            Op::CvtPair8 { relu, to } => {
                let to = match to {
                    Pair8::E4M3x2 => Pair::E4M3x2,
                    Pair8::E5M2x2 => Pair::E5M2x2,
                };
                self.map2(|high, low| convert::pair(relu, to, high, low))?;
            }
            Op::CvtUnpair8 { relu, from } => self.map1(|a| convert::unpair(relu, from, a))?,
            Op::CvtTf32 => self.map1(convert::tf32)?,
            Op::Cvta { toward, space } => self.map1(|a| access::cvta(toward, space, a))?,
            Op::Ld { order, space, lanes, ty, .. } => self.load(order, space, lanes, ty)?,
            Op::St { order, space, lanes, ty, .. } => self.store(order, space, lanes, ty)?,
            Op::Atom { order, space, op, ty } => self.atom(order, space, op, ty)?,
            Op::AtomCas { order, space, ty } => self.cas(order, space, ty)?,
            Op::Red { order, space, op, ty } => self.red(order, space, op, ty)?,
            Op::RedVector { lanes } => self.red_vector(lanes)?,
            Op::PrefetchLine { .. } | Op::Nanosleep => {}
            Op::Membar { .. } | Op::Fence { .. } => self.fence(),
            Op::Bra { .. } => {
                if let Arg::Target(target) = self.code.args[0] {
                    return Ok(Next::Jump(target));
                }
            }
            Op::Ret | Op::Exit => return Ok(Next::End),
            Op::Trap => return Err(Problem::Trap.into()),
            Op::BarSyncAll => return self.bar(None, true),
            Op::BarSync => {
                let threads = self.uniform(1)?;
                return self.bar(Some(threads), true);
            }
            Op::BarArrive => {
                let threads = self.uniform(1)?;
                return self.bar(Some(threads), false);
            }
            Op::BarWarp => return self.converged(0, |_, _| Ok(())),
            Op::Shfl { mode } => return self.converged(4, |cx, _| cx.shuffle(mode, None)),
            Op::ShflIn { mode } => return self.converged(5, |cx, _| cx.shuffle(mode, Some(1))),
            Op::Vote { mode } => return self.converged(2, |cx, mask| cx.vote(mode, mask)),
            Op::Ballot => return self.converged(2, Cx::ballot),
            Op::ActiveMask => self.set(0, u64::from(self.lanes))?,
            Op::MatchAny { .. } => return self.converged(2, Cx::match_any),
            Op::MatchAll { .. } => return self.converged(3, Cx::match_all),
            Op::Redux { op, ty } => return self.converged(2, |cx, mask| cx.redux(op, ty, mask)),
            Op::Elect => return self.converged(2, Cx::elect),
            Op::Ldmatrix { matrices, transpose } => self.ldmatrix(matrices, transpose)?,
            Op::Stmatrix { matrices, transpose } => self.stmatrix(matrices, transpose)?,
            Op::Movmatrix => self.movmatrix()?,
            Op::Mma { form } => self.mma(form)?,
            Op::CpAsync { .. } => self.cp_async(None)?,
            Op::CpAsyncFill { .. } => self.cp_async(Some(3))?,
            Op::CpAsyncCommit => self.warp.copies.commit(self.lanes),
            Op::CpAsyncWait => {
                let left = self.constant(0);
                self.cp_wait(left as usize);
            }
            Op::CpAsyncWaitAll => {
                self.warp.copies.commit(self.lanes);
                self.cp_wait(0);
            }
            Op::MbarrierInit => self.mbarrier_init()?,
            Op::MbarrierInval => self.mbarrier_inval()?,
            Op::MbarrierArrive => self.mbarrier_arrive(false, false)?,
            Op::MbarrierArriveMany => self.mbarrier_arrive(true, false)?,
            Op::MbarrierArriveExpect => self.mbarrier_arrive(false, true)?,
            Op::MbarrierWait { how } => return self.mbarrier_wait(how),
            Op::FenceMbarrierInit => self.fence_mbarrier_init(),
            Op::FenceProxy { .. } => self.fence_proxy(),
            Op::TensorLoad { .. } => self.tensor_load()?,
            Op::TensorStore { .. } => self.tensor_store()?,
            Op::BulkLoad => self.bulk_load()?,
            Op::BulkStore => self.bulk_store(false)?,
            Op::BulkAdd => self.bulk_store(true)?,
            Op::CpAsyncArrive => self.cp_async_arrive()?,
            Op::BulkCommit => self.bulk_commit(),
            Op::BulkWait { .. } => self.bulk_wait(),
            Op::WgmmaFence => self.wgmma_fence()?,
            Op::WgmmaShared { form } => self.wgmma(form, false)?,
            Op::WgmmaMixed { form } => self.wgmma(form, true)?,
            Op::WgmmaCommit => self.wgmma_commit()?,
            Op::WgmmaWait => return self.wgmma_wait(),
            Op::SetMaxRegisters { .. } => self.aligned()?,
            Op::PrefetchMap | Op::GridDependency { .. } => {}
        }
        Ok(Next::Step)
    }

    /// An operand in the lanes that run.
    fn read(&self, at: usize) -> Done<Wide> {
        self.read_arg(&self.code.args[at])
    }

    fn read_arg(&self, arg: &Arg) -> Done<Wide> {
        match arg {
            Arg::Reg(reg) => self.warp.read(*reg, self.lanes, self.block.decoded).copied(),
            Arg::Const(value) => Ok([*value; LANES]),
            Arg::Special(special) => Ok(self.special(*special)),
            Arg::Place(place) => self.place(*place),
            Arg::Many(_) | Arg::Tensor(..) | Arg::Target(_) | Arg::Sink => Ok([0; LANES]),
        }
    }

    /// The registers or numbers of an operand: several in braces, or one.
    fn many(&self, at: usize) -> &[Arg] {
        self.code.args[at].each()
    }

    /// Where an address points.
    fn place(&self, place: Place) -> Done<Wide> {
        let mut at = match place.base {
            Some(reg) => *self.warp.read(reg, self.lanes, self.block.decoded)?,
            None => [0; LANES],
        };
        at.iter_mut().for_each(|at| *at = at.wrapping_add_signed(place.offset));
        Ok(at)
    }

    /// Writes a result in the lanes that run.
    fn write(&mut self, at: usize, value: &Wide) -> Done {
        let code = self.code;
        self.write_arg(&code.args[at], value)
    }

    fn write_arg(&mut self, arg: &Arg, value: &Wide) -> Done {
        match arg {
            Arg::Reg(reg) => self.warp.write(*reg, self.lanes, value, self.block.decoded),
            Arg::Const(_) | Arg::Special(_) | Arg::Place(_) | Arg::Many(_) | Arg::Tensor(..) => Ok(()),
            Arg::Target(_) | Arg::Sink => Ok(()),
        }
    }

    /// The same in all lanes.
    fn set(&mut self, at: usize, value: u64) -> Done {
        self.write(at, &[value; LANES])
    }

    /// A number that is an operand.
    fn constant(&self, at: usize) -> u64 {
        if let Arg::Const(value) = self.code.args[at] { value } else { 0 }
    }

    /// An operand that has to be the same in all lanes.
    fn uniform(&self, at: usize) -> Done<u64> {
        let value = self.read(at)?;
        let first = value[self.lanes.trailing_zeros() as usize];
        match super::warp::lanes_of(self.lanes).find(|lane| value[*lane] != first) {
            None => Ok(first),
            Some(lane) => {
                let why = format!("has {} where the first lane has {first}", value[lane]);
                Err(Problem::Lane { lane: lane as u32, why }.at(lane))
            }
        }
    }

    /// How the lanes touch memory.
    fn access(&self, strong: bool) -> Access {
        let (warp, pc) = (self.warp.id, self.strand.pc);
        let period = self.block.shared.races.clocks[warp][warp];
        Access { warp, agent: Agent::warp(warp), period, pc, strong, proxy: false }
    }

    fn map1(&mut self, f: impl Fn(u64) -> u64) -> Done {
        let a = self.read(1)?;
        self.write(0, &std::array::from_fn(|lane| f(a[lane])))
    }

    fn map2(&mut self, f: impl Fn(u64, u64) -> u64) -> Done {
        let (a, b) = (self.read(1)?, self.read(2)?);
        self.write(0, &std::array::from_fn(|lane| f(a[lane], b[lane])))
    }

    fn map3(&mut self, f: impl Fn(u64, u64, u64) -> u64) -> Done {
        let (a, b, c) = (self.read(1)?, self.read(2)?, self.read(3)?);
        self.write(0, &std::array::from_fn(|lane| f(a[lane], b[lane], c[lane])))
    }

    fn map4(&mut self, f: impl Fn(u64, u64, u64, u64) -> u64) -> Done {
        let (a, b, c, d) = (self.read(1)?, self.read(2)?, self.read(3)?, self.read(4)?);
        self.write(0, &std::array::from_fn(|lane| f(a[lane], b[lane], c[lane], d[lane])))
    }

    fn setp(&mut self, combine: Combine, f: impl Fn(u64, u64) -> bool) -> Done {
        let g = |a, b| u64::from(f(a, b));
        match combine {
            Combine::None => self.map2(g),
            Combine::And => self.map3(|a, b, p| g(a, b) & p),
            Combine::Or => self.map3(|a, b, p| g(a, b) | p),
            Combine::Xor => self.map3(|a, b, p| g(a, b) ^ p),
        }
    }

    fn pack(&mut self, half: u32) -> Done {
        let [first, second] = self.many(1) else { return Ok(()) };
        let (first, second) = (self.read_arg(first)?, self.read_arg(second)?);
        self.write(0, &std::array::from_fn(|lane| low(first[lane], half) | second[lane] << half))
    }

    fn unpack(&mut self, half: u32) -> Done {
        let (value, code) = (self.read(1)?, self.code);
        let Arg::Many(into) = &code.args[0] else { return Ok(()) };
        for (position, arg) in into.iter().enumerate() {
            let shift = half * position as u32;
            self.write_arg(arg, &std::array::from_fn(|lane| low(value[lane] >> shift, half)))?;
        }
        Ok(())
    }
}

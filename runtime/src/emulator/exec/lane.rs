//! What lanes of a warp tell each other.

use attnc_ptx::modifier::special::Special;
use attnc_ptx::modifier::*;
use attnc_ptx::types::Int;

use super::{Arg, Cx, Next};
use crate::emulator::fault::{Done, Problem};
use crate::emulator::number::int;
use crate::emulator::warp::{LANES, Wait, Wide, lanes_of};

impl Cx<'_, '_> {
    /// Runs `then` with the mask that operand `at` has, when all its lanes have come.
    pub(super) fn converged(&mut self, at: usize, then: impl FnOnce(&mut Self, u32) -> Done) -> Done<Next> {
        let mask = self.uniform(at)? as u32;
        if let Some(lane) = lanes_of(self.lanes & !mask).next() {
            let why = format!("runs this, but is not in its mask {mask:#010x}");
            return Err(Problem::Lane { lane: lane as u32, why }.at(lane));
        }
        // Lanes that have ended are not waited for, and a full mask names lanes that a small block lacks.
        let wanted = mask & self.warp.live;
        if wanted & !self.strand.lanes != 0 {
            let (here, live) = (self.strand.lanes, self.warp.live);
            return Ok(Next::Retry(Wait::Lanes { here, live, wanted }));
        }
        if wanted & !self.lanes != 0 {
            return Err(Problem::Divergence { missing: wanted & !self.lanes }.into());
        }
        then(self, mask)?;
        Ok(Next::Step)
    }

    /// Refuses lanes that have parted, for instructions that a whole warp runs.
    pub(super) fn aligned(&self) -> Done {
        let missing = self.warp.live & !self.lanes;
        if missing == 0 { Ok(()) } else { Err(Problem::Divergence { missing }.into()) }
    }

    /// Refuses a warp of which a lane is missing: fragments are spread over all 32.
    pub(super) fn whole(&self) -> Done {
        let missing = !self.lanes;
        if missing == 0 { Ok(()) } else { Err(Problem::Divergence { missing }.into()) }
    }

    /// A special register.
    pub(super) fn special(&self, special: Special) -> Wide {
        let block = &*self.block;
        let (first, [x, y, z]) = (self.warp.id * LANES, block.launch.block);
        let thread = |axis: usize| std::array::from_fn(|lane| block.thread(first + lane)[axis].into());
        let (grid, clock) = (block.launch.grid, block.report.instructions);
        let full = |value: u64| [value; LANES];
        let mask = |f: fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64) & 0xffff_ffff);
        match special {
            Special::TidX => thread(0),
            Special::TidY => thread(1),
            Special::TidZ => thread(2),
            Special::NtidX => full(x.into()),
            Special::NtidY => full(y.into()),
            Special::NtidZ => full(z.into()),
            Special::CtaidX | Special::ClusterIdX => full(block.index[0].into()),
            Special::CtaidY => full(block.index[1].into()),
            Special::CtaidZ => full(block.index[2].into()),
            Special::NctaidX => full(grid[0].into()),
            Special::NctaidY => full(grid[1].into()),
            Special::NctaidZ => full(grid[2].into()),
            Special::LaneId => std::array::from_fn(|lane| lane as u64),
            Special::WarpId => full(self.warp.id as u64),
            Special::SmId | Special::ClusterCtaRank | Special::ClusterCtaidX => full(0),
            Special::NsmId | Special::ClusterNctaRank => full(1),
            Special::LanemaskLt => mask(|lane| (1 << lane) - 1),
            Special::LanemaskLe => mask(|lane| (2 << lane) - 1),
            Special::LanemaskEq => mask(|lane| 1 << lane),
            Special::LanemaskGe => mask(|lane| u64::MAX << lane),
            Special::LanemaskGt => mask(|lane| u64::MAX << (lane + 1)),
            Special::DynamicSmemSize => full(block.dynamic_shared),
            Special::TotalSmemSize => full(block.decoded.dynamic_start + block.dynamic_shared),
            Special::Clock | Special::Clock64 | Special::GlobalTimer => full(clock),
        }
    }

    /// `d = a` of another lane, and whether that was in range in operand `inside`.
    pub(super) fn shuffle(&mut self, mode: Shuffle, inside: Option<usize>) -> Done {
        let first = inside.map_or(1, |at| at + 1);
        let (by, clamp) = (self.read(first + 1)?, self.read(first + 2)?);
        let code = self.code;
        let source = self.read(first)?;
        let (mut result, mut in_range) = ([0; LANES], [0; LANES]);
        for lane in lanes_of(self.lanes) {
            let (from, valid) = source_lane(mode, lane as i64, by[lane], clamp[lane]);
            if self.lanes >> from & 1 == 0 {
                let why = format!("reads lane {from}, which takes no part");
                return Err(Problem::Lane { lane: lane as u32, why }.at(lane));
            }
            result[lane] = source[from];
            in_range[lane] = valid.into();
        }
        if let Some(at) = inside {
            self.write_arg(&code.args[at], &in_range)?;
        }
        self.write(0, &result)
    }

    pub(super) fn vote(&mut self, mode: Vote, mask: u32) -> Done {
        let holding = self.holding(1)?;
        let mask = mask & self.lanes;
        let result = match mode {
            Vote::All => holding == mask,
            Vote::Any => holding != 0,
            Vote::Uni => holding == 0 || holding == mask,
        };
        self.set(0, result.into())
    }

    pub(super) fn ballot(&mut self, _mask: u32) -> Done {
        let holding = self.holding(1)?;
        self.set(0, holding.into())
    }

    /// The lanes in which a predicate holds.
    fn holding(&self, at: usize) -> Done<u32> {
        let values = self.read(at)?;
        Ok(lanes_of(self.lanes).fold(0, |mask, lane| mask | (values[lane] as u32 & 1) << lane))
    }

    pub(super) fn match_any(&mut self, _mask: u32) -> Done {
        let value = self.read(1)?;
        let lanes = self.lanes;
        let alike =
            |lane: usize| lanes_of(lanes).filter(|it| value[*it] == value[lane]).fold(0, |m, it| m | 1 << it);
        self.write(0, &std::array::from_fn(alike))
    }

    pub(super) fn match_all(&mut self, mask: u32) -> Done {
        let value = self.read(2)?;
        let first = self.lanes.trailing_zeros() as usize;
        let alike = lanes_of(self.lanes).all(|lane| value[lane] == value[first]);
        self.set(0, if alike { mask.into() } else { 0 })?;
        self.set(1, alike.into())
    }

    pub(super) fn redux(&mut self, op: ReduxOp, ty: ReduxType, _mask: u32) -> Done {
        let value = self.read(1)?;
        let ty = if ty == ReduxType::S32 { Int::S32 } else { Int::U32 };
        let join = |a: u64, b: u64| match op {
            ReduxOp::Add => int::binary(IntOp::Add, ty, a, b),
            ReduxOp::Min => int::binary(IntOp::Min, ty, a, b),
            ReduxOp::Max => int::binary(IntOp::Max, ty, a, b),
            ReduxOp::And => a & b,
            ReduxOp::Or => a | b,
            ReduxOp::Xor => a ^ b,
        };
        let result = lanes_of(self.lanes).map(|lane| value[lane]).reduce(join).unwrap_or(0);
        self.set(0, result)
    }

    /// The lowest lane is elected.
    pub(super) fn elect(&mut self, mask: u32) -> Done {
        let elected = (mask & self.lanes).trailing_zeros() as usize;
        if !matches!(self.code.args[0], Arg::Sink) {
            self.set(0, elected as u64)?;
        }
        self.write(1, &std::array::from_fn(|lane| u64::from(lane == elected)))
    }
}

/// The lane that a shuffle reads, and whether it is in range, as PTX defines it.
fn source_lane(mode: Shuffle, lane: i64, by: u64, clamp: u64) -> (usize, bool) {
    let by = (by & 31) as i64;
    let (limit, segment) = ((clamp & 31) as i64, (clamp >> 8 & 31) as i64);
    let highest = (lane & segment) | (limit & !segment);
    let lowest = lane & segment;
    let (from, valid) = match mode {
        Shuffle::Up => (lane - by, lane - by >= highest),
        Shuffle::Down => (lane + by, lane + by <= highest),
        Shuffle::Bfly => (lane ^ by, lane ^ by <= highest),
        Shuffle::Idx => {
            let from = lowest | (by & !segment);
            (from, from <= highest)
        }
    };
    (if valid { from } else { lane } as usize, valid)
}

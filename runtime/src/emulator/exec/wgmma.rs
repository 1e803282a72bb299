//! Products of warpgroups: factors in shared memory by descriptors, or in registers.
//!
//! Each warp computes its own 16 rows when it issues the product; the registers stay held until the wait
//! that covers it, and that wait ends only when all four warps have issued what it is for.

use attnc_ptx::modifier::wgmma::{Wgmma, WgmmaTypes};

use super::matrix::{Element, spread};
use super::{Arg, Cx, Next};
use crate::emulator::fault::{Done, Problem};
use crate::emulator::number::float;
use crate::emulator::race::{Access, Agent};
use crate::emulator::warp::{Use, Wait, Wide};
use crate::emulator::warpgroup::Issue;
use crate::tensor_map::Swizzle;

/// The bytes of a row of a factor that one product takes.
const ROW: u64 = 32;

/// Where a factor lies in shared memory, as its descriptor says.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    start: u64,
    /// The bytes to the next part along rows, and along columns.
    leading: u64,
    stride: u64,
    swizzle: Swizzle,
}

impl Descriptor {
    fn decode(bits: u64) -> Done<Descriptor> {
        let field = |from: u32| (bits >> from & 0x3fff) << 4;
        let swizzle = match bits >> 62 {
            0 => Swizzle::None,
            1 => Swizzle::B128,
            2 => Swizzle::B64,
            _ => Swizzle::B32,
        };
        let start = field(0);
        if bits >> 49 & 7 != 0 {
            return Err(
                Problem::Operand("a descriptor with a base offset is not known here".to_owned()).into()
            );
        }
        let rows = swizzle.span().map_or(1, |span| span / 16);
        if !(start >> 7).is_multiple_of(u64::from(rows)) {
            let why = format!("a tile at {start:#x} starts within the pattern of its swizzle");
            return Err(Problem::Operand(why).into());
        }
        Ok(Descriptor { start, leading: field(16), stride: field(32), swizzle })
    }

    /// The address of chunk `chunk` of row `row`, where elements along the sum are neighbours.
    fn along(&self, row: u64, chunk: u64) -> u64 {
        let (part, line) = (row / 8, row % 8);
        let place = match self.swizzle.span() {
            Some(span) => part * self.stride + line * u64::from(span) + chunk * 16,
            None => part * self.stride + chunk * self.leading + line * 16,
        };
        self.swizzle.place(self.start + place)
    }

    /// The address of the eight rows from `row` on, at position `k` of the sum, where rows are neighbours.
    fn across(&self, row: u64, k: u64) -> Done<u64> {
        let Some(span) = self.swizzle.span() else {
            return Err(
                Problem::Operand("a transposed tile without swizzle is not known here".to_owned()).into()
            );
        };
        let (span, bytes) = (u64::from(span), row * 2);
        let place = bytes / span * self.leading + k / 8 * self.stride + k % 8 * span + bytes % span;
        Ok(self.swizzle.place(self.start + place))
    }
}

fn element(types: WgmmaTypes) -> Element {
    match types {
        WgmmaTypes::BF16 => Element::BF16,
        WgmmaTypes::F16 => Element::F16,
        WgmmaTypes::TF32 => Element::Tf32,
        WgmmaTypes::E4M3 => Element::E4M3,
        WgmmaTypes::S8 => Element::S8,
    }
}

/// Rows of a factor in shared memory.
#[derive(Debug, Clone, Copy)]
struct Tile {
    descriptor: Descriptor,
    first: u64,
    rows: u64,
    transposed: bool,
}

impl Cx<'_, '_> {
    pub(super) fn wgmma_fence(&mut self) -> Done {
        self.whole()?;
        self.warp.products.fence();
        Ok(())
    }

    pub(super) fn wgmma_commit(&mut self) -> Done {
        self.whole()?;
        let issued = self.block.warpgroups.count(self.warp.id);
        self.warp.products.commit(issued);
        Ok(())
    }

    /// Waits until at most so many groups of products are under way, in all four warps.
    pub(super) fn wgmma_wait(&mut self) -> Done<Next> {
        self.whole()?;
        let left = self.constant(0) as usize;
        let count = self.warp.products.awaited(left);
        if !self.block.warpgroups.have_issued(self.warp.id, count) {
            return Ok(Next::Retry(Wait::Products { count }));
        }
        let retired = self.warp.retire(left);
        let group = Agent::group(self.warp.id / 4).index();
        let clock = &mut self.block.shared.races.clocks[self.warp.id];
        clock[group] = clock[group].max(retired);
        Ok(Next::Step)
    }

    pub(super) fn wgmma(&mut self, form: Wgmma, mixed: bool) -> Done {
        self.whole()?;
        let (right, adds) = (self.uniform(2)?, self.uniform(3)? & 1 == 1);
        let left = if mixed { 0 } else { self.uniform(1)? };
        let issue = Issue { pc: self.strand.pc, left, right, adds };
        self.block.warpgroups.issue(self.warp.id, issue)?;
        let flag = |at: usize| self.code.args.get(at).is_some_and(|arg| matches!(arg, Arg::Const(1)));
        let transposes = form.types.transposes();
        let (turned_a, turned_b) = if mixed {
            (false, transposes && flag(6))
        } else {
            (transposes && flag(6), transposes && flag(7))
        };
        let negative = |at: usize| {
            form.types != WgmmaTypes::S8 && !matches!(self.code.args.get(at), Some(Arg::Const(1)))
        };
        let sign = if negative(4) == negative(5) { 1.0 } else { -1.0 };
        let element = element(form.types);
        let first = 16 * (self.warp.id as u64 % 4);
        let a = if mixed {
            self.registers(element)?
        } else {
            let descriptor = Descriptor::decode(left)?;
            self.tile(Tile { descriptor, first, rows: 16, transposed: turned_a }, element)?
        };
        let descriptor = Descriptor::decode(right)?;
        let rows = u64::from(form.columns);
        let b = self.tile(Tile { descriptor, first: 0, rows, transposed: turned_b }, element)?;
        let a = a.into_iter().map(|it| sign * it).collect();
        self.sum(form, (a, b), element, adds)
    }

    /// Adds the products to the sums, or puts them in their place, and holds the registers.
    fn sum(&mut self, form: Wgmma, (a, b): (Vec<f32>, Vec<f32>), element: Element, adds: bool) -> Done {
        let k = form.types.depth() as usize;
        let adder = self.adder(element);
        let [a, b] = [a, b].map(|it| adder.factor(it));
        let code = self.code;
        let what = if adds { Use::Sum } else { Use::Start };
        for (position, arg) in code.args[0].each().iter().enumerate() {
            let Arg::Reg(reg) = *arg else { continue };
            let before = self.warp.take(reg, what, self.strand.pc, self.block.decoded)?;
            let value: Wide = std::array::from_fn(|lane| {
                let row = lane / 4 + 8 * (position % 4 / 2);
                let column = 8 * (position / 4) + 2 * (lane % 4) + position % 2;
                if form.types == WgmmaTypes::S8 {
                    let start = if adds { before[lane] as i32 } else { 0 };
                    start.wrapping_add(a.product(row * k, &b, column * k, k) as i32).cast_unsigned().into()
                } else {
                    let start = if adds { float::from_single(before[lane]) } else { 0.0 };
                    float::single(adder.add(start, (&a, row * k), (&b, column * k), k))
                }
            });
            self.warp.put(reg, &value);
        }
        Ok(())
    }

    /// The 16 rows of a factor in registers, which are held as well.
    fn registers(&mut self, element: Element) -> Done<Vec<f32>> {
        let k = (ROW * 8 / u64::from(element.bits())) as usize;
        let mut rows = vec![0.0; 16 * k];
        let code = self.code;
        for (position, arg) in code.args[1].each().iter().enumerate() {
            let Arg::Reg(reg) = *arg else { continue };
            let value = self.warp.take(reg, Use::Factor, self.strand.pc, self.block.decoded)?;
            let (lower, part) = (8 * (position & 1), position >> 1);
            spread(&value, element, part, |g, at, value| rows[(g + lower) * k + at] = value);
        }
        Ok(rows)
    }

    /// Rows of a factor in shared memory.
    fn tile(&mut self, tile: Tile, element: Element) -> Done<Vec<f32>> {
        let Tile { descriptor, first, rows, transposed } = tile;
        let period = self.warp.products.open_group();
        let agent = Agent::group(self.warp.id / 4);
        let access = Access { agent, period, proxy: true, ..self.access(false) };
        let bits = element.bits();
        let k = ROW * 8 / u64::from(bits);
        let mut values = vec![0.0; (rows * k) as usize];
        let per_chunk = 128 / u64::from(bits);
        if transposed {
            for (part, at) in (0..rows / 8).flat_map(|part| (0..k).map(move |at| (part, at))) {
                let place = descriptor.across(first + 8 * part, at)?;
                let data = self.block.shared.load(place, 16, 16, access)?;
                for (row, value) in (0..8).zip(elements(data, element)) {
                    values[((8 * part + row) * k + at) as usize] = value;
                }
            }
        } else {
            for (row, chunk) in (0..rows).flat_map(|row| (0..2).map(move |chunk| (row, chunk))) {
                let data = self.block.shared.load(descriptor.along(first + row, chunk), 16, 16, access)?;
                let start = (row * k + chunk * per_chunk) as usize;
                let into = &mut values[start..start + per_chunk as usize];
                into.iter_mut().zip(elements(data, element)).for_each(|(into, value)| *into = value);
            }
        }
        Ok(values)
    }
}

/// The numbers in a chunk.
fn elements(data: &[u8], element: Element) -> impl Iterator<Item = f32> + '_ {
    data.chunks_exact(element.bits() as usize / 8).map(move |bytes| {
        element.value(bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    })
}

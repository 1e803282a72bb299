//! Words of four bytes: packed from reals, and multiplied and added up by one instruction.

use super::assembler::{Element, Opcode, Value, lanes_of};
use super::block::Emitter;
use super::tile::Tile;
use crate::ir::nest::{TileType, ValueId};

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// Whole numbers of eight bits, four neighbours in a word.
    pub(super) fn pack(&self, ty: &'a TileType, a: ValueId) -> Tile<'a, 'c> {
        let asm = self.asm;
        let row = |reals: Value<'c>| {
            let whole = asm.cast(Opcode::FPToSI, reals, Element::I32);
            let bytes = asm.cast(Opcode::Trunc, whole, Element::I8);
            let words = lanes_of(bytes).map(|it| it / 4);
            asm.builder.build_bit_cast(bytes, asm.ty(Element::I32, words), "").expect("bytes fill words")
        };
        Tile::new(ty, self.tile(a).rows.into_iter().map(row).collect())
    }

    /// `into + Σ a · b` over the bytes of words, those of `a` without a sign.
    pub(super) fn dot(&self, ty: &'a TileType, operands: [ValueId; 3]) -> Tile<'a, 'c> {
        let [a, b, into] = operands.map(|it| self.spread(it, ty));
        let rows = a.into_iter().zip(b).zip(into).map(|((a, b), into)| self.dot_row([into, a, b]));
        Tile::new(ty, rows.collect())
    }

    fn dot_row(&self, operands: [Value<'c>; 3]) -> Value<'c> {
        let asm = self.asm;
        let Some(lanes) = lanes_of(operands[0]) else {
            return asm.lane(self.dot_row(operands.map(|it| asm.splat(it, Some(4)))), 0);
        };
        let widest = self.unit.machine.words.expect("only targets that multiply words have some");
        let (mut parts, mut from) = (Vec::new(), 0);
        while from < lanes {
            // The last part may be wider than what is left; its other lanes are the last again.
            let left = (lanes - from).next_power_of_two().max(4);
            let width = if lanes - from >= widest { widest } else { left.min(widest) };
            let taken: Vec<usize> = (from..from + width).map(|it| it.min(lanes - 1) as usize).collect();
            let [into, a, b] = operands.map(|it| asm.shuffle(it, it, &taken));
            let bytes = asm.context.i8_type().vec_type(4 * width);
            let [a, b] = [a, b].map(|it| asm.builder.build_bit_cast(it, bytes, "").expect("words are bytes"));
            let name = match width {
                16 => "llvm.x86.avx512.vpdpbusd.512",
                8 => "llvm.x86.avx512.vpdpbusd.256",
                _ => "llvm.x86.avx512.vpdpbusd.128",
            };
            parts.push(asm.intrinsic(name, &[], &[into, a, b]));
            from += width;
        }
        let all = asm.concatenated(parts);
        let own: Vec<usize> = (0..lanes as usize).collect();
        if lanes_of(all) == Some(lanes) { all } else { asm.shuffle(all, all, &own) }
    }
}

//! One product of a warp group in every type, with tiles that copies of tensors swizzle.

use attnc_ptx::modifier::wgmma::{Wgmma, WgmmaTypes};
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use attnc_ptx::{Builder, Module, Op, Operand, ParamType, Special, Target, VarPlace, args, at};
use attnc_runtime::emulator::{Args, DeviceMemory, Launch, Program};
use attnc_runtime::{Swizzle, TensorMap};
use half::{bf16, f16};

use crate::one::random;

/// Columns of the product.
const COLUMNS: u32 = 24;

/// `D = A · B` where both have rows of `span` bytes; every lane stores its sums one after the other.
fn module(types: WgmmaTypes, span: u32) -> Module {
    let mut b = Builder::new("product");
    let map = ParamType::Bytes { bytes: 128, align: 64 };
    let maps = ["a", "b"].map(|name| b.param(name, map));
    let out = b.param("out", ParamType::U64);
    let (bytes, right) = ((64 + COLUMNS) * span, 64 * span);
    let tile = b.var(VarPlace::Dynamic, "tile", 1024, bytes + 8);
    let smem = b.mov(Scalar::U32, tile);
    let thread = b.mov(Scalar::U32, Special::TidX);
    let one = b.compare(Compare::Eq, Int::U32, thread, 0);
    let barrier = at(smem).plus(bytes as i32);
    b.when(one, |b| {
        b.push(Op::MbarrierInit, args![barrier, 1]);
        b.push(Op::FenceMbarrierInit, args![]);
        b.push(Op::MbarrierArriveExpect, args![Operand::Sink, barrier, bytes]);
        for (map, offset) in maps.into_iter().zip([0, right as i32]) {
            let map = b.mov(Scalar::U64, map);
            let map = b.def(Op::Cvta { toward: Toward::Generic, space: CvtaSpace::Param }, args![map]);
            let tile = Operand::Tensor(at(map), args![0, 0]);
            b.push(Op::TensorLoad { rank: TensorRank::R2 }, args![at(smem).plus(offset), tile, barrier]);
        }
    });
    b.push(Op::BarSyncAll, args![0]);
    let again = b.label("wait");
    b.place(again);
    let over = b.def(Op::MbarrierWait { how: PhaseWait::Try }, args![barrier, 0]);
    b.bra_unless(over, again);
    let mode = [128, 64, 32].iter().position(|it| *it == span).expect("a span") as u64 + 1;
    // Eight rows further on, in units of 16 bytes.
    let fields = mode << 62 | u64::from(span / 2) << 32 | 1 << 16;
    let descriptor = |b: &mut Builder, offset: u32| {
        let start = b.int(IntOp::Add, Int::U32, smem, offset);
        let start = b.int(IntOp::Div, Int::U32, start, 16);
        let start = b.def(Op::MulWide { ty: Narrow::U32 }, args![start, 1]);
        b.def(Op::Logic { op: LogicOp::Or, ty: Logical::B64 }, args![start, fields])
    };
    let form = Wgmma { columns: COLUMNS as u16, types };
    let sums = b.regs(types.sum().register(), "sum", form.sums().into());
    let always = b.compare(Compare::Eq, Int::U32, thread, thread);
    let never = b.def(Op::Not { ty: Logical::Pred }, args![always]);
    b.push(Op::WgmmaFence, args![]);
    for k in 0..span / 32 {
        let (left, right) = (descriptor(&mut b, 32 * k), descriptor(&mut b, right + 32 * k));
        let mut operands = args![&sums, left, right, if k == 0 { never } else { always }];
        let flags = if types == WgmmaTypes::S8 { args![] } else { args![1, 1] };
        operands.extend(flags);
        operands.extend(if types.transposes() { args![0, 0] } else { args![] });
        b.push(Op::WgmmaShared { form }, operands);
    }
    b.push(Op::WgmmaCommit, args![]);
    b.push(Op::WgmmaWait, args![0]);
    let base = b.load(Space::Param, Data::U64, at(out));
    let place = b.def(Op::MadWide { ty: Narrow::U32 }, args![thread, u32::from(form.sums()) * 4, base]);
    for (position, sum) in sums.iter().enumerate() {
        b.store(Space::Global, Data::B32, at(place).plus(4 * position as i32), *sum);
    }
    b.push(Op::Ret, args![]);
    Module { version: (8, 0), target: Target::Sm90a, comments: vec![], kernels: vec![b.finish()] }
}

/// A small whole number as an element.
fn encode(types: WgmmaTypes, value: i32) -> Vec<u8> {
    let float = value as f32;
    match types {
        WgmmaTypes::BF16 => bf16::from_f32(float).to_le_bytes().to_vec(),
        WgmmaTypes::F16 => f16::from_f32(float).to_le_bytes().to_vec(),
        WgmmaTypes::TF32 => float.to_le_bytes().to_vec(),
        // One bit of sign, four of exponent with a bias of 7, three of fraction.
        WgmmaTypes::E4M3 => {
            let magnitude = value.unsigned_abs();
            let bits = magnitude.checked_ilog2().map_or(0, |top| {
                let fraction = (magnitude << (3 - top)) & 7;
                (top + 7) << 3 | fraction
            });
            vec![bits as u8 | if value < 0 { 0x80 } else { 0 }]
        }
        WgmmaTypes::S8 => vec![value as u8],
    }
}

#[test]
fn products_of_warp_groups_are_exact_for_whole_numbers() {
    for types in WgmmaTypes::ALL.iter().copied() {
        for (swizzle, span) in [(Swizzle::B128, 128), (Swizzle::B64, 64), (Swizzle::B32, 32)] {
            let element = encode(types, 0).len();
            let depth = span / element;
            let numbers: Vec<i32> = random(3, 88 * depth).iter().map(|it| (it % 11) as i32 - 5).collect();
            let (a, b) = numbers.split_at(64 * depth);
            let mut memory = DeviceMemory::new();
            let mut args = Args::new();
            for (name, values, rows) in [("A", a, 64), ("B", b, COLUMNS)] {
                let data: Vec<u8> = values.iter().flat_map(|it| encode(types, *it)).collect();
                let address = memory.upload(name, &data).address();
                args = args.tensor_map(&TensorMap {
                    address,
                    element: element as u32,
                    shape: vec![depth as u64, rows.into()],
                    strides: vec![span as u64],
                    extents: vec![depth as u32, rows],
                    swizzle,
                });
            }
            let out = memory.alloc("out", 128 * 12 * 4);
            let program = Program::new(&module(types, span as u32)).expect("a module");
            let launch = Launch::new([1, 1, 1], [128, 1, 1], args.buffer(out));
            program.launch("product", &launch, &mut memory).unwrap_or_else(|fault| panic!("{fault}"));
            let words: Vec<u32> = memory
                .bytes(out)
                .chunks_exact(4)
                .map(|it| u32::from_le_bytes([it[0], it[1], it[2], it[3]]))
                .collect();
            for (position, word) in words.into_iter().enumerate() {
                let (thread, sum) = (position / 12, position % 12);
                let row = 16 * (thread / 32) + thread % 32 / 4 + 8 * (sum % 4 / 2);
                let column = 8 * (sum / 4) + 2 * (thread % 4) + sum % 2;
                let dot: i32 = (0..depth).map(|k| a[row * depth + k] * b[column * depth + k]).sum();
                let found = if types == WgmmaTypes::S8 { word as i32 } else { f32::from_bits(word) as i32 };
                assert_eq!(found, dot, "{types:?} in rows of {span} bytes at ({row}, {column})");
            }
        }
    }
}

//! One instruction in many threads, each with operands and a result of its own.

use attnc_ptx::modifier::*;
use attnc_ptx::signature::{Access, Kind, Slot};
use attnc_ptx::types::*;
use attnc_ptx::{Builder, Inst, Module, Op, Operand, ParamType, Reg, Special, Target, args, at};
use attnc_runtime::emulator::{Args, DeviceMemory, Launch, Program};

/// An operand: a value for every thread, or a number in the instruction.
#[derive(Debug, Clone)]
pub(crate) enum In {
    Each(Vec<u64>),
    Number(i64),
}

/// The bits of the results of an instruction whose first operand is its result.
pub(crate) fn compute(op: Op, inputs: &[In]) -> Vec<u64> {
    let count = inputs
        .iter()
        .find_map(|input| match input {
            In::Each(values) => Some(values.len()),
            In::Number(_) => None,
        })
        .expect("an operand with values");
    let mut memory = DeviceMemory::new();
    let mut b = Builder::new("one");
    let (mut params, mut args) = (Vec::new(), Args::new());
    for (position, input) in inputs.iter().enumerate() {
        if let In::Each(values) = input {
            let data: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
            args = args.buffer(memory.upload(&format!("input {position}"), &data));
            params.push(b.param(&format!("in{position}"), ParamType::U64));
        }
    }
    let result = memory.upload("result", &vec![0; count * 8]);
    let out = b.param("out", ParamType::U64);
    let thread = b.mov(Scalar::U32, Special::TidX);
    let block = b.mov(Scalar::U32, Special::CtaidX);
    let thread = b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![block, 256, thread]);
    let inside = b.compare(Compare::Lt, Int::U32, thread, count as u32);
    let slots = op.signature().expect("an instruction that there is");
    b.when(inside, |b| {
        let mut params = params.into_iter();
        let mut operands: Vec<Operand> = Vec::new();
        for (slot, input) in slots[1..].iter().zip(inputs) {
            operands.push(match input {
                In::Number(number) => Operand::Int(*number),
                In::Each(_) => {
                    let base = b.load(Space::Param, Data::U64, at(params.next().expect("a parameter")));
                    let place = b.def(Op::MadWide { ty: Narrow::U32 }, args![thread, 8, base]);
                    load(b, slot, place).into()
                }
            });
        }
        let base = b.load(Space::Param, Data::U64, at(out));
        let place = b.def(Op::MadWide { ty: Narrow::U32 }, args![thread, 8, base]);
        let value = b.fresh(register(&slots[0]));
        assert_ne!(slots[0].access, Access::Read);
        b.add(Inst::new(op, std::iter::once(value.into()).chain(operands).collect()));
        store(b, value, place);
    });
    b.push(Op::Ret, args![]);
    let kernels = vec![b.finish()];
    let module = Module { version: (8, 1), target: Target::Sm90a, comments: vec![], kernels };
    let program = Program::new(&module).expect("a module that prints and parses");
    let blocks = count.div_ceil(256) as u32;
    let launch = Launch::new([blocks, 1, 1], [256, 1, 1], args.buffer(result));
    program.launch("one", &launch, &mut memory).unwrap_or_else(|fault| panic!("{fault}"));
    let words = memory.bytes(result).chunks_exact(8);
    words.map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).collect()
}

/// The type of the register of a slot.
fn register(slot: &Slot) -> RegType {
    match slot.kind {
        Kind::Reg(ty) | Kind::Wanted(ty) | Kind::Value(ty) | Kind::Source(ty) => ty.register(),
        Kind::Count(_) => RegType::B32,
        Kind::Vector(..) | Kind::Address(_) | Kind::Int(..) | Kind::Label | Kind::Box(_) => {
            panic!("no single register")
        }
    }
}

fn load(b: &mut Builder, slot: &Slot, place: Reg) -> Reg {
    let data = match register(slot) {
        RegType::Pred => {
            let bits = b.load(Space::Global, Data::U32, at(place));
            return b.compare(Compare::Ne, Int::U32, bits, 0);
        }
        RegType::B16 => Data::B16,
        RegType::B32 => Data::B32,
        RegType::B64 => Data::B64,
        RegType::F32 => Data::F32,
        RegType::F64 => Data::F64,
    };
    b.load(Space::Global, data, at(place))
}

fn store(b: &mut Builder, value: Reg, place: Reg) {
    let (data, value) = match value.ty {
        RegType::Pred => (Data::U32, b.select(Scalar::U32, value, 1, 0)),
        RegType::B16 => (Data::B16, value),
        RegType::B32 => (Data::B32, value),
        RegType::B64 => (Data::B64, value),
        RegType::F32 => (Data::F32, value),
        RegType::F64 => (Data::F64, value),
    };
    b.store(Space::Global, data, at(place), value);
}

/// Checks an instruction against a function of the bits of its operands.
#[track_caller]
pub(crate) fn check1(op: Op, a: &[u64], expected: impl Fn(u64) -> u64) {
    let found = compute(op, &[In::Each(a.to_vec())]);
    for (a, found) in a.iter().zip(found) {
        let expected = expected(*a);
        assert_eq!(found, expected, "{} of {a:#x}: {found:#x}, not {expected:#x}", op.mnemonic());
    }
}

/// As [`check1`] with two operands, in all pairs.
#[track_caller]
pub(crate) fn check2(op: Op, a: &[u64], b: &[u64], expected: impl Fn(u64, u64) -> u64) {
    let pairs: Vec<(u64, u64)> = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))).collect();
    let (first, second) = pairs.iter().copied().unzip();
    let found = compute(op, &[In::Each(first), In::Each(second)]);
    for ((a, b), found) in pairs.into_iter().zip(found) {
        let expected = expected(a, b);
        assert_eq!(found, expected, "{} of {a:#x}, {b:#x}: {found:#x}, not {expected:#x}", op.mnemonic());
    }
}

/// As [`check1`] with three operands, side by side.
#[track_caller]
pub(crate) fn check3(op: Op, operands: [&[u64]; 3], expected: impl Fn(u64, u64, u64) -> u64) {
    let found = compute(op, &operands.map(|it| In::Each(it.to_vec())));
    for (at, found) in found.into_iter().enumerate() {
        let [a, b, c] = operands.map(|it| it[at]);
        let expected = expected(a, b, c);
        let name = op.mnemonic();
        assert_eq!(found, expected, "{name} of {a:#x}, {b:#x}, {c:#x}: {found:#x}, not {expected:#x}");
    }
}

/// Bits that look random.
pub(crate) fn random(seed: u64, count: usize) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d)
        })
        .collect()
}

/// Integers of so many bits: corners and random ones of any size.
pub(crate) fn integers(bits: u32) -> Vec<u64> {
    let mask = u64::MAX >> (64 - bits);
    let top = 1u64 << (bits - 1);
    let corners = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, top - 1, top, top + 1, mask - 1, mask];
    let small = random(u64::from(bits), 24).into_iter().enumerate().map(|(at, it)| it >> (2 * at));
    corners.into_iter().chain(small).map(|it| it & mask).collect()
}

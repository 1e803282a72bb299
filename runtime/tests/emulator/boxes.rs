//! Boxes of tensors of one to five ranks, copied in and out again.

use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use attnc_ptx::{Builder, Module, Op, Operand, ParamType, Target, VarPlace, args, at};
use attnc_runtime::emulator::{Args, DeviceMemory, Launch, Program};
use attnc_runtime::{Swizzle, TensorMap};

use crate::one::random;

/// One thread copies a box from one tensor to the same place of another.
fn module(rank: TensorRank, start: &[i32], bytes: u32) -> Module {
    let mut b = Builder::new("copy");
    let map = ParamType::Bytes { bytes: 128, align: 64 };
    let maps = ["from", "to"].map(|name| b.param(name, map));
    let tile = b.var(VarPlace::Dynamic, "tile", 1024, bytes + 8);
    let smem = b.mov(Scalar::U32, tile);
    let maps = maps.map(|map| {
        let map = b.mov(Scalar::U64, map);
        b.def(Op::Cvta { toward: Toward::Generic, space: CvtaSpace::Param }, args![map])
    });
    let boxed = |map| Operand::Tensor(at(map), start.iter().copied().map(Operand::from).collect());
    let barrier = at(smem).plus(bytes as i32);
    b.push(Op::MbarrierInit, args![barrier, 1]);
    b.push(Op::FenceProxy { space: ProxySpace::All }, args![]);
    b.push(Op::TensorLoad { rank }, args![at(smem), boxed(maps[0]), barrier]);
    b.push(Op::MbarrierArriveExpect, args![Operand::Sink, barrier, bytes]);
    let again = b.label("wait");
    b.place(again);
    let over = b.def(Op::MbarrierWait { how: PhaseWait::Test }, args![barrier, 0]);
    b.bra_unless(over, again);
    b.push(Op::TensorStore { rank }, args![boxed(maps[1]), at(smem)]);
    b.push(Op::BulkCommit, args![]);
    b.push(Op::BulkWait { wait: BulkWait::Done }, args![0]);
    b.push(Op::Ret, args![]);
    Module { version: (8, 0), target: Target::Sm90a, comments: vec![], kernels: vec![b.finish()] }
}

#[test]
fn boxes_of_any_rank_are_copied_where_they_are_inside() {
    let shape = [16u64, 5, 4, 3, 2];
    let extents = [8u32, 4, 3, 2, 2];
    let start = [12, 2, -1, 2, 1];
    for (ranks, rank) in (1..).zip(TensorRank::ALL.iter().copied()) {
        let shape = &shape[..ranks];
        let strides: Vec<u64> = (1..ranks).map(|rank| 4 * shape[..rank].iter().product::<u64>()).collect();
        let elements = shape.iter().product::<u64>();
        let data: Vec<u8> = random(ranks as u64, elements as usize)
            .iter()
            .flat_map(|it| (*it as u32).to_le_bytes())
            .collect();
        let mut memory = DeviceMemory::new();
        let from = memory.upload("from", &data);
        let to = memory.upload("to", &vec![0; data.len()]);
        let map = |address: u64| TensorMap {
            address,
            element: 4,
            shape: shape.to_vec(),
            strides: strides.clone(),
            extents: extents[..ranks].to_vec(),
            swizzle: if ranks % 2 == 0 { Swizzle::B32 } else { Swizzle::None },
        };
        let bytes = map(0).box_bytes() as u32;
        let program = Program::new(&module(rank, &start[..ranks], bytes)).expect("a module");
        let args = Args::new().tensor_map(&map(from.address())).tensor_map(&map(to.address()));
        let launch = Launch::new([1, 1, 1], [1, 1, 1], args);
        program.launch("copy", &launch, &mut memory).unwrap_or_else(|fault| panic!("{fault}"));
        for (element, (from, to)) in data.chunks(4).zip(memory.bytes(to).chunks(4)).enumerate() {
            let mut rest = element as u64;
            let inside = (0..ranks).all(|rank| {
                let at = (rest % shape[rank]) as i64 - i64::from(start[rank]);
                rest /= shape[rank];
                (0..i64::from(extents[rank])).contains(&at)
            });
            assert_eq!(to, if inside { from } else { &[0; 4] }, "element {element} of {ranks} ranks");
        }
    }
}

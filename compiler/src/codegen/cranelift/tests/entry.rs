//! The functions of a kernel as a caller sees them, and objects.

use attnc_dsl::ast::{CompareOp, DType};
use attnc_runtime::abi::Code;

use super::build::{Build, elementwise};
use crate::codegen::cranelift::{emit_object, jit};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Checks, Default, Nest, Op, Place, Scalar, Status, Word};
use crate::target::Target;

/// A kernel over one rank of at most 100, whose one parameter is half the extent by default, with two stages that
/// store the parameter in an output and in the workspace, which has 8 bytes for each point.
fn kernel() -> Nest {
    let mut build = Build::new(1);
    let extent = build.nest.extents[0];
    let word = 1;
    build.nest.words.push(Word::Param(0));
    let param = build.known(Scalar::F64, Op::Word(word));
    let output = build.tensor(DType::F64, Place::Output, &[0]);
    let [zero, one, eight, bound] = [0, 1, 8, 100].map(|it| build.known(Scalar::I64, Op::Int(it)));
    build.nest.workspace = build.known(Scalar::I64, Op::Binary(BinaryOp::Mul, extent, eight));
    let (block, fits) =
        build.block(|build| build.scalar(Scalar::Bool, Op::Compare(CompareOp::Le, extent, bound)));
    let range = Status { code: Code::BadExtent, index: 3 };
    build.nest.extent_checks = Checks { block, faults: vec![(fits, range)] };
    let needed = build.nest.workspace;
    let (block, (enough, there)) = build.block(|build| {
        let bytes = build.scalar(Scalar::I64, Op::WorkspaceBytes);
        let address = build.scalar(Scalar::I64, Op::WorkspaceAddress);
        let enough = build.scalar(Scalar::Bool, Op::Compare(CompareOp::Ge, bytes, needed));
        (enough, build.scalar(Scalar::Bool, Op::Compare(CompareOp::Ne, address, zero)))
    });
    let small = Status { code: Code::BadWorkspace, index: 0 };
    let null = Status { code: Code::NullPointer, index: 1 };
    build.nest.call_checks = Checks { block, faults: vec![(there, null), (enough, small)] };
    let (block, value) = build.block(|build| {
        let extent = build.scalar(Scalar::I64, Op::Word(0));
        let real = build.scalar(Scalar::F64, Op::Convert(extent));
        let half = build.scalar(Scalar::F64, Op::Real(0.5));
        build.scalar(Scalar::F64, Op::Binary(BinaryOp::Mul, real, half))
    });
    build.nest.defaults.push(Default { param: 0, word, block, value });
    let scratch = build.nest.buffers.push(crate::ir::nest::Buffer {
        name: "scratch".to_owned(),
        dtype: DType::F64,
        place: Place::Workspace(zero),
        extents: vec![extent],
        strides: vec![one],
    });
    build.stage(extent, |build, task| build.store(scratch, &[task], param, false));
    build.stage(extent, |build, task| {
        let value = build.load(Scalar::F64, &[], scratch, &[task], false);
        build.store(output, &[task], value, false);
    });
    build.nest
}

#[test]
fn bind_checks_defaults_and_extents() {
    let jit = jit(&kernel()).unwrap();
    let bind = jit.entry().bind;
    let mut extents = [0i64];
    let mut words = [6u64, 7f64.to_bits(), 0, 1];
    // SAFETY: the words are those of the kernel.
    unsafe {
        assert_eq!(bind(words.as_mut_ptr(), std::ptr::null(), std::ptr::null_mut()), 0);
        assert_eq!(words[1], 7f64.to_bits());
        assert_eq!(bind(words.as_mut_ptr(), [1].as_ptr(), extents.as_mut_ptr()), 0);
        assert_eq!((words[1], extents), (7f64.to_bits(), [6]));
        assert_eq!(bind(words.as_mut_ptr(), [0].as_ptr(), std::ptr::null_mut()), 0);
        assert_eq!(words[1], 3f64.to_bits());
        words[0] = 101;
        assert_eq!(bind(words.as_mut_ptr(), [0].as_ptr(), extents.as_mut_ptr()), Code::BadExtent.at(3));
        assert_eq!((words[1], extents), (3f64.to_bits(), [6]));
    }
}

#[test]
fn check_sees_extents_and_workspace() {
    let jit = jit(&kernel()).unwrap();
    let entry = jit.entry();
    let mut workspace = [0f64; 4];
    let place = workspace.as_mut_ptr().cast();
    // SAFETY: the words are those of the kernel.
    unsafe {
        let check = |extent: u64, place, bytes| (entry.check)([extent, 0, 0, 1].as_ptr(), place, bytes, 1);
        assert_eq!(check(4, place, 32), 0);
        assert_eq!(check(4, place, 31), Code::BadWorkspace.at(0));
        assert_eq!(check(4, std::ptr::null(), 0), Code::NullPointer.at(1));
        assert_eq!(check(101, std::ptr::null(), 0), Code::BadExtent.at(3));
        assert_eq!((entry.workspace)([12, 0, 0, 1].as_ptr(), 1), 96);
    }
}

#[test]
fn run_takes_tasks_of_stages_that_exist() {
    let jit = jit(&kernel()).unwrap();
    let entry = jit.entry();
    let (mut workspace, mut output) = ([0f64; 4], [0f64; 4]);
    let place = workspace.as_mut_ptr().cast();
    let words = [4, 2f64.to_bits(), output.as_mut_ptr() as u64, 1];
    // SAFETY: the words are those of the kernel.
    unsafe {
        let run = |stage, first, last| (entry.run)(words.as_ptr(), place, 0, stage, first, last);
        assert_eq!([0, 1, 2, u32::MAX].map(|stage| (entry.tasks)(words.as_ptr(), stage)), [4, 4, 0, 0]);
        for (stage, first, last) in
            [(2, 0, 0), (u32::MAX, 0, 0), (0, 2, 1), (0, 0, 5), (1, u64::MAX, u64::MAX)]
        {
            assert_eq!(run(stage, first, last), Code::NoSuchTask.at(0), "{stage} {first} {last}");
        }
        assert_eq!((run(0, 1, 3), run(1, 0, 2), run(1, 4, 4)), (0, 0, 0));
    }
    assert_eq!((workspace, output), ([0.0, 2.0, 2.0, 0.0], [0.0, 2.0, 0.0, 0.0]));
}

#[test]
fn objects_are_the_same_each_time() {
    let mut other = kernel();
    other.name = "other".to_owned();
    for name in ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"] {
        let target = Target::named(name).unwrap();
        let object = |nests: &[Nest]| emit_object(nests, &target).unwrap();
        assert_eq!(object(&[kernel(), other.clone()]), object(&[kernel(), other.clone()]), "{name}");
    }
}

#[test]
fn objects_call_no_library() {
    let all = |build: &mut Build, shape: &[_], x: &[_]| {
        let functions = UnaryOp::NAMED
            .iter()
            .map(|(_, op)| *op)
            .filter(|it| !matches!(it, UnaryOp::Not | UnaryOp::Ilog2 | UnaryOp::IsNan | UnaryOp::IsInf));
        let mut value = x[0];
        for op in functions {
            value = build.tile(Scalar::F32, shape, Op::Unary(op, value));
            value = build.tile(Scalar::F32, shape, Op::Round(DType::F16, value));
            value = build.tile(Scalar::F32, shape, Op::Binary(BinaryOp::Pow, value, x[0]));
        }
        value
    };
    for width in [None, Some(8)] {
        let nest = elementwise(&[(DType::F8E4M3, Scalar::F32)], DType::BF16, width, all);
        for name in ["x86-64", "x86-64-v2", "x86-64-v3"] {
            let object = emit_object(std::slice::from_ref(&nest), &Target::named(name).unwrap()).unwrap();
            let has = |symbol: &str| object.windows(symbol.len()).any(|it| it == symbol.as_bytes());
            assert!(has("\0attnc_test_run\0") && has("\0attnc_test\0"), "{name}");
            let library = ["\0floor", "\0ceil", "\0trunc", "\0nearby", "\0fma", "pshufb", "probestack"];
            assert_eq!(library.map(has), [false; 7], "{name} {width:?}");
        }
    }
}

#[test]
fn a_name_that_clashes_is_our_fault() {
    let error = emit_object(&[kernel(), kernel()], &Target::default()).unwrap_err();
    assert!(error.to_string().contains("attnc_test_bind"), "{error}");
}

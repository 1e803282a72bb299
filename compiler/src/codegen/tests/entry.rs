//! The functions of a kernel as a caller sees them, and objects.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, DType};
use attnc_runtime::abi::Code;
use object::{Object, ObjectSymbol};

use super::build::{Build, backends, elementwise};
use crate::codegen::{Backend, Jit, emit_object, jit};
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
        padded: false,
    });
    build.stage(extent, |build, task| build.store(scratch, &[task], param, false));
    build.stage(extent, |build, task| {
        let value = build.load(Scalar::F64, &[], scratch, &[task], false);
        build.store(output, &[task], value, false);
    });
    build.nest
}

/// The same, compiled for this machine by every back end.
fn kernels() -> impl Iterator<Item = Jit> {
    backends().map(|it| jit(&kernel(), &Target::native(), it).unwrap())
}

#[test]
fn bind_checks_defaults_and_extents() {
    for jit in kernels() {
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
}

#[test]
fn check_sees_extents_and_workspace() {
    for jit in kernels() {
        let entry = jit.entry();
        let mut workspace = [0f64; 4];
        let place = workspace.as_mut_ptr().cast();
        // SAFETY: the words are those of the kernel.
        unsafe {
            let check =
                |extent: u64, place, bytes| (entry.check)([extent, 0, 0, 1].as_ptr(), place, bytes, 1);
            assert_eq!(check(4, place, 32), 0);
            assert_eq!(check(4, place, 31), Code::BadWorkspace.at(0));
            assert_eq!(check(4, std::ptr::null(), 0), Code::NullPointer.at(1));
            assert_eq!(check(101, std::ptr::null(), 0), Code::BadExtent.at(3));
            assert_eq!((entry.workspace)([12, 0, 0, 1].as_ptr(), 1), 96);
        }
    }
}

#[test]
fn run_takes_tasks_of_stages_that_exist() {
    for jit in kernels() {
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
}

/// For every back end and machine, cross compilation included.
fn for_each_target(mut check: impl FnMut(Backend, &Target, &str)) {
    for backend in backends() {
        for name in ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"] {
            check(backend, &Target::named(name).unwrap(), name);
        }
    }
}

#[test]
fn objects_are_the_same_each_time() {
    let mut other = kernel();
    other.name = "other".to_owned();
    for_each_target(|backend, target, name| {
        let object = || emit_object(&[kernel(), other.clone()], target, backend).unwrap();
        assert!(object() == object(), "{backend:?} {name}");
    });
}

#[test]
fn the_world_sees_the_functions_of_the_abi_alone() {
    let mut other = kernel();
    other.name = "other".to_owned();
    let suffixes = ["", "_bind", "_check", "_run", "_tasks", "_workspace"];
    let abi = ["test", "other"].map(|kernel| suffixes.map(|it| format!("attnc_{kernel}{it}")));
    let abi: BTreeSet<&str> = abi.iter().flatten().map(String::as_str).collect();
    for_each_target(|backend, target, name| {
        let bytes = emit_object(&[kernel(), other.clone()], target, backend).unwrap();
        let object = object::File::parse(&*bytes).unwrap();
        let global = object.symbols().filter(|it| it.is_global() && it.is_definition());
        let global: BTreeSet<&str> = global.map(|it| it.name().unwrap()).collect();
        assert_eq!(global, abi, "{backend:?} {name}");
    });
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
        for_each_target(|backend, target, name| {
            let bytes = emit_object(std::slice::from_ref(&nest), target, backend).unwrap();
            let object = object::File::parse(&*bytes).unwrap();
            let is_defined = |wanted| object.symbols().any(|it| it.name() == Ok(wanted) && it.is_global());
            assert!(is_defined("attnc_test_run") && is_defined("attnc_test"), "{backend:?} {name}");
            let missing: Vec<_> =
                object.symbols().filter(|it| it.is_undefined()).filter_map(|it| it.name().ok()).collect();
            assert!(missing.iter().all(|it| it.is_empty()), "{backend:?} {name} {width:?}: {missing:?}");
        });
    }
}

#[test]
fn a_name_that_clashes_is_our_fault() {
    for backend in backends() {
        let error = emit_object(&[kernel(), kernel()], &Target::default(), backend).unwrap_err();
        assert!(error.to_string().contains("attnc_test_bind"), "{error}");
    }
}

#[test]
fn a_back_end_that_is_not_built_in_says_how_to_get_it() {
    for backend in Backend::ALL.into_iter().filter(|it| !it.is_built_in()) {
        let error = jit(&kernel(), &Target::native(), backend).unwrap_err().to_string();
        assert!(error.contains(&format!("--features {}", backend.name())), "{error}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn stages_flush_subnormal_results_and_give_the_mode_back() {
    // Control bits only: the flags of what has happened are not a mode.
    const CONTROL: u32 = 0xffc0;
    let mode = || {
        let mut now = 0u32;
        // SAFETY: the instruction writes 4 bytes to where it is told.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut now) };
        now & CONTROL
    };
    let product = |build: &mut Build, shape: &[_], x: &[_]| {
        build.tile(Scalar::F32, shape, Op::Binary(BinaryOp::Mul, x[0], x[0]))
    };
    let nest = elementwise(&[(DType::F32, Scalar::F32)], DType::F32, None, product);
    for backend in backends() {
        let jit = jit(&nest, &Target::native(), backend).unwrap();
        let entry = jit.entry();
        let (input, mut output) = ([1e-20f32, 1e-10, f32::from_bits(1)], [f32::NAN; 3]);
        let words = [3, input.as_ptr() as u64, 1, output.as_mut_ptr() as u64, 1];
        let before = mode();
        // SAFETY: the words are those of the kernel, which needs no workspace.
        let status = unsafe { (entry.run)(words.as_ptr(), std::ptr::null_mut(), 0, 0, 0, 1) };
        assert_eq!(status, 0);
        assert_eq!(mode(), before, "{backend:?}");
        let tiny = if backend == Backend::Llvm { 0.0 } else { 1e-20f32 * 1e-20 };
        assert_eq!(output[0], tiny, "{backend:?}");
        assert_eq!(output[1], 1e-10f32 * 1e-10, "{backend:?}");
    }
}

//! Two kernels as text, and what is said about text that is no kernel.

use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use attnc_ptx::{Builder, Inst, Kernel, Module, Op, ParamType, Special, Target, VarPlace, args, at, parse};

/// y = a · x for one element a thread.
fn scale() -> Kernel {
    let mut b = Builder::new("scale");
    b.about("y[i] = a * x[i]");
    let x = b.param("x", ParamType::U64);
    let count = b.param("count", ParamType::U32);
    let a = b.param("a", ParamType::F32);
    b.threads(256);
    let thread = b.mov(Scalar::U32, Special::TidX);
    let block = b.mov(Scalar::U32, Special::CtaidX);
    let i = b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![block, 256, thread]);
    let n = b.load(Space::Param, Data::U32, at(count));
    let inside = b.compare(Compare::Lt, Int::U32, i, n);
    b.when(inside, |b| {
        b.comment("the element at hand");
        let base = b.load(Space::Param, Data::U64, at(x));
        let place = b.reg(RegType::B64, "place");
        b.define(place, Op::MadWide { ty: Narrow::U32 }, args![i, 4, base]);
        let factor = b.load(Space::Param, Data::F32, at(a));
        let value = b.load(Space::Global, Data::F32, at(place));
        let scaled = b.float(FloatOp::Mul, Float::F32, value, factor);
        b.store(Space::Global, Data::F32, at(place), scaled);
    });
    b.push(Op::Ret, args![]);
    b.finish()
}

/// One product of tiles on the tensor cores of a warp.
fn product() -> Kernel {
    let mut b = Builder::new("product");
    let out = b.param("out", ParamType::U64);
    let tile = b.var(VarPlace::Dynamic, "tile", 1024, 1024);
    b.threads(32);
    b.min_blocks(1);
    let acc = b.regs(RegType::F32, "acc", 4);
    for reg in &acc {
        b.define(*reg, Op::Mov { ty: Scalar::F32 }, args![0.0f32]);
    }
    let start = b.mov(Scalar::U32, tile);
    let lane = b.mov(Scalar::U32, Special::LaneId);
    let row = b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![lane, 16, start]);
    let left = b.regs(RegType::B32, "left", 4);
    let right = b.regs(RegType::B32, "right", 2);
    let (transpose, plain) = (Transpose::Trans, Transpose::No);
    b.push(Op::Ldmatrix { matrices: Matrices::X4, transpose: plain }, args![&left, at(row)]);
    b.push(Op::Ldmatrix { matrices: Matrices::X2, transpose }, args![&right, at(row).plus(512)]);
    b.push(Op::Mma { form: Mma::F32Bf16K16 }, args![&acc, &left, &right, &acc]);
    let base = b.load(Space::Param, Data::U64, at(out));
    let first = b.compare(Compare::Eq, Int::U32, lane, 0);
    let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::Four);
    let store = Op::St { order, space: Space::Global, cache, lanes, ty: Data::F32 };
    b.add(Inst::new(store, args![at(base), &acc]).when(first));
    b.push(Op::Ret, args![]);
    b.finish()
}

fn module() -> Module {
    let comments = vec!["two kernels".to_owned()];
    Module { version: (8, 0), target: Target::Sm80, comments, kernels: vec![scale(), product()] }
}

#[test]
fn a_kernel_prints_as_people_would_write_it() {
    let text = module().to_string();
    assert_eq!(text, include_str!("two.ptx"), "found:\n{text}");
}

#[test]
fn what_is_printed_reads_back() {
    assert_eq!(parse(&module().to_string()), Ok(module()));
}

/// What is said of a body.
#[track_caller]
fn check_error(body: &str, expected: &str) {
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry f()\n{\n.reg .b32 %r<2>; .reg .f32 %f0;\n";
    let error = parse(&format!("{head}{body}\n}}\n")).expect_err("a wrong text");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn errors_have_a_line_and_say_what_was_expected() {
    check_error("add.f33 %r0, %r0, 1;", "line 7: there is no instruction `add.f33`");
    check_error(
        "\nadd.u32 %r0, %f0, 1;",
        "line 8: operand 2 of `add.u32`: a register of type f32 cannot hold u32",
    );
    check_error("add.u32 %r0, %r7, 1;", "line 7: register `%r7` is not declared");
    check_error("add.u32 %r0, %r1;", "line 7: `add.u32` takes 3 operands, found 2");
    check_error("bra $nowhere;", "line 7: there is no label `$nowhere`");
    check_error("bar.sync 16;", "line 7: operand 1 of `bar.sync`: 16 is not between 0 and 15");
    check_error(
        "bar.sync %r0;",
        "line 7: operand 1 of `bar.sync`: found a register of type b32, expected an integer from 0 to 15",
    );
    check_error(
        "mov.u32 %r0, 4294967296;",
        "line 7: operand 2 of `mov.u32`: 4294967296 does not fit 32 bits",
    );
    check_error("mov.u32 %r0, §;", "line 7: `§` has no meaning here");
    check_error(
        "elect.sync %r0, %r1, -1;",
        "line 7: operand 2 of `elect.sync`: a register of type b32 cannot hold pred",
    );
    check_error("ret", "line 8: found `}`, expected an operand");
}

#[test]
#[should_panic(
    expected = "operand 2 of `add.u32`: a register of type f32 cannot hold u32, in `add.u32 %r0, %f0, 1`"
)]
fn a_builder_refuses_operands_that_do_not_fit() {
    let mut b = Builder::new("f");
    let value = b.fresh(RegType::F32);
    b.int(IntOp::Add, Int::U32, value, 1);
}

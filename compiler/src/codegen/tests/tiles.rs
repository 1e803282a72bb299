//! Tiles: broadcasts, contractions, reductions, guards, loops.

use attnc_dsl::ast::{CompareOp, DType};

use super::build::{Build, call, dim};
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Nest, Op, Place, Scalar, Stmt, TileDim};

/// Small whole numbers, so that sums are exact in any order.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|it| ((it * 7 + it / 5) % 11) as f32 - 5.0).collect()
}

/// `C[m, n] = Σ_k A[m, k] · B[n, k]` in tiles `m × n`, `k` deep, with the leftover of `k` one by one; `contiguous`
/// promises that `A` and `B` are dense along `k`.
fn product([m, n, k]: [u32; 3], contiguous: bool) -> Nest {
    let mut build = Build::new(3);
    let a = build.tensor(DType::F32, Place::Input, &[0, 2]);
    let b = build.tensor(DType::F32, Place::Input, &[1, 2]);
    let c = build.tensor(DType::F32, Place::Output, &[0, 1]);
    let [zero, one] = [0, 1].map(|it| build.known(Scalar::I64, Op::Int(it)));
    let extents = build.nest.extents.clone();
    build.stage(one, |build, _| {
        build.for_each(0, (zero, extents[0], m), &[], |build, first, _| {
            let at_m = build.coordinates(first, dim(0, m));
            build.for_each(1, (zero, extents[1], n), &[], |build, first, _| {
                let at_n = build.coordinates(first, dim(1, n));
                let into = [dim(0, m), dim(1, n)];
                let empty = build.tile(Scalar::F32, &into, Op::Real(0.0));
                let deep = [dim(2, k)];
                let step = |deep: Vec<TileDim>| {
                    move |build: &mut Build, first, sums: &[_]| {
                        let at_k = deep.first().map_or(first, |&deep| build.coordinates(first, deep));
                        let dense = contiguous && !deep.is_empty();
                        let side = |of| [&[of], &deep[..]].concat();
                        let a = build.load(Scalar::F32, &side(dim(0, m)), a, &[at_m, at_k], dense);
                        let b = build.load(Scalar::F32, &side(dim(1, n)), b, &[at_n, at_k], dense);
                        vec![build.tile(
                            Scalar::F32,
                            &into,
                            Op::Contract { a, b, there: None, into: sums[0] },
                        )]
                    }
                };
                let bulk = build.for_each(2, (zero, extents[2], k), &[empty], step(deep.to_vec()));
                let depth = build.scalar(Scalar::I64, Op::Int(k.into()));
                let rest = build.scalar(Scalar::I64, Op::Binary(BinaryOp::Mod, extents[2], depth));
                let from = build.scalar(Scalar::I64, Op::Binary(BinaryOp::Sub, extents[2], rest));
                let sums = build.for_each(2, (from, extents[2], 1), &bulk, step(Vec::new()));
                build.store(c, &[at_m, at_n], sums[0], true);
                Vec::new()
            });
            Vec::new()
        });
    });
    build.nest
}

#[test]
fn contractions_of_tiles() {
    let (m, n, k) = (8, 12, 19);
    let (a, b) = (numbers(m * k), numbers(n * k));
    for tile in [[1, 1, 1], [2, 4, 1], [4, 3, 4], [8, 4, 8], [2, 12, 5], [4, 1, 8], [8, 12, 16]] {
        let mut c = vec![0f32; m * n];
        let words = [
            [m, n, k].map(|it| it as u64).to_vec(),
            vec![a.as_ptr() as u64, k as u64, 1, b.as_ptr() as u64, k as u64, 1],
            vec![c.as_mut_ptr() as u64, n as u64, 1],
        ];
        call(&product(tile, true), &words.concat());
        for (at, &found) in c.iter().enumerate() {
            let (row, column) = (at / n * k, at % n * k);
            let expected: f32 = (0..k).map(|it| a[row + it] * b[column + it]).sum();
            assert_eq!(found, expected, "{tile:?}: {at}");
        }
    }
}

#[test]
fn strides_are_of_any_sign_and_extents_may_be_empty() {
    let (m, n, k) = (2usize, 4usize, 5usize);
    let (a, b) = (numbers(m * k), numbers(k));
    let mut c = vec![9f32; m * n];
    let last = a[m * k - 1..].as_ptr() as u64;
    let backwards = (-1i64).cast_unsigned();
    let from_the_end = (-(k as i64)).cast_unsigned();
    let output = c.as_mut_ptr() as u64;
    let extents = [m, n, k].map(|it| it as u64);
    let words =
        [extents.to_vec(), vec![last, from_the_end, backwards, b.as_ptr() as u64, 0, 1, output, n as u64, 1]];
    call(&product([2, 4, 4], false), &words.concat());
    for (at, &found) in c.iter().enumerate() {
        let expected: f32 = (0..k).map(|it| a[m * k - 1 - (at / n * k + it)] * b[it]).sum();
        assert_eq!(found, expected, "{at}");
    }
    call(&product([2, 4, 4], false), &[m as u64, n as u64, 0, 0, 0, 0, 0, 0, 0, output, n as u64, 1]);
    assert_eq!(c, [0.0; 8], "a sum over nothing");
    call(&product([2, 4, 4], false), &[0, n as u64, k as u64, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// `C[m, n] = Σ_k A[k, m] · B[k, n]` in one tile `m × n`, all dense along their last rank.
fn outer_products([m, n]: [u32; 2]) -> Nest {
    let mut build = Build::new(3);
    let a = build.tensor(DType::F32, Place::Input, &[2, 0]);
    let b = build.tensor(DType::F32, Place::Input, &[2, 1]);
    let c = build.tensor(DType::F32, Place::Output, &[0, 1]);
    let [zero, one] = [0, 1].map(|it| build.known(Scalar::I64, Op::Int(it)));
    let depth = build.nest.extents[2];
    let (rows, columns) = (dim(0, m), dim(1, n));
    build.stage(one, |build, _| {
        let (at_m, at_n) = (build.coordinates(zero, rows), build.coordinates(zero, columns));
        let empty = build.tile(Scalar::F32, &[rows, columns], Op::Real(0.0));
        let sums = build.for_each(2, (zero, depth, 1), &[empty], |build, k, sums| {
            let a = build.load(Scalar::F32, &[rows], a, &[k, at_m], true);
            let b = build.load(Scalar::F32, &[columns], b, &[k, at_n], true);
            vec![build.tile(Scalar::F32, &[rows, columns], Op::Contract { a, b, there: None, into: sums[0] })]
        });
        build.store(c, &[at_m, at_n], sums[0], true);
    });
    build.nest
}

#[test]
fn sums_of_outer_products() {
    for [m, n] in [[6u32, 64], [4, 8], [3, 5]] {
        let (rows, columns, depth) = (m as usize, n as usize, 7);
        let (a, b) = (numbers(rows * depth), numbers(columns * depth));
        let mut c = vec![0f32; rows * columns];
        let extents = [m.into(), n.into(), depth as u64];
        let inputs = [a.as_ptr() as u64, m.into(), 1, b.as_ptr() as u64, n.into(), 1];
        call(
            &outer_products([m, n]),
            &[&extents[..], &inputs, &[c.as_mut_ptr() as u64, n.into(), 1]].concat(),
        );
        for (at, found) in c.into_iter().enumerate() {
            let (row, column) = (at / columns, at % columns);
            let expected: f32 = (0..depth).map(|k| a[k * rows + row] * b[k * columns + column]).sum();
            assert_eq!(found, expected, "{m} x {n}: {at}");
        }
    }
}

/// The sums of as large a tile as fits into the registers of a machine are never in memory.
#[cfg(feature = "llvm")]
#[test]
fn accumulators_stay_in_registers() {
    use crate::codegen::{Backend, listing};
    use crate::target::Target;

    let machines = [
        ("x86-64-v4", [6, 64], [9, 64], 16, "vfmadd"),
        ("x86-64-v3", [4, 16], [9, 16], 8, "vfmadd"),
        ("aarch64", [4, 16], [10, 16], 4, "fmla"),
    ];
    for (target, fits, too_large, lanes, fused) in machines {
        let target = Target::named(target).unwrap();
        let lines = |tile, word: &str| {
            let code = listing(&outer_products(tile), &target, Backend::Llvm).unwrap();
            code.lines().filter(|it| it.contains(word)).count()
        };
        assert!(lines(fits, fused) as u32 >= fits[0] * fits[1] / lanes, "{target}");
        let spill = format!("{}-byte Spill", 4 * lanes);
        assert_eq!(lines(fits, &spill), 0, "{target}");
        assert!(lines(too_large, &spill) > 0, "{target}");
    }
}

/// Stores the reduction of a tile over its ranks that `result` lacks.
fn reduction(op: ReduceOp, scalar: Scalar, shape: [TileDim; 2], result: &[TileDim]) -> Nest {
    let (input, output) =
        if scalar == Scalar::Bool { (DType::Bool, DType::Bool) } else { (DType::F32, DType::F32) };
    let mut build = Build::new(2);
    let from = build.tensor(input, Place::Input, &[0, 1]);
    let ranks: Vec<usize> = result.iter().map(|it| it.rank.idx()).collect();
    let to = build.tensor(output, Place::Output, &ranks);
    let [zero, one] = [0, 1].map(|it| build.known(Scalar::I64, Op::Int(it)));
    build.stage(one, |build, _| {
        let at = shape.map(|it| build.coordinates(zero, it));
        let mut value = build.load(scalar, &shape, from, &at, true);
        if scalar == Scalar::Bool {
            // Through f32, so that vectors of masks are met.
            let real = build.tile(Scalar::F32, &shape, Op::Convert(value));
            value = build.tile(Scalar::Bool, &shape, Op::Convert(real));
        }
        let reduced = build.tile(scalar, result, Op::Reduce(op, value));
        let index: Vec<_> = ranks.iter().map(|&it| at[it]).collect();
        build.store(to, &index, reduced, true);
    });
    build.nest
}

#[test]
fn reductions_of_reals() {
    let (m, n) = (4, 8);
    let x = numbers(m as usize * n as usize);
    let fold = |op: ReduceOp, a: f32, b: f32| match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        ReduceOp::Max => a.max(b),
        ReduceOp::Min => a.min(b),
        ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => unreachable!("not of reals"),
    };
    let (rows, columns) = (dim(0, m), dim(1, n));
    for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
        for result in [&[][..], &[rows], &[columns]] {
            let points = result.iter().map(|it| it.extent as usize).product();
            let mut found = vec![0f32; points];
            let mut words =
                vec![m.into(), n.into(), x.as_ptr() as u64, n.into(), 1, found.as_mut_ptr() as u64];
            words.extend(result.iter().map(|_| 1));
            call(&reduction(op, Scalar::F32, [rows, columns], result), &words);
            let group = |at: usize| match result {
                [kept] if *kept == rows => at / n as usize,
                [_] => at % n as usize,
                _ => 0,
            };
            for (point, found) in found.into_iter().enumerate() {
                let mine = x.iter().enumerate().filter(|(at, _)| group(*at) == point).map(|(_, &x)| x);
                assert_eq!(Some(found), mine.reduce(|a, b| fold(op, a, b)), "{op:?} {result:?} {point}");
            }
        }
    }
}

#[test]
fn reductions_of_bools() {
    let (rows, columns) = (dim(0, 3), dim(1, 4));
    let x = [1u8, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0];
    for (op, expected) in [(ReduceOp::Any, [1u8, 1, 0]), (ReduceOp::All, [1, 0, 0])] {
        let mut found = [7u8; 3];
        let words = [3, 4, x.as_ptr() as u64, 4, 1, found.as_mut_ptr() as u64, 1];
        call(&reduction(op, Scalar::Bool, [rows, columns], &[rows]), &words);
        assert_eq!(found, expected, "{op:?}");
    }
}

/// `Y[n] = X[n] where n < limit`, in one tile that may reach beyond both.
fn guarded(dtype: DType, scalar: Scalar, width: u32, one_by_one: bool) -> Nest {
    let mut build = Build::new(1);
    let from = build.tensor(dtype, Place::Input, &[0]);
    let to = build.tensor(dtype, Place::Output, &[0]);
    let [zero, one] = [0, 1].map(|it| build.known(Scalar::I64, Op::Int(it)));
    let limit = build.nest.extents[0];
    build.stage(one, |build, _| {
        let shape = [dim(0, width)];
        let at = build.coordinates(zero, shape[0]);
        let (shape_of_guard, tested) = if one_by_one { (&shape[..], at) } else { (&[][..], zero) };
        let inside = Op::Compare(CompareOp::Lt, tested, limit);
        let guard = Some(build.tile(Scalar::Bool, shape_of_guard, inside));
        let load = Op::Load { buffer: from, index: vec![at], guard, contiguous: true };
        let value = build.tile(scalar, &shape, load);
        build.push(Stmt::Store { buffer: to, index: vec![at], value, guard, contiguous: true });
        // What was not loaded is 0, which shows in the sum.
        let total = build.tile(scalar, &[], Op::Reduce(ReduceOp::Sum, value));
        let first = build.scalar(Scalar::Bool, Op::Compare(CompareOp::Lt, zero, limit));
        build.push(Stmt::Store {
            buffer: to,
            index: vec![zero],
            value: total,
            guard: Some(first),
            contiguous: false,
        });
    });
    build.nest
}

#[test]
fn guards_keep_away_from_memory() {
    for width in [8, 3] {
        let x: Vec<f32> = (0..width).map(|it| it as f32 + 1.0).collect();
        for limit in 0..=width {
            let mut y = vec![-1f32; width as usize];
            let nest = guarded(DType::F32, Scalar::F32, width, true);
            call(&nest, &[limit.into(), x.as_ptr() as u64, 1, y.as_mut_ptr() as u64, 1]);
            for at in 1..width {
                assert_eq!(
                    y[at as usize],
                    if at < limit { at as f32 + 1.0 } else { -1.0 },
                    "{at} of {limit}"
                );
            }
            let total = (limit * (limit + 1) / 2) as f32;
            assert_eq!(y[0], if limit == 0 { -1.0 } else { total });
        }
        for (dtype, scalar) in
            [(DType::F32, Scalar::F32), (DType::BF16, Scalar::F32), (DType::I4, Scalar::I64)]
        {
            // Nothing is there at all.
            call(&guarded(dtype, scalar, width, true), &[0, 0, 1, 0, 1]);
            call(&guarded(dtype, scalar, width, false), &[0, 0, 1, 0, 1]);
        }
        let mut y = vec![-1f32; width as usize];
        call(
            &guarded(DType::F32, Scalar::F32, width, false),
            &[1, x.as_ptr() as u64, 1, y.as_mut_ptr() as u64, 1],
        );
        assert_eq!(y[1..], x[1..]);
    }
}

#[test]
fn branches_and_broadcasts() {
    let mut build = Build::new(2);
    let rows = build.tensor(DType::F32, Place::Input, &[0]);
    let columns = build.tensor(DType::F32, Place::Input, &[1]);
    let to = build.tensor(DType::F32, Place::Output, &[0, 1]);
    let [zero, two] = [0, 2].map(|it| build.known(Scalar::I64, Op::Int(it)));
    build.stage(two, |build, task| {
        let (row, column) = (dim(0, 4), dim(1, 4));
        let (at_row, at_column) = (build.coordinates(zero, row), build.coordinates(zero, column));
        let x = build.load(Scalar::F32, &[row], rows, &[at_row], true);
        let y = build.load(Scalar::F32, &[column], columns, &[at_column], true);
        let first = build.scalar(Scalar::Bool, Op::Compare(CompareOp::Eq, task, zero));
        let (then, ()) = build.block(|build| {
            // The ranks of a value may come in any order.
            let turned = build.tile(Scalar::F32, &[column, row], Op::Binary(BinaryOp::Sub, x, y));
            let lower =
                build.tile(Scalar::Bool, &[row, column], Op::Compare(CompareOp::Ge, at_row, at_column));
            let negated = build.tile(Scalar::F32, &[row, column], Op::Binary(BinaryOp::Mul, turned, x));
            let value = build.tile(Scalar::F32, &[row, column], Op::Select(lower, turned, negated));
            build.store(to, &[at_row, at_column], value, true);
        });
        let (otherwise, ()) = build.block(|_| ());
        build.push(Stmt::If { condition: first, then, otherwise });
    });
    let (x, y) = ([1f32, 2.0, 3.0, 4.0], [10f32, 20.0, 30.0, 40.0]);
    let mut z = [0f32; 16];
    call(&build.nest, &[4, 4, x.as_ptr() as u64, 1, y.as_ptr() as u64, 1, z.as_mut_ptr() as u64, 4, 1]);
    for (at, found) in z.into_iter().enumerate() {
        let (row, column) = (at / 4, at % 4);
        let difference = x[row] - y[column];
        assert_eq!(found, if row >= column { difference } else { difference * x[row] }, "{at}");
    }
}

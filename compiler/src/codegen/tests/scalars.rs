//! Each scalar operation in scalars and in tiles, to the bit.

use attnc_dsl::ast::{CompareOp, DType};

use super::build::{apply, apply_each, elementwise};
use crate::codegen::math::{
    self, Arith,
    host::{Fused32, Host32, Host64},
    narrow::round_to,
};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Op, Scalar};

const WIDTHS: [Option<u32>; 3] = [None, Some(8), Some(3)];

/// An operation and what it is on the host.
type Case<'a, X> = (UnaryOp, &'a dyn Fn(X) -> X);
/// The same of two operands.
type PairCase<'a, X> = (BinaryOp, &'a dyn Fn(X, X) -> X);

const REALS: [f64; 24] = [
    0.0,
    -0.0,
    0.3,
    -0.3,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    2.5,
    -2.5,
    -7.75,
    1e-30,
    -88.0,
    100.0,
    1e10,
    4_503_599_627_370_497.5,
    -16_777_217.0,
    3.7e18,
    -1e300,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e-310,
];

const INTEGERS: [i64; 24] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    7,
    -7,
    8,
    63,
    64,
    -64,
    65,
    127,
    255,
    -32_769,
    16_777_217,
    -(1 << 31),
    1 << 40,
    (1 << 53) + 1,
    -(1 << 62) - 3,
    i64::MAX - 1,
    i64::MAX,
    i64::MIN,
];

/// Every pair of elements, in two lists.
fn pairs<T: Copy>(of: &[T]) -> (Vec<T>, Vec<T>) {
    of.iter().flat_map(|&a| of.iter().map(move |&b| (a, b))).unzip()
}

fn real_unary<A: Arith<F: Into<f64>>>(arith: &A, op: UnaryOp, x: A::F) -> A::F {
    let of = |y: f64| arith.float(y);
    let wide: f64 = x.into();
    match op {
        UnaryOp::Exp => math::exp(arith, x),
        UnaryOp::Exp2 => math::exp2(arith, x),
        UnaryOp::Expm1 => math::expm1(arith, x),
        UnaryOp::Log => math::log(arith, x),
        UnaryOp::Log2 => math::log2(arith, x),
        UnaryOp::Log1p => math::log1p(arith, x),
        UnaryOp::Sqrt => arith.sqrt(x),
        UnaryOp::Rsqrt => math::rsqrt(arith, x),
        UnaryOp::Sin => math::sin(arith, x),
        UnaryOp::Cos => math::cos(arith, x),
        UnaryOp::Tanh => math::tanh(arith, x),
        UnaryOp::Sigmoid => math::sigmoid(arith, x),
        UnaryOp::Softplus => math::softplus(arith, x),
        UnaryOp::Erf => math::erf(arith, x),
        UnaryOp::Gelu => math::gelu(arith, x),
        UnaryOp::Silu => math::silu(arith, x),
        UnaryOp::Neg => arith.neg(x),
        UnaryOp::Abs => arith.abs(x),
        UnaryOp::Relu => of(if wide < 0.0 { 0.0 } else { wide }),
        UnaryOp::Sign => of(if wide == 0.0 || wide.is_nan() { wide } else { wide.signum() }),
        UnaryOp::Floor => of(wide.floor()),
        UnaryOp::Ceil => of(wide.ceil()),
        UnaryOp::Round => of(wide.round_ties_even()),
        UnaryOp::Trunc => of(wide.trunc()),
        UnaryOp::Not | UnaryOp::ToReal | UnaryOp::Ilog2 | UnaryOp::IsNan | UnaryOp::IsInf => {
            unreachable!("{} is tested apart", op.name())
        }
    }
}

fn real_functions() -> impl Iterator<Item = UnaryOp> {
    let apart = [UnaryOp::Not, UnaryOp::Ilog2, UnaryOp::IsNan, UnaryOp::IsInf];
    UnaryOp::NAMED.iter().map(|(_, op)| *op).filter(move |op| !apart.contains(op)).chain([UnaryOp::Neg])
}

macro_rules! check_reals {
    ($dtype:ident, $float:ident, $host:ident, $fused:ident, $width:ident) => {
        let x = REALS.map(|it| it as $float);
        for op in real_functions() {
            let nest =
                elementwise(&[(DType::$dtype, Scalar::$dtype)], DType::$dtype, $width, |build, shape, x| {
                    build.tile(Scalar::$dtype, shape, Op::Unary(op, x[0]))
                });
            for (fuses, found) in apply_each::<$float>(&nest, x.len(), &[x.as_ptr().cast()]) {
                for (x, found) in x.into_iter().zip(found) {
                    let expected = if fuses { real_unary(&$fused, op, x) } else { real_unary(&$host, op, x) };
                    let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                    // Stages may flush what is below the least normal number.
                    let same = same || found == 0.0 && expected.is_subnormal();
                    assert!(same, "{} {x} {:?}: {found} is not {expected}", op.name(), $width);
                }
            }
        }
    };
}

#[test]
fn functions_of_one_real() {
    for width in WIDTHS {
        check_reals!(F32, f32, Host32, Fused32, width);
        check_reals!(F64, f64, Host64, Host64, width);
    }
}

macro_rules! check_pairs {
    ($dtype:ident, $float:ident, $host:ident, $width:ident) => {
        let (x, y) = pairs(&REALS.map(|it| it as $float));
        let extreme = |a: $float, b: $float, least: bool| match (a.is_nan() || b.is_nan(), (a < b) == least) {
            (true, _) => $float::NAN,
            (false, true) => a,
            (false, false) => b,
        };
        let ops: [PairCase<'_, $float>; 7] = [
            (BinaryOp::Add, &|a, b| a + b),
            (BinaryOp::Sub, &|a, b| a - b),
            (BinaryOp::Mul, &|a, b| a * b),
            (BinaryOp::Div, &|a, b| a / b),
            (BinaryOp::Pow, &|a, b| math::pow(&$host, a, b)),
            (BinaryOp::Min, &|a, b| extreme(a, b, true)),
            (BinaryOp::Max, &|a, b| extreme(a, b, false)),
        ];
        for (op, expected) in ops {
            let inputs = [(DType::$dtype, Scalar::$dtype); 2];
            let nest = elementwise(&inputs, DType::$dtype, $width, |build, shape, x| {
                build.tile(Scalar::$dtype, shape, Op::Binary(op, x[0], x[1]))
            });
            let found: Vec<$float> = apply(&nest, x.len(), &[x.as_ptr().cast(), y.as_ptr().cast()]);
            for ((x, y), found) in x.iter().zip(&y).zip(found) {
                let expected = expected(*x, *y);
                let same = found == expected || found.is_nan() && expected.is_nan();
                let same = same || found == 0.0 && expected.is_subnormal();
                assert!(same, "{x} {} {y} {:?}: {found} is not {expected}", op.name(), $width);
            }
        }
    };
}

#[test]
fn operations_on_two_reals() {
    for width in WIDTHS {
        check_pairs!(F32, f32, Host32, width);
        check_pairs!(F64, f64, Host64, width);
    }
}

#[test]
fn operations_on_integers() {
    let (x, y) = pairs(&INTEGERS);
    let divided =
        |a: i64, b: i64| if b == 0 { (0, 0) } else { (a.wrapping_div_euclid(b), a.wrapping_rem_euclid(b)) };
    let floor = |a: i64, b: i64| match divided(a, b) {
        (quotient, rest) if b < 0 && rest != 0 => (quotient - 1, rest + b),
        exact => exact,
    };
    let ops: [PairCase<'_, i64>; 12] = [
        (BinaryOp::Add, &i64::wrapping_add),
        (BinaryOp::Sub, &i64::wrapping_sub),
        (BinaryOp::Mul, &i64::wrapping_mul),
        (BinaryOp::FloorDiv, &|a, b| floor(a, b).0),
        (BinaryOp::Mod, &|a, b| floor(a, b).1),
        (BinaryOp::Min, &Ord::min),
        (BinaryOp::Max, &Ord::max),
        (BinaryOp::BitAnd, &|a, b| a & b),
        (BinaryOp::BitOr, &|a, b| a | b),
        (BinaryOp::BitXor, &|a, b| a ^ b),
        (BinaryOp::Shl, &|a, b| a << (b & 63)),
        (BinaryOp::Shr, &|a, b| a >> (b & 63)),
    ];
    for (op, expected) in ops {
        let nest = elementwise(&[(DType::I64, Scalar::I64); 2], DType::I64, Some(4), |build, shape, x| {
            build.tile(Scalar::I64, shape, Op::Binary(op, x[0], x[1]))
        });
        let found: Vec<i64> = apply(&nest, x.len(), &[x.as_ptr().cast(), y.as_ptr().cast()]);
        for ((x, y), found) in x.iter().zip(&y).zip(found) {
            assert_eq!(found, expected(*x, *y), "{x} {} {y}", op.name());
        }
    }
}

#[test]
fn operations_on_one_integer() {
    let ops: [Case<'_, i64>; 9] = [
        (UnaryOp::Neg, &i64::wrapping_neg),
        (UnaryOp::Abs, &i64::wrapping_abs),
        (UnaryOp::Relu, &|x| x.max(0)),
        (UnaryOp::Sign, &i64::signum),
        (UnaryOp::Ilog2, &|x| x.checked_ilog2().map_or(0, i64::from)),
        (UnaryOp::Floor, &|x| x),
        (UnaryOp::Ceil, &|x| x),
        (UnaryOp::Round, &|x| x),
        (UnaryOp::Trunc, &|x| x),
    ];
    for (op, expected) in ops {
        let nest = elementwise(&[(DType::I64, Scalar::I64)], DType::I64, None, |build, shape, x| {
            build.tile(Scalar::I64, shape, Op::Unary(op, x[0]))
        });
        let found: Vec<i64> = apply(&nest, INTEGERS.len(), &[INTEGERS.as_ptr().cast()]);
        assert_eq!(found, INTEGERS.map(expected), "{}", op.name());
    }
}

const COMPARISONS: [CompareOp; 6] =
    [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];

fn holds<T: PartialOrd>(op: CompareOp, a: T, b: T) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}

macro_rules! check_comparisons {
    ($dtype:ident, $values:expr, $width:ident) => {
        let (x, y) = pairs(&$values);
        for op in COMPARISONS {
            let inputs = [(DType::$dtype, Scalar::$dtype); 2];
            let nest = elementwise(&inputs, DType::Bool, $width, |build, shape, x| {
                build.tile(Scalar::Bool, shape, Op::Compare(op, x[0], x[1]))
            });
            let found: Vec<u8> = apply(&nest, x.len(), &[x.as_ptr().cast(), y.as_ptr().cast()]);
            let expected: Vec<u8> = x.iter().zip(&y).map(|(x, y)| u8::from(holds(op, x, y))).collect();
            assert_eq!(found, expected, "{op:?} {} {:?}", stringify!($dtype), $width);
        }
    };
}

#[test]
fn comparisons() {
    for width in [None, Some(4), Some(1)] {
        check_comparisons!(F32, REALS.map(|it| it as f32), width);
        check_comparisons!(F64, REALS, width);
        check_comparisons!(I64, INTEGERS, width);
        check_comparisons!(Bool, [false, true], width);
    }
}

#[test]
fn bools_from_comparisons_choose_and_combine() {
    let (x, y) = pairs(&REALS.map(|it| it as f32));
    for width in WIDTHS {
        let nest = elementwise(&[(DType::F32, Scalar::F32); 2], DType::F32, width, |build, shape, x| {
            let mut bool = |op| build.tile(Scalar::Bool, shape, op);
            let less = bool(Op::Compare(CompareOp::Lt, x[0], x[1]));
            let not = bool(Op::Unary(UnaryOp::Not, less));
            let nan = bool(Op::Unary(UnaryOp::IsNan, x[0]));
            let infinite = bool(Op::Unary(UnaryOp::IsInf, x[1]));
            let both = bool(Op::Binary(BinaryOp::And, not, infinite));
            let any = bool(Op::Binary(BinaryOp::Or, both, nan));
            let one = build.tile(Scalar::F32, shape, Op::Convert(any));
            build.tile(Scalar::F32, shape, Op::Select(less, x[0], one))
        });
        let found: Vec<f32> = apply(&nest, x.len(), &[x.as_ptr().cast(), y.as_ptr().cast()]);
        for ((&x, &y), found) in x.iter().zip(&y).zip(found) {
            let one = f32::from(u8::from(y.is_infinite() || x.is_nan()));
            assert_eq!(found, if x < y { x } else { one }, "{x} {y} {width:?}");
        }
    }
}

macro_rules! check_convert {
    ($x:expr, $from:ident, $to:ident, $type:ty, $expected:expr) => {
        for width in WIDTHS {
            let nest = elementwise(&[(DType::$from, Scalar::$from)], DType::$to, width, |build, shape, x| {
                build.tile(Scalar::$to, shape, Op::Convert(x[0]))
            });
            let found: Vec<$type> = apply(&nest, $x.len(), &[$x.as_ptr().cast()]);
            for (x, found) in $x.iter().zip(found) {
                let expected: $type = $expected(*x);
                let place = format!("{x} to {} {width:?}", stringify!($to));
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{place}");
            }
        }
    };
}

#[test]
fn conversions() {
    let singles = REALS.map(|it| it as f32);
    check_convert!(singles, F32, F64, f64, f64::from);
    check_convert!(REALS, F64, F32, f32, |x| x as f32);
    check_convert!(singles, F32, I64, i64, |x: f32| x.round_ties_even() as i64);
    check_convert!(REALS, F64, I64, i64, |x: f64| x.round_ties_even() as i64);
    check_convert!(INTEGERS, I64, F32, f32, |x| x as f32);
    check_convert!(INTEGERS, I64, F64, f64, |x| x as f64);
    check_convert!(singles, F32, Bool, u8, |x| u8::from(x != 0.0));
    check_convert!(REALS, F64, Bool, u8, |x| u8::from(x != 0.0));
    check_convert!(INTEGERS, I64, Bool, u8, |x| u8::from(x != 0));
    let bools = [false, true, true, false, false, true, false, true, false, true, false, true].repeat(2);
    check_convert!(bools, Bool, I64, i64, i64::from);
    check_convert!(bools, Bool, F32, f32, |x| f32::from(u8::from(x)));
    check_convert!(bools, Bool, F64, f64, |x| f64::from(u8::from(x)));
}

#[test]
fn reals_round_to_dtypes() {
    let reals: Vec<f64> =
        REALS.into_iter().chain([448.0, 470.0, 65519.9, 65520.0, 1.0 / 3.0, 1e-7, 3e-8, 6e4]).collect();
    let singles: Vec<f32> = reals.iter().map(|&it| it as f32).collect();
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2] {
        for width in WIDTHS {
            let round = |scalar, stored| {
                elementwise(&[(stored, scalar)], stored, width, |build, shape, x| {
                    build.tile(scalar, shape, Op::Round(dtype, x[0]))
                })
            };
            let whole = reals.len() / 3 * 3;
            let found: Vec<f64> =
                apply(&round(Scalar::F64, DType::F64), reals.len(), &[reals.as_ptr().cast()]);
            let narrow = |x: f64| if dtype == DType::F32 { f64::from(x as f32) } else { round_to(dtype, x) };
            for (x, found) in reals.iter().zip(found).take(whole) {
                assert_eq!(format!("{found:?}"), format!("{:?}", narrow(*x)), "{x} {dtype:?}");
            }
            let found: Vec<f32> =
                apply(&round(Scalar::F32, DType::F32), reals.len(), &[singles.as_ptr().cast()]);
            for (x, found) in singles.iter().zip(found).take(whole) {
                assert_eq!(
                    format!("{found:?}"),
                    format!("{:?}", narrow(f64::from(*x)) as f32),
                    "{x} {dtype:?}"
                );
            }
        }
    }
}

#[test]
fn integers_saturate_at_dtypes() {
    let ranges =
        [(DType::I32, -1i64 << 31, (1i64 << 31) - 1), (DType::I16, -32768, 32767), (DType::I8, -128, 127)];
    for (dtype, least, greatest) in ranges.into_iter().chain([(DType::I4, -8, 7), (DType::U8, 0, 255)]) {
        let nest = elementwise(&[(DType::I64, Scalar::I64)], DType::I64, None, |build, shape, x| {
            build.tile(Scalar::I64, shape, Op::Round(dtype, x[0]))
        });
        let found: Vec<i64> = apply(&nest, INTEGERS.len(), &[INTEGERS.as_ptr().cast()]);
        assert_eq!(found, INTEGERS.map(|it| it.clamp(least, greatest)), "{dtype:?}");
    }
}

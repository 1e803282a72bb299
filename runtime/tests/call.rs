//! Calls of a kernel that was written by hand: results, shapes, threads, and everything that is refused.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod axpy;

use std::sync::LazyLock;

use attnc_runtime::{Call, DType, Kernel, Library, TensorView, TensorViewMut, Workspace};

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let folder = axpy::artifact(axpy::info());
    // SAFETY: the library does what the manifest says.
    unsafe { Library::open(folder.path()) }.unwrap()
});

fn kernel() -> &'static Kernel {
    LIBRARY.kernel("axpy").unwrap()
}

const Z: [bool; 2] = [true, false];

/// The data of one call.
#[derive(Debug, Clone, PartialEq)]
struct Data {
    shape: [usize; 2],
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    t: Vec<f64>,
    h: Vec<i32>,
}

impl Data {
    fn new(m: usize, n: usize) -> Data {
        let a = (0..m * n).map(|it| it as f32).collect();
        let b = (0..m * n).map(|it| 0.5 - (it % 7) as f32).collect();
        Data { shape: [m, n], a, b, c: vec![f32::NAN; m * n], t: vec![f64::NAN; m + 1], h: vec![7; 2 * m] }
    }

    /// Gives everything but the parameters to a call.
    fn give<'a>(&'a mut self, call: Call<'a>) -> Call<'a> {
        let Data { shape, a, b, c, t, h } = self;
        let shape = shape.as_slice();
        let plus: &'a [usize] = Box::leak(Box::new([t.len()]));
        let twice: &'a [usize] = Box::leak(Box::new([h.len()]));
        call.input("A", TensorView::new(a, shape).unwrap())
            .input("B", TensorView::new(b, shape).unwrap())
            .input("Z", TensorView::new(&Z, &[2]).unwrap())
            .output("C", TensorViewMut::new(c, shape).unwrap())
            .output("T", TensorViewMut::new(t, plus).unwrap())
            .output("H", TensorViewMut::new(h, twice).unwrap())
    }

    /// What the kernel should make of it.
    fn expected(mut self, scale: f32, flip: bool) -> Data {
        let sign = if flip { -1.0 } else { 1.0 };
        for (c, (a, b)) in self.c.iter_mut().zip(self.a.iter().zip(&self.b)) {
            *c = sign * (scale * a + b);
        }
        let [m, n] = self.shape;
        self.t = (0..=m).map(|i| self.c[..i * n].iter().map(|&it| f64::from(it)).sum()).collect();
        self.h = (0..2 * m as i32).map(|it| if Z[it as usize % 2] { it } else { -1 }).collect();
        self
    }
}

#[test]
fn the_result_is_the_same_on_any_number_of_threads() {
    let expected = Data::new(200, 3).expected(2.0, true);
    for threads in [None, Some(1), Some(2), Some(64)] {
        let mut data = Data::new(200, 3);
        let call = data.give(kernel().call()).param("scale", 2.0).param("flip", true);
        threads.into_iter().fold(call, Call::threads).run().unwrap();
        assert_eq!(data, expected, "{threads:?}");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let mut data = Data::new(200, 3);
    pool.install(|| data.give(kernel().call()).param("scale", 2.0).param("flip", true).run()).unwrap();
    assert_eq!(data, expected);
}

#[test]
fn a_parameter_that_is_not_given_has_its_default() {
    let mut data = Data::new(3, 4);
    data.give(kernel().call()).param("flip", false).param("w", 3).run().unwrap();
    assert_eq!(data, Data::new(3, 4).expected(0.25, false));
}

#[test]
fn an_integer_serves_as_a_real() {
    let mut data = Data::new(3, 4);
    data.give(kernel().call()).param("flip", false).param("scale", -2).run().unwrap();
    assert_eq!(data, Data::new(3, 4).expected(-2.0, false));
}

#[test]
fn any_extent_may_be_zero() {
    for (m, n) in [(0, 0), (0, 5), (5, 0)] {
        let mut data = Data::new(m, n);
        data.give(kernel().call()).param("flip", false).run().unwrap();
        assert_eq!(data, Data::new(m, n).expected(1.0, false));
    }
}

#[test]
fn strides_may_be_negative_zero_or_have_gaps() {
    let a: Vec<f32> = (0..6).map(|it| it as f32).collect();
    let (mut c, mut t, mut h) = ([f32::NAN; 12], [0.0; 4], [0; 6]);
    let call = kernel().call().param("scale", 1.0).param("flip", false);
    // A is the transpose of its data, backwards; B repeats two numbers; C is spread out, last row first.
    call.input("A", TensorView::strided(&a, 5, &[3, 2], &[-1, -3]).unwrap())
        .input("B", TensorView::strided(&[10.0f32, 20.0], 0, &[3, 2], &[0, 1]).unwrap())
        .input("Z", TensorView::strided(&[true], 0, &[2], &[0]).unwrap())
        .output("C", TensorViewMut::strided(&mut c, 8, &[3, 2], &[-4, 2]).unwrap())
        .output("T", TensorViewMut::new(&mut t, &[4]).unwrap())
        .output("H", TensorViewMut::strided(&mut h, 5, &[6], &[-1]).unwrap())
        .run()
        .unwrap();
    let written: Vec<_> = c.iter().copied().filter(|it| !it.is_nan()).collect();
    assert_eq!(written, [13.0, 20.0, 14.0, 21.0, 15.0, 22.0]);
    assert_eq!([c[8], c[10], c[0], c[2]], [15.0, 22.0, 13.0, 20.0]);
    assert_eq!(t, [0.0, 37.0, 72.0, 105.0]);
    assert_eq!(h, [5, 4, 3, 2, 1, 0]);
}

#[test]
fn shapes_of_outputs_follow_from_inputs() {
    let data = Data::new(3, 4);
    let mut call = kernel().call().param("flip", false);
    call = call.input("A", TensorView::new(&data.a, &[3, 4]).unwrap());
    assert_eq!(call.shapes().unwrap_err().to_string(), "kernel `axpy` needs input `B`");
    call = call.input("B", TensorView::new(&data.b, &[3, 4]).unwrap());
    call = call.input("Z", TensorView::new(&Z, &[2]).unwrap());
    let shapes = call.shapes().unwrap();
    let all: Vec<_> = shapes.iter().collect();
    assert_eq!(all, [("C", &[3usize, 4][..]), ("T", &[4]), ("H", &[6])]);
    let (mut c, mut t, mut h) = (vec![0f32; 12], vec![0f64; 4], vec![0i32; 6]);
    call.output("C", TensorViewMut::new(&mut c, &shapes["C"]).unwrap())
        .output("T", TensorViewMut::new(&mut t, &shapes["T"]).unwrap())
        .output("H", TensorViewMut::new(&mut h, &shapes["H"]).unwrap())
        .run()
        .unwrap();
    assert_eq!(Data { c, t, h, ..data }, Data::new(3, 4).expected(0.25, false));
}

#[test]
fn a_workspace_serves_calls_of_any_size() {
    let mut workspace = Workspace::new();
    for m in [3, 100, 1, 0, 50] {
        let mut data = Data::new(m, 4);
        data.give(kernel().call_in(&mut workspace)).param("flip", true).run().unwrap();
        assert_eq!(data, Data::new(m, 4).expected(0.25, true));
    }
}

#[test]
fn a_tensor_may_be_given_as_bytes() {
    let mut data = Data::new(3, 4);
    let bools = TensorView::from_bytes(DType::Bool, &[1, 0], &[2]).unwrap();
    without(&mut data, &["Z"]).input("Z", bools).run().unwrap();
    assert_eq!(data, Data::new(3, 4).expected(0.25, false));
    let bytes = [0u8; 16];
    let odd = bytes.as_ptr().align_offset(4) + 1;
    let error = TensorView::from_bytes(DType::F32, &bytes[odd..odd + 8], &[2]).unwrap_err();
    assert_eq!(error.to_string(), "the data of a view is not aligned to 4 bytes, as f32 must be");
}

/// Each call lacks something or has something wrong; nothing may be computed.
fn refused(wrong: impl for<'a> FnOnce(&'a mut Data) -> Call<'a>) -> String {
    let mut data = Data::new(3, 4);
    let error = wrong(&mut data).run().unwrap_err();
    let untouched = Data::new(3, 4);
    assert!(
        data.c.iter().all(|it| it.is_nan()) && data.h == untouched.h,
        "computed, though refused: {error}"
    );
    error.to_string()
}

/// A call that lacks the tensors of these names.
fn without<'a>(data: &'a mut Data, names: &[&str]) -> Call<'a> {
    let Data { shape, a, b, c, t, h } = data;
    let shape = shape.as_slice();
    let mut call = kernel().call().param("flip", false);
    for (name, view) in
        [("A", TensorView::new(a, shape)), ("B", TensorView::new(b, shape)), ("Z", TensorView::new(&Z, &[2]))]
    {
        if !names.contains(&name) {
            call = call.input(name, view.unwrap());
        }
    }
    let views = [TensorViewMut::new(c, shape), TensorViewMut::new(t, &[4]), TensorViewMut::new(h, &[6])];
    for (name, view) in ["C", "T", "H"].into_iter().zip(views) {
        if !names.contains(&name) {
            call = call.output(name, view.unwrap());
        }
    }
    call
}

macro_rules! refuses {
    ($($name:ident: without $without:tt, $give:expr => $message:literal,)*) => {
        $(#[test]
        fn $name() {
            let give: fn(Call<'_>) -> Call<'_> = $give;
            assert_eq!(refused(|data| give(without(data, &$without))), $message);
        })*
    };
}

refuses! {
    a_missing_input: without ["B"], |it| it => "kernel `axpy` needs input `B`",
    a_missing_output: without ["H"], |it| it => "kernel `axpy` needs output `H`",
    a_surplus_input: without [], |it| it.input("W", TensorView::new(&Z, &[2]).unwrap())
        => "kernel `axpy` has no input `W`; its inputs are `A`, `B`, `Z`",
    an_output_given_as_input: without ["T"], |it| it.input("T", TensorView::new(&Z, &[2]).unwrap())
        => "kernel `axpy` has no input `T`; its inputs are `A`, `B`, `Z`",
    an_input_given_twice: without [], |it| it.input("Z", TensorView::new(&Z, &[2]).unwrap())
        => "input `Z` is given twice",
    another_dtype: without ["B"], |it| it.input("B", TensorView::new(&[0f64; 12], &[3, 4]).unwrap())
        => "`B` is f64, expected f32",
    another_number_of_dimensions: without ["B"], |it| it.input("B", TensorView::new(&[0f32; 12], &[3, 2, 2]).unwrap())
        => "`B` has shape [3, 2, 2] of 3 dimensions, expected 2: [m, n]",
    extents_that_disagree: without ["B"], |it| it.input("B", TensorView::new(&[0f32; 15], &[3, 5]).unwrap())
        => "rank `n` is 5 in `B` but 4 in `A`",
    an_extent_that_was_fixed: without ["Z"], |it| it.input("Z", TensorView::new(&[true; 3], &[3]).unwrap())
        => "dimension `g` of `Z` is 3, expected 2",
    an_output_of_another_extent: without ["T"], |it| {
        it.output("T", TensorViewMut::new(Box::leak(Box::new([0f64; 3])), &[3]).unwrap())
    } => "dimension `m + 1` of `T` is 3, expected 4",
    an_output_of_a_derived_extent: without ["H"], |it| {
        it.output("H", TensorViewMut::new(Box::leak(Box::new([0i32; 5])), &[5]).unwrap())
    } => "dimension `h` of `H` is 5, expected 6",
    an_output_that_overlaps_itself: without ["H"], |it| {
        it.output("H", TensorViewMut::strided(Box::leak(Box::new([0i32; 1])), 0, &[6], &[0]).unwrap())
    } => "output `H` overlaps another tensor or itself",
    an_unknown_parameter: without [], |it| it.param("gain", 1.0)
        => "kernel `axpy` has no parameter `gain`; its parameters are `scale`, `w`, `flip`",
    a_parameter_given_twice: without [], |it| it.param("flip", true) => "parameter `flip` is given twice",
    a_real_for_an_integer: without [], |it| it.param("w", 3.0) => "parameter `w` is 3.0, expected an integer",
    a_bool_for_a_real: without [], |it| it.param("scale", true) => "parameter `scale` is true, expected a real",
    a_value_that_was_fixed: without [], |it| it.param("w", 4)
        => "parameter `w` is 4, expected 3, which was fixed at compile time",
    a_value_out_of_range: without [], |it| it.param("w", 1i64 << 31)
        => "parameter `w` is 2147483648, expected -2147483648 to 2147483647, as i32 allows",
}

#[test]
fn a_missing_parameter() {
    assert_eq!(refused(|data| data.give(kernel().call())), "kernel `axpy` needs parameter `flip`");
}

/// Inputs of these extents that repeat one element, so that they may be as large as one likes.
fn refused_extents(m: usize, n: usize) -> String {
    let shape = [m, n];
    let one = || TensorView::strided(&[0f32], 0, &shape, &[0, 0]).unwrap();
    let call = kernel().call().param("flip", false).input("A", one()).input("B", one());
    let mut call = call.input("Z", TensorView::new(&Z, &[2]).unwrap());
    match call.shapes() {
        Err(error) => error.to_string(),
        Ok(shapes) => {
            let shape = |name| shapes.get(name).unwrap();
            let call = call
                .output(
                    "C",
                    TensorViewMut::strided(Box::leak(Box::new([0f32])), 0, shape("C"), &[0, 0]).unwrap(),
                )
                .output(
                    "T",
                    TensorViewMut::strided(Box::leak(Box::new([0f64])), 0, shape("T"), &[0]).unwrap(),
                )
                .output(
                    "H",
                    TensorViewMut::strided(Box::leak(Box::new([0i32])), 0, shape("H"), &[0]).unwrap(),
                );
            call.run().unwrap_err().to_string()
        }
    }
}

#[test]
fn extents_that_the_kernel_refuses() {
    assert_eq!(refused_extents(3, 1001), "rank `n` is 1001, at most 1000 is declared");
    let unfit = "the extent of rank `m` does not fit: `m` is 13, `n` is 4, `g` is 2";
    assert_eq!(refused_extents(13, 4), unfit);
    assert_eq!(refused_extents(1 << 62, 4), "the size of `H` is beyond 2^63 bytes");
    assert_eq!(refused_extents(1 << 61, 4), "the size of the workspace is beyond 2^63 bytes");
    assert_eq!(refused_extents(1 << 58, 4), format!("no memory for a workspace of {} bytes", 24u64 << 58));
}

#[test]
fn raw_pointers_are_checked_by_the_kernel() {
    let bytes = [0u64; 8];
    for (pointer, message) in [
        (
            bytes.as_ptr().cast::<u8>().wrapping_add(2),
            "the data of `A` is not aligned to 4 bytes, as f32 must be",
        ),
        (std::ptr::null(), "the data of `A` is null"),
    ] {
        let refused = refused(|data| {
            // SAFETY: the kernel is to refuse the pointer, not to follow it.
            let view = unsafe { TensorView::from_raw(pointer.cast_mut(), DType::F32, &[3, 4], &[4, 1]) };
            without(data, &["A"]).input("A", view.unwrap())
        });
        assert_eq!(refused, message);
    }
}

#[test]
fn views_do_not_reach_beyond_their_data() {
    let data = [0f32; 6];
    let message = |it: attnc_runtime::Result<TensorView<'_>>| it.unwrap_err().to_string();
    assert_eq!(
        message(TensorView::new(&data, &[2, 4])),
        "a view of shape [2, 4] does not fit data of 6 elements"
    );
    assert_eq!(
        message(TensorView::strided(&data, 1, &[2, 3], &[3, 1])),
        "a view of shape [2, 3] and strides [3, 1] reaches outside data of 6 elements"
    );
    assert!(TensorView::strided(&data, 5, &[2, 3], &[-3, -1]).is_ok());
    assert!(TensorView::strided(&data, 4, &[2, 3], &[-3, -1]).is_err());
    assert!(TensorView::strided(&data, 0, &[2], &[1, 1]).is_err());
    assert!(TensorView::strided(&data, 9, &[2, 0], &[100, 100]).is_ok());
    assert!(TensorView::strided(&data, 0, &[usize::MAX], &[0]).is_err());
    assert!(TensorView::strided(&data, 0, &[1 << 62, 1 << 62], &[isize::MAX, isize::MAX]).is_err());
    assert!(TensorView::new(&data, &[1 << 40, 1 << 40]).is_err());
    assert!(TensorView::new(&data[..0], &[usize::MAX, 0]).is_err());
    assert!(TensorView::from_bytes(DType::F64, &[0; 7], &[1]).is_err());
}

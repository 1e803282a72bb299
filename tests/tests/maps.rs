//! Stages on sm_90a in which a group of warps copies boxes of tensors for the others, by maps that the runtime makes: what
//! they give, and what is launched where there are no such maps.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::sync::Arc;

use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::target::Gpu;
use attnc::verify::on_all_cores;
use attnc_ptx::{Op, Operand};
use attnc_runtime::device::{Device, DeviceBuffer, DeviceTensor, Stream};
use attnc_runtime::emulator::Schedule;
use attnc_runtime::{DType, Kernel};
use attnc_tests::attention::{self, Attention};
use attnc_tests::case::{call, expected, is_close, round_to_short, sized};
use attnc_tests::emulated::Parts;
use attnc_tests::{fixture, jit, spec};

/// What weights that are rounded to eight bits may change, relative to all of a result.
const TOLERANCE: f64 = 3e-3;

/// Several heads of queries share keys.
const GROUPED: &str = "kernel t {
  rank b, h, g, m, n
  rank d = 64
  input Q[b, h, g, m, d]: bf16
  input K[b, h, n, d]: bf16
  input V[b, h, n, d]: bf16
  S[b, h, g, m, n] = 0.125 * sum[d](Q * K) where n <= m
  output O[b, h, g, m, d]: f32 = sum[n](softmax[n](S) * V)
}";

/// What another order of sums may change, relative to all of a result.
const CLOSE: f64 = 1e-6;

/// Specs of the gallery in the precision of products of matrices, with features of known number.
fn of_gallery(name: &str, text: &str) -> Cascade {
    let text = text.replace(", d, e", "").replace(": f32\n", ": bf16\n");
    let text = text.replacen("\n  rank ", "\n  rank d = 64\n  rank e = 48\n  rank ", 1);
    spec::cascade(&text).unwrap_or_else(|it| panic!("{name}: {it}"))
}

#[test]
fn the_gallery_agrees_where_boxes_are_copied() {
    let names = [
        "softmax_attention",
        "causal_softmax_attention",
        "sliding_window_softmax",
        "alibi_attention",
        "softmax_off_by_one",
        "sink_kv_bias",
        "prefix_lm",
        "clipped_softmax",
        "gqa",
        "mqa",
        "gqa_packed_decode",
    ];
    let of = |name: &str| {
        let path = fixture::repository(&format!("examples/gallery/{name}.attn"));
        of_gallery(name, &std::fs::read_to_string(Path::new(&path)).unwrap())
    };
    let grouped = ("queries in groups", spec::cascade(GROUPED).unwrap());
    let cases: Vec<(&str, Cascade)> = names.iter().map(|it| (*it, of(it))).chain([grouped]).collect();
    on_all_cores(&cases, |(name, cascade)| {
        let parts = Parts::of(cascade, Gpu::Sm90a);
        assert!(!parts.info.mapped.is_empty(), "{name}: nothing is copied by boxes");
        let keys = if *name == "sliding_window_softmax" { 140 } else { 150 };
        // The last group has fewer heads than the others.
        let heads = if name.starts_with("gqa") { 5 } else { 2 };
        let queries = if *name == "gqa_packed_decode" { 2 } else { 140 };
        let sizes = [("b", 1), ("h", heads), ("hk", 2), ("g", 2), ("m", queries), ("t", 140), ("n", keys)];
        let mut call = call(cascade, &sized(&sizes), 4.0);
        round_to_short(&mut call);
        let kernel = parts.kernel(&parts.trapped(""), Schedule::Random(2)).unwrap();
        let found = jit::call_kernel(&kernel, cascade, &call, jit::Placement::Dense);
        let found = found.unwrap_or_else(|it| panic!("{name}: {it}"));
        is_close(name, &found, &expected(cascade, &call), TOLERANCE);
    });
}

/// The kernels that copy boxes of a variant, and whether products of two turns are under way in them.
fn overlaps(variant: &Attention) -> bool {
    let parts = Parts::of(&variant.cascade(), Gpu::Sm90a);
    let kernels = parts.module.kernels.iter().filter(|it| it.name.ends_with("_maps"));
    kernels
        .flat_map(|it| it.insts())
        .any(|(_, it)| matches!((it.op, it.operands.as_slice()), (Op::WgmmaWait, [Operand::Int(1)])))
}

#[test]
fn values_are_added_while_weights_of_the_next_are_computed() {
    let all: Vec<&str> = attention::VARIANTS.iter().filter(|it| overlaps(it)).map(|it| it.name).collect();
    for name in ["softmax", "causal", "slopes", "soft cap", "window", "sigmoid", "sink", "documents", "bias"]
    {
        assert!(all.contains(&name), "{name} is not among {all:?}");
    }
    // What makes weights fit f16 is known after them.
    assert!(!all.contains(&"f16"), "{all:?}");
}

#[test]
fn values_that_are_not_finite_are_added_alone_and_turns_go_on() {
    for name in ["softmax", "causal"] {
        let variant = attention::VARIANTS.iter().find(|it| it.name == name).unwrap();
        let cascade = variant.cascade();
        let parts = Parts::of(&cascade, Gpu::Sm90a);
        let mut call = call(&cascade, &sized(&[("b", 1), ("h", 2), ("m", 140), ("n", 400)]), 4.0);
        round_to_short(&mut call);
        let Data::Real(values) = &mut call.inputs.get_mut("V").unwrap().data else { panic!("it is real") };
        // The first tile of a head, one in the middle, and the last; each in a column of its own.
        for (key, column, poison) in [(3, 5, f64::INFINITY), (130, 7, f64::NAN), (399, 9, f64::NEG_INFINITY)]
        {
            values[(400 + key) * 64 + column] = poison;
        }
        let right = expected(&cascade, &call);
        for schedule in [Schedule::Random(7), Schedule::Adversarial(3)] {
            let kernel = parts.kernel(&parts.trapped(""), schedule).unwrap();
            let found = jit::call_kernel(&kernel, &cascade, &call, jit::Placement::Dense);
            is_close(name, &found.unwrap_or_else(|it| panic!("{name}: {it}")), &right, TOLERANCE);
        }
    }
}

#[test]
fn both_entries_of_a_stage_agree() {
    for name in ["causal", "window", "128 features", "f16", "80 and 72 features"] {
        let variant = attention::VARIANTS.iter().find(|it| it.name == name).unwrap();
        let cascade = variant.cascade();
        let mut parts = Parts::of(&cascade, Gpu::Sm90a);
        let call = call(&cascade, &sized(&[("b", 1), ("h", 2), ("m", 140), ("n", 150)]), 4.0);
        let outputs = |parts: &Parts, last: &str| {
            let kernel = parts.kernel(&parts.trapped(last), Schedule::Adversarial(2)).unwrap();
            jit::call_kernel(&kernel, &cascade, &call, jit::Placement::Dense)
        };
        let by_maps = outputs(&parts, "").unwrap();
        assert!(outputs(&parts, "_maps").unwrap_err().contains("trap"), "{name}: the maps are taken");
        parts.info.mapped.clear();
        // Products are added to sums as they are taken where tiles are known to be finite.
        is_close(name, &outputs(&parts, "").unwrap(), &by_maps, CLOSE);
    }
}

/// Queries and keys of 70 rows and values, with gaps of so many elements behind each row of keys.
struct Tensors {
    buffers: [DeviceBuffer; 4],
    gap: usize,
}

const ROWS: usize = 70;
const FEATURES: usize = 64;

impl Tensors {
    fn on(device: &Arc<dyn Device>, gap: usize) -> Tensors {
        let value = |at: usize| (((at * 7919) % 256) as f32 / 64.0 - 2.0).to_bits() >> 16;
        let upload = |name: &str, pitch: usize| {
            let of =
                |at: usize| if at % pitch < FEATURES { value(at / pitch * FEATURES + at % pitch) } else { 0 };
            let bytes: Vec<u8> = (0..ROWS * pitch).flat_map(|at| (of(at) as u16).to_le_bytes()).collect();
            DeviceBuffer::upload(device, name, &bytes, Stream::DEFAULT).unwrap()
        };
        let output = DeviceBuffer::upload(device, "O", &[0; 4 * ROWS * FEATURES], Stream::DEFAULT).unwrap();
        let pitch = FEATURES + gap;
        Tensors { buffers: [upload("Q", FEATURES), upload("K", pitch), upload("V", FEATURES), output], gap }
    }

    /// Why the maps are not taken, and the results.
    fn run(&self, kernel: &Kernel) -> (Vec<(u32, String)>, Vec<u8>) {
        let shape = [1, 1, ROWS, FEATURES];
        let dense = [ROWS * FEATURES, ROWS * FEATURES, FEATURES, 1].map(|it| it as isize);
        let pitch = FEATURES + self.gap;
        let wide = [ROWS * pitch, ROWS * pitch, pitch, 1].map(|it| it as isize);
        let mut call = kernel.device_call().unwrap();
        for ((name, buffer), strides) in
            ["Q", "K", "V"].iter().zip(&self.buffers).zip([&dense, &wide, &dense])
        {
            let tensor = DeviceTensor::strided(buffer.address(), DType::BF16, &shape, strides).unwrap();
            call = call.input(name, tensor);
        }
        let output = DeviceTensor::new(self.buffers[3].address(), DType::F32, &shape).unwrap();
        let mut call = call.output("O", output);
        let unmapped = call.unmapped().unwrap();
        // SAFETY: the buffers outlive the call, which the emulator makes at once.
        unsafe { call.launch(Stream::DEFAULT) }.unwrap();
        let mut bytes = vec![0; 4 * ROWS * FEATURES];
        self.buffers[3].read(&mut bytes).unwrap();
        (unmapped, bytes)
    }
}

#[test]
fn tensors_without_maps_are_taken_by_the_other_entry() {
    let parts = Parts::of(&attention::CAUSAL.cascade(), Gpu::Sm90a);
    let on = |last: &str, gap: usize| {
        let kernel = parts.kernel(&parts.trapped(last), Schedule::RoundRobin).unwrap();
        let tensors = Tensors::on(kernel.device().unwrap(), gap);
        tensors.run(&kernel)
    };
    let (none, right) = on("", 0);
    assert_eq!(none, []);
    assert_eq!(on("", 8), (vec![], right.clone()));
    let (why, found) = on("_maps", 4);
    assert_eq!(why, [(0, "`K` has a stride of 68 along `n`, expected a positive multiple of 8".to_owned())]);
    let reals = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks(4).map(|it| f64::from(f32::from_le_bytes(it.try_into().unwrap()))).collect()
    };
    for (x, y) in reals(&found).into_iter().zip(reals(&right)) {
        assert!((x - y).abs() < 1e-5, "{x} for {y}");
    }
}

#[test]
fn features_that_begin_anywhere_are_copied_one_by_one() {
    let cascade = Attention { features: (5, 7), ..attention::CAUSAL }.cascade();
    let parts = Parts::of(&cascade, Gpu::Sm90a);
    assert_eq!(parts.info.mapped.len(), 1);
    let mut call = call(&cascade, &sized(&[("b", 1), ("h", 1), ("m", 70), ("n", 75)]), 4.0);
    round_to_short(&mut call);
    let kernel = parts.kernel(&parts.trapped("_maps"), Schedule::RoundRobin).unwrap();
    let found = jit::call_kernel(&kernel, &cascade, &call, jit::Placement::Dense).unwrap();
    is_close("5 and 7 features", &found, &expected(&cascade, &call), TOLERANCE);
}

#[test]
fn the_manifest_says_what_maps_are_of() {
    let info = |gpu| Parts::of(&attention::CAUSAL.cascade(), gpu).info;
    assert!(info(Gpu::Sm80).mapped.is_empty());
    let mapped = info(Gpu::Sm90a).mapped;
    let [stage] = mapped.as_slice() else { panic!("one stage copies boxes: {mapped:?}") };
    assert_eq!((stage.stage, stage.threads), (0, 256 + 128));
    assert!(stage.shared > 48 << 10, "{} bytes", stage.shared);
    let maps: Vec<(u32, &[u32])> = stage.maps.iter().map(|it| (it.tensor, it.extents.as_slice())).collect();
    assert_eq!(maps, [(0, &[1, 1, 128, 64][..]), (1, &[1, 1, 96, 64]), (2, &[1, 1, 96, 64])]);
}

//! Probes of layouts: small kernels that show where instructions find and put elements, on the emulator.
//!
//! `tests/probes/NAME.ptx` says in its head what it is run with; `NAME.snap` is what the emulator makes of it. That both say
//! what a GPU does is asked by `bench/gpu/probes.py`, which runs the same texts there.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use attnc::codegen::math::narrow::Narrow;
use attnc_dsl::ast::DType;
use attnc_runtime::emulator::{Args, Buffer, DeviceMemory, Launch, Program, Schedule};
use attnc_runtime::{Swizzle, TensorMap};
use attnc_tests::fixture::repository;

/// What a parameter of a probe is.
enum Param {
    /// A buffer: what its elements are, and how many lie on a line of the snapshot.
    Buffer { name: &'static str, element: Element, count: usize, by: usize },
    /// A map of a buffer: its shape and that of a box, innermost first.
    Map { of: &'static str, shape: Vec<u64>, extents: Vec<u32>, swizzle: Swizzle },
}

/// What elements are: a type, and what the first few are.
#[derive(Clone, Copy)]
struct Element {
    ty: &'static str,
    pattern: &'static str,
}

impl Element {
    fn size(self) -> usize {
        match self.ty {
            "u8" | "i8" | "f8e4m3" => 1,
            "u16" | "bf16" | "f16" => 2,
            "i32" | "f32" | "tf32" => 4,
            other => panic!("no type `{other}`"),
        }
    }

    /// The bytes of element `i` of an input.
    fn bytes(self, i: usize) -> Vec<u8> {
        let value = match self.pattern {
            "index" => i as i64,
            // From −4 to 4, so that sums of products are exact in every type.
            "small" => i64::from(scattered(i as u32) % 9) - 4,
            other => panic!("no pattern `{other}`"),
        };
        let narrow = |dtype| Narrow::of(dtype).unwrap().bits_of(value as f64).to_le_bytes().to_vec();
        let mut bytes = match self.ty {
            "f32" | "tf32" => (value as f32).to_le_bytes().to_vec(),
            "bf16" => narrow(DType::BF16),
            "f16" => narrow(DType::F16),
            "f8e4m3" => narrow(DType::F8E4M3),
            _ => value.to_le_bytes().to_vec(),
        };
        bytes.truncate(self.size());
        bytes
    }

    /// An element of an output, as text.
    fn text(self, bytes: &[u8]) -> String {
        match (self.ty, bytes) {
            ("u8", &[it]) => it.to_string(),
            ("u16", &[a, b]) => u16::from_le_bytes([a, b]).to_string(),
            ("i32", &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]).to_string(),
            ("f32", &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).to_string(),
            (other, _) => panic!("no outputs of {other}"),
        }
    }
}

/// A number that looks random.
fn scattered(i: u32) -> u32 {
    let once = i.wrapping_add(1).wrapping_mul(2_654_435_761);
    let twice = (once ^ once >> 15).wrapping_mul(2_246_822_519);
    twice ^ twice >> 13
}

/// The numbers of `8x4x2`.
fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split('x').map(|it| it.parse().unwrap()).collect()
}

/// What the head of a probe says: how many threads, and the parameters in order.
fn head(text: &'static str) -> (u32, Vec<Param>) {
    let (mut threads, mut params) = (0, Vec::new());
    for line in text.lines().map_while(|it| it.strip_prefix("// ")) {
        let Some((key, value)) = line.split_once(": ") else { continue };
        let words: Vec<&'static str> = value.split(' ').collect();
        match (key, words.as_slice()) {
            ("threads", [count]) => threads = count.parse().unwrap(),
            ("in", [ty, pattern, count]) => {
                let element = Element { ty, pattern };
                params.push(Param::Buffer { name: "in", element, count: count.parse().unwrap(), by: 0 });
            }
            ("out", [ty, count, "by", by]) => {
                let element = Element { ty, pattern: "" };
                let (count, by) = (count.parse().unwrap(), by.parse().unwrap());
                params.push(Param::Buffer { name: "out", element, count, by });
            }
            ("map", [of, shape, "box", extents, "swizzle", span]) => {
                let all = [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128];
                let swizzle = all.into_iter().find(|it| it.span().unwrap_or(0).to_string() == *span);
                let (shape, extents) = (numbers(shape), numbers(extents));
                params.push(Param::Map { of, shape, extents, swizzle: swizzle.unwrap() });
            }
            _ => {}
        }
    }
    assert!(threads > 0 && !params.is_empty(), "a head that says what the probe is run with");
    (threads, params)
}

/// What a probe leaves in its output, as text.
fn run(text: &'static str, schedule: Schedule) -> String {
    let (threads, params) = head(text);
    let mut memory = DeviceMemory::new();
    let mut buffers: Vec<(&str, Element, usize, Buffer)> = Vec::new();
    for param in &params {
        if let Param::Buffer { name, element, count, by } = param {
            // What nothing writes stays −1, or NaN.
            let bytes: Vec<u8> = match *name {
                "in" => (0..*count).flat_map(|it| element.bytes(it)).collect(),
                _ => vec![0xff; count * element.size()],
            };
            buffers.push((name, *element, *by, memory.upload(name, &bytes)));
        }
    }
    let find = |name: &str| *buffers.iter().find(|it| it.0 == name).unwrap();
    let args = params.iter().fold(Args::new(), |args, param| match param {
        Param::Buffer { name, .. } => args.buffer(find(name).3),
        Param::Map { of, shape, extents, swizzle } => {
            let (_, element, _, buffer) = find(of);
            let bytes = element.size() as u64;
            let strides = (1..shape.len()).map(|it| bytes * shape[..it].iter().product::<u64>());
            let map = TensorMap {
                address: buffer.address(),
                element: bytes as u32,
                shape: shape.clone(),
                strides: strides.collect(),
                extents: extents.clone(),
                swizzle: *swizzle,
            };
            map.check().unwrap();
            args.tensor_map(&map)
        }
    });
    let program = Program::parse(text).unwrap_or_else(|it| panic!("{it}"));
    let launch = Launch::new([1, 1, 1], [threads, 1, 1], args).schedule(schedule);
    program.launch("probe", &launch, &mut memory).unwrap_or_else(|it| panic!("{it}"));
    let (_, element, by, out) = find("out");
    let values: Vec<String> = memory.bytes(out).chunks(element.size()).map(|it| element.text(it)).collect();
    values.chunks(by).map(|it| it.join(" ") + "\n").collect()
}

#[test]
fn the_emulator_places_elements_as_the_snapshots_say() {
    let folder = repository("tests/probes");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "ptx") {
            names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort_unstable();
    assert!(names.len() > 30, "the probes are there");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("../probes"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("{name}.ptx"))).unwrap().leak();
        let module = attnc_ptx::parse(text).unwrap_or_else(|it| panic!("{name}: {it}"));
        assert_eq!(attnc_ptx::verify(&module), vec![], "{name}");
        let first = run(text, Schedule::RoundRobin);
        assert_eq!(run(text, Schedule::Adversarial(1)), first, "{name}");
        settings.bind(|| insta::assert_snapshot!(name, first));
    }
}

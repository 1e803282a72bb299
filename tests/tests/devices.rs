//! Calls with tensors that lie on a device; the emulator stands in for the machine.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use attnc::package::{Object, describe_module};
use attnc_runtime::device::{Device, DeviceBuffer, DeviceCall, DeviceTensor, EmulatedGpu, Stream};
use attnc_runtime::{DType, Kernel, Library, TensorView, TensorViewMut};
use attnc_tests::artifact::for_gpu;
use tempfile::TempDir;

const SPEC: &str = "kernel mean {
  rank m, n
  param bias: f32 = 0.5
  input x[m, n]: f32
  input y[n]: f32
  S[m, n] = softmax[n](x)
  output z[m] = sum[n](S * y) + bias
}";

/// A kernel on an emulated GPU.
struct Emulated {
    _folder: TempDir,
    gpu: EmulatedGpu,
    library: Library,
}

impl Emulated {
    fn new(change: impl FnOnce(&mut Object)) -> Emulated {
        Emulated::on(EmulatedGpu::new(), change)
    }

    fn on(gpu: EmulatedGpu, change: impl FnOnce(&mut Object)) -> Emulated {
        let folder = tempfile::tempdir().unwrap();
        for_gpu(SPEC, folder.path(), change);
        // SAFETY: the artifact was just made.
        let library = unsafe { Library::open_emulated_on(folder.path(), &gpu) }.unwrap();
        Emulated { _folder: folder, gpu, library }
    }

    fn kernel(&self) -> &Kernel {
        self.library.kernel("mean").unwrap()
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.kernel().device().unwrap()
    }
}

/// Tensors of two rows of three, whose memory has room for more.
struct Tensors {
    x: DeviceBuffer,
    y: DeviceBuffer,
    z: DeviceBuffer,
}

const X: [f32; 6] = [0.0, 0.0, f32::NEG_INFINITY, 1.0, 1.0, 1.0];
const Y: [f32; 3] = [2.0, 4.0, 9.0];

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_le_bytes()).collect()
}

impl Tensors {
    fn on(device: &Arc<dyn Device>) -> Tensors {
        let upload = |what: &str, values: &[f32]| {
            DeviceBuffer::upload(device, what, &bytes(values), Stream::DEFAULT).unwrap()
        };
        Tensors { x: upload("x", &X), y: upload("y", &Y), z: upload("z", &[7.0; 2]) }
    }

    fn result(&self) -> Vec<f32> {
        let mut bytes = [0; 8];
        self.z.read(&mut bytes).unwrap();
        bytes.chunks(4).map(|it| f32::from_le_bytes(it.try_into().unwrap())).collect()
    }

    fn give<'a>(&self, call: DeviceCall<'a>) -> DeviceCall<'a> {
        let call =
            call.input("x", tensor(self.x.address(), &[2, 3])).input("y", tensor(self.y.address(), &[3]));
        call.output("z", tensor(self.z.address(), &[2]))
    }
}

fn tensor(address: u64, shape: &'static [usize]) -> DeviceTensor<'static> {
    DeviceTensor::new(address, DType::F32, shape).unwrap()
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-5)
}

#[test]
fn tensors_on_a_device_are_taken_where_they_lie() {
    let emulated = Emulated::new(|_| ());
    let tensors = Tensors::on(emulated.device());
    let mut call = tensors.give(emulated.kernel().device_call().unwrap()).param("bias", 1.0);
    assert_eq!(call.shapes().unwrap().get("z"), Some(&[2][..]));
    // SAFETY: the buffers outlive the call, which the emulator makes at once.
    unsafe { call.launch(Stream::DEFAULT) }.unwrap();
    assert!(close(&tensors.result(), &[4.0, 6.0]), "{:?}", tensors.result());
    assert_eq!(emulated.gpu.allocations(), 3);

    // Rows backwards, and one row for all.
    let backwards = DeviceTensor::strided(tensors.x.address() + 12, DType::F32, &[2, 3], &[-3, 1]).unwrap();
    let call = emulated.kernel().device_call().unwrap().input("x", backwards);
    let call =
        call.input("y", DeviceTensor::strided(tensors.y.address() + 4, DType::F32, &[3], &[0]).unwrap());
    let call = call.output("z", tensor(tensors.z.address(), &[2]));
    // SAFETY: as above.
    unsafe { call.launch(Stream::DEFAULT) }.unwrap();
    assert!(close(&tensors.result(), &[4.5, 4.5]), "{:?}", tensors.result());
    drop(tensors);
    assert_eq!(emulated.gpu.allocations(), 0);
}

#[test]
fn a_caller_may_bring_the_workspace() {
    let emulated = Emulated::new(|_| ());
    let tensors = Tensors::on(emulated.device());
    let given = || tensors.give(emulated.kernel().device_call().unwrap());
    let needed = given().workspace_bytes().unwrap();
    assert!(needed > 0);
    let room = DeviceBuffer::new(emulated.device(), "room", needed + 64, Stream::DEFAULT).unwrap();
    assert_eq!(room.bytes(), needed + 64);
    for _ in 0..2 {
        // SAFETY: the buffers outlive the call.
        unsafe { given().workspace(room.address() + 64, needed).launch(Stream::DEFAULT) }.unwrap();
        assert!(close(&tensors.result(), &[3.5, 5.5]), "{:?}", tensors.result());
    }
    for (address, bytes, said) in [
        (room.address(), needed - 1, format!("has {} bytes, expected at least {needed}", needed - 1)),
        (room.address() + 8, needed, "expected a multiple of 64".to_owned()),
        (0, needed, "is at 0x0, expected a multiple of 64 that is not 0".to_owned()),
        (room.address() + 128, needed, "its workspace is not in the memory of the emulator".to_owned()),
    ] {
        // SAFETY: it is refused.
        let error = unsafe { given().workspace(address, bytes).launch(Stream::DEFAULT) }.unwrap_err();
        assert!(error.to_string().contains(&said), "{error}");
    }
    assert_eq!(emulated.gpu.allocations(), 4);
}

/// What a call is refused with; nothing is computed, and nothing stays allocated.
#[track_caller]
fn refused(change: impl for<'a> FnOnce(DeviceCall<'a>, &Tensors) -> DeviceCall<'a>, said: &str) {
    let emulated = Emulated::new(|_| ());
    let tensors = Tensors::on(emulated.device());
    let call = change(emulated.kernel().device_call().unwrap(), &tensors);
    // SAFETY: it is refused.
    let error = unsafe { call.launch(Stream::DEFAULT) }.unwrap_err().to_string();
    assert!(error.contains(said), "{error}");
    assert_eq!((tensors.result(), emulated.gpu.allocations()), (vec![7.0; 2], 3));
}

/// Gives all but `x`.
fn rest<'a>(call: DeviceCall<'a>, it: &Tensors) -> DeviceCall<'a> {
    call.input("y", tensor(it.y.address(), &[3])).output("z", tensor(it.z.address(), &[2]))
}

#[test]
fn pointers_are_checked_before_anything_runs() {
    refused(|call, it| rest(call.input("x", tensor(0, &[2, 3])), it), "the data of `x` is null");
    refused(
        |call, it| rest(call.input("x", tensor(it.x.address() + 2, &[2, 3])), it),
        "the data of `x` is not aligned to 4 bytes, as f32 must be",
    );
    refused(
        |call, it| rest(call.input("x", tensor(it.x.address() + 4, &[2, 3])), it),
        "`x` is not in the memory of the emulator: 24 bytes at global address",
    );
    refused(
        |call, it| rest(call.input("x", tensor(it.z.address(), &[2, 3])), it),
        "output `z` overlaps another tensor or itself",
    );
    let here = [0f32; 6];
    let here = here.as_ptr().addr() as u64;
    refused(
        |call, it| rest(call.input("x", tensor(here, &[2, 3])), it),
        "`x` is not in the memory of the emulator",
    );
    let back = |at| DeviceTensor::strided(at, DType::F32, &[2, 3], &[-3, 1]).unwrap();
    refused(
        |call, it| rest(call.input("x", back(it.x.address())), it),
        "`x` is not in the memory of the emulator",
    );
}

#[test]
fn what_does_not_fit_the_kernel_is_refused() {
    refused(
        |call, it| call.input("x", tensor(it.x.address(), &[2, 3])).input("y", tensor(it.y.address(), &[2])),
        "rank `n` is 2 in `y` but 3 in `x`",
    );
    refused(
        |call, it| call.input("x", DeviceTensor::new(it.x.address(), DType::BF16, &[2, 3]).unwrap()),
        "`x` is bf16, expected f32",
    );
    refused(
        |call, it| call.input("x", tensor(it.x.address(), &[2, 3])).input("y", tensor(it.y.address(), &[3])),
        "kernel `mean` needs output `z`",
    );
    refused(|call, it| it.give(call).param("scale", 1.0), "has no parameter `scale`");
    let error = DeviceTensor::strided(0, DType::F32, &[2, 3], &[1]).unwrap_err();
    assert!(error.to_string().contains("strides [1]"), "{error}");
}

#[test]
fn a_stream_is_one_of_the_device() {
    let emulated = Emulated::new(|_| ());
    let tensors = Tensors::on(emulated.device());
    let call = tensors.give(emulated.kernel().device_call().unwrap());
    // SAFETY: it is refused.
    let error = unsafe { call.launch(Stream::from_raw(0x40)) }.unwrap_err();
    assert!(error.to_string().contains("0x40 is no stream of the emulator"), "{error}");
    assert_eq!((tensors.result(), emulated.gpu.allocations()), (vec![7.0; 2], 3));
    let error = emulated.device().seconds(Stream::DEFAULT, &mut || Ok(())).unwrap_err();
    assert!(error.to_string().contains("the emulator has no clock"), "{error}");
}

#[test]
fn nothing_stays_allocated_when_a_kernel_fails() {
    let emulated = Emulated::new(|it| it.ptx = it.ptx.as_ref().map(|it| it.replace("ret;", "trap;")));
    let mut z = [7f32; 2];
    let call = emulated.kernel().call().input("x", TensorView::new(&X, &[2, 3]).unwrap());
    let call = call.input("y", TensorView::new(&Y, &[3]).unwrap());
    let error = call.output("z", TensorViewMut::new(&mut z, &[2]).unwrap()).run().unwrap_err();
    assert!(error.to_string().contains("the kernel trapped"), "{error}");
    assert_eq!((z, emulated.gpu.allocations()), ([7.0; 2], 0));

    let tensors = Tensors::on(emulated.device());
    // SAFETY: the buffers outlive the call.
    let error = unsafe { tensors.give(emulated.kernel().device_call().unwrap()).launch(Stream::DEFAULT) };
    assert!(error.unwrap_err().to_string().contains("the kernel trapped"));
    assert_eq!(emulated.gpu.allocations(), 3);
}

/// The kernel with 64 KiB of dynamic shared memory, of which its last instruction writes near the end.
fn with_shared(object: &mut Object) {
    let text = object.ptx.take().unwrap();
    let text = text.replacen(".visible", ".extern .shared .align 16 .b8 tile[]; // bytes 65536\n.visible", 1);
    let text = text.replacen("{\n", "{\n    .reg .b32 %tile;\n", 1);
    object.ptx =
        Some(text.replace("ret;", "mov.u32 %tile, tile;\n    st.shared.u32 [%tile+65532], 7;\n    ret;"));
}

#[test]
fn a_launch_asks_for_the_shared_memory_that_the_manifest_says() {
    let told = |object: &mut Object| {
        with_shared(object);
        let module = attnc_ptx::parse(object.ptx.as_ref().unwrap()).unwrap();
        object.kernels = object.kernels.iter().map(|it| describe_module(it.clone(), &module)).collect();
    };
    for (emulated, asked) in [(Emulated::new(told), vec![65536]), (Emulated::new(with_shared), vec![])] {
        assert_eq!(emulated.kernel().info().shared, asked);
        let tensors = Tensors::on(emulated.device());
        // SAFETY: the buffers outlive the call.
        let done = unsafe { tensors.give(emulated.kernel().device_call().unwrap()).launch(Stream::DEFAULT) };
        if asked.is_empty() {
            assert!(done.unwrap_err().to_string().contains("outside of memory"));
        } else {
            done.unwrap();
            assert!(close(&tensors.result(), &[3.5, 5.5]), "{:?}", tensors.result());
        }
    }
}

#[test]
fn memory_that_runs_out_is_told_and_given_back() {
    // Room for one tensor after the other, then for the workspace.
    for (bytes, lacking) in [
        (20, "24 bytes for `x`: 0 of 20 bytes"),
        (32, "12 bytes for `y`: 24 of 32"),
        (50, "for the workspace: 44 of 50"),
    ] {
        let emulated = Emulated::on(EmulatedGpu::with_bytes(bytes), |_| ());
        let mut z = [7f32; 2];
        let call = emulated.kernel().call().input("x", TensorView::new(&X, &[2, 3]).unwrap());
        let call = call.input("y", TensorView::new(&Y, &[3]).unwrap());
        let error = call.output("z", TensorViewMut::new(&mut z, &[2]).unwrap()).run().unwrap_err();
        assert!(error.to_string().contains(lacking), "{error}");
        assert_eq!((z, emulated.gpu.allocations()), ([7.0; 2], 0));
    }
    let emulated = Emulated::on(EmulatedGpu::with_bytes(50), |_| ());
    let tensors = Tensors::on(emulated.device());
    // SAFETY: the buffers outlive the call.
    let error = unsafe { tensors.give(emulated.kernel().device_call().unwrap()).launch(Stream::DEFAULT) };
    let error = error.unwrap_err().to_string();
    assert!(error.contains("for the workspace: 44 of 50 bytes are taken"), "{error}");
    assert_eq!((tensors.result(), emulated.gpu.allocations()), (vec![7.0; 2], 3));
}

#[test]
fn a_gpu_does_what_the_emulator_does() {
    let folder = tempfile::tempdir().unwrap();
    for_gpu(SPEC, folder.path(), |_| ());
    // SAFETY: the artifact was just made.
    let library = match unsafe { Library::open(folder.path()) } {
        Ok(library) => library,
        Err(error) => {
            let why =
                if cfg!(feature = "cuda") { "no driver of NVIDIA" } else { "without the feature `cuda`" };
            assert!(error.to_string().contains(why), "{error}");
            eprintln!("SKIP: no GPU of NVIDIA");
            return;
        }
    };
    let kernel = library.kernel("mean").unwrap();
    let device = kernel.device().unwrap();
    let tensors = Tensors::on(device);
    // SAFETY: the buffers outlive the call, which reading the result waits for.
    unsafe { tensors.give(kernel.device_call().unwrap()).launch(Stream::DEFAULT) }.unwrap();
    assert!(close(&tensors.result(), &[3.5, 5.5]), "{:?}", tensors.result());
    let here = X.as_ptr().addr() as u64;
    let call = rest(kernel.device_call().unwrap().input("x", tensor(here, &[2, 3])), &tensors);
    // SAFETY: it is refused.
    let error = unsafe { call.launch(Stream::DEFAULT) }.unwrap_err().to_string();
    assert!(error.contains("the driver cannot find `x` at"), "{error}");
    let mut z = [0f32; 2];
    let call = kernel.call().input("x", TensorView::new(&X, &[2, 3]).unwrap());
    let call = call.input("y", TensorView::new(&Y, &[3]).unwrap());
    let mut resident = call.output("z", TensorViewMut::new(&mut z, &[2]).unwrap()).resident().unwrap();
    assert!(resident.seconds(3).unwrap() > 0.0);
    resident.finish().unwrap();
    assert!(close(&z, &[3.5, 5.5]), "{z:?}");
}

#[test]
fn a_call_can_stay_on_the_device() {
    let emulated = Emulated::new(|_| ());
    let mut z = [0f32; 2];
    let call = emulated.kernel().call().input("x", TensorView::new(&X, &[2, 3]).unwrap());
    let call = call.input("y", TensorView::new(&Y, &[3]).unwrap());
    let mut resident = call.output("z", TensorViewMut::new(&mut z, &[2]).unwrap()).resident().unwrap();
    assert_eq!((resident.device_name(), emulated.gpu.allocations()), ("the emulator".to_owned(), 4));
    assert!(resident.workspace_bytes() > 0);
    resident.launch().unwrap();
    resident.launch().unwrap();
    resident.finish().unwrap();
    assert!(close(&z, &[3.5, 5.5]), "{z:?}");
    assert_eq!(emulated.gpu.allocations(), 0);
}

#[test]
fn a_kernel_for_this_machine_has_no_device() {
    let cascade = attnc_tests::artifact::front(SPEC).cascades.remove(0);
    let kernel = attnc::driver::jit(&cascade, attnc::Backend::default()).unwrap();
    assert!(kernel.device().is_none());
    let error = kernel.device_call().unwrap_err().to_string();
    assert!(error.contains("its stages run on the processor of this machine"), "{error}");
}

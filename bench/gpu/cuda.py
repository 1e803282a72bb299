"""The driver of a GPU by ctypes: modules, launches, maps of tensors; and kernels of attnc on it.

Tensors and streams are those of PyTorch, which uses the primary context of the GPU.
"""
import ctypes
import struct

import common

# Attributes and options, as cuda.h has them.
MAX_DYNAMIC_SHARED = 8
PROCESSORS, MAJOR, MINOR = 16, 75, 76
JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES = 5, 6
ELEMENT = {1: 0, 2: 1, 4: 2, 8: 4}  # u8, u16, u32, u64
SWIZZLE = {0: 0, 32: 1, 64: 2, 128: 3}
L2_128B = 2
THREADS = 128
# What a map takes: addresses and strides at multiples of so many bytes, the pattern of boxes, and what is out of its range.
ALIGN, PATTERN, MOST_EXTENT, MOST_STRIDE = 16, 128, 1 << 31, 1 << 40


class Driver:
    """The driver, and the GPU that PyTorch counts as `gpu`."""

    def __init__(self, gpu=0):
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("there is no GPU, or PyTorch is built without CUDA: nothing can be measured here")
        torch.cuda.set_device(gpu)
        torch.zeros(1, device="cuda")  # makes the context
        self.library = ctypes.CDLL("libcuda.so.1")
        device, found = ctypes.c_int(), ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), gpu)

        def attribute(which):
            self.call("cuDeviceGetAttribute", ctypes.byref(found), which, device)
            return found.value

        self.processors = attribute(PROCESSORS)
        self.capability = 10 * attribute(MAJOR) + attribute(MINOR)

    def call(self, name, *args):
        status = getattr(self.library, name)(*args)
        if status:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"{name}: {(text.value or b'unknown').decode()} ({status})")

    def version(self):
        found = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(found))
        return f"{found.value // 1000}.{found.value % 1000 // 10}"

    def module(self, text):
        """The functions of the text of a module, by name."""
        module, size = ctypes.c_void_p(), 8192
        log = ctypes.create_string_buffer(size)
        options = (ctypes.c_int * 2)(JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), size)
        try:
            self.call("cuModuleLoadDataEx", ctypes.byref(module), text.encode() + b"\0", 2, options, values)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{log.value.decode()}") from None

        def function(name):
            found = ctypes.c_void_p()
            self.call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
            return found

        return function

    def allow_shared(self, function, size):
        """Lets a function have so many bytes of dynamic shared memory."""
        if size > 48 << 10:
            self.call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, size)

    def launch(self, function, blocks, threads, shared, params, stream):
        """Launches on a stream; of each parameter `params` has the bytes, in a buffer of ctypes."""
        pointers = (ctypes.c_void_p * len(params))(*[ctypes.addressof(it) for it in params])
        self.call(
            "cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, shared, ctypes.c_void_p(stream), pointers, None
        )

    def tensor_map(self, address, element, shape, extents, swizzle, strides=None):
        """The map of a tensor, innermost first, by boxes of these extents in swizzled rows of so many bytes. It is dense if
        the bytes between neighbours are not given, of all ranks but the first."""
        ranks = len(shape)
        room = ctypes.create_string_buffer(128 + 64)
        start = (ctypes.addressof(room) + 63) // 64 * 64
        if strides is None:
            strides = dense(shape, element)
        sizes = (ctypes.c_uint64 * ranks)(*shape)
        strides = (ctypes.c_uint64 * max(1, ranks - 1))(*strides)
        extents = (ctypes.c_uint32 * ranks)(*extents)
        ones = (ctypes.c_uint32 * ranks)(*[1] * ranks)
        self.call(
            "cuTensorMapEncodeTiled", ctypes.c_void_p(start), ELEMENT[element], ranks, ctypes.c_void_p(address),
            sizes, strides, extents, ones, 0, SWIZZLE[swizzle], L2_128B, 0,
        )
        return (ctypes.c_char * 128).from_buffer_copy(ctypes.string_at(start, 128))


def u64(value):
    return ctypes.create_string_buffer(struct.pack("<Q", value), 8)


def dense(shape, element):
    """The bytes between neighbours of a dense tensor, innermost first, of all ranks but the first."""
    strides, step = [], element
    for extent in shape[:-1]:
        step *= extent
        strides.append(step)
    return strides


def laid_out(address, element, shape, strides):
    """A tensor as a map takes it: extents, and bytes between neighbours of all ranks but the first, innermost first; what is
    not as a map has to have it is a ValueError. `strides` count elements; what has one coordinate may have any."""
    if address % ALIGN:
        raise ValueError(f"lies at {address:#x}, expected a multiple of {ALIGN}")
    shape, strides = list(shape)[::-1], list(strides)[::-1]
    row = -(-shape[0] * element // ALIGN) * ALIGN
    steps = []
    for at, (extent, stride) in enumerate(zip(shape, strides)):
        if not 0 < extent < MOST_EXTENT:
            raise ValueError(f"has {extent} elements along a dimension, expected 1 to {MOST_EXTENT - 1}")
        if at == 0:
            if extent > 1 and stride != 1:
                raise ValueError(f"has a stride of {stride} along its last dimension, expected 1")
            continue
        step = row if extent == 1 else stride * element
        if not 0 < step < MOST_STRIDE or step % ALIGN:
            raise ValueError(f"has a stride of {stride}, expected a positive multiple of {ALIGN // element}")
        steps.append(step)
    return shape, steps


class Kernel(common.Abi):
    """A kernel whose stages run on the GPU, by the entries that take maps of tensors where these lie as they have to."""

    def __init__(self, driver, folder, name):
        super().__init__(folder, name)
        self.driver = driver
        function = driver.module((folder / f"{name}.ptx").read_text())
        stage = lambda it: f'{self.info["symbol"]}_stage_{it}'
        self.stages = [function(stage(it)) for it in range(self.info["stages"])]
        self.shared = self.info.get("shared") or [0] * len(self.stages)
        self.teams = self.info.get("teams") or [0] * len(self.stages)
        for entry, size in zip(self.stages, self.shared):
            driver.allow_shared(entry, size)
        self.mapped = {it["stage"]: (function(stage(it["stage"]) + "_maps"), it) for it in self.info.get("mapped", [])}
        for entry, it in self.mapped.values():
            driver.allow_shared(entry, it["shared"])
        self.unmapped = []

    def maps(self, boxes, tensors):
        """The maps that a stage takes of these tensors, by name."""
        maps = []
        for box in boxes:
            name = self.info["tensors"][box["tensor"]]["name"]
            it = tensors[name]
            try:
                shape, strides = laid_out(it.data_ptr(), it.element_size(), it.shape, it.stride())
            except ValueError as error:
                raise ValueError(f"`{name}` {error}") from None
            extents = box["box"][::-1]
            maps.append(self.driver.tensor_map(it.data_ptr(), it.element_size(), shape, extents, PATTERN, strides))
        return maps

    def prepare(self, tensors):
        """The call of the kernel on these tensors, by name, as a function that puts it on PyTorch's current stream. Which
        stages are launched without maps that could have some, and why, is in `unmapped`."""
        import torch

        words = self.bind({name: (it.data_ptr(), it.shape, it.stride()) for name, it in tensors.items()})
        tasks = [self.tasks(words, it) for it in range(len(self.stages))]
        most = self.driver.processors * 1024
        threads = -(-max(1, min(max(tasks), most)) // 32) * 32
        room = torch.empty(max(64, self.workspace(words, threads)), dtype=torch.uint8, device="cuda")
        self.check(words, room.data_ptr(), room.numel(), threads)
        self.unmapped, launches = [], []
        for stage, count in enumerate(tasks):
            if count == 0:
                continue
            entry, shared = self.stages[stage], self.shared[stage]
            if self.teams[stage]:
                block = self.teams[stage]
                blocks = min(count, -(-most // block))
            else:
                wanted = min(threads, -(-count // 32) * 32)
                block = min(wanted, THREADS)
                blocks = wanted // block
            params = [words, u64(room.data_ptr()), u64(count)]
            if stage in self.mapped:
                mapped, it = self.mapped[stage]
                try:
                    params += self.maps(it["maps"], tensors)
                    entry, block, shared = mapped, it["threads"], it["shared"]
                except ValueError as error:
                    self.unmapped.append(f"stage {stage} goes without maps: {error}")
            launches.append((entry, blocks, block, shared, params))

        def call():
            stream = torch.cuda.current_stream().cuda_stream
            for launch in launches:
                self.driver.launch(*launch, stream)

        call.keep = (room, tensors)
        return call

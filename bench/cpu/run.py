#!/usr/bin/env python3
"""attnc beside PyTorch on a CPU, interleaved in one process.

A round runs every contestant once; what counts is the median over the rounds of the ratio of times within a round, for
machines drift. Prints a table and writes `results.csv` and `results.svg`.

    python3 -m venv .venv && .venv/bin/pip install torch numpy
    cargo build --release --features llvm
    .venv/bin/python bench/cpu/run.py --threads 1 --shapes 2048x64,512x64 --rounds 15

What int8 gains is told by `f32`, the kernel of `plain`. FLOPs are 4 D for each pair of a query and a key that the mask admits.
"""
import argparse
import concurrent.futures
import ctypes
import pathlib
import sys
import tempfile
import time

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import common
from attention import Problem
from common import keep, plot, rows_of


class Kernel(common.Abi):
    """A kernel that runs on threads of this machine."""

    def prepare(self, tensors, threads):
        """The call of the kernel on these arrays, by name, as a function without arguments."""
        words = self.bind({
            name: (it.ctypes.data, it.shape, [stride // it.itemsize for stride in it.strides])
            for name, it in tensors.items()
        })
        size = self.workspace(words, threads)
        room = np.empty(size + 64, np.uint8)
        place = (room.ctypes.data + 63) // 64 * 64
        self.check(words, place, size, threads)
        place = ctypes.c_void_p(place)

        def worker(thread, stage, cursor):
            for first in cursor:  # which an interpreter with one lock moves on for one thread at a time
                self.run(words, place, thread, stage, ctypes.c_uint64(first), ctypes.c_uint64(first + 1))

        # The thread that calls works, too; the others wait for the next call.
        others = concurrent.futures.ThreadPoolExecutor(max(1, threads - 1))

        def call():
            for stage in range(self.info["stages"]):
                count = self.tasks(words, stage)
                if threads == 1:
                    self.run(words, place, 0, stage, ctypes.c_uint64(0), ctypes.c_uint64(count))
                    continue
                cursor = iter(range(count))
                team = [others.submit(worker, it, stage, cursor) for it in range(1, threads)]
                worker(0, stage, cursor)
                [it.result() for it in team]

        call.keep = (room, words, tensors)
        return call


def onnxruntime(problem, variant, threads):
    """The fused operator of ONNX Runtime, which is flash-like on CPUs; None where it cannot say the variant."""
    if variant not in ("plain", "causal"):
        return None
    import onnxruntime
    from onnx import TensorProto, helper

    shape, heads = [1, problem.n, problem.h * problem.d], (1, problem.n, problem.h, problem.d)
    tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    node = helper.make_node(
        "MultiHeadAttention", ["q", "k", "v"], ["o"], domain="com.microsoft",
        num_heads=problem.h, unidirectional=int(variant == "causal"),
    )
    graph = helper.make_graph([node], "attention", [tensor(it) for it in "qkv"], [tensor("o")])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    flat = lambda it: np.ascontiguousarray(it.transpose(1, 2).reshape(shape).numpy())
    feeds = {"q": flat(problem.q), "k": flat(problem.k), "v": flat(problem.v)}
    return lambda: torch.from_numpy(session.run(None, feeds)[0]).view(heads).transpose(1, 2)


def openvino(problem, variant, threads):
    """The fused operator of OpenVINO; None where it cannot say the variant."""
    if variant not in ("plain", "causal"):
        return None
    import openvino
    from openvino import opset13

    inputs = [opset13.parameter(list(problem.q.shape), np.float32) for _ in "qkv"]
    attention = opset13.scaled_dot_product_attention(*inputs, causal=variant == "causal")
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Model([attention], inputs)
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    arrays = [it.numpy() for it in (problem.q, problem.k, problem.v)]
    return lambda: torch.from_numpy(request.infer(arrays, share_inputs=True)[0])


PEERS = {
    "sdpa": lambda problem, variant, threads: problem.sdpa(variant),
    "eager": lambda problem, variant, threads: problem.eager(variant),
    "flex": lambda problem, variant, threads: problem.flex(variant),
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def contestants(problem, variant, kernels, threads, peers):
    kernel = kernels[variant]
    arrays = {name: it.numpy() for name, it in problem.tensors(variant).items()}
    ours = kernel.prepare(arrays, threads)
    ours()
    expected = problem.eager(variant)()
    worst = float((torch.from_numpy(arrays["o"]) - expected).abs().max())
    if not worst < 1e-4:
        raise SystemExit(f"{variant}: attnc differs from the definition by {worst}")
    found = {"attnc": ours}
    if variant == "int8" and "plain" in kernels:
        arrays = {name: it.numpy() for name, it in problem.tensors("plain").items()}
        found["f32"] = kernels["plain"].prepare(arrays, threads)
    for name in peers:
        if peer := PEERS[name](problem, variant, threads):
            found[name] = peer
            worst = float((peer() - expected).abs().max())
            if not worst < 1e-3:
                raise SystemExit(f"{variant}: {name} differs from the definition by {worst}")
    return found


def measure(found, rounds, clock):
    for run in found.values():
        run()

    def sample(run):
        begin = clock()
        run()
        taken = clock() - begin
        time.sleep(0.02)  # workers of OpenMP spin for a while
        return taken

    return common.interleaved(found, rounds, sample)


def machine_options(description):
    """What all benchmarks of this folder are told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnc", default=str(HERE.parents[1] / "target/release/attnc"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--target", default="native")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, on a machine that is busy; one thread")
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    return parser


def options(description, shapes, variants):
    """What benchmarks of variants and shapes are told."""
    parser = machine_options(description)
    parser.add_argument("--shapes", default=shapes, help="NxD, comma-separated")
    parser.add_argument("--variants", default=",".join(variants))
    parser.add_argument("--heads", type=int, default=8)
    return parser


def begin(parser):
    """The options given, and the clock that they ask for."""
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    return args, time.process_time if args.cpu_time else time.perf_counter


def compiled(args, spec, folder, fixed=()):
    """The kernel of a spec that has its name, with what `compile` is told to fix."""
    options = ["--backend", "llvm", "--target", args.target, *fixed]
    return Kernel(common.compiled(args.attnc, spec, folder, *options), spec.stem)


def main():
    parser = options(__doc__, "512x64,2048x64,2048x128", sorted(it.stem for it in (HERE / "specs").glob("*.attn")))
    parser.add_argument("--peers", default="sdpa,eager", help="of sdpa, eager, flex (which needs a C++ compiler), onnxruntime, openvino (packages, the first with onnx)")
    args, clock = begin(parser)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kernels = {name: compiled(args, HERE / f"specs/{name}.attn", folder) for name in args.variants.split(",")}
        for shape in args.shapes.split(","):
            n, d = map(int, shape.split("x"))
            problem = Problem(n, d, args.heads)
            for name in kernels:
                found = contestants(problem, name, kernels, args.threads, args.peers.split(","))
                labels = {"shape": shape, "threads": args.threads, "variant": name}
                rows += rows_of(labels, problem.flops(name), measure(found, args.rounds, clock))
    keep(rows, args.out / "results.csv")
    label = lambda it: f'{it["variant"]} {it["shape"]}, {it["threads"]} thread(s), {it["name"]}'
    plot(rows, args.out / "results.svg", label)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""attnc beside PyTorch on a CPU, interleaved in one process.

A round runs every contestant once; what counts is the median over the rounds of the ratio of times within a round, for
machines drift. Prints a table and writes `results.csv` and `results.svg`.

    python3 -m venv .venv && .venv/bin/pip install torch numpy
    cargo build --release --features llvm
    .venv/bin/python bench/cpu/run.py --threads 1 --shapes 2048x64,512x64 --rounds 15

FLOPs are 4 D for each pair of a query and a key that the mask admits.
"""
import argparse
import ctypes
import pathlib
import sys
import tempfile
import threading
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

        def worker(thread, stage, cursor, lock):
            while True:
                with lock:
                    first = next(cursor, None)
                if first is None:
                    return
                self.run(words, place, thread, stage, ctypes.c_uint64(first), ctypes.c_uint64(first + 1))

        def call():
            for stage in range(self.info["stages"]):
                count = self.tasks(words, stage)
                if threads == 1:
                    self.run(words, place, 0, stage, ctypes.c_uint64(0), ctypes.c_uint64(count))
                    continue
                cursor, lock = iter(range(count)), threading.Lock()
                team = [
                    threading.Thread(target=worker, args=(it, stage, cursor, lock))
                    for it in range(threads)
                ]
                [it.start() for it in team]
                [it.join() for it in team]

        call.keep = (room, words, tensors)
        return call


def contestants(problem, variant, kernel, threads, peers):
    arrays = {name: it.numpy() for name, it in problem.tensors(variant).items()}
    ours = kernel.prepare(arrays, threads)
    ours()
    expected = problem.eager(variant)()
    worst = float((torch.from_numpy(arrays["o"]) - expected).abs().max())
    if not worst < 1e-4:
        raise SystemExit(f"{variant}: attnc differs from the definition by {worst}")
    found = {"attnc": ours}
    if "sdpa" in peers and (sdpa := problem.sdpa(variant)):
        found["sdpa"] = sdpa
    if "eager" in peers:
        found["eager"] = problem.eager(variant)
    if "flex" in peers and (flex := problem.flex(variant)):
        found["flex"] = flex
    return found


def measure(found, rounds, clock):
    for run in found.values():
        run()

    def sample(run):
        begin = clock()
        run()
        taken = clock() - begin
        time.sleep(0.002)  # workers of OpenMP spin for a while
        return taken

    return common.interleaved(found, rounds, sample)


def options(description, shapes, variants):
    """What all benchmarks of this folder are told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnc", default=str(HERE.parents[1] / "target/release/attnc"))
    parser.add_argument("--shapes", default=shapes, help="NxD, comma-separated")
    parser.add_argument("--variants", default=",".join(variants))
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--target", default="native")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, on a machine that is busy; one thread")
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    return parser


def begin(parser):
    """The options given, and the clock that they ask for."""
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    return args, time.process_time if args.cpu_time else time.perf_counter


def compiled(args, spec, folder):
    """The kernel of a spec that has its name."""
    return Kernel(common.compiled(args.attnc, spec, folder, "--backend", "llvm", "--target", args.target), spec.stem)


def main():
    parser = options(__doc__, "512x64,2048x64,2048x128", sorted(it.stem for it in (HERE / "specs").glob("*.attn")))
    parser.add_argument("--peers", default="sdpa,eager", help="of sdpa, eager, flex (which needs a C++ compiler)")
    args, clock = begin(parser)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kernels = {name: compiled(args, HERE / f"specs/{name}.attn", folder) for name in args.variants.split(",")}
        for shape in args.shapes.split(","):
            n, d = map(int, shape.split("x"))
            problem = Problem(n, d, args.heads)
            for name, kernel in kernels.items():
                found = contestants(problem, name, kernel, args.threads, args.peers.split(","))
                labels = {"shape": shape, "threads": args.threads, "variant": name}
                rows += rows_of(labels, problem.flops(name), measure(found, args.rounds, clock))
    keep(rows, args.out / "results.csv")
    label = lambda it: f'{it["variant"]} {it["shape"]}, {it["threads"]} thread(s), {it["name"]}'
    plot(rows, args.out / "results.svg", label)


if __name__ == "__main__":
    main()

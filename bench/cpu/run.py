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
import csv
import ctypes
import json
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
WINDOW, SOFTCAP, DOCUMENTS = 256, 30.0, 8


class Kernel:
    """A kernel of a folder that `attnc compile` wrote, called through its C ABI."""

    def __init__(self, folder, name):
        manifest = json.loads((folder / "manifest.json").read_text())
        self.info = next(it for it in manifest["kernels"] if it["name"] == name)
        library = ctypes.CDLL(str(folder / f"lib{name}.so"))
        function = lambda suffix: getattr(library, self.info["symbol"] + suffix)
        self.bind, self.size, self.check, self.tasks, self.run = map(
            function, ["_bind", "_workspace", "_check", "_tasks", "_run"]
        )
        self.size.restype = self.tasks.restype = ctypes.c_uint64

    def prepare(self, tensors, threads):
        """The call of the kernel on these arrays, by name, as a function without arguments."""
        words = (ctypes.c_int64 * self.info["words"])()
        for tensor in self.info["tensors"]:
            array = tensors[tensor["name"]]
            words[tensor["word"]] = array.ctypes.data
            for at, (dim, stride) in enumerate(zip(tensor["dims"], array.strides)):
                words[tensor["word"] + 1 + at] = stride // array.itemsize
                for rank in self.info["ranks"]:
                    if rank["name"] == dim["rank"] and "word" in rank["extent"]:
                        words[rank["extent"]["word"]] = array.shape[at]
        given = (ctypes.c_uint8 * max(1, len(self.info["params"])))()
        self._done(self.bind(words, given, None))
        size = self.size(words, threads)
        room = np.empty(size + 64, np.uint8)
        place = ctypes.c_void_p((room.ctypes.data + 63) // 64 * 64)
        self._done(self.check(words, place, ctypes.c_uint64(size), ctypes.c_uint32(threads)))

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
        call.workspace = size
        return call

    @staticmethod
    def _done(status):
        if status:
            raise RuntimeError(f"status {status & 255}, index {status >> 8}")


class Problem:
    """Tensors of one shape, and what each variant is on them."""

    def __init__(self, n, d, h):
        generator = torch.Generator().manual_seed(1)
        normal = lambda heads: torch.randn(1, heads, n, d, generator=generator)
        self.n, self.d, self.h = n, d, h
        self.q, self.k, self.v = normal(h), normal(h), normal(h)
        self.slopes = torch.tensor([2.0 ** (-8 * (it + 1) / h) for it in range(h)])
        self.sink = torch.randn(h, generator=generator)
        self.document = torch.arange(n) * DOCUMENTS // n
        i = torch.arange(n)
        self.masks = {
            "causal": i[:, None] >= i,
            "window": (i[:, None] >= i) & (i[:, None] - i < WINDOW),
            "document": self.document[:, None] == self.document,
        }

    def pairs(self, variant):
        mask = self.masks.get("causal" if variant == "alibi" else variant)
        return self.h * (self.n * self.n if mask is None else int(mask.sum()))

    def arrays(self, variant):
        heads = self.h // 4 if variant == "gqa" else self.h
        arrays = {"q": self.q, "k": self.k[:, :heads].contiguous(), "v": self.v[:, :heads].contiguous()}
        more = {
            "alibi": {"slopes": self.slopes},
            "sink": {"sink": self.sink},
            "document": {"document_m": self.document, "document_n": self.document},
        }
        arrays |= more.get(variant, {}) | {"o": torch.empty_like(self.q)}
        return {name: tensor.numpy() for name, tensor in arrays.items()}

    def eager(self, variant):
        """The definition, in PyTorch."""
        q, k, v, scale = self.q, self.k, self.v, self.d**-0.5
        if variant == "gqa":
            k, v = (it[:, : self.h // 4].repeat_interleave(4, 1) for it in (k, v))
        i = torch.arange(self.n)

        def run():
            s = q @ k.transpose(-1, -2) * scale
            if variant == "alibi":
                s = s + self.slopes[:, None, None] * (i - i[:, None])
            if variant == "softcap":
                s = SOFTCAP * torch.tanh(s / SOFTCAP)
            mask = self.masks.get("causal" if variant == "alibi" else variant)
            if mask is not None:
                s = s.masked_fill(~mask, float("-inf"))
            if variant == "sigmoid":
                return torch.sigmoid(s - np.log(self.n)) @ v
            if variant == "sink":
                s = torch.cat([s, self.sink[:, None, None].expand(1, self.h, self.n, 1)], -1)
                return torch.softmax(s, -1)[..., :-1] @ v
            return torch.softmax(s, -1) @ v

        return run

    def sdpa(self, variant):
        """The fused operator; None where it cannot say the variant without a dense mask."""
        q, k, v = self.q, self.k, self.v
        if variant == "gqa":
            k, v = (it[:, : self.h // 4].contiguous() for it in (k, v))
            return lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        if variant == "plain":
            return lambda: F.scaled_dot_product_attention(q, k, v)
        if variant == "causal":
            return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return None

    def flex(self, variant):
        """FlexAttention, compiled; None where it cannot say the variant."""
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        q, k, v = self.q, self.k, self.v
        if variant in ("sink", "sigmoid"):
            return None
        if variant == "gqa":
            k, v = (it[:, : self.h // 4].contiguous() for it in (k, v))
        slopes, document = self.slopes, self.document
        score = {
            "alibi": lambda s, b, h, m, n: s + slopes[h] * (n - m),
            "softcap": lambda s, b, h, m, n: SOFTCAP * torch.tanh(s / SOFTCAP),
        }.get(variant)
        mask = {
            "causal": lambda b, h, m, n: m >= n,
            "alibi": lambda b, h, m, n: m >= n,
            "window": lambda b, h, m, n: (m >= n) & (m - n < WINDOW),
            "document": lambda b, h, m, n: document[m] == document[n],
        }.get(variant)
        blocks = mask and create_block_mask(mask, None, None, self.n, self.n, device="cpu")
        compiled = torch.compile(flex_attention)
        return lambda: compiled(q, k, v, score_mod=score, block_mask=blocks, enable_gqa=variant == "gqa")

    def onnxruntime(self, variant, threads):
        """The fused operator of ONNX Runtime, which is flash-like on CPUs; None where it cannot say the variant."""
        if variant not in ("plain", "causal"):
            return None
        import onnxruntime
        from onnx import TensorProto, helper

        shape = [1, self.n, self.h * self.d]
        tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        node = helper.make_node(
            "MultiHeadAttention", ["q", "k", "v"], ["o"], domain="com.microsoft",
            num_heads=self.h, unidirectional=int(variant == "causal"),
        )
        graph = helper.make_graph([node], "attention", [tensor(it) for it in "qkv"], [tensor("o")])
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        flat = lambda it: np.ascontiguousarray(it.transpose(1, 2).reshape(shape).numpy())
        feeds = {"q": flat(self.q), "k": flat(self.k), "v": flat(self.v)}
        heads = (1, self.n, self.h, self.d)
        return lambda: torch.from_numpy(session.run(None, feeds)[0]).view(heads).transpose(1, 2)

    def openvino(self, variant, threads):
        """The fused operator of OpenVINO; None where it cannot say the variant."""
        if variant not in ("plain", "causal"):
            return None
        import openvino
        from openvino import opset13

        inputs = [opset13.parameter(list(self.q.shape), np.float32) for _ in "qkv"]
        attention = opset13.scaled_dot_product_attention(*inputs, causal=variant == "causal")
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        model = openvino.Model([attention], inputs)
        request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
        arrays = [it.numpy() for it in (self.q, self.k, self.v)]
        return lambda: torch.from_numpy(request.infer(arrays, share_inputs=True)[0])


def contestants(problem, variant, kernel, threads, peers):
    arrays = problem.arrays(variant)
    ours = kernel.prepare(arrays, threads)
    ours()
    expected = problem.eager(variant)()
    worst = float((torch.from_numpy(arrays["o"]) - expected).abs().max())
    if not worst < 1e-4:
        raise SystemExit(f"{variant}: attnc differs from the definition by {worst}")
    made = {
        "sdpa": lambda: problem.sdpa(variant),
        "eager": lambda: problem.eager(variant),
        "flex": lambda: problem.flex(variant),
        "onnxruntime": lambda: problem.onnxruntime(variant, threads),
        "openvino": lambda: problem.openvino(variant, threads),
    }
    found = {"attnc": ours}
    for name in peers:
        if peer := made[name]():
            found[name] = peer
            worst = float((peer() - expected).abs().max())
            if not worst < 1e-3:
                raise SystemExit(f"{variant}: {name} differs from the definition by {worst}")
    return found


def measure(found, rounds, clock):
    times = {name: [] for name in found}
    for run in found.values():
        run()
    for at in range(rounds):
        order = list(found) if at % 2 == 0 else list(found)[::-1]
        for name in order:
            begin = clock()
            found[name]()
            times[name].append(clock() - begin)
            time.sleep(0.002)  # workers of OpenMP spin for a while
    return times


def rows_of(shape, threads, variant, flops, times):
    """What is written of each contestant, printed, too."""
    for name, all_times in times.items():
        ratios = sorted(it / ours for it, ours in zip(all_times, times["attnc"]))
        low, middle, high = (ratios[int(q * (len(ratios) - 1))] for q in (0.25, 0.5, 0.75))
        median, best = statistics.median(all_times), min(all_times)
        row = {
            "shape": shape, "threads": threads, "variant": variant, "name": name,
            "ms": round(median * 1e3, 3), "gflops": round(flops / median / 1e9, 1),
            "gflops_best": round(flops / best / 1e9, 1), "ratio": round(middle, 3),
            "ratio_q1": round(low, 3), "ratio_q3": round(high, 3), "rounds": len(all_times),
        }
        print(
            f'{row["shape"]:>9} {row["threads"]}t {row["variant"]:9} {row["name"]:11} {row["ms"]:9.2f} ms '
            f'{row["gflops"]:6.1f} GFLOP/s (best {row["gflops_best"]:6.1f})  '
            f'{row["ratio"]:5.2f} [{row["ratio_q1"]:.2f}, {row["ratio_q3"]:.2f}]',
            flush=True,
        )
        yield row


def plot(rows, path):
    """Bars: how many times longer each peer takes."""
    bars = [it for it in rows if it["name"] != "attnc"]
    width, height, left = 900, 22 * len(bars) + 40, 330
    scale = (width - left - 60) / max([it["ratio"] for it in bars] + [1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="16">time of the peer over that of attnc, median of rounds</text>',
    ]
    for at, it in enumerate(bars):
        y, length = 26 + 22 * at, it["ratio"] * scale
        colour = "#2b7a4b" if it["ratio"] >= 1 else "#a33"
        label = f'{it["variant"]} {it["shape"]}, {it["threads"]} thread(s), {it["name"]}'
        parts.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{label}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="16" fill="{colour}"/>')
        parts.append(f'<text x="{left + length + 4:.1f}" y="{y + 13}">{it["ratio"]:.2f}</text>')
    x = left + scale
    parts.append(f'<line x1="{x:.1f}" y1="22" x2="{x:.1f}" y2="{height - 10}" stroke="black" stroke-dasharray="3 3"/></svg>')
    path.write_text("\n".join(parts) + "\n")


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


def compiled(args, spec, folder, fixed=()):
    """The kernel of a spec that has its name, with what `compile` is told to fix."""
    out = pathlib.Path(tempfile.mkdtemp(dir=folder))
    command = [args.attnc, "compile", str(spec), "-o", str(out), "--backend", "llvm", "--target", args.target, *fixed]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    # With one target the files lie in the folder itself, else in one for each target.
    inner = out if (out / "manifest.json").exists() else next(out.iterdir())
    return Kernel(inner, spec.stem)


def keep(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


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
            for name, kernel in kernels.items():
                found = contestants(problem, name, kernel, args.threads, args.peers.split(","))
                flops = 4 * problem.d * problem.pairs(name)
                rows += rows_of(shape, args.threads, name, flops, measure(found, args.rounds, clock))
    keep(rows, args.out / "results.csv")
    plot(rows, args.out / "results.svg")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Every system of the gallery beside eager PyTorch of the same cascade, interleaved in one process.

The PyTorch side is written from the cascade itself by `eager/`, which says how; `--show` prints it. It computes in f32, of
inputs that are normal numbers, those of weights over the root of the features. Kernels are compiled for the extents of the
call: one batch, four heads, 512 tokens, 64 features where a spec leaves them open; `gallery.toml` has those that differ, and
where inputs lie. As in `run.py`, a ratio is that of times within a round, and what counts is its median: above 1, attnc takes
less time. Prints a row for each system and a summary, and writes `gallery.csv`, in which rows of other systems stay. `error`
is the largest difference of an output, as a part of the largest value that PyTorch has there.

    .venv/bin/python bench/cpu/gallery.py --threads 1 --rounds 9 --cpu-time
"""
import gc
import math
import statistics
import subprocess
import tempfile
import time
import tomllib

import torch

from eager import DTYPES, Eager, Unsupported, cascade
from run import HERE, begin, common, compiled, keep, machine_options, measure

GALLERY = HERE.parents[1] / "examples/gallery"
BATCH, HEADS, TOKENS, FEATURES, OTHERS = 1, 4, 512, 64, 16
USUAL = {
    **dict.fromkeys(["b"], BATCH),
    **dict.fromkeys(["h", "hk", "g", "l", "layer"], HEADS),
    **dict.fromkeys(["m", "n", "t", "s"], TOKENS),
    **dict.fromkeys(["d", "e", "f", "c", "a", "x", "z", "u"], FEATURES),
}
# The rounds of a system take about as long at most, but there is one.
SECONDS = 10.0
COLUMNS = [
    "system", "extents", "threads", "attnc_ms", "torch_ms", "ratio", "ratio_q1", "ratio_q3", "rounds", "error", "why_not",
]


def fixed(extents, params):
    return [f"--set={rank}={extent}" for rank, extent in extents.items()] + [f"--param={it}={to}" for it, to in params.items()]


def read(attnc, spec, options):
    """The cascade of a spec for those extents."""
    ran = subprocess.run([attnc, "dump", str(spec), "--after", "lower", *options], capture_output=True, text=True)
    if ran.returncode:
        raise Unsupported(ran.stderr.strip().splitlines()[0])
    return cascade.parse(ran.stdout)


def reads(steps):
    """All operations of a cascade, each once."""
    seen, left = {}, [einsum.value for step in steps for einsum in einsums(step)]
    while left:
        node = left.pop()
        if node in seen or not isinstance(node, cascade.Node):
            continue
        seen[node] = None
        for it in node.args:
            left += it if isinstance(it, tuple) else [it]
    return list(seen)


def einsums(step):
    return [*step.bases, *step.body] if isinstance(step, cascade.Recurrence) else [step]


class Inputs:
    """Random inputs: normal reals, indices in range, lengths of at least half of what they are compared with."""

    def __init__(self, found, extents, ranges):
        self.cascade, self.extents, self.ranges = found, extents, ranges
        self.generator = torch.Generator().manual_seed(1)
        self.operations = reads(found.steps)
        self.dims = {name: ranks for name, (ranks, _) in found.inputs.items()}
        for step in found.steps:
            for it in einsums(step):
                self.dims[it.name] = [at[0] if isinstance(at, tuple) else None for at in it.at]

    def draw(self, scale):
        return {name: self.one(name, ranks, dtype, scale) for name, (ranks, dtype) in self.cascade.inputs.items()}

    def one(self, name, ranks, dtype, scale):
        shape = [self.extents[it] for it in ranks]
        if DTYPES[dtype].is_floating_point:
            if name in self.ranges:
                low, high = self.ranges[name]
                return torch.rand(shape, generator=self.generator) * (high - low) + low
            values = torch.randn(shape, generator=self.generator) * scale
            if name[0] in "wW" and len(ranks) > 1:  # weights, after which numbers are about as large as before
                values /= math.sqrt(FEATURES)
            return (-values.abs() if self.is_negative(name) else values).to(DTYPES[dtype])
        if dtype == "bool":
            return torch.rand(shape, generator=self.generator) < 0.67
        low, high = self.range(name, dtype)
        if name.startswith("cu_"):
            steps = torch.linspace(low, high - 1, shape[-1]).long()
            return steps.expand(shape).to(DTYPES[dtype]).contiguous()
        return torch.randint(low, high, shape, generator=self.generator).to(DTYPES[dtype])

    def is_negative(self, name):
        """The author assumes that it is at most 0."""
        return any(
            it.op in ("<=", "<") and it.args[0].op == "read" and it.args[0].args[0] == name for it in self.cascade.assumes
        )

    def range(self, name, dtype):
        """Where the integers of an input lie, the end excluded."""
        if name in self.ranges:
            return self.ranges[name]
        if dtype in ("i8", "u8"):
            limits = torch.iinfo(DTYPES[dtype])
            return limits.min, limits.max + 1
        is_this = lambda it: isinstance(it, cascade.Node) and it.op == "read" and it.args[0] == name
        sizes, lengths = [], []
        for it in self.operations:
            if it.op == "read" and it.args[1] is not None:
                sizes += [self.extents[r] for r, c in zip(self.dims[it.args[0]], it.args[1]) if r and is_this(c)]
            if it.op == "==":
                for a, b in (it.args, it.args[::-1]):
                    sizes += [self.extents[b.args[0]]] if is_this(a) and b.op == "index" else []
            if it.op in ("<", "<=", ">", ">="):
                for a, b in (it.args, it.args[::-1]):
                    lengths += [self.extents[o.args[0]] for o in self.inner(b) if is_this(a) and o.op == "index"]
        if sizes:
            return 0, min(sizes)
        return (max(lengths) // 2, max(lengths) + 1) if lengths else (0, OTHERS)

    def inner(self, node):
        yield node
        for it in node.args:
            if isinstance(it, cascade.Node):
                yield from self.inner(it)


def prepared(args, spec, own):
    """A cascade of known extents, and these by name as they are given."""
    own = dict(own)
    ranges, params = own.pop("ranges", {}), own.pop("params", {})
    extents = {it: USUAL.get(it, OTHERS) for it in read(args.attnc, spec, fixed(own, params)).open()} | own
    options = fixed(extents, params)
    return read(args.attnc, spec, options), options, extents | params, ranges


def error(ours, theirs):
    """The largest difference, as a part of the largest value, over all outputs."""
    worst = 0.0
    for name, expected in theirs.items():
        expected, found = expected.double(), ours[name].double().view(expected.shape)
        same = (expected == found) | (expected.isnan() & found.isnan())
        if same.all():
            continue
        # Where one is infinite or none, so should the other be.
        difference = (found - expected).abs()[~same].max()
        largest = expected[expected.isfinite()].abs().max() if expected.isfinite().any() else torch.tensor(1.0)
        worst = max(worst, float(difference / largest) if difference.isfinite() else math.inf)
    return worst


def contestants(args, spec, own, folder):
    """Both sides of a system, its extents, and how far its results are apart."""
    found, options, extents, ranges = prepared(args, spec, own)
    sizes = found.sizes()
    kernel = compiled(args, spec, folder, options)
    drawn = Inputs(found, sizes, ranges)
    for scale in (1.0, 0.25, 0.0625):
        inputs = drawn.draw(scale)
        eager = Eager(found, inputs)
        if all(it.isfinite().all() for it in eager.outputs.values()):
            break
    if args.show:
        print(eager.text)
    results = {
        it["name"]: torch.empty([sizes[dim["rank"]] for dim in it["dims"]], dtype=DTYPES[it["dtype"]])
        for it in kernel.info["tensors"] if it["role"] == "output"
    }
    bits = lambda it: (it.view(torch.uint8) if it.dtype.itemsize == 1 and it.dtype.is_floating_point else it).numpy()
    ours = kernel.prepare({name: bits(it.contiguous()) for name, it in (inputs | results).items()}, args.threads)
    ours()
    outputs = dict(zip(eager.outputs, eager.run()))
    return {"attnc": ours, "torch": eager.run}, extents, error(results, outputs)


def row(args, spec, own, folder, clock):
    """What is written of a system."""
    labels = {"system": spec.stem, "extents": "", "threads": args.threads}
    try:
        found, extents, worst = contestants(args, spec, own, folder)
    except (Unsupported, SystemExit, RuntimeError, ValueError) as why:
        why = " ".join(str(why).replace(f"{spec}: ", "").split())
        return dict.fromkeys(COLUMNS, "") | labels | {"why_not": why[:120]}
    begin = time.perf_counter()
    for run in found.values():
        run()
    rounds = max(1, min(args.rounds, int(SECONDS / (time.perf_counter() - begin))))
    times = measure(found, rounds, clock)
    low, middle, high = common.quartiles(b / a for a, b in zip(times["attnc"], times["torch"]))
    return dict.fromkeys(COLUMNS, "") | labels | {
        "extents": " ".join(f"{rank}={extent}" for rank, extent in extents.items()),
        "attnc_ms": round(statistics.median(times["attnc"]) * 1e3, 3),
        "torch_ms": round(statistics.median(times["torch"]) * 1e3, 3),
        "ratio": round(middle, 3), "ratio_q1": round(low, 3), "ratio_q3": round(high, 3),
        "rounds": rounds, "error": f"{worst:.1e}",
    }


def told(row):
    if row["why_not"]:
        return f'{row["system"]:34} {row["why_not"]}'
    return (
        f'{row["system"]:34} {row["attnc_ms"]:10.3f} ms, PyTorch {row["torch_ms"]:10.3f} ms, '
        f'{row["ratio"]:7.2f} [{row["ratio_q1"]:.2f}, {row["ratio_q3"]:.2f}], error {row["error"]}'
    )


def summary(rows, slowest=40):
    measured = sorted((it for it in rows if it["ratio"] != ""), key=lambda it: it["ratio"])
    if not measured:
        return
    ahead = sum(it["ratio"] > 1 for it in measured)
    print(f"\n{len(measured)} of {len(rows)} systems are measured; attnc takes less time in {ahead}.")
    print(f'The median ratio is {statistics.median(it["ratio"] for it in measured):.2f}. The slowest beside PyTorch:')
    for it in measured[:slowest]:
        print(told(it))


def main():
    parser = machine_options(__doc__)
    parser.add_argument("--systems", default=",".join(sorted(it.stem for it in GALLERY.glob("*.attn"))))
    parser.add_argument("--show", action="store_true", help="print the code of the PyTorch side")
    parser.set_defaults(rounds=9)
    args, clock = begin(parser)
    differing = tomllib.loads((HERE / "gallery.toml").read_text())
    rows = []
    for name in args.systems.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(args, GALLERY / f"{name}.attn", differing.get(name, {}), folder, clock))
        print(told(rows[-1]), flush=True)
        gc.collect()  # code and its environment hold each other
    summary(rows)
    path = args.out / "gallery.csv"
    all_rows = {it["system"]: it for it in [*(common.kept(path) if path.exists() else []), *rows]}
    keep([all_rows[it] for it in sorted(all_rows)], path)


if __name__ == "__main__":
    main()

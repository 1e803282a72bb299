#!/usr/bin/env python3
"""attnc on a GPU: is the emulator right, are kernels, and how fast are they beside others?

    python3 -m venv .venv && .venv/bin/pip install torch numpy
    cargo build --release --features cuda,llvm
    .venv/bin/python bench/gpu/run.py

In this order, each a part that `--parts` can name:

- `compile`   every variant for the target, with what it asks of a GPU
- `emulator`  every variant on the emulator, a few rows
- `probes`    the probes of layouts (`probes.py`)
- `corpus`    all of the gallery on the GPU against the interpreter, as `verify --backend ptx-emu` has it on the emulator
- `sanitizer` causal attention under compute-sanitizer's memcheck, racecheck and synccheck, where it is installed
- `times`     attnc beside PyTorch's SDPA by cuDNN and by FlashAttention-2, FlexAttention and a kernel in Triton, in one
              process: a round has every contestant once, forwards and backwards in turn. What is timed are CUDA events
              around as many calls as take two milliseconds; what counts is the median over the rounds of the ratio of
              times within a round. Each contestant's result is held against the definition in f32 first
- `linear`    attention with a state (`linear/`), by `attnc bench`: the GPU's own events, nothing beside it
- `plot`      `results.svg` from `results.csv`

The first two take no GPU; without one, the script says so when it comes to the third. Shapes have 16384 tokens and 2048
features of heads in all, as the published charts have. FLOPs are 4 D for each pair of a query and a key that the mask
admits.
"""
import argparse
import datetime
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common

SPECS = HERE.parent / "cpu/specs"
PARTS = ["compile", "emulator", "probes", "corpus", "sanitizer", "times", "linear", "plot"]
TOOLS = ["memcheck", "racecheck", "synccheck"]
TOKENS, FEATURES = 16384, 2048
# What weights that are rounded to bf16, and outputs in bf16, differ from f32 by at most, relative to the norm.
TOLERANCE = 1e-2


def main():
    args = options().parse_args()
    parts, variants = args.parts.split(","), args.variants.split(",")
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"no part {', '.join(sorted(unknown))}, only {', '.join(PARTS)}")
    if unknown := set(variants) - set(names()):
        raise SystemExit(f"no variant {', '.join(sorted(unknown))}, only {', '.join(names())}")
    with tempfile.TemporaryDirectory() as folder:
        specs = {name: spec(name, pathlib.Path(folder)) for name in variants}
        if "compile" in parts:
            for name, path in specs.items():
                describe(compiled(args, path, folder, 64), name)
        if "emulator" in parts:
            for path in specs.values():
                sizes = [f"--set={it}" for it in ("d=64", "e=64")]
                attnc(args, "verify", str(path), "--backend", "ptx-emu", *sizes)
        if {"probes", "corpus", "sanitizer", "times", "linear"} & set(parts):
            import cuda

            driver = cuda.Driver(args.gpu)
        if "probes" in parts:
            import probes

            if n_wrong := probes.compare(driver, probes.probes()):
                raise SystemExit(f"{n_wrong} probes are not as emulated: the emulator is wrong, or this GPU is none that it knows")
        if "corpus" in parts:
            attnc(args, "verify", str(common.ROOT / "examples/gallery"), "--backend", "cuda")
        if "sanitizer" in parts:
            sanitize(args, spec("causal", pathlib.Path(folder)))
        if "times" in parts:
            common.keep(times(args, driver, specs, folder), args.out / "results.csv")
        if "linear" in parts:
            linear(args)
    if "plot" in parts:
        label = lambda it: f'{it["variant"]} {it["shape"]}, {it["name"]}'
        common.plot(common.kept(args.out / "results.csv"), args.out / "results.svg", label)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; all by default")
    parser.add_argument("--attnc", default=str(common.ROOT / "target/release/attnc"))
    parser.add_argument("--target", default="sm_80", help="what kernels are compiled for")
    parser.add_argument("--gpu", type=int, default=0)
    shapes = [f"{n}x{d}" for d in (64, 128) for n in (512, 1024, 2048, 4096, 8192, 16384)]
    parser.add_argument("--shapes", default=",".join(shapes), help="NxD, comma-separated")
    parser.add_argument("--variants", default=",".join(names()))
    parser.add_argument("--peers", default="cudnn,flash,flex,triton", help="of cudnn, flash, flex, triton")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    return parser


def names():
    return sorted(it.stem for it in SPECS.glob("*.attn"))


def spec(name, folder):
    """The spec of a variant: that of the CPU with tensors of bf16, unless there is one for GPUs."""
    own = HERE / f"specs/{name}.attn"
    if own.exists():
        return own
    text = (SPECS / f"{name}.attn").read_text()
    text, n_inputs = re.subn(r"(?m)^(  input [qkv]\[.*\]): f32$", r"\1: bf16", text)
    text, n_outputs = re.subn(r"(?m)^(  output o\[[^\]]*\]) =", r"\1: bf16 =", text)
    if (n_inputs, n_outputs) != (3, 1):
        raise SystemExit(f"{SPECS / name}.attn: found {n_inputs} inputs and {n_outputs} outputs to make bf16, expected 3 and 1")
    path = folder / f"{name}.attn"
    path.write_text(text)
    return path


def compiled(args, path, folder, features):
    sizes = [f"--set={it}={features}" for it in "de"]
    return common.compiled(args.attnc, path, pathlib.Path(folder) / str(features), "--target", args.target, *sizes)


def describe(folder, name):
    info = common.Abi(folder, name).info
    teams, shared = info.get("teams", []), info.get("shared", [])
    print(f'{name:10} stages {info["stages"]}, threads of blocks {teams or 0}, dynamic shared memory {shared or 0}')
    if not teams:
        print(f"{name:10} note: no stage is taken by blocks, so no tensor core is used", file=sys.stderr)


def attnc(args, *words, under=()):
    if subprocess.run([*under, args.attnc, *words]).returncode:
        raise SystemExit(f"{' '.join(under)} attnc {' '.join(words)} failed".strip())


def sanitize(args, path):
    if shutil.which("compute-sanitizer") is None:
        print("SKIP: there is no compute-sanitizer", file=sys.stderr)
        return
    for tool in TOOLS:
        under = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1"]
        attnc(args, "verify", str(path), "--backend", "cuda", "--set=d=64", "--set=e=64", under=under)


def linear(args):
    for shape in args.shapes.split(","):
        n, d = map(int, shape.split("x"))
        sizes = {"b": max(1, TOKENS // n), "h": FEATURES // d, "t": n, "d": d, "e": d}
        sets = [f"--set={rank}={size}" for rank, size in sizes.items()]
        for path in sorted((HERE / "linear").glob("*.attn")):
            rounds = f"--rounds={args.rounds}"
            attnc(args, "bench", str(path), "--backend", "cuda", "--target", args.target, rounds, *sets)


def times(args, driver, specs, folder):
    import torch

    from attention import Problem

    torch.set_grad_enabled(False)
    machine = {
        "gpu": torch.cuda.get_device_name(args.gpu), "driver": driver.version(), "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }
    rows = []
    for shape in args.shapes.split(","):
        n, d = map(int, shape.split("x"))
        problem = Problem(n, d, FEATURES // d, max(1, TOKENS // n), torch.bfloat16, "cuda")
        for name, path in specs.items():
            found = contestants(args, driver, problem, name, compiled(args, path, folder, d))
            labels = {"shape": shape, "target": args.target, "variant": name}
            measured = common.rows_of(labels, problem.flops(name), measure(found, args.rounds))
            rows += [it | machine for it in measured]
            torch.cuda.empty_cache()
    return rows


def contestants(args, driver, problem, variant, folder):
    import cuda
    from torch.nn.attention import SDPBackend, sdpa_kernel

    tensors = problem.tensors(variant)
    if variant == "gqa":
        # Query heads by groups, as the kernel has them.
        grouped = lambda it: it.view(problem.b, problem.h // 4, 4, problem.n, problem.d)
        tensors |= {"q": grouped(tensors["q"]), "o": grouped(tensors["o"])}
    put = cuda.Kernel(driver, folder, variant).prepare(tensors)
    found = {"attnc": lambda: (put(), tensors["o"].view_as(problem.q))[1]}
    peers = args.peers.split(",")
    for peer, backend in [("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)]:
        if peer in peers and (sdpa := problem.sdpa(variant)):

            def by(sdpa=sdpa, backend=backend):
                with sdpa_kernel(backend):
                    return sdpa()

            found[peer] = by
    if "flex" in peers and (flex := problem.flex(variant)):
        found["flex"] = flex
    if "triton" in peers and variant in ("plain", "causal"):
        import triton_peer

        found["triton"] = triton_peer.attention(problem.q, problem.k, problem.v, variant == "causal")
    return {name: run for name, run in found.items() if agrees(problem, variant, name, run)}


def agrees(problem, variant, name, run):
    """Whether a contestant gives what the definition does, of the first heads. One of ours that does not ends the run."""
    try:
        part = run()[:1, :4].float()
    except RuntimeError as error:
        if name == "attnc":
            raise
        print(f"note: {name} does not run {variant}: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    expected = problem.part(4).eager(variant)()
    error = float((part - expected).norm() / expected.norm())
    if not error < TOLERANCE:
        said = f"{variant}: {name} differs from the definition by {error:.2e}, expected less than {TOLERANCE}"
        if name == "attnc":
            raise SystemExit(said)
        print(f"note: {said}", file=sys.stderr)
    return error < TOLERANCE


def measure(found, rounds):
    import torch

    def seconds(run, repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats

    for run in found.values():
        seconds(run, 1)
    repeats = {name: max(1, round(2e-3 / max(seconds(run, 3), 1e-6))) for name, run in found.items()}
    return common.interleaved({name: name for name in found}, rounds, lambda it: seconds(found[it], repeats[it]))


if __name__ == "__main__":
    main()

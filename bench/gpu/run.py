#!/usr/bin/env python3
"""attnc on a GPU: is the emulator right, are kernels, and how fast are they beside others?

    python3 -m venv .venv && .venv/bin/pip install torch numpy
    cargo build --release --features cuda,llvm
    .venv/bin/python bench/gpu/run.py

In this order, each a part that `--parts` can name:

- `compile`   every variant for every target, with what it asks of a GPU
- `emulator`  every variant on the emulator of every target, a few rows
- `probes`    the probes of layouts (`probes.py`); what the GPU gives is kept in `golden/`
- `corpus`    all of the gallery on the GPU against the interpreter, as `verify --backend ptx-emu` has it on the emulator, and
              every variant with 64, 128 and 256 features, and decoding
- `sanitizer` causal attention, decoding and pages under compute-sanitizer's memcheck, racecheck and synccheck, where it is
              installed
- `times`     attnc beside PyTorch's SDPA by cuDNN and by FlashAttention-2, FlexAttention and a kernel in Triton, in one
              process: a round has every contestant once, forwards and backwards in turn. What is timed are CUDA events
              around as many calls as take two milliseconds; what counts is the median over the rounds of the ratio of
              times within a round. Each contestant's result is held against the definition in f32 first. `attnc` is the
              kernel for the first of the targets that the GPU can run, by maps of tensors where it has such an entry;
              those for the others stand beside it. Products of large matrices and a copy say what the GPU can do
- `decode`    one query for each sequence, caches of bf16 and f16, and of bf16 in pages, beside SDPA and beside a copy of as
              many bytes
- `linear`    attention with a state (`linear/`), by `attnc bench`: the GPU's own events, nothing beside it
- `targets`   what is aimed at on an H200, and what was found, from `results.csv` and `decode.csv`
- `plot`      `results.svg` and `decode.svg` from these

`compile`, `emulator`, `targets` and `plot` take no GPU, and the last two no PyTorch; without a GPU, the script says so when it
comes to the others. Shapes have 16384 tokens and 2048 features of heads in all, as the published charts have. FLOPs are 4 D
for each pair of a query and a key that the mask admits. SDPA cannot say most variants without a dense mask, and FlexAttention
has no weights but softmax: where a contestant is missing, it cannot.
"""
import argparse
import datetime
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common

SPECS = HERE.parent / "cpu/specs"
GALLERY = common.ROOT / "examples/gallery"
PARTS = ["compile", "emulator", "probes", "corpus", "sanitizer", "times", "decode", "linear", "targets", "plot"]
ON_GPU = {"probes", "corpus", "sanitizer", "times", "decode", "linear"}
TOOLS = ["memcheck", "racecheck", "synccheck"]
# What runs the text for a target without a GPU, and the capabilities that run it.
EMULATORS = {"sm_80": "ptx-emu", "sm_90a": "ptx-emu-sm_90a"}
SUITS = {"sm_80": lambda it: it >= 80, "sm_90a": lambda it: it == 90}
WIDTHS = (64, 128, 256)
TOKENS, FEATURES = 16384, 2048
# What weights that are rounded to bf16, and outputs in bf16, differ from f32 by at most, relative to the norm.
TOLERANCE = 1e-2


def main():
    args = options().parse_args()
    parts, variants = args.parts.split(","), args.variants.split(",")
    for what, found, known in [("part", parts, PARTS), ("variant", variants, names()), ("target", args.targets.split(","), EMULATORS)]:
        if unknown := set(found) - set(known):
            raise SystemExit(f"no {what} {', '.join(sorted(unknown))}, only {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        specs = {name: spec(name, folder) for name in variants}
        if "compile" in parts:
            described(args, specs, folder)
        if "emulator" in parts:
            emulated(args, specs)
        if ON_GPU & set(parts):
            on_gpu(args, set(parts), specs, folder)
    if "targets" in parts:
        import targets

        targets.report(*(common.kept(it) if it.exists() else [] for it in (args.out / "results.csv", args.out / "decode.csv")))
    if "plot" in parts:
        plotted(args.out)


def described(args, specs, folder):
    for target in args.targets.split(","):
        for name, path in specs.items():
            for features in WIDTHS:
                describe(compiled(args, path, folder, features, target), name, features, target)


def emulated(args, specs):
    sizes = [f"--set={it}" for it in ("d=64", "e=64")]
    for target in args.targets.split(","):
        for path in specs.values():
            attnc(args, "verify", str(path), "--backend", EMULATORS[target], *sizes)


def on_gpu(args, parts, specs, folder):
    import cuda

    driver = cuda.Driver(args.gpu)
    if "probes" in parts:
        import probes

        if n_wrong := probes.compare(driver, probes.probes(), args.out / "golden"):
            raise SystemExit(f"{n_wrong} probes are not as emulated: the emulator is wrong, or this GPU is none that it knows")
    if "corpus" in parts:
        attnc(args, "verify", str(GALLERY), "--backend", "cuda")
        for path in specs.values():
            for features in WIDTHS:
                attnc(args, "verify", str(path), "--backend", "cuda", *fixed(features))
        for path, options in decoding(folder).values():
            attnc(args, "verify", str(path), "--backend", "cuda", *options, *fixed(128))
    if "sanitizer" in parts:
        sanitize(args, folder)
    if "times" in parts:
        common.keep(times(args, driver, specs, folder), args.out / "results.csv")
    if "decode" in parts:
        import decode

        common.keep(decode.times(args, driver, decoding(folder), folder), args.out / "decode.csv")
    if "linear" in parts:
        linear(args, driver)


def plotted(out):
    found = [it for it in ("results", "decode") if (out / f"{it}.csv").exists()]
    if not found:
        raise SystemExit(f"{out} has no results.csv and no decode.csv to plot")
    label = lambda it: f'{it["variant"]} {it["shape"]}, {it["name"]}'
    for name in found:
        common.plot(common.kept(out / f"{name}.csv"), out / f"{name}.svg", label)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; all by default")
    parser.add_argument("--attnc", default=str(common.ROOT / "target/release/attnc"))
    parser.add_argument("--targets", default="sm_90a,sm_80", help="what kernels are compiled for, as far as the GPU runs it")
    parser.add_argument("--gpu", type=int, default=0)
    shapes = [f"{n}x{d}" for d in WIDTHS for n in (512, 1024, 2048, 4096, 8192, 16384)]
    parser.add_argument("--shapes", default=",".join(shapes), help="NxD, comma-separated")
    parser.add_argument("--caches", default="8192x64,8192x128,32768x128", help="NxD of decoding, comma-separated")
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


def decoding(folder):
    """By name: the spec of decoding from caches of some type, and what it is compiled with."""
    found = {}
    for dtype in ("bf16", "f16"):
        found[dtype] = (HERE.parent / "cpu/decode.attn", dtype, [])
    found["pages"] = (GALLERY / "paged_decode.attn", "bf16", ["--param=grp=4", "--param=page=64"])
    specs = {}
    for name, (path, dtype, options) in found.items():
        text, n_inputs = re.subn(r"(?m)^(  input (?:q|k|v|k_pool|v_pool)\[.*\]): f32$", rf"\1: {dtype}", path.read_text())
        if n_inputs != 3:
            raise SystemExit(f"{path}: found {n_inputs} inputs to make {dtype}, expected 3")
        own = folder / f"decode-{name}" / path.name
        own.parent.mkdir(exist_ok=True)
        own.write_text(text)
        specs[name] = (own, options)
    return specs


def fixed(features):
    return [f"--set={it}={features}" for it in "de"]


def compiled(args, path, folder, features, target, *options):
    into = folder / target / str(features)
    return common.compiled(args.attnc, path, into, "--target", target, *fixed(features), *options)


def describe(folder, name, features, target):
    info = common.Abi(folder, name).info
    teams, shared, mapped = (info.get(it, []) for it in ("teams", "shared", "mapped"))
    said = f'stages {info["stages"]}, threads of blocks {teams or 0}, dynamic shared memory {shared or 0}'
    print(f'{name:10} {features:4} {target:7} {said}, by maps {[it["stage"] for it in mapped] or "none"}')
    if not teams:
        print(f"{name} with {features} features for {target}: note: no stage is taken by blocks, so no tensor core is used", file=sys.stderr)


def attnc(args, *words, under=()):
    if subprocess.run([*under, args.attnc, *words]).returncode:
        raise SystemExit(f"{' '.join(under)} attnc {' '.join(words)} failed".strip())


def sanitize(args, folder):
    if shutil.which("compute-sanitizer") is None:
        print("SKIP: there is no compute-sanitizer", file=sys.stderr)
        return
    found = {"causal": (spec("causal", folder), [])} | decoding(folder)
    for name in ("causal", "bf16", "pages"):
        path, options = found[name]
        for tool in TOOLS:
            under = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1"]
            attnc(args, "verify", str(path), "--backend", "cuda", *options, *fixed(64), under=under)


def machine(args, driver):
    """What a row says of where it was measured."""
    import torch

    return {
        "gpu": torch.cuda.get_device_name(args.gpu), "driver": driver.version(), "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def clocks(gpu):
    """Clocks and power at hand; nothing where nobody tells."""
    names = {"sm_mhz": "clocks.sm", "memory_mhz": "clocks.mem", "watts": "power.draw", "watts_limit": "power.limit"}
    try:
        ran = subprocess.run(
            ["nvidia-smi", f"--id={gpu}", f"--query-gpu={','.join(names.values())}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30,
        )
        values = [it.strip() for it in ran.stdout.split(",")] if ran.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        values = []
    return dict(zip(names, values if len(values) == len(names) else [""] * len(names)))


def ceilings(rounds):
    """What products of large matrices and a copy come to, in TFLOP/s and GB/s."""
    import torch

    n, size = 8192, 1 << 30
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    here, there = (torch.zeros(size, device="cuda", dtype=torch.uint8) for _ in range(2))
    taken = measure({"matmul": lambda: a @ b, "copy": lambda: there.copy_(here)}, rounds)
    matmul, copy = (statistics.median(taken[it]) for it in ("matmul", "copy"))
    found = {"matmul_tflops": round(2 * n**3 / matmul / 1e12, 1), "copy_gbs": round(2 * size / copy / 1e9, 1)}
    print(f'products of matrices: {found["matmul_tflops"]} TFLOP/s, a copy: {found["copy_gbs"]} GB/s', flush=True)
    return found


def suiting(args, driver):
    """The targets that the GPU runs."""
    found = [it for it in args.targets.split(",") if SUITS[it](driver.capability)]
    if not found:
        raise SystemExit(f"the GPU, sm_{driver.capability}, runs none of {args.targets}")
    return found


def linear(args, driver):
    target = suiting(args, driver)[0]
    for shape in args.shapes.split(","):
        n, d = map(int, shape.split("x"))
        sizes = {"b": max(1, TOKENS // n), "h": FEATURES // d, "t": n, "d": d, "e": d}
        sets = [f"--set={rank}={size}" for rank, size in sizes.items()]
        for path in sorted((HERE / "linear").glob("*.attn")):
            rounds = f"--rounds={args.rounds}"
            attnc(args, "bench", str(path), "--backend", "cuda", "--target", target, rounds, *sets)


def times(args, driver, specs, folder):
    import torch

    from attention import Problem

    torch.set_grad_enabled(False)
    here, rows = machine(args, driver) | ceilings(args.rounds), []
    targets = suiting(args, driver)
    for shape in args.shapes.split(","):
        n, d = map(int, shape.split("x"))
        problem = Problem(n, d, FEATURES // d, max(1, TOKENS // n), torch.bfloat16, "cuda")
        for name, path in specs.items():
            kernels = {it: compiled(args, path, folder, d, it) for it in targets}
            found = contestants(args, driver, problem, name, kernels)
            labels = {"shape": shape, "target": targets[0], "variant": name}
            measured = list(common.rows_of(labels, problem.flops(name), measure(found, args.rounds)))
            rows += [it | here | clocks(args.gpu) for it in measured]
            torch.cuda.empty_cache()
    return rows


def contestants(args, driver, problem, variant, kernels):
    import cuda
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found = {}
    for target, folder in kernels.items():
        kernel, tensors = cuda.Kernel(driver, folder, variant), problem.tensors(variant)
        if variant == "gqa":
            # Query heads by groups, as the kernel has them.
            grouped = lambda it: it.view(problem.b, problem.h // 4, 4, problem.n, problem.d)
            tensors |= {"q": grouped(tensors["q"]), "o": grouped(tensors["o"])}
        put = kernel.prepare(tensors)
        for why in kernel.unmapped:
            print(f"note: {variant} for {target}: {why}", file=sys.stderr)
        name = f"attnc {target}" if found else "attnc"
        found[name] = lambda put=put, tensors=tensors: (put(), tensors["o"].view_as(problem.q))[1]
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
    except Exception as error:  # a peer may fail in any way that its compiler knows
        if name.startswith("attnc"):
            raise
        print(f"note: {name} does not run {variant}: {(str(error).splitlines() or [type(error).__name__])[0]}", file=sys.stderr)
        return False
    expected = problem.part(4).eager(variant)()
    error = float((part - expected).norm() / expected.norm())
    if not error < TOLERANCE:
        said = f"{variant}: {name} differs from the definition by {error:.2e}, expected less than {TOLERANCE}"
        if name.startswith("attnc"):
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

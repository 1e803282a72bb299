"""Decoding on a GPU: one query for each sequence and long caches, beside SDPA and a copy of as many bytes.

A row has the bytes of the caches a second, and their share of what a copy moves in the same round, read and written.
"""
import statistics
import sys

import common
import cuda
import torch
import torch.nn.functional as F
from run import clocks, compiled, machine, measure, suiting

GROUP, PAGE, HEADS, TOKENS = 4, 64, 32, 131072
# What results differ from the definition in f32 by at most, relative to the norm.
TOLERANCE = 1e-2


class Problem:
    """Caches of one shape and type, and a query for each sequence and head."""

    def __init__(self, n, d, variant):
        generator = torch.Generator("cuda").manual_seed(1)
        normal = lambda *shape: torch.randn(*shape, generator=generator, device="cuda")
        dtype = torch.float16 if variant == "f16" else torch.bfloat16
        self.variant, self.n, self.d, self.b = variant, n, d, max(1, TOKENS // n)
        self.q = normal(self.b, HEADS, d).to(dtype)
        self.k, self.v = (normal(self.b, HEADS // GROUP, n, d).to(dtype) for _ in "kv")
        if variant == "pages":
            self.pages = torch.randperm(self.b * n // PAGE, generator=generator, device="cuda")

    def tensors(self):
        """What attnc's kernel takes, by name."""
        o = torch.empty(self.q.shape, device="cuda", dtype=torch.float32)
        if self.variant != "pages":
            return {"q": self.q, "k": self.k, "v": self.v, "o": o}
        heads = HEADS // GROUP

        def pool(it):
            it = it.transpose(1, 2).reshape(-1, PAGE, heads, self.d)
            return torch.empty_like(it).index_copy_(0, self.pages, it)

        more = {
            "page_table": self.pages.view(self.b, -1), "lse": torch.empty(o.shape[:-1], device="cuda"),
            "seq_lens": torch.full((self.b,), self.n, device="cuda"),
        }
        return {"q": self.q, "k_pool": pool(self.k), "v_pool": pool(self.v), "out": o} | more

    def bytes(self):
        return sum(it.numel() * it.element_size() for it in (self.k, self.v))

    def flops(self):
        return 4 * self.b * HEADS * self.n * self.d

    def definition(self):
        """Of the first sequence."""
        q = self.q[0].float().view(HEADS // GROUP, GROUP, self.d)
        weights = torch.softmax(q @ self.k[0].float().transpose(-1, -2) * self.d**-0.5, -1)
        return (weights @ self.v[0].float()).view(HEADS, self.d)

    def sdpa(self):
        q = self.q[:, :, None]
        return lambda: F.scaled_dot_product_attention(q, self.k, self.v, enable_gqa=True)[:, :, 0]

    def copy(self):
        here = torch.zeros(self.bytes(), device="cuda", dtype=torch.uint8)
        there = torch.empty_like(here)
        return lambda: there.copy_(here)


def contestants(args, driver, problem, kernels):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found = {}
    for target, (folder, name) in kernels.items():
        kernel, tensors = cuda.Kernel(driver, folder, name), problem.tensors()
        put, out = kernel.prepare(tensors), tensors.get("o", tensors.get("out"))
        for why in kernel.unmapped:
            print(f"note: {problem.variant} for {target}: {why}", file=sys.stderr)
        found[f"attnc {target}" if found else "attnc"] = lambda put=put, out=out: (put(), out)[1]
    for peer, backend in [("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)]:
        if peer in args.peers.split(","):

            def by(sdpa=problem.sdpa(), backend=backend):
                with sdpa_kernel(backend):
                    return sdpa()

            found[peer] = by
    expected = problem.definition()
    for name, run in list(found.items()):
        try:
            error = float((run()[0].float() - expected).norm() / expected.norm())
        except RuntimeError as why:
            if name.startswith("attnc"):
                raise
            print(f"note: {name} does not decode {problem.variant}: {str(why).splitlines()[0]}", file=sys.stderr)
            del found[name]
            continue
        if not error < TOLERANCE:
            raise SystemExit(f"{problem.variant}: {name} differs from the definition by {error:.2e}, expected less than {TOLERANCE}")
    return found | {"copy": problem.copy()}


def times(args, driver, specs, folder):
    torch.set_grad_enabled(False)
    targets, here, rows = suiting(args, driver), machine(args, driver), []
    for shape in args.caches.split(","):
        n, d = map(int, shape.split("x"))
        for variant, (path, options) in specs.items():
            problem = Problem(n, d, variant)
            kernels = {it: (compiled(args, path, folder, d, it, *options), path.stem) for it in targets}
            taken = measure(contestants(args, driver, problem, kernels), args.rounds)
            share = statistics.median(copy / 2 / ours for copy, ours in zip(taken["copy"], taken["attnc"]))
            speed = problem.bytes() / statistics.median(taken["attnc"]) / 1e9
            print(f"{shape:>9} {variant}: {speed:.0f} GB/s of caches, {share:.0%} of what a copy moves", flush=True)
            labels = {"shape": shape, "target": targets[0], "variant": variant}
            more = {"gbytes_per_s": round(speed, 1), "share_of_copy": round(share, 3)} | here
            rows += [it | more | clocks(args.gpu) for it in common.rows_of(labels, problem.flops(), taken)]
            torch.cuda.empty_cache()
    return rows

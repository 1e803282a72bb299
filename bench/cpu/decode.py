#!/usr/bin/env python3
"""Decoding: one query for each sequence and long caches, beside PyTorch and beside reading the caches, interleaved.

What binds is reading keys and values, so next to the ratios of `run.py` a row has the bytes of the caches a second, and
their share of what a sum of the same bytes by PyTorch reads in the same round, in one stream for each thread. Caches are of
f32, f16 and bf16, of int8 with a scale for each token and head, and of f32 in pages; those that PyTorch's operators cannot
read it is given as f32. Prints a table and writes `decode.csv`.

    .venv/bin/python bench/cpu/decode.py --threads 2 --shapes 8192x128 --rounds 9
"""
import pathlib
import re
import statistics
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

from run import HERE, begin, compiled, keep, measure, options, rows_of

GALLERY = HERE.parents[1] / "examples/gallery"
GROUP, PAGE = 4, 64
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
VARIANTS = [*DTYPES, "int8", "paged"]
FIXED = {"int8": [f"--param=grp={GROUP}"], "paged": [f"--param=grp={GROUP}", f"--param=page={PAGE}"]}


def spec(variant, folder):
    """The spec of a variant: from the gallery, or that beside this file with caches of that type."""
    if variant == "int8":
        return GALLERY / "kv_cache_int8.attn"
    if variant == "paged":
        return GALLERY / "paged_decode.attn"
    path = pathlib.Path(folder) / variant / "decode.attn"
    path.parent.mkdir()
    path.write_text(re.sub(r"(input [kv]\[.*\]): f32", rf"\1: {variant}", (HERE / "decode.attn").read_text()))
    return path


class Problem:
    """Caches of one shape and type, and a query for each sequence and head."""

    def __init__(self, n, d, batch, heads, variant):
        generator = torch.Generator().manual_seed(1)
        self.variant, self.d, hk = variant, d, heads // GROUP
        self.q = torch.randn(batch, heads, 1, d, generator=generator)
        draw = lambda: torch.randn(batch, hk, n, d, generator=generator)
        self.k, self.v = (draw().to(DTYPES.get(variant, torch.float32)) for _ in "kv")
        self.o = torch.empty_like(self.q)
        # Which f32 hold what PyTorch reads.
        self.wide = [self.k, self.v] if variant in ("f32", "paged") else [self.k.float(), self.v.float()]
        self.more = {}
        if variant == "int8":
            scales = [it.abs().amax(-1) / 127 for it in self.wide]
            self.k, self.v = ((it / s[..., None]).round().to(torch.int8) for it, s in zip(self.wide, scales))
            self.wide = [it.float() * s[..., None] for it, s in zip((self.k, self.v), scales)]
            self.more = {"k_scale": scales[0], "v_scale": scales[1]}
        if variant == "paged":
            pages = torch.randperm(batch * n // PAGE, generator=generator)
            pool = lambda it: torch.empty(len(pages), PAGE, hk, d).index_copy_(
                0, pages, it.transpose(1, 2).reshape(len(pages), PAGE, hk, d)
            )
            self.k, self.v = pool(self.wide[0]), pool(self.wide[1])
            self.more = {"page_table": pages.view(batch, -1), "seq_lens": torch.full((batch,), n)}

    def arrays(self):
        # numpy has no bf16: its bits will do.
        plain = lambda it: (it.view(torch.int16) if it.dtype == torch.bfloat16 else it).numpy()
        q, o = self.q, self.o
        names = ("q", "k", "v", "o")
        if self.variant == "int8":
            names = ("q", "k_int", "v_int", "out")
        if self.variant == "paged":
            names = ("q", "k_pool", "v_pool", "out")
        if self.variant != "int8":
            q, o = q[:, :, 0], o[:, :, 0]
        lse = torch.empty(q.shape[:-1])
        return {it: plain(x) for it, x in zip(names, (q, self.k, self.v, o))} | {
            it: plain(x) for it, x in (self.more | {"lse": lse}).items()
        }

    def bytes(self):
        return sum(it.numel() * it.element_size() for it in (self.k, self.v))

    def read(self):
        parts = [it.view(-1).view(torch.float32) for it in (self.k, self.v)]
        return lambda: [it.sum() for it in parts]

    def sdpa(self):
        return lambda: F.scaled_dot_product_attention(self.q, *self.wide, enable_gqa=True)

    def eager(self):
        k, v = self.wide
        q = self.q.view(k.shape[0], k.shape[1], GROUP, self.d)
        scores = lambda: torch.softmax(q @ k.transpose(-1, -2) * self.d**-0.5, -1)
        return lambda: (scores() @ v).view_as(self.q)


def contestants(problem, kernel, threads):
    ours, eager = kernel.prepare(problem.arrays(), threads), problem.eager()
    ours()
    worst = float((problem.o - eager()).abs().max())
    if not worst < 1e-4:
        raise SystemExit(f"{problem.variant}: attnc differs from the definition by {worst}")
    return {"attnc": ours, "read": problem.read(), "sdpa": problem.sdpa(), "eager": eager}


def main():
    parser = options(__doc__, "8192x128", VARIANTS)
    parser.add_argument("--batch", type=int, default=8)
    parser.set_defaults(heads=32)
    args, clock = begin(parser)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kernels = {it: compiled(args, spec(it, folder), folder, FIXED.get(it, [])) for it in args.variants.split(",")}
        for shape in args.shapes.split(","):
            n, d = map(int, shape.split("x"))
            for variant, kernel in kernels.items():
                problem = Problem(n, d, args.batch, args.heads, variant)
                times = measure(contestants(problem, kernel, args.threads), args.rounds, clock)
                share = statistics.median(a / b for a, b in zip(times["read"], times["attnc"]))
                speed = problem.bytes() / statistics.median(times["attnc"]) / 1e9
                print(f"{shape:>9} {args.threads}t {variant}: {speed:.1f} GB/s of caches, {share:.0%} of a sum of them")
                flops = 4 * args.batch * args.heads * n * d
                labels = {"shape": shape, "threads": args.threads, "variant": variant}
                for row in rows_of(labels, flops, times):
                    rows.append(row | {"gbytes_per_s": round(speed, 2), "share_of_read": round(share, 3)})
    keep(rows, args.out / "decode.csv")


if __name__ == "__main__":
    main()

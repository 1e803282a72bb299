#!/usr/bin/env python3
"""Causal linear attention, retention, gated linear attention and the delta rule beside PyTorch in chunks, interleaved.

The peers are what one writes in eager PyTorch: chunks of 64 tokens, products of all chunks and heads in one batch, and a
loop over the chunks only for what each hands to the next. That of gated linear attention divides by decays within a
chunk, which overflows where they are strong. Kernels are those of the gallery. As in `run.py`, a ratio is that of times
within a round, and what counts is its median. Prints a table and writes `chunks.csv`.

    .venv/bin/python bench/cpu/chunks.py --threads 1 --shapes 4096x64 --rounds 15 --cpu-time

FLOPs are those of chunks of 64: for each token and head 4 D² for the state and 128 D for pairs, of the delta rule 6 D²
and 256 D.
"""
import tempfile

import torch
import torch.nn.functional as F

from run import HERE, begin, compiled, keep, measure, options, rows_of

GALLERY = HERE.parents[1] / "examples/gallery"
KERNELS = {"linear": "linear_attention_causal", "retention": "retention", "gla": "gla", "delta": "deltanet"}
CHUNK = 64


class Problem:
    """Tensors of one shape, and what each variant is on them."""

    def __init__(self, n, d, h):
        generator = torch.Generator().manual_seed(1)
        normal = lambda *shape: torch.randn(*shape, generator=generator)
        self.n, self.d, self.h = n, d, h
        self.q, self.k, self.v = (normal(1, h, n, d) for _ in range(3))
        self.unit_k = F.normalize(self.k, dim=-1)
        self.gamma = 1 - 2.0 ** (-5 - torch.arange(h, dtype=torch.float32))
        # As in the paper: the gate is a sigmoid to the power of 1/16.
        self.g = F.logsigmoid(normal(1, h, n, d)) / 16
        self.beta = torch.sigmoid(normal(1, h, n))
        self.later = torch.ones(CHUNK, CHUNK, dtype=torch.bool).triu(1)

    def flops(self, variant):
        state, pairs = (6, 256) if variant == "delta" else (4, 128)
        return self.h * self.n * (state * self.d**2 + pairs * self.d)

    def arrays(self, variant):
        state = torch.zeros(1, self.h, self.d, self.d)
        arrays = {"q": self.q, "k": self.k, "v": self.v, "o": torch.empty_like(self.q), "S": state.clone()}
        more = {
            "linear": {"z": torch.zeros(1, self.h, self.d)},
            "retention": {"gamma": self.gamma, "S0": state},
            "gla": {"g": self.g, "S0": state},
            "delta": {"k": self.unit_k, "beta": self.beta, "S0": state},
        }
        return {name: tensor.numpy() for name, tensor in (arrays | more[variant]).items()}

    def chunks(self, x):
        return x.view(1, self.h, self.n // CHUNK, CHUNK, *x.shape[3:])

    def states(self, gains, decays):
        """The state before each chunk, of what each adds and by what it fades."""
        before = torch.empty_like(gains)
        state = torch.zeros_like(gains[:, :, 0])
        for chunk in range(gains.shape[2]):
            before[:, :, chunk] = state
            state = torch.addcmul(gains[:, :, chunk], state, decays[chunk])
        return before

    def linear(self):
        q, k, v = (self.chunks(it) for it in (F.elu(self.q) + 1, F.elu(self.k) + 1, self.v))
        gains, sums = k.transpose(-1, -2) @ v, k.sum(-2)
        before, sums_before = gains.cumsum(2) - gains, sums.cumsum(2) - sums
        scores = (q @ k.transpose(-1, -2)).masked_fill_(self.later, 0)
        o = q @ before + scores @ v
        norm = scores.sum(-1, keepdim=True) + q @ sums_before.unsqueeze(-1)
        return (o / norm).view_as(self.q)

    def retention(self):
        q, k, v = (self.chunks(it) for it in (self.q, self.k, self.v))
        place = torch.arange(CHUNK)
        gamma = self.gamma[:, None, None]
        between = (gamma ** (place[:, None] - place).clamp(min=0)).masked_fill_(self.later, 0)
        start, end = gamma ** (place[:, None] + 1), gamma ** (CHUNK - 1 - place[:, None])
        gains = k.transpose(-1, -2) @ (v * end[:, None])
        before = self.states(gains, [gamma**CHUNK] * gains.shape[2])
        scores = (q @ k.transpose(-1, -2)).mul_(between[:, None])
        o = (q @ before).mul_(start[:, None]).add_(scores @ v)
        return o.mul_(self.d**-0.5).view_as(self.q)

    def gla(self):
        q, k, v, g = (self.chunks(it) for it in (self.q, self.k, self.v, self.g))
        g = g.cumsum(-2)
        start = g.exp()
        whole = start[..., -1:, :]
        q, k = q * start, k / start
        gains = (k * whole).transpose(-1, -2) @ v
        before = self.states(gains, whole.transpose(-1, -2).unbind(2))
        scores = (q @ k.transpose(-1, -2)).masked_fill_(self.later, 0)
        return (q @ before).add_(scores @ v).mul_(self.d**-0.5).view_as(self.q)

    def delta(self):
        q, k, v, beta = (self.chunks(it) for it in (self.q, self.unit_k, self.v, self.beta[..., None]))
        pulls = (k * beta) @ k.transpose(-1, -2)
        right = torch.cat([v, k], -1).mul_(beta)
        solved = torch.linalg.solve_triangular(pulls.tril(-1), right, upper=False, unitriangular=True)
        values, keys = solved.split(self.d, -1)
        scores = (q @ k.transpose(-1, -2)).masked_fill_(self.later, 0)
        o, state = torch.empty_like(q), torch.zeros(1, self.h, self.d, self.d)
        for at in range(q.shape[2]):
            new = values[:, :, at] - keys[:, :, at] @ state
            o[:, :, at] = q[:, :, at] @ state + scores[:, :, at] @ new
            state = state + k[:, :, at].transpose(-1, -2) @ new
        return o.mul_(self.d**-0.5).view_as(self.q)


def contestants(problem, variant, kernel, threads):
    arrays = problem.arrays(variant)
    ours, eager = kernel.prepare(arrays, threads), getattr(problem, variant)
    ours()
    expected = eager()
    worst = float((torch.from_numpy(arrays["o"]) - expected).abs().max() / expected.abs().max())
    if not worst < 1e-4:
        raise SystemExit(f"{variant}: attnc differs from PyTorch by {worst}")
    return {"attnc": ours, "eager": eager}


def main():
    args, clock = begin(options(__doc__, "4096x64", KERNELS))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kernels = {it: compiled(args, GALLERY / f"{KERNELS[it]}.attn", folder) for it in args.variants.split(",")}
        for shape in args.shapes.split(","):
            n, d = map(int, shape.split("x"))
            problem = Problem(n, d, args.heads)
            for variant, kernel in kernels.items():
                times = measure(contestants(problem, variant, kernel, args.threads), args.rounds, clock)
                labels = {"shape": shape, "threads": args.threads, "variant": variant}
                rows += rows_of(labels, problem.flops(variant), times)
    keep(rows, args.out / "chunks.csv")


if __name__ == "__main__":
    main()

"""Variants of attention in PyTorch: the definition, and the operators that are fused."""
import copy
import math

import torch
import torch.nn.functional as F

WINDOW, SOFTCAP, DOCUMENTS, BLOCK = 256, 30.0, 8, 64


def int8(x, largest):
    """The nearest integers from -127 to 127, as reals, and what to multiply them by, given the largest of all."""
    scale = largest.clamp(min=1e-7) / 127
    whole = x / scale
    return (whole.sign() * (whole.abs() + 0.5).floor()).clamp(-127, 127), scale


class Problem:
    """Tensors of one shape, and what each variant is on them: `b` times `h` heads of `n` tokens with `d` features."""

    def __init__(self, n, d, h, b=1, dtype=torch.float32, device="cpu"):
        generator = torch.Generator(device).manual_seed(1)
        normal = lambda *shape: torch.randn(*shape, generator=generator, device=device)
        self.n, self.d, self.h, self.b, self.device = n, d, h, b, device
        self.q, self.k, self.v = (normal(b, h, n, d).to(dtype) for _ in range(3))
        self.slopes = torch.tensor([2.0 ** (-8 * (it + 1) / h) for it in range(h)], device=device)
        self.sink = normal(h)
        self.document = torch.arange(n, device=device) * DOCUMENTS // n

    def part(self, heads):
        """The first heads of the first of the batch, in f32."""
        part = copy.copy(self)
        part.h, part.b = heads, 1
        part.q, part.k, part.v = (it[:1, :heads].float() for it in (self.q, self.k, self.v))
        part.slopes, part.sink = self.slopes[:heads], self.sink[:heads]
        return part

    def mask(self, variant):
        """Which pairs of a query and a key there are; none where there are all."""
        i = torch.arange(self.n, device=self.device)
        match variant:
            case "causal" | "alibi":
                return i[:, None] >= i
            case "window":
                return (i[:, None] >= i) & (i[:, None] - i < WINDOW)
            case "document":
                return self.document[:, None] == self.document
            case _:
                return None

    def pairs(self, variant):
        n = self.n
        match variant:
            case "causal" | "alibi":
                each = n * (n + 1) // 2
            case "window":
                each = sum(min(it + 1, WINDOW) for it in range(n))
            case "document":
                each = int((self.document.bincount() ** 2).sum())
            case _:
                each = n * n
        return self.b * self.h * each

    def flops(self, variant):
        """4 D for each pair."""
        return 4 * self.d * self.pairs(variant)

    def tensors(self, variant):
        """What attnc's kernel takes, by name."""
        shared = slice(None, self.h // 4 if variant == "gqa" else None)
        tensors = {"q": self.q, "k": self.k[:, shared].contiguous(), "v": self.v[:, shared].contiguous()}
        more = {
            "alibi": {"slopes": self.slopes},
            "sink": {"sink": self.sink},
            "document": {"document_m": self.document, "document_n": self.document},
        }
        return tensors | more.get(variant, {}) | {"o": torch.empty_like(self.q)}

    def scores(self, variant, q, k):
        """The products of queries and keys, of int8 with a scale for each query and each block of keys."""
        if variant != "int8":
            return q @ k.transpose(-1, -2)
        q, of_q = int8(q, q.abs().amax(-1, keepdim=True))
        of_k = torch.stack([it.abs().amax((-1, -2)) for it in k.split(BLOCK, -2)], -1)
        k, of_k = int8(k, of_k.repeat_interleave(BLOCK, -1)[..., : self.n, None])
        return q @ k.transpose(-1, -2) * of_q * of_k.transpose(-1, -2)

    def eager(self, variant):
        """The definition."""
        q, k, v, scale = self.q, self.k, self.v, self.d**-0.5
        if variant == "gqa":
            k, v = (it[:, : self.h // 4].repeat_interleave(4, 1) for it in (k, v))
        i, mask = torch.arange(self.n, device=self.device), self.mask(variant)

        def run():
            s = self.scores(variant, q, k) * scale
            if variant == "alibi":
                s = s + self.slopes[:, None, None] * (i - i[:, None])
            if variant == "softcap":
                s = SOFTCAP * torch.tanh(s / SOFTCAP)
            if mask is not None:
                s = s.masked_fill(~mask, float("-inf"))
            if variant == "sigmoid":
                return torch.sigmoid(s - math.log(self.n)) @ v
            if variant == "sink":
                s = torch.cat([s, self.sink[:, None, None].expand(self.b, self.h, self.n, 1).to(s)], -1)
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
        """FlexAttention, compiled; None where it cannot say the variant. A sink is one more key, whose share of the weights
        follows from what the others add up to."""
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        q, k, v = self.q, self.k, self.v
        if variant == "sigmoid" or (variant == "sink" and self.device == "cpu"):
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
        blocks = mask and create_block_mask(mask, None, None, self.n, self.n, device=self.device)
        if variant == "sink":
            sink = self.sink[:, None]

            def with_sink(q, k, v):
                out, lse = flex_attention(q, k, v, return_lse=True)
                return out * torch.sigmoid(lse - sink)[..., None].to(out.dtype)

            sunk = torch.compile(with_sink)
            return lambda: sunk(q, k, v)
        compiled = torch.compile(flex_attention)
        return lambda: compiled(q, k, v, score_mod=score, block_mask=blocks, enable_gqa=variant == "gqa")

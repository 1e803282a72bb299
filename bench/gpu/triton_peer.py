"""Attention by a kernel in Triton, as its users write it: one block for each tile of queries, keys tile by tile."""
import torch
import triton
import triton.language as tl

CONFIGS = [
    triton.Config({"BLOCK_M": m, "BLOCK_N": n}, num_warps=warps, num_stages=stages)
    for m, n, warps, stages in [
        (64, 32, 4, 3), (64, 64, 4, 3), (128, 32, 4, 3), (128, 64, 4, 3), (128, 64, 8, 3), (128, 128, 8, 2), (128, 128, 8, 3),
    ]
]


@triton.jit
def kernel(
    q, k, v, o, scale, n,
    CAUSAL: tl.constexpr, D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):
    tile, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    features = tl.arange(0, D)
    here = head * n * D
    inside = rows[:, None] < n
    queries = tl.load(q + here + rows[:, None] * D + features, mask=inside, other=0.0)
    most = tl.full([BLOCK_M], float("-inf"), tl.float32)
    norm = tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, D], tl.float32)
    end = tl.minimum(n, (tile + 1) * BLOCK_M) if CAUSAL else n
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        there = columns[:, None] < n
        keys = tl.load(k + here + columns[:, None] * D + features, mask=there, other=0.0)
        values = tl.load(v + here + columns[:, None] * D + features, mask=there, other=0.0)
        scores = tl.dot(queries, tl.trans(keys)) * scale
        seen = columns[None, :] < n
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None])
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(most - higher)
        norm = norm * fade + tl.sum(weights, 1)
        sums = tl.dot(weights.to(values.dtype), values, sums * fade[:, None])
        most = higher
    tl.store(o + here + rows[:, None] * D + features, (sums / norm[:, None]).to(o.dtype.element_ty), mask=inside)


tuned = triton.autotune(CONFIGS, key=["n", "D", "CAUSAL"])(kernel)


def attention(q, k, v, causal):
    """The call on contiguous tensors of [batch, heads, tokens, features], as a function without arguments."""
    b, h, n, d = q.shape
    o = torch.empty_like(q)
    grid = lambda meta: (triton.cdiv(n, meta["BLOCK_M"]), b * h)
    # Powers are of 2.
    scale = d**-0.5 * 1.4426950408889634

    def run():
        tuned[grid](q, k, v, o, scale, n, causal, d)
        return o

    return run

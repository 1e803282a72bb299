"""What the references share: draws, softmax attention over a full matrix of scores, rotations, selections."""

import math

import numpy as np


def normal(rng, *shape, s=1.0):
    return s * rng.standard_normal(shape)


def qkv(rng, b, h, m, n, d, e):
    return normal(rng, b, h, m, d), normal(rng, b, h, n, d), normal(rng, b, h, n, e)


def weights(s, keep=True):
    """Softmax along the last rank over the kept points; a row that keeps none is 0."""
    s = np.where(keep, s, -np.inf)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    w = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = w.sum(-1, keepdims=True)
    return w / np.where(total == 0, 1, total)


def lse(s, keep=True):
    """log sum exp along the last rank over the kept points; -inf of none."""
    s = np.where(keep, s, -np.inf)
    top = s.max(-1, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(s - top[..., None]).sum(-1)) + top


def scores(q, k, scale=None):
    """q . k over sqrt(d), of every query with every key."""
    return q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)


def attend(q, k, v, keep=True):
    return weights(scores(q, k), keep) @ v


def mask(predicate, *extents):
    """A predicate at every point."""
    return np.array([predicate(*at) for at in np.ndindex(*extents)], bool).reshape(extents)


def causal(m, n):
    """Key n is at or before query m, the last query being at the last key."""
    return mask(lambda i, j: j <= i + n - m, m, n)


def heads(x, h):
    """[..., n, h * d] as [..., h, n, d]."""
    return np.swapaxes(x.reshape(*x.shape[:-1], h, x.shape[-1] // h), -2, -3)


def merged(x):
    """[..., h, n, d] as [..., n, h * d]."""
    x = np.swapaxes(x, -2, -3)
    return x.reshape(*x.shape[:-2], -1)


def repeated(x, group):
    """Key-value heads, each as often as it has query heads."""
    return np.repeat(x, group, axis=-3)


def best(x, k):
    """The places of the k largest along the last rank, ascending; of equals, the first."""
    return np.sort(np.argsort(-x, -1, kind="stable")[..., :k], -1)


def among(x, k):
    """Is a point one of the k largest along the last rank?"""
    out = np.zeros(x.shape, bool)
    np.put_along_axis(out, best(x, k), True, -1)
    return out


def rope(x, pos, base=10000.0):
    """x[..., n, d] turned by the positions pos[n], features i and i + d/2 together."""
    half = x.shape[-1] // 2
    angle = np.asarray(pos, float)[:, None] * base ** (-2 * np.arange(half) / x.shape[-1])
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def elu1(x):
    return np.where(x > 0, x + 1, np.exp(x))


def softplus(x):
    return np.log1p(np.exp(x))


def layernorm(x, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def rmsnorm(x, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)

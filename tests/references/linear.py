"""References: linear attention, its feature maps, slots and landmarks, and attention in windows and blocks."""

import math

import numpy as np
from common import attend, elu1, heads, mask, merged, normal, qkv, rmsnorm, scores, sigmoid, weights


def linear_attention_decode_step(rng, b=2, h=2, d=4, e=3):
    q, k, v = normal(rng, b, h, d), normal(rng, b, h, d), normal(rng, b, h, e)
    S, z = normal(rng, b, h, d, e), 1 + rng.random((b, h, d))
    S_out, z_out = S + elu1(k)[..., None] * v[..., None, :], z + elu1(k)
    o = (elu1(q)[..., None] * S_out).sum(2) / (elu1(q) * z_out).sum(-1, keepdims=True)
    return dict(q=q, k=k, v=v, S=S, z=z), dict(feature="elu+1"), dict(o=o, S_out=S_out, z_out=z_out)


def performer_noncausal(rng, b=2, h=2, m=5, n=6, d=4, e=3, r=8):
    q, k, v, w = *qkv(rng, b, h, m, n, d, e), normal(rng, r, d)

    def phi(x):
        y = x / d**0.25
        return np.exp(y @ w.T - (y * y).sum(-1, keepdims=True) / 2) / math.sqrt(r)

    A = phi(q) @ phi(k).swapaxes(-1, -2)
    return dict(q=q, k=k, v=v, w=w), dict(eps=0.0), dict(o=A @ v / A.sum(-1, keepdims=True))


def rfa_gated(rng, b=2, h=2, t=6, d=4, e=3, r=6):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    w, g = normal(rng, r, d, s=0.3), sigmoid(normal(rng, b, h, t))

    def phi(x):
        y = x / np.sqrt((x * x).sum(-1, keepdims=True)) @ w.T
        return np.concatenate([np.sin(y), np.cos(y)], -1) / math.sqrt(r)

    o, S, z = np.zeros((b, h, t, e)), np.zeros((b, h, 2 * r, e)), np.zeros((b, h, 2 * r))
    for i, j, s in np.ndindex(b, h, t):
        f, gate = phi(k[i, j, s]), g[i, j, s]
        S[i, j] = gate * S[i, j] + (1 - gate) * np.outer(f, v[i, j, s])
        z[i, j] = gate * z[i, j] + (1 - gate) * f
        o[i, j, s] = phi(q[i, j, s]) @ S[i, j] / (phi(q[i, j, s]) @ z[i, j])
    return dict(q=q, k=k, v=v, w=w, g=g), dict(causal=True), dict(o=o, S=S, z=z)


def _slots(x, keys):
    """For each slot, x averaged with softmax weights along the tokens."""
    return weights((x @ keys).swapaxes(-1, -2)) @ x


def abc_noncausal(rng, b=2, h=2, m=5, n=7, d=4, r=3):
    q, k, v = qkv(rng, b, h, m, n, d, d)
    ck, cv = normal(rng, d, r), normal(rng, d, r)
    o = attend(q, _slots(k, ck), _slots(v, cv))
    return dict(q=q, k=k, v=v, ck=ck, cv=cv), dict(slots=r), dict(o=o)


def abc_causal(rng, b=2, h=2, t=6, d=4, r=3):
    q, k, v = qkv(rng, b, h, t, t, d, d)
    ck, cv, o = normal(rng, d, r), normal(rng, d, r), np.zeros((b, h, t, d))
    for s in range(t):
        o[:, :, s : s + 1] = attend(q[:, :, s : s + 1], _slots(k[:, :, : s + 1], ck), _slots(v[:, :, : s + 1], cv))
    return dict(q=q, k=k, v=v, ck=ck, cv=cv), dict(slots=r, causal=True), dict(o=o)


def nystromformer(rng, b=2, h=2, n=8, d=4, e=3, c=4, iters=6):
    q, k, v = qkv(rng, b, h, n, n, d, e)
    Q, K = q / math.sqrt(d), k / math.sqrt(d)
    Ql, Kl = (it.reshape(b, h, c, n // c, d).mean(3) for it in (Q, K))
    A, I = weights(scores(Ql, Kl, 1)), np.eye(c)
    V = A.swapaxes(-1, -2) / abs(A).sum(-2).max()
    for _ in range(iters):
        AV = A @ V
        V = V / 4 @ (13 * I - AV @ (15 * I - AV @ (7 * I - AV)))
    o = weights(scores(Q, Kl, 1)) @ V @ (weights(scores(Ql, K, 1)) @ v)
    return dict(q=q, k=k, v=v), dict(landmarks=c, iters=iters), dict(o=o)


def sliding_window_softmax(rng, b=2, h=2, t=9, d=4, e=3, w=3):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    return dict(q=q, k=k, v=v), dict(window=w), dict(o=attend(q, k, v, mask(lambda m, n: 0 <= m - n < w, t, t)))


def _stencil(x, taps, H, W):
    """A depthwise correlation of x[n, c] on the grid with taps[c, y, x], centred, zeros outside."""
    size, out = taps.shape[1], np.zeros_like(x)
    for y, z, i, j in np.ndindex(H, W, size, size):
        u, w = y + i - size // 2, z + j - size // 2
        if 0 <= u < H and 0 <= w < W:
            out[y * W + z] += taps[:, i, j] * x[u * W + w]
    return out


def agent_attention(rng, b=2, h=2, H=4, W=4, d=4, ah=2):
    n, a = H * W, ah * ah
    q, k, v = qkv(rng, b, h, n, n, d, d)
    B1, B2, wdw = normal(rng, h, a, n), normal(rng, h, n, a), normal(rng, h * d, 3, 3, s=0.3)
    agent = q.reshape(b, h, ah, H // ah, ah, W // ah, d).mean((3, 5)).reshape(b, h, a, d)
    va = weights(scores(agent, k) + B1) @ v
    o = weights(scores(q, agent) + B2) @ va
    for i in range(b):
        o[i] += heads(_stencil(merged(v[i]), wdw, H, W), h)
    return dict(q=q, k=k, v=v, B1=B1, B2=B2, wdw=wdw), dict(H=H, W=W, agents=a, scale=d**-0.5), dict(o=o, agent=agent)


def agent_attention_plain(rng, b=2, h=2, m=6, n=9, a=3, d=4, e=3):
    q, k, v = qkv(rng, b, h, m, n, d, e)
    A = normal(rng, b, h, a, d)
    return dict(q=q, k=k, v=v, A=A), dict(scale=d**-0.5), dict(o=attend(q, A, attend(A, k, v)))


def rala_core(rng, b=2, h=2, m=5, n=7, d=4, e=3):
    q, k, v = qkv(rng, b, h, m, n, d, e)
    og, o = normal(rng, b, h, m, e), np.zeros((b, h, m, e))
    for i, j in np.ndindex(b, h):
        Q, K = elu1(q[i, j]), elu1(k[i, j])
        alpha = n * weights(K @ Q.mean(0) / math.sqrt(d))
        w = Q @ K.T * alpha
        o[i, j] = w @ v[i, j] / w.sum(1, keepdims=True) * og[i, j]
    return dict(q=q, k=k, v=v, og=og), {}, dict(o=o)


def mala(rng, b=2, h=2, m=5, n=7, d=4, e=3):
    q, k, v = qkv(rng, b, h, m, n, d, e)
    s = scores(elu1(q), elu1(k), d**-0.5 / n)
    total = s.sum(-1, keepdims=True)
    w = (1 + 1 / total) * s - total / n
    return dict(q=q, k=k, v=v), dict(scale=d**-0.5 / n), dict(o=w @ v, weights=w)


def slab_sla(rng, b=2, h=2, H=4, W=4, d=4, eps=1e-6):
    n = H * W
    q, k, v = qkv(rng, b, h, n, n, d, d)
    pe, wdw = normal(rng, h, n, d), normal(rng, d, 5, 5, s=0.2)
    A = np.maximum(q, 0) @ np.maximum(k + pe, 0).swapaxes(-1, -2)
    o = A @ v / (A.sum(-1, keepdims=True) + eps)
    for i, j in np.ndindex(b, h):
        o[i, j] += _stencil(v[i, j], wdw, H, W)
    return dict(q=q, k=k, v=v, pe=pe, wdw=wdw), dict(H=H, W=W, eps=eps), dict(o=o)


def transnormer_norm_attention(rng, b=2, h=2, t=6, d=4, e=3, causal=True, eps=1e-8):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    A = elu1(q) @ elu1(k).swapaxes(-1, -2)
    o = merged((np.tril(A) if causal else A) @ v)
    return dict(q=q, k=k, v=v), dict(causal=causal, eps=eps), dict(o=rmsnorm(o, eps))


def transnormer_diag_attention(rng, b=2, h=2, t=8, d=4, e=3, w=4, causal=True):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    sees = mask(lambda m, n: m // w == n // w and (n <= m or not causal), t, t)
    return dict(q=q, k=k, v=v), dict(block=w, causal=causal), dict(o=attend(q, k, v, sees))

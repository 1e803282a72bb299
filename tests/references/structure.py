"""References: positions, head structures, cascades of attentions, channel and convolution families, static masks."""

import itertools
import math

import numpy as np
from common import (
    among, attend, causal, gelu_tanh, heads, layernorm, mask, merged, normal, qkv, rope, scores, sigmoid, silu, weights
)


def rcmha(rng, B=2, H=2, N=7, D=4, W=3):
    q, k, v = qkv(rng, B, H, N, N, D, D)
    r, u, w = normal(rng, H, N, D), normal(rng, H, D), normal(rng, H, D)
    taps = [normal(rng, W, H, D) for _ in range(3)]

    def conv(z, c):
        out = np.zeros_like(z)
        for n, t in itertools.product(range(N), range(W)):
            if n >= t:
                out[:, :, n] += c[t] * z[:, :, n - t]
        return out

    Q, K, V = (conv(z, c) for z, c in zip((q, k, v), taps))
    s = np.full((B, H, N, N), -np.inf)
    for b, h, m in np.ndindex(B, H, N):
        for n in range(m + 1):
            s[b, h, m, n] = ((Q[b, h, m] + u[h]) @ K[b, h, n] + (Q[b, h, m] + w[h]) @ r[h, m - n]) / math.sqrt(D)
    inputs = dict(q=q, k=k, v=v, r=r, u=u, w=w, cq=taps[0], ck=taps[1], cv=taps[2])
    return inputs, dict(W=W), dict(o=weights(s) @ V)


def rope_alibi_harmonic(rng, B=2, H=3, N=7, D=4, E=4, a=0.6):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    slopes = a / np.arange(1, H + 1)
    s = scores(rope(q, range(N)), rope(k, range(N)))
    for h, m in np.ndindex(H, N):
        for n in range(m + 1):
            s[:, h, m, n] -= slopes[h] * sum(1 / i for i in range(1, m - n + 1))
    return dict(q=q, k=k, v=v, slopes=slopes), dict(a=a), dict(o=weights(s, causal(N, N)) @ v)


def prflash_attention(rng, B=1, H=2, N=16, BS=4, D=4, E=4, lam=0.7):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    blocks = -(-N // BS)
    u = rng.random((H, blocks, blocks))

    def keep(h, m, n):
        i, j = m // BS, n // BS
        return n <= m and (i == j or u[h, i, j] < math.exp(-lam * (i - j)))

    return dict(q=q, k=k, v=v, u=u), dict(block=BS, lam=lam), dict(o=attend(q, k, v, mask(keep, H, N, N)))


def tc_llava_attention(rng, B=1, H=2, T0=2, F=3, P=2, T1=3, D=4, E=4, gamma=1.0):
    N = T0 + F * P + T1
    q, k, v = qkv(rng, B, H, N, N, D, E)

    def frame(n):
        return (n - T0) // P if T0 <= n < T0 + F * P else None

    # Text before counts on, each frame is one step, text behind goes on from there.
    time = [n if n < T0 else T0 + frame(n) if frame(n) is not None else n - F * P + F for n in range(N)]
    angle = np.arange(N) + gamma * np.array(time, float)
    sees = mask(lambda m, n: n <= m or (frame(m) is not None and frame(m) == frame(n)), N, N)
    outputs = dict(o=attend(rope(q, angle), rope(k, angle), v, sees), mask=sees)
    inputs = dict(q=q, k=k, v=v, temporal_id=np.array(time, float))
    return inputs, dict(gamma=gamma, T0=T0, F=F, P=P), outputs


def transmla_from_gqa(rng, B=2, HK=2, R=2, N=6, C=8, D=4):
    H, x = HK * R, normal(rng, B, N, C)
    wq, wk, wv = normal(rng, H, C, D), normal(rng, HK, C, D), normal(rng, HK, C, D)
    w_uk, w_uv = np.zeros((H, 2 * HK * D, D)), np.zeros((H, 2 * HK * D, D))
    for h, d in np.ndindex(H, D):  # they select the head's own part of the latent [keys; values]
        w_uk[h, h // R * D + d, d] = w_uv[h, (HK + h // R) * D + d, d] = 1
    o = np.zeros((B, H, N, D))
    for b, h in np.ndindex(B, H):
        o[b, h] = attend(x[b] @ wq[h], x[b] @ wk[h // R], x[b] @ wv[h // R], causal(N, N))
    inputs = dict(x=x, wq=wq, wk=wk, wv=wv, w_uk=w_uk, w_uv=w_uv)
    return inputs, dict(group=R), dict(o_gqa=o, o_mla=o)


def moh_llama(rng, B=2, N=6, H=6, HS=3, topk=2, D=4):
    q, k, v = qkv(rng, B, H, N, N, D, D)
    length = np.sqrt((q * q).sum(-1))[:, HS:].swapaxes(1, 2)
    chosen = among(weights(length / length.std(-1, ddof=1, keepdims=True)), topk).swapaxes(1, 2)
    on = np.concatenate([np.ones((B, HS, N), bool), chosen], 1)
    o = np.where(on[..., None], attend(q, k, v, causal(N, N)), 0)
    return dict(q=q, k=k, v=v), dict(topk=topk, shared=HS), dict(o=o, on=on.swapaxes(1, 2))


def bam_mixture_of_attention(rng, B=2, X=3, H=2, N=6, D=4):
    C = H * D
    x, wr = normal(rng, B, N, C), normal(rng, C, X)
    wq, wk, wv, wo = (normal(rng, X, C, C, s=C**-0.5) for _ in range(4))
    gate = weights(x @ wr)

    def of(key):
        y = np.zeros((B, N, C))
        for i in range(X):
            o = attend(heads(x @ wq[i], H), heads(x @ wk[key(i)], H), heads(x @ wv[key(i)], H), causal(N, N))
            y += gate[..., i : i + 1] * (merged(o) @ wo[i])
        return y

    inputs = dict(x=x, w_router=wr, wq=wq, wk=wk, wv=wv, wo=wo)
    return inputs, dict(H=H), dict(y=of(lambda i: i), y_shared_kv=of(lambda i: 0))


def wide_attention(rng, B=2, H=12, N=5, C=6, D=2):
    x, wo = normal(rng, B, N, C), normal(rng, H, D, C)
    wq, wk, wv = (normal(rng, H, C, D) for _ in range(3))
    y = sum(attend(x @ wq[h], x @ wk[h], x @ wv[h]) @ wo[h] for h in range(H))
    return dict(x=x, wq=wq, wk=wk, wv=wv, wo=wo), {}, dict(y=y)


def plga_power_law_graph_attention(rng, B=1, H=2, N=6, D=3, eps=1e-9):
    q, k, v = qkv(rng, B, H, N, N, D, D)
    W, b, a, ba, pw = (normal(rng, H, D, D, s=0.7) for _ in range(5))
    A = layernorm(np.swapaxes(q, -1, -2) @ q, 1e-6)
    y = W @ A + b
    A_LM = y * silu(y) + eps
    G = a @ A_LM**pw + ba
    o = weights(scores(q @ G, k), causal(N, N)) @ v
    inputs = dict(q=q, k=k, v=v, W=W, b=b, a=a, ba=ba, pw=pw)
    return inputs, dict(eps=eps), dict(o=o, A_LM=A_LM, G_LM=G)


def gated_class_attention(rng, B=2, H=2, N=6, D=4, s=2.0):
    C = H * D
    x, e = normal(rng, B, N, C), normal(rng, C)
    wq, wk, wv, wo = (normal(rng, C, C, s=C**-0.5) for _ in range(4))
    g = sigmoid(s * e)
    q, k, v = g * (g * x[:, :1] @ wq), g * (g * x @ wk), g * x @ wv
    y = g * (g * merged(attend(heads(q, H), heads(k, H), heads(v, H))) @ wo)
    return dict(x=x, task_embed=e, wq=wq, wk=wk, wv=wv, wo=wo), dict(s=s), dict(y=y)


def multi_layer_trainable_pooling(rng, B=2, L=5, N=6, C=6, S=3):
    hidden, length = normal(rng, B, L, N, C), rng.integers(1, N + 1, B)
    latents, pos, wq, wk, wv = normal(rng, S, C), normal(rng, L, C), *(normal(rng, C, C, s=C**-0.5) for _ in range(3))
    y = np.zeros((B, C))
    for b in range(B):
        h = hidden[b, :, : length[b]].mean(1) + pos
        y[b] = (latents + attend(latents @ wq, h @ wk, h @ wv)).mean(0)
        y[b] /= math.sqrt((y[b] * y[b]).sum())
    return dict(hidden=hidden, length=length, latents=latents, pos=pos, wq=wq, wk=wk, wv=wv), {}, dict(y=y)


def tap_adl(rng, B=1, H=2, Y=4, X=4, C=6, S=3, th=1.2):
    x, w_pred = normal(rng, B, Y, X, C), normal(rng, C, S)
    wq, wk, wv = (normal(rng, C, C, s=C**-0.5) for _ in range(3))
    pi, pooled = weights(x @ w_pred), np.zeros((B, Y, X, C))
    for b, i, j, s in np.ndindex(B, Y, X, S):
        near = [(i + s * di, j + s * dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
        near = sum(x[b, u, w] for u, w in near if 0 <= u < Y and 0 <= w < X) / 9
        pooled[b, i, j] += pi[b, i, j, s] * (x[b, i, j] if s == 0 else near)
    pooled = pooled.reshape(B, Y * X, C)
    q, k, v = (heads(pooled @ it, H) for it in (wq, wk, wv))
    A = weights(scores(q, k))
    rows = A.mean(1)
    kept, mean = (np.where(it > th / (Y * X), it, 0) for it in (rows, rows.mean(1, keepdims=True)))
    length = np.sqrt((kept**2).sum(-1) * (mean**2).sum(-1))
    adl = ((kept * mean).sum(-1) / np.maximum(length, 1e-8)).mean()
    outputs = dict(o=merged(A @ v), pooled=pooled, adl=adl)
    return dict(x=x, w_pred=w_pred, wq=wq, wk=wk, wv=wv), dict(th=th, H=H), outputs


def dcal_pwca(rng, B=2, H=2, N=5, D=4, E=4):
    q, k1, v1 = qkv(rng, B, H, N, N, D, E)
    k2, v2 = normal(rng, B, H, N, D), normal(rng, B, H, N, E)
    o = attend(q, np.concatenate([k1, k2], 2), np.concatenate([v1, v2], 2))
    return dict(q=q, k1=k1, v1=v1, k2=k2, v2=v2), {}, dict(o=o)


def kronecker_attention(rng, B=2, H=2, M=5, N=4, P=3, D=4, E=4):
    q, k1, v1 = qkv(rng, B, H, M, N, D, E)
    k2, v2 = normal(rng, B, H, P, D), normal(rng, B, H, P, E)
    o = np.zeros((B, H, M, E))
    for b, h, m in np.ndindex(B, H, M):
        s = np.array([q[b, h, m] @ (k1[b, h, n] * k2[b, h, p]) / D for n, p in np.ndindex(N, P)])
        o[b, h, m] = weights(s) @ np.array([v1[b, h, n] * v2[b, h, p] for n, p in np.ndindex(N, P)])
    return dict(q=q, k1=k1, k2=k2, v1=v1, v2=v2), {}, dict(o=o)


def ninformer_gate(rng, B=2, N=5, C=4, TH=6, CH=7, eps=1e-5):
    x, wp, t1, t2, c1, c2 = (normal(rng, *it) for it in ((B, N, C), (C, C), (N, TH), (TH, N), (C, CH), (CH, C)))
    u = x + np.swapaxes(gelu_tanh(np.swapaxes(layernorm(x, eps), 1, 2) @ t1) @ t2, 1, 2)
    y = (x @ wp) * (u + gelu_tanh(layernorm(u, eps) @ c1) @ c2)
    return dict(x=x, wp=wp, t1=t1, t2=t2, c1=c1, c2=c2), dict(eps=eps), dict(y=y)


def sentence_attention_block(rng, B=2, C=6, Y=3, X=4, S=5, R=2):
    x, sentence, hidden = normal(rng, B, C, Y, X), normal(rng, B, S), C // R + 1
    w1, w2 = normal(rng, C + S, hidden), normal(rng, hidden, C)
    z = np.concatenate([x.mean((2, 3)), sentence], 1)
    gate = sigmoid(np.maximum(z @ w1, 0) @ w2)
    return dict(x=x, sentence=sentence, w1=w1, w2=w2), {}, dict(y=x * gate[:, :, None, None])


def dfc_attention(rng, B=1, C=3, Y=6, X=6, K=5):
    x, w, kv, kh = normal(rng, B, C, Y, X), normal(rng, C, C), normal(rng, C, K), normal(rng, C, K)
    pooled = x.reshape(B, C, Y // 2, 2, X // 2, 2).mean((3, 5))
    z = np.einsum("bcyx,co->boyx", pooled, w)

    def strip(f, taps, axis):
        out = np.zeros_like(f)
        for at in np.ndindex(*f.shape):
            for t in range(K):
                place = list(at)
                place[axis] += t - K // 2
                if 0 <= place[axis] < f.shape[axis]:
                    out[at] += taps[at[1], t] * f[tuple(place)]
        return out

    a = sigmoid(strip(strip(z, kv, 2), kh, 3)).repeat(2, 2).repeat(2, 3)
    return dict(x=x, w=w, k_vert=kv, k_horz=kh), {}, dict(y=x * a, a=a)


def s2_attention_shards(rng, B=1, H=4, N=24, BS=4, L=2, stride=3, dense=1, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    step = max(1, stride // H)

    def keep(h, m, n):
        i, j = m // BS, n // BS
        return n <= m and (i - j < L or (j + h * step) % stride == 0 or h >= H - dense)

    sees = mask(keep, H, N, N)
    params = dict(block=BS, local=L, stride=stride, dense=dense)
    return dict(q=q, k=k, v=v), params, dict(o=attend(q, k, v, sees), mask=sees)


def longlora_shifted(rng, B=1, H=4, N=16, Gs=4, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    o = np.zeros((B, H, N, E))
    for b, h in np.ndindex(B, H):
        by = Gs // 2 if h >= H // 2 else 0
        Q, K, V = (np.roll(it[b, h], -by, 0) for it in (q, k, v))
        for g in range(0, N, Gs):
            o[b, h, g : g + Gs] = attend(Q[g : g + Gs], K[g : g + Gs], V[g : g + Gs], causal(Gs, Gs))
        o[b, h] = np.roll(o[b, h], by, 0)
    return dict(q=q, k=k, v=v), dict(group=Gs), dict(o=o)


def longlora_shifted_varlen(rng, B=1, H=4, N=16, Gs=4, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    by = Gs // 2
    sees = np.zeros((H, N, N), bool)
    for h in range(H):
        cuts = [0, *range(by if h >= H // 2 else Gs, N, Gs), N]
        for lo, hi in zip(cuts, cuts[1:]):
            sees[h, lo:hi, lo:hi] = causal(hi - lo, hi - lo)
    return dict(q=q, k=k, v=v), dict(group=Gs), dict(o=attend(q, k, v, sees), mask=sees)


def masformer(rng, B=1, H=2, N=16, BS=4, L=3, D=4, full=(2,)):
    C = H * D
    x, w = normal(rng, B, N, C), normal(rng, L, 3, C, C, s=C**-0.5)
    near, y = mask(lambda m, n: n <= m and m // BS - n // BS <= 1, N, N), x
    for l in range(L):
        q, k, v = (heads(y @ w[l, i], H) for i in range(3))
        y = y + merged(attend(q, k, v, causal(N, N) if l in full else near))
    return dict(x=x, w=w), dict(block=BS, full=full, H=H), dict(y=y)


def window_attention_2d(rng, B=1, H=2, Y=6, X=6, W=3, shift=1, D=4, E=4):
    q, k, v = qkv(rng, B, H, Y * X, Y * X, D, E)

    def plain(m, n):
        return m // X // W == n // X // W and m % X // W == n % X // W

    def region(at, length):
        """The window after the shift, and on which side of the seam the place was."""
        return (at - shift) % length // W, at < shift

    def shifted(m, n):
        return region(m // X, Y) == region(n // X, Y) and region(m % X, X) == region(n % X, X)

    o, o_shifted = (attend(q, k, v, mask(it, Y * X, Y * X)) for it in (plain, shifted))
    return dict(q=q, k=k, v=v), dict(Y=Y, X=X, W=W, shift=shift), dict(o=o, o_shifted=o_shifted)


def clear_downsampled(rng, B=1, H=2, T=2, Y=4, X=4, R=2, df=2, D=4, E=4):
    N = T + Y * X
    q, k, v = qkv(rng, B, H, N, N, D, E)

    def pooled(x):
        return x[:, :, T:].reshape(B, H, Y // df, df, X // df, df, -1).mean((3, 5)).reshape(B, H, Y // df * (X // df), -1)

    K, V = (np.concatenate([it, pooled(it)], 2) for it in (k, v))

    def sees(m, n):
        if m < T or n >= N:
            return n < N or m >= T
        (a, b), (c, d) = divmod(m - T, X), divmod(n - T, X)
        return n < T or (a - c) ** 2 + (b - d) ** 2 < R * R

    return dict(q=q, k=k, v=v), dict(T=T, Y=Y, X=X, R=R, down=df), dict(o=attend(q, K, V, mask(sees, N, K.shape[2])))


def video_ccam(rng, B=1, H=2, NQ=6, F=4, P=3, D=4, E=4):
    q, k, v = qkv(rng, B, H, NQ, F * P, D, E)
    sees = mask(lambda i, n: n // P * NQ < (i + 1) * F, NQ, F * P)
    return dict(q=q, k=k, v=v), dict(NQ=NQ, F=F, P=P), dict(o=attend(q, k, v, sees), mask=sees)


def packed_documents(rng, B=1, H=2, D=4, E=4, lens=(3, 5, 1, 4)):
    N, cu = sum(lens), np.cumsum([0, *lens])
    q, k, v = qkv(rng, B, H, N, N, D, E)
    doc = [i for i, length in enumerate(lens) for _ in range(length)]
    sees = mask(lambda m, n: n <= m and doc[m] == doc[n], N, N)
    return dict(q=q, k=k, v=v, cu_seqlens=cu), dict(lens=lens), dict(o=attend(q, k, v, sees), mask=sees)


def deformable_attention_2d(rng, B=1, H=2, M=3, V=2, Y=5, X=6, Pt=3, E=4):
    val, logits = normal(rng, B, H, V, Y, X, E), normal(rng, B, H, M, V, Pt)
    ref, off = rng.random((B, M, V, 2)) * [Y - 1, X - 1], normal(rng, B, H, M, V, Pt, 2)
    o = np.zeros((B, H, M, E))
    for b, h, m in np.ndindex(B, H, M):
        A = weights(logits[b, h, m].reshape(-1)).reshape(V, Pt)
        for i, p in np.ndindex(V, Pt):
            y, x = ref[b, m, i] + off[b, h, m, i, p]
            for u, w in itertools.product(range(Y), range(X)):
                o[b, h, m] += A[i, p] * max(0, 1 - abs(y - u)) * max(0, 1 - abs(x - w)) * val[b, h, i, u, w]
    return dict(val=val, ref=ref, off=off, logits=logits), {}, dict(o=o)

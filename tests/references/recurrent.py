"""References: recurrences with constant and data-dependent decay, state spaces, delta rules, gated units, token by token."""

import math

import numpy as np
from common import attend, heads, layernorm, mask, merged, normal, qkv, rmsnorm, rope, scores, sigmoid, silu, softplus, weights


def _decayed(q, k, v, gate):
    """S_t = gate_t S_{t-1} + k_t v_t, o_t = q_t S_t, and the last S, where gate[t] is a number or one for each feature."""
    S, o = np.zeros((q.shape[1], v.shape[1])), np.zeros(v.shape)
    for t in range(len(q)):
        S = np.reshape(gate[t], (-1, 1)) * S + np.outer(k[t], v[t])
        o[t] = q[t] @ S
    return o, S


def _tnl_slopes(h, layer, layers):
    return tuple(2.0 ** (-8 * (i + 1) / h) * (1 - layer / (layers - 1) + 1e-5) for i in range(h))


def lightning_attention(rng, b=2, h=2, t=9, d=4, e=3, layer=1, layers=4):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    slopes, o, S = _tnl_slopes(h, layer, layers), np.zeros((b, h, t, e)), np.zeros((b, h, d, e))
    for i, j in np.ndindex(b, h):
        o[i, j], S[i, j] = _decayed(q[i, j], k[i, j], v[i, j], np.full(t, math.exp(-slopes[j])))
    return dict(q=q, k=k, v=v), dict(slopes=slopes), dict(o=o, S=S)


def tnl_layer(rng, b=2, t=6, c=8, h=2, layer=0, layers=4, r=4):
    x, (Wq, Wk, Wv, Wo) = normal(rng, b, t, c), (normal(rng, c, c, s=c**-0.5) for _ in range(4))
    Wg1, Wg2, slopes = normal(rng, c, r), normal(rng, r, c), _tnl_slopes(h, layer, layers)
    q, k, v = (heads(silu(x @ it), h) for it in (Wq, Wk, Wv))
    o = np.zeros_like(v)
    for i, j in np.ndindex(b, h):
        o[i, j], _ = _decayed(q[i, j], k[i, j], v[i, j], np.full(t, math.exp(-slopes[j])))
    y = layernorm(merged(o), 1e-5) * sigmoid(x @ Wg1 @ Wg2) @ Wo
    return dict(x=x, Wq=Wq, Wk=Wk, Wv=Wv, Wo=Wo, Wg1=Wg1, Wg2=Wg2), dict(slopes=slopes), dict(y=y)


def _pairs_turned(x, theta):
    """x[n, d] with its features 2 i and 2 i + 1 turned by n theta_i."""
    out = np.zeros_like(x)
    for n, i in np.ndindex(len(x), len(theta)):
        c, s = math.cos(n * theta[i]), math.sin(n * theta[i])
        out[n, 2 * i], out[n, 2 * i + 1] = x[n, 2 * i] * c - x[n, 2 * i + 1] * s, x[n, 2 * i + 1] * c + x[n, 2 * i] * s
    return out


def retnet_msr(rng, b=2, h=2, t=6, d=4, e=4, eps=1e-6):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    g, o = normal(rng, b, h, t, e), np.zeros((b, h, t, e))
    theta, gamma = 10000.0 ** -np.linspace(0, 1, d // 2), tuple(1 - 2.0 ** (-5 - i) for i in range(h))
    for i, j in np.ndindex(b, h):
        D = np.tril(gamma[j] ** (np.arange(t)[:, None] - np.arange(t)).clip(0))
        D = D / np.sqrt(D.sum(1, keepdims=True))
        A = _pairs_turned(q[i, j], theta) @ _pairs_turned(k[i, j], theta).T / math.sqrt(d) * D
        A = A / np.maximum(abs(A.sum(1, keepdims=True)), 1)
        o[i, j] = rmsnorm(A @ v[i, j], eps) * silu(g[i, j])
    return dict(q=q, k=k, v=v, g=g), dict(gamma=gamma, eps=eps), dict(o=o)


def vir_released_parallel(rng, b=2, h=2, t=7, d=4):
    q, k, v = qkv(rng, b, h, t, t, d, d)
    gamma = tuple(1 - np.exp(np.linspace(math.log(1 / 32), math.log(1 / 512), h)))
    D = np.stack([np.tril(g ** (np.arange(t)[:, None] - np.arange(t)).clip(0)) for g in gamma])
    return dict(q=q, k=k, v=v), dict(gamma=gamma), dict(o=weights(scores(q, k) * D) @ v)


def gla_layer(rng, b=2, t=6, c=8, h=2, r=3, norm=16.0, eps=1e-5):
    x = normal(rng, b, t, c)
    Wq, Wk, Wv, Wg = (normal(rng, c, it, s=c**-0.5) for it in (c // 2, c // 2, c, c))
    W1, W2, bg = normal(rng, c, r), normal(rng, r, c // 2), normal(rng, c // 2)
    wn, Wo = normal(rng, c // h), normal(rng, c, c, s=c**-0.5)
    gate = np.exp(-softplus(-(x @ W1 @ W2 + bg)) / norm)
    q, k, v, a = heads(x @ Wq, h), heads(x @ Wk, h), heads(x @ Wv, h), heads(gate, h)
    o, S = np.zeros_like(v), np.zeros((b, h, c // 2 // h, c // h))
    for i, j in np.ndindex(b, h):
        o[i, j], S[i, j] = _decayed(q[i, j] * (c // 2 // h) ** -0.5, k[i, j], v[i, j], a[i, j])
    y = merged(rmsnorm(o, eps) * wn) * silu(x @ Wg) @ Wo
    inputs = dict(x=x, Wq=Wq, Wk=Wk, Wv=Wv, Wg=Wg, W1=W1, W2=W2, bg=bg, wn=wn, Wo=Wo)
    return inputs, dict(gate_logit_normalizer=norm, eps=eps), dict(y=y, S=S)


def simple_gla(rng, b=2, h=2, t=8, d=4, e=3):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    g, o, S = -softplus(-normal(rng, b, h, t)), np.zeros((b, h, t, e)), np.zeros((b, h, d, e))
    for i, j in np.ndindex(b, h):
        o[i, j], S[i, j] = _decayed(q[i, j] / math.sqrt(d), k[i, j], v[i, j], np.exp(g[i, j]))
    return dict(q=q, k=k, v=v, g=g), dict(scale=d**-0.5), dict(o=o, S=S)


def _selective_scan(u, dt, A, B, C):
    """u, dt[t, c], A[c, n], B, C[t, n]: y[t, c] and the last state."""
    S, y = np.zeros(A.shape), np.zeros(u.shape)
    for t in range(len(u)):
        S = np.exp(dt[t][:, None] * A) * S + (dt[t] * u[t])[:, None] * B[t]
        y[t] = S @ C[t]
    return y, S


def mamba1_selective_scan(rng, b=2, c=3, t=7, n=4):
    u, dt, z, dt_bias = normal(rng, b, c, t), normal(rng, b, c, t), normal(rng, b, c, t), normal(rng, c)
    A, D, B, C = -np.exp(normal(rng, c, n)), normal(rng, c), normal(rng, b, n, t), normal(rng, b, n, t)
    y, S = np.zeros((b, c, t)), np.zeros((b, c, n))
    for i in range(b):
        out, S[i] = _selective_scan(u[i].T, softplus(dt[i] + dt_bias[:, None]).T, A, B[i].T, C[i].T)
        y[i] = (out.T + D[:, None] * u[i]) * silu(z[i])
    return dict(u=u, dt=dt, dt_bias=dt_bias, A=A, B=B, C=C, D=D, z=z), {}, dict(y=y, S=S)


def bidirectional_mamba(rng, b=2, t=6, c=3, n=2):
    u, inputs, y = normal(rng, b, t, c), {}, np.zeros((b, t, c))
    for way, turn in (("f", slice(None)), ("r", slice(None, None, -1))):
        dt, A = softplus(normal(rng, b, t, c)), -np.exp(normal(rng, c, n))
        B, C = normal(rng, b, t, n), normal(rng, b, t, n)
        inputs.update({"dt" + way: dt, "A" + way: A, "B" + way: B, "C" + way: C})
        for i in range(b):
            y[i] += _selective_scan(u[i, turn], dt[i, turn], A, B[i, turn], C[i, turn])[0][turn]
    return dict(u=u, **inputs), {}, dict(y=y)


def _conv_causal(x, taps, dilation=1):
    """x[t, c] with taps[c, k], the last one on the present token."""
    out = np.zeros_like(x)
    for t, k in np.ndindex(len(x), taps.shape[1]):
        at = t - (taps.shape[1] - 1 - k) * dilation
        if at >= 0:
            out[t] += taps[:, k] * x[at]
    return out


def mamba_block(rng, b=1, t=6, c=4, ei=6, n=3, kw=3, r=2):
    x, Win, wc, bc = normal(rng, b, t, c), normal(rng, c, 2 * ei), normal(rng, ei, kw), normal(rng, ei)
    Wx, Wdt, bdt = normal(rng, ei, r + 2 * n, s=ei**-0.5), normal(rng, r, ei), normal(rng, ei)
    A, D, Wout, y = -np.exp(normal(rng, ei, n)), normal(rng, ei), normal(rng, ei, c, s=ei**-0.5), np.zeros((b, t, c))
    for i in range(b):
        xs, z = np.split(x[i] @ Win, 2, -1)
        xs = silu(_conv_causal(xs, wc) + bc)
        dt, B, C = np.split(xs @ Wx, [r, r + n], -1)
        out, _ = _selective_scan(xs, softplus(dt @ Wdt + bdt), A, B, C)
        y[i] = (out + D * xs) * silu(z) @ Wout
    return dict(x=x, Win=Win, wc=wc, bc=bc, Wx=Wx, Wdt=Wdt, bdt=bdt, A=A, D=D, Wout=Wout), {}, dict(y=y)


def mamba_retriever_score(rng, b=3, t=5, c=4):
    hq, hp = normal(rng, b, t, c), normal(rng, b + 1, t - 1, c)
    return dict(hq=hq, hp=hp), {}, dict(score=np.array([[x[-1] @ y[-1] for y in hp] for x in hq]))


def dsf_ltv(rng, b=2, t=6, N=4, c=3, p=2):
    u, Lam = normal(rng, b, t, c), rng.random((b, t, N))
    B, C, D = normal(rng, b, t, N, c), normal(rng, b, t, p, N), normal(rng, b, t, p, c)
    y, h = np.zeros((b, t, p)), np.zeros((b, N))
    for i, s in np.ndindex(b, t):
        h[i] = Lam[i, s] * h[i] + B[i, s] @ u[i, s]
        y[i, s] = C[i, s] @ h[i] + D[i, s] @ u[i, s]
    return dict(u=u, Lam=Lam, B=B, C=C, D=D), {}, dict(y=y, h=h)


def normalized_attention_dsf(rng, b=2, h=2, t=6, d=4, e=3):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    eta = normal(rng, b, h, t)
    o = np.tril(scores(q, k, 1)) @ v / np.exp(eta)[..., None]
    return dict(q=q, k=k, v=v, eta=eta), dict(form="exp"), dict(o=o)


def deltanet_layer_core(rng, b=2, h=2, t=6, d=4, eps=1e-5):
    q, k, v = qkv(rng, b, h, t, t, d, d)
    beta, wn = normal(rng, b, h, t), normal(rng, d)
    Q, K = (silu(it) / np.sqrt((silu(it) ** 2).sum(-1, keepdims=True)) for it in (q, k))
    o, S = np.zeros((b, h, t, d)), np.zeros((b, h, d, d))
    for i, j, s in np.ndindex(b, h, t):
        K_s, M = K[i, j, s], S[i, j]
        S[i, j] = M + np.outer(K_s, sigmoid(beta[i, j, s]) * (silu(v[i, j, s]) - K_s @ M))
        o[i, j, s] = Q[i, j, s] @ S[i, j] / math.sqrt(d)
    return dict(q=q, k=k, v=v, beta=beta, wn=wn), dict(eps=eps), dict(o=rmsnorm(o, eps) * wn, S=S)


def mom_gated(rng, b=1, t=9, c=4, M=3, topk=1, d=3, e=3):
    x, Wr, Wq, Wk, Wv, wa = (normal(rng, *it) for it in ((b, t, c), (c, M), (c, d), (M, c, d), (M, c, e), (M, c)))
    o = np.zeros((b, t, e))
    for i in range(b):
        S = np.zeros((M, d, e))
        for s in range(t):
            p = weights(x[i, s] @ Wr)
            chosen = np.argsort(-p, kind="stable")[:topk]
            for j in chosen:
                S[j] = sigmoid(x[i, s] @ wa[j]) * S[j] + np.outer(x[i, s] @ Wk[j], x[i, s] @ Wv[j])
            o[i, s] = x[i, s] @ Wq / math.sqrt(d) @ sum(p[j] * S[j] for j in chosen) / p[chosen].sum()
    return dict(x=x, Wr=Wr, Wq=Wq, Wk=Wk, Wv=Wv, wa=wa), dict(memories=M, topk=topk), dict(o=o)


def titans_linear_chunk(rng, b=2, h=2, t=8, c=4, d=4, e=3):
    q, k, v = qkv(rng, b, h, t, t, d, e)
    k = k / np.sqrt((k * k).sum(-1, keepdims=True))
    eta, theta, alpha = sigmoid(normal(rng, b, h, t)), 0.3 * sigmoid(normal(rng, b, h, t)), 0.3 * sigmoid(normal(rng, b, h, t))
    o, M, N = np.zeros((b, h, t, e)), np.zeros((b, h, d, e)), np.zeros((b, h, d, e))
    for i, j in np.ndindex(b, h):
        for s in range(t):
            if s % c == 0:
                start = M[i, j].copy()
            gradient = 2 * np.outer(k[i, j, s], k[i, j, s] @ start - v[i, j, s])
            N[i, j] = eta[i, j, s] * N[i, j] - theta[i, j, s] * gradient
            M[i, j] = (1 - alpha[i, j, s]) * M[i, j] + N[i, j]
            o[i, j, s] = q[i, j, s] @ M[i, j]
    return dict(q=q, k=k, v=v, eta=eta, theta=theta, alpha=alpha), dict(chunk=c), dict(o=o, M=M, N=N)


def rat(rng, b=2, h=2, t=12, d=4, L=4, base=10000.0):
    q, k, v = qkv(rng, b, h, t, t, d, d)
    g, z = sigmoid(normal(rng, b, h, t, d)), sigmoid(normal(rng, b, h, t, d))
    K, V, o = np.zeros((b, h, t, d)), np.zeros((b, h, t, d)), np.zeros((b, h, t, d))
    for s in range(t):
        for state, x in ((K, k), (V, v)):
            state[:, :, s] = (1 - g[:, :, s]) * x[:, :, s] + (0 if s % L == 0 else g[:, :, s] * state[:, :, s - 1])
    Q, K = (rope(it, np.arange(t) // L, base) for it in (q, K))
    for s in range(t):
        keys = [*(c * L + L - 1 for c in range(s // L)), s]
        o[:, :, s : s + 1] = attend(Q[:, :, s : s + 1], K[:, :, keys], V[:, :, keys])
    inputs = dict(q=q, k=k, v=v, g=g, z=z)
    return inputs, dict(chunk=L, rope_pairs="half-split", rope_base=base), dict(o=o * z)


def gau(rng, b=2, t=6, c=4, s=3, e=5, causal=True):
    x, Wz, Wu, Wv, Wo = (normal(rng, *it) for it in ((b, t, c), (c, s), (c, e), (c, e), (e, c)))
    gamma, beta, bias = normal(rng, 2, s), normal(rng, 2, s), normal(rng, t, t)
    z = silu(x @ Wz)
    q, k = z * gamma[0] + beta[0], z * gamma[1] + beta[1]
    A = np.maximum(q @ k.swapaxes(1, 2) / t + bias, 0) ** 2
    y = silu(x @ Wu) * ((np.tril(A) if causal else A) @ silu(x @ Wv)) @ Wo
    inputs = dict(x=x, Wz=Wz, Wu=Wu, Wv=Wv, Wo=Wo, gamma=gamma, beta=beta, bias=bias)
    return inputs, dict(causal=causal, divisor=t), dict(o=y)


def mega_ema(rng, b=2, t=7, c=3, n=2):
    x, omega = normal(rng, b, t, c), normal(rng, c)
    delta, alpha, beta, gamma = (normal(rng, c, n) for _ in range(4))
    p = sigmoid(delta)
    q, y = 1 - p * sigmoid(alpha), np.zeros((b, t, c))
    for i in range(b):
        h = np.zeros((c, n))
        for s in range(t):
            h = q * h + p * beta * x[i, s][:, None]
            y[i, s] = silu((gamma * h).sum(1) / math.sqrt(n) + omega * x[i, s])
    return dict(x=x, delta=delta, alpha=alpha, beta=beta, gamma=gamma, omega=omega), {}, dict(y=y)


def tcnca(rng, b=2, t=8, c=3, zd=2, hd=4, L=4, K=3, dils=(1, 2)):
    shapes = dict(x=(b, t, c), Wv=(c, hd), Wu=(c, c), Wz=(c, zd), Wr=(c, hd), Wh=(c, c), Uh=(hd, c), gq=(zd,), gk=(zd,), bq=(zd,), bk=(zd,))
    w = {name: normal(rng, *it) for name, it in shapes.items()}
    taps, y = [normal(rng, c, K) for _ in dils], np.zeros((b, t, c))
    sees = mask(lambda m, n: m // L == n // L and n <= m, t, t)
    for i in range(b):
        x = mx = w["x"][i]
        for dilation, it in zip(dils, taps):
            mx = silu(_conv_causal(mx, it, dilation))
        z = silu(mx @ w["Wz"])
        q, k = z * w["gq"] + w["bq"], z * w["gk"] + w["bk"]
        h = attend(q, k, silu(x @ w["Wv"]), sees) * silu(mx @ w["Wr"])
        u = sigmoid(mx @ w["Wu"])
        y[i] = u * silu(mx @ w["Wh"] + h @ w["Uh"]) + (1 - u) * x
    inputs = dict(**w, **{f"wc{i}": it for i, it in enumerate(taps)})
    return inputs, dict(chunk=L, dilations=dils, act="softmax", causal=True), dict(y=y)


def seqboat_sma(rng, b=2, t=9, c=4, s=3, e=5, w=2, temp=2.0, act="softmax"):
    shapes = dict(x=(b, t, c), mx=(b, t, c), Wr=(c, 2), Whx=(c, c), Wz=(c, s), Wrg=(c, e), Wv=(c, e), Wh=(e, c), gamma=(2, s), beta=(2, s))
    p = {name: normal(rng, *it) for name, it in shapes.items()}
    y, used = np.zeros((b, t, c)), np.zeros((b, t), bool)
    for i in range(b):
        x, mx = p["x"][i], p["mx"][i]
        route = weights(mx @ p["Wr"] / temp)
        used[i] = route[:, 1] > route[:, 0]
        rows, h = np.flatnonzero(used[i]), np.zeros((t, c))
        z = silu(mx[rows] @ p["Wz"])
        q, k = z * p["gamma"][0] + p["beta"][0], z * p["gamma"][1] + p["beta"][1]
        near = mask(lambda m, n: 0 <= m - n <= w, len(rows), len(rows))
        r = silu(mx[rows] @ p["Wrg"])
        h[rows] = attend(q, k, silu(mx[rows] @ p["Wv"]), near) * r @ p["Wh"] * route[rows, 1:]
        y[i] = silu(mx @ p["Whx"] + h + x)
    return p, dict(window=w, temp=temp, act=act), dict(y=y, used=used)


def long_short_noncausal(rng, b=2, h=2, n=8, d=4, r=2, w=4):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    Wp, o = normal(rng, h, d, r), np.zeros((b, h, n, d))
    for i, j in np.ndindex(b, h):
        P = weights((k[i, j] @ Wp[j]).T)
        long_k, long_v = layernorm(P @ k[i, j], 1e-5), layernorm(P @ v[i, j], 1e-5)
        short_k, short_v = layernorm(k[i, j], 1e-5), layernorm(v[i, j], 1e-5)
        for m in range(n):
            own = slice(m // w * w, m // w * w + w)
            K, V = np.concatenate([long_k, short_k[own]]), np.concatenate([long_v, short_v[own]])
            o[i, j, m] = attend(q[i, j, m][None], K, V)[0]
    return dict(q=q, k=k, v=v, Wp=Wp), dict(window=w, landmarks=r), dict(o=o)


def pavlovian_hebbian(rng, b=2, h=2, m=4, n=6, d=4, e=3):
    q, k, v = qkv(rng, b, h, m, n, d, e)
    A = k.swapaxes(-1, -2) @ v
    return dict(q=q, k=k, v=v), {}, dict(o=q @ A, A=A)


def plga_gcache_decode(rng, b=2, h=2, n=6, d=4):
    q, k, v = qkv(rng, b, h, 1, n, d, d)
    G = normal(rng, h, d, d)
    return dict(q=q, k=k, v=v, G=G), {}, dict(o=attend(q @ G, k, v))

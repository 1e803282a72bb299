"""References: estimated maps, selections that are kept over steps or layers, distributed and quantised attention, measurements."""

import math

import numpy as np
from common import (
    among, attend, best, causal, gelu_tanh, lse, mask, normal, qkv, repeated, rope, scores, sigmoid, weights
)


def _favor(x, w):
    y = x / x.shape[-1] ** 0.25
    return np.exp(y @ w.T - (y * y).sum(-1, keepdims=True) / 2) / math.sqrt(len(w))


def sea_pipeline(rng, b=1, h=2, n=32, d=8, tm=8, kk=2, f=6, hid=10):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    omega, code = normal(rng, f, d), normal(rng, n, d)
    w1, w2, w3 = normal(rng, 3 * d, hid, s=(3 * d) ** -0.5), normal(rng, hid, tm), normal(rng, hid, 2)
    L = _favor(q, omega) @ _favor(k, omega).swapaxes(-1, -2)
    V = np.concatenate([np.broadcast_to(code, v.shape), v], -1)
    hidden = gelu_tanh(np.concatenate([L @ V / L.sum(-1, keepdims=True), v], -1) @ w1)
    est, col = weights(hidden @ w2), (2 * np.arange(n) + 1) * tm // (2 * n)  # key n lies in the column of its middle
    keep = among(est, kk)[..., col]
    z, s = sigmoid(hidden @ w3), scores(q, k)
    dense = est[..., col].mean(2, keepdims=True) @ v
    out = z[..., 1:] * (weights(s, keep) * z[..., :1] @ v) + (1 - z[..., 1:]) * dense
    inputs = dict(q=q, k=k, v=v, omega=omega, v_identity=code, w1=w1, w2=w2, w3=w3)
    return inputs, dict(top_k=kk, t_m=tm), dict(est_probs=est, mask=keep, out=out, lse=lse(s, keep))


def sparsifiner(rng, b=1, h=2, n=17, d=8, c=4, r=5, budget=5, coef_k=3, basis_thr=0.05):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    wq, wk, pn, pb = normal(rng, d, c), normal(rng, d, c), normal(rng, n, r, s=n**-0.5), normal(rng, n, r, s=0.3)
    est_scale = h**-0.5
    coef = weights((q[:, :, 1:] @ wq) @ ((k @ wk).swapaxes(-1, -2) @ pn) * est_scale)
    coef = np.where(among(coef, coef_k), coef, 0)
    approx = coef @ np.where(abs(pb) > basis_thr, abs(pb), 0).T
    keep = np.concatenate([np.ones((b, h, 1, n), bool), among(approx, budget)], 2)
    s = scores(q, k)
    outputs = dict(approx=approx, mask=keep, out=weights(s, keep) @ v, lse=lse(s, keep))
    params = dict(budget=budget, coef_k=coef_k, basis_thr=basis_thr, est_scale=est_scale)
    return dict(q=q, k=k, v=v, wq=wq, wk=wk, pn=pn, pb=pb), params, outputs


def attention_recall(rng, b=1, h=3, n=32, d=8, last_q=8, nv0=3, ns0=3, target=0.8, step=1):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    s, budget, recall = scores(q, k), np.zeros((b, h), int), np.zeros((b, h))
    full = lse(s, causal(n, n))
    for i, j in np.ndindex(b, h):
        p = weights(s[i, j], causal(n, n))[n - last_q :]
        vert = p.sum(0)
        slash = np.array([sum(p[m - n + last_q, m - t] for m in range(n - last_q, n) if t <= m) for t in range(n)])
        nv, ns = nv0, ns0
        while True:
            V, S = among(vert, nv), among(slash, ns)
            keep = mask(lambda m, t: t <= m and (V[t] or S[m - t]), n, n)
            recall[i, j], budget[i, j] = np.exp(lse(s[i, j], keep) - full[i, j]).mean(), nv
            if recall[i, j] >= target or nv >= n:
                break
            nv, ns = nv + step, ns + step
    params = dict(last_q=last_q, nv0=nv0, ns0=ns0, target=target, step=step)
    return dict(q=q, k=k, v=v), params, dict(budget=budget, recall=recall, lse_full=full)


def tokenselect(rng, hk=2, grp=2, n=40, d=8, c=4, ninit=4, nloc=6, topk=8, pool=3):
    q, k, v = normal(rng, hk * grp, c, d), normal(rng, hk, n, d), normal(rng, hk, n, d)
    K, V = repeated(k, grp), repeated(v, grp)
    middle = n - ninit - nloc
    raw = sum(weights(K[h, ninit : n - nloc] @ q[h].mean(0)) for h in range(hk * grp))
    pooled = np.array([raw[max(i - pool // 2, 0) : i - pool // 2 + pool].max() for i in range(middle)])
    idx = best(pooled, topk) + ninit
    chosen = mask(lambda t: t < ninit or t in idx or t >= n - nloc, n)
    keep = chosen & causal(c, n)
    s = scores(q, K)
    outputs = dict(vote=raw, idx=idx, out=weights(s, keep) @ V, lse=lse(s, keep))
    return dict(q=q, k=k, v=v), dict(ninit=ninit, nloc=nloc, topk=topk, pool=pool), outputs


def tokenselect_cache(rng, steps=4, h=2, n=20, d=6, topk=4, thr=0.9):
    base = normal(rng, h, d)
    q = np.stack([base + 0.3 * t * normal(rng, h, d) for t in range(steps)])
    k, hit, idx, cached = normal(rng, h, n, d), np.zeros(steps, bool), np.zeros((steps, topk), int), None
    for t in range(steps):
        x = q[t].reshape(-1)
        hit[t] = cached is not None and x @ cached / math.sqrt(x @ x * (cached @ cached)) >= thr
        if hit[t]:
            idx[t] = idx[t - 1]
        else:
            cached, idx[t] = x, best(sum(weights(k[i] @ q[t, i]) for i in range(h)), topk)
    return dict(q=q, k=k), dict(topk=topk, thr=thr), dict(hit=hit, idx=idx)


def tidaldecode(rng, layers=3, hk=2, grp=2, n=32, d=8, topk=8, select=(0, 2)):
    q, k, v = normal(rng, layers, hk * grp, 1, d), normal(rng, layers, hk, n, d), normal(rng, layers, hk, n, d)
    idx, out = np.zeros((layers, hk, topk), int), np.zeros((layers, hk * grp, 1, d))
    for l, j in np.ndindex(layers, hk):
        Q = q[l, j * grp : (j + 1) * grp, 0]
        idx[l, j] = best(scores(Q, k[l, j]).sum(0), topk) if l in select else idx[l - 1, j]
        rows = slice(None) if l in select else idx[l, j]
        out[l, j * grp : (j + 1) * grp, 0] = attend(Q, k[l, j, rows], v[l, j, rows])
    return dict(q=q, k=k, v=v), dict(topk=topk, select=select), dict(idx=idx, out=out)


def recycled_attention(rng, b=1, h=2, n=24, d=8, topk=6, S=3, steps=5, thr=0.6):
    q, k, v = qkv(rng, b, h, steps, n + steps, d, d)
    q = q[:, :, :1] + 0.7 * q
    full, out, keep, last = np.zeros(steps, bool), np.zeros((b, h, steps, d)), np.zeros((b, h, n + steps), bool), 0
    for t in range(steps):
        drift = np.mean([x @ y / math.sqrt(x @ x * (y @ y)) for x, y in zip(q[:, :, t].reshape(-1, d), q[:, :, last].reshape(-1, d))])
        full[t] = t % S == 0 or drift < thr
        past = np.arange(n + steps) <= n + t
        s = scores(q[:, :, t : t + 1], k)
        if full[t]:
            last, keep = t, among(np.where(past, s[:, :, 0], -np.inf), topk)
            out[:, :, t] = (weights(s, past) @ v)[:, :, 0]
        else:
            keep[..., n + t] = True
            out[:, :, t] = (weights(s, keep[:, :, None]) @ v)[:, :, 0]
    return dict(q=q, k=k, v=v), dict(n_prompt=n, topk=topk, stride=S, thr=thr), dict(out=out, full=full, keep=keep)


def attention_influence(rng, b=2, h=4, n=12, d=8, V=10):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    wo, target, head = normal(rng, h * d, V, s=(h * d) ** -0.5), rng.integers(0, V, (b, n)), np.arange(h) % 2 == 1
    p = weights(scores(q, k), causal(n, n))
    uniform = causal(n, n) / np.arange(1, n + 1)[:, None]
    masked = np.where(head[:, None, None], uniform, p) @ v

    def loss(o):
        logits = o.swapaxes(1, 2).reshape(b, n, h * d) @ wo
        return np.array([np.mean([lse(logits[i, t]) - logits[i, t, target[i, t]] for t in range(n)]) for i in range(b)])

    base, other = loss(p @ v), loss(masked)
    outputs = dict(out_masked=masked, loss_base=base, loss_masked=other, influence=(other - base) / base)
    return dict(q=q, k=k, v=v, wo=wo, target=target, head_mask=head), {}, outputs


def medusa_tree_verify(rng, b=1, h=2, ncache=10, d=8, parent=(-1, 0, 0, 1, 1, 2)):
    T = len(parent)
    q, k, v = qkv(rng, b, h, T, ncache + T, d, d)

    def path(t):
        return [t] + path(parent[t]) if t >= 0 else []

    tree = mask(lambda t, u: u in path(t), T, T)
    position = np.array([ncache + len(path(t)) - 1 for t in range(T)])
    s = scores(rope(q, position), rope(k, [*range(ncache), *position]))
    keep = np.concatenate([np.ones((T, ncache), bool), tree], 1)
    outputs = dict(tree_mask=tree, position=position, out=weights(s, keep) @ v, lse=lse(s, keep))
    return dict(q=q, k=k, v=v, parent=np.array(parent)), dict(rope_base=10000.0), outputs


def distca(rng, h=2, d=8, doclens=(10, 6), tasks=((0, 0, 4), (0, 4, 7), (0, 7, 10), (1, 0, 6)), order=(2, 0, 3, 1)):
    n, cu = sum(doclens), np.cumsum([0, *doclens])
    q, k, v = (normal(rng, h, n, d) for _ in range(3))
    out, logs, pairs = np.zeros((h, n, d)), np.full((h, n), -np.inf), np.zeros(len(tasks), int)
    for t in order:
        doc, q0, q1 = tasks[t]
        rows, keys = slice(cu[doc] + q0, cu[doc] + q1), slice(cu[doc], cu[doc] + q1)
        keep, s = causal(q1 - q0, q1), scores(q[:, rows], k[:, keys])
        out[:, rows], logs[:, rows], pairs[t] = weights(s, keep) @ v[:, keys], lse(s, keep), keep.sum()
    inputs = dict(q=q, k=k, v=v, cu_doc=cu, tasks=np.array(tasks), order=np.array(order))
    return inputs, {}, dict(out=out, lse=logs, task_pairs=pairs)


def lasp2h(rng, b=1, h=2, n=24, d=8, ranks=4):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    out, s = attend(q, k, v, causal(n, n)), scores(q, k)
    pieces = np.moveaxis(out.reshape(b, h, ranks, n // ranks, d), 2, 0)
    return dict(q=q, k=k, v=v), dict(ranks=ranks), dict(out=out, lse=lse(s, causal(n, n)), out_rank=pieces)


def ring_attention(rng, b=1, h=2, n=24, d=8, ranks=4):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    c, s = n // ranks, scores(q, k)
    part = np.full((ranks, ranks, b, h, c), -np.inf)
    for r, t in np.ndindex(ranks, ranks):
        owner = (r - t) % ranks
        if owner <= r:
            piece = s[:, :, r * c : (r + 1) * c, owner * c : (owner + 1) * c]
            part[r, t] = lse(piece, causal(c, c) if owner == r else True)
    outputs = dict(out=attend(q, k, v, causal(n, n)), lse=lse(s, causal(n, n)), part_lse=part)
    return dict(q=q, k=k, v=v), dict(ranks=ranks), outputs


def _e4m3(x):
    """The nearest of all finite values of the format; of two as near, the one with an even code."""
    codes = np.array([m / 8 * 2.0**-6 for m in range(8)] + [(1 + m / 8) * 2.0**e for e in range(-6, 9) for m in range(8)][:-1])
    flat = np.abs(x).reshape(-1)
    above = np.clip(np.searchsorted(codes, flat), 1, len(codes) - 1)
    lo, hi = codes[above - 1], codes[above]
    up = (flat - lo > hi - flat) | ((flat - lo == hi - flat) & (above % 2 == 0))
    return np.sign(x) * np.where(up, hi, lo).reshape(x.shape)


def sage2(rng, b=1, h=2, n=64, d=8, bq=32, bk=32, bits=4):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    q, k, v = (it + 2 * normal(rng, b, h, 1, d) for it in (q, k, v))
    top = 2 ** (bits - 1) - 1
    q_mean, k_mean, v_mean = q.reshape(b, h, n // bq, bq, d).mean(3), k.mean(2, keepdims=True), v.mean(2)
    Q, K, V = q - q_mean.repeat(bq, 2), k - k_mean, v - v_mean[:, :, None]
    group_q = np.array([r // bq * 8 + r % 8 for r in range(n)])
    group_k = np.array([r // bk * 4 + r // 2 % 4 for r in range(n)])

    def quantise(x, group):
        scale = np.stack([abs(x[:, :, group == g]).max((2, 3)) / top + 1e-7 for g in range(group.max() + 1)], 2)
        each = scale[:, :, group, None]
        code = np.clip(np.sign(x) * np.floor(abs(x / each) + 0.5), -top, top)
        return code, scale, code * each

    q_int, q_scale, q_back = quantise(Q, group_q)
    k_int, k_scale, k_back = quantise(K, group_k)
    v_scale = abs(V).max(2) / 448
    v_fp8 = _e4m3(V / v_scale[:, :, None])
    s = scores(q_back, k_back) + scores(q_mean.repeat(bq, 2), K)
    p = np.exp(s - s.max(-1, keepdims=True))
    out = _e4m3(448 * p) @ v_fp8 / 448 * v_scale[:, :, None] / p.sum(-1, keepdims=True) + v_mean[:, :, None]
    outputs = dict(q_int=q_int.astype(np.int8), k_int=k_int.astype(np.int8), q_scale=q_scale, k_scale=k_scale, v_scale=v_scale)
    outputs.update(v_fp8=v_fp8, q_mean=q_mean, v_mean=v_mean, out=out, dense=attend(q, k, v))
    return dict(q=q, k=k, v=v), dict(bq=bq, bk=bk, bits=bits), outputs


def kv_cache_fp8(rng, b=1, hk=2, grp=2, n=16, d=8):
    q, k, v = normal(rng, b, hk * grp, 1, d), normal(rng, b, hk, n, d), normal(rng, b, hk, n, d)
    k_scale, v_scale = abs(k).max((2, 3)) / 448, abs(v).max((2, 3)) / 448
    k8, v8 = _e4m3(k / k_scale[..., None, None]), _e4m3(v / v_scale[..., None, None])
    K, V = (repeated(s[..., None, None] * x, grp) for s, x in ((k_scale, k8), (v_scale, v8)))
    s = scores(q, K)
    inputs = dict(q=q, k_fp8=k8, v_fp8=v8, k_scale=k_scale, v_scale=v_scale)
    return inputs, dict(grp=grp), dict(out=weights(s) @ V, lse=lse(s))


def rsq_importance(rng, b=2, h=3, n=16, d=8, D=10, rmin=0.05, rmax=1.0):
    q, k, x = normal(rng, b, h, n, d), normal(rng, b, h, n, d), normal(rng, b, n, D)
    r = weights(scores(q, k), causal(n, n)).sum((1, 2)).mean(0)
    weight = rmin + (rmax - rmin) * (r - r.min()) / (r.max() - r.min())
    hessian = sum(weight[t] ** 2 * np.outer(x[i, t], x[i, t]) for i in range(b) for t in range(n))
    return dict(q=q, k=k, x=x), dict(rmin=rmin, rmax=rmax), dict(weight=weight, hessian=hessian)


def ape(rng, h=2, npre=4, ctx=3, nc=6, nq=3, d=8, T=0.8, S=0.9):
    n, c = npre + ctx * nc + nq, npre + ctx * nc
    q, k, v = (normal(rng, h, n, d) for _ in range(3))
    out, logs = np.zeros((h, nq, d)), np.zeros((h, nq))
    for j, m in np.ndindex(h, nq):
        row = q[j, c + m][None]
        own = [*range(npre), *range(c, c + m + 1)]
        s_ctx, s_own = scores(row, k[j, npre:c])[0] / T, scores(row, k[j, own])[0]
        both = np.array([S * T * lse(s_ctx), lse(s_own)])
        w = weights(both)
        out[j, m] = w[0] * (weights(s_ctx) @ v[j, npre:c]) + w[1] * (weights(s_own) @ v[j, own])
        logs[j, m] = lse(both)
    params = dict(npre=npre, ctx=ctx, nc=nc, nq=nq, T=T, S=S)
    return dict(q=q, k=k, v=v), params, dict(out=out, lse=logs)

"""Naive numpy float64 references of gallery systems for which the oracle folder has none.

The conventions are those of the oracles: `name(rng, **dims) -> (inputs, params, outputs)`, loops over points, nothing tiled,
nothing streamed. Each follows its paper, not the spec in the gallery.
"""

import math

import numpy as np


def _normal(rng, *shape):
    return rng.standard_normal(shape)


def _qkv(rng, b, h, m, n, d, e):
    return _normal(rng, b, h, m, d), _normal(rng, b, h, n, d), _normal(rng, b, h, n, e)


def _softmax(s):
    w = np.exp(s - s.max())
    return w / w.sum()


def _rope(x, pos, base=10000.0):
    """x[d] at one position, half-split layout."""
    half = len(x) // 2
    out = np.empty_like(x)
    for i in range(half):
        c, s = math.cos(pos * base ** (-2 * i / len(x))), math.sin(pos * base ** (-2 * i / len(x)))
        out[i], out[i + half] = x[i] * c - x[i + half] * s, x[i + half] * c + x[i] * s
    return out


def _rows(q, k, v, score, keep):
    """Softmax attention point by point: score(b, h, m, n) over the keys n with keep(m, n)."""
    b, h, m = q.shape[:3]
    out = np.zeros((b, h, m, v.shape[3]))
    for i, j, a in np.ndindex(b, h, m):
        keys = [n for n in range(k.shape[2]) if keep(a, n)]
        out[i, j, a] = _softmax(np.array([score(i, j, a, n) for n in keys])) @ v[i, j, keys]
    return out


def rope_attention(rng, b=2, h=2, n=7, d=4, e=4, base=10000.0):
    q, k, v = _qkv(rng, b, h, n, n, d, e)

    def score(i, j, m, n):
        return _rope(q[i, j, m], m, base) @ _rope(k[i, j, n], n, base) / math.sqrt(d)

    return dict(q=q, k=k, v=v), dict(base=base), dict(o=_rows(q, k, v, score, lambda m, n: n <= m))


def transformer_xl_relative(rng, b=2, h=2, m=5, mem=3, d=4, e=4):
    q, k, v = _qkv(rng, b, h, m, m + mem, d, e)
    r, u, w = _normal(rng, h, m + mem, d), _normal(rng, h, d), _normal(rng, h, d)

    def score(i, j, m, n):
        return ((q[i, j, m] + u[j]) @ k[i, j, n] + (q[i, j, m] + w[j]) @ r[j, m + mem - n]) / math.sqrt(d)

    out = _rows(q, k, v, score, lambda m, n: n <= m + mem)
    return dict(q=q, k=k, v=v, r=r, u=u, w=w), dict(mem=mem), dict(o=out)


def deberta_disentangled(rng, b=2, h=2, n=7, d=4, e=4, K=3):
    q, k, v = _qkv(rng, b, h, n, n, d, e)
    k_rel, q_rel = _normal(rng, h, 2 * K, d), _normal(rng, h, 2 * K, d)
    scale = 1 / math.sqrt(3 * d)

    def at(m, n):
        return min(max(m - n + K, 0), 2 * K - 1)

    def score(back):
        def of(i, j, m, n):
            content = q[i, j, m] @ k[i, j, n] + q[i, j, m] @ k_rel[j, at(m, n)]
            return scale * (content + q_rel[j, back(m, n)] @ k[i, j, n])

        return of

    paper = _rows(q, k, v, score(lambda m, n: at(n, m)), lambda m, n: True)
    code = _rows(q, k, v, score(at), lambda m, n: True)
    return dict(q=q, k=k, v=v, k_rel=k_rel, q_rel=q_rel), dict(K=K, scale=scale), dict(o_paper=paper, o_code=code)


def landmark(rng, b=1, h=2, n_blocks=4, blk=5, d=8, e=8):
    n = n_blocks * blk
    q, k, v = _qkv(rng, b, h, n, n, d, e)
    weights = np.zeros((b, h, n, n))
    for i, j, m in np.ndindex(b, h, n):
        s = k[i, j] @ q[i, j, m] / math.sqrt(d)
        own = [t for t in range(m // blk * blk, m + 1) if t % blk != blk - 1]
        marks = [t * blk + blk - 1 for t in range(m // blk)]
        if not own + marks:
            continue
        shared = dict(zip(own + marks, _softmax(s[own + marks])))
        for t in own:
            weights[i, j, m, t] = shared[t]
        for mark in marks:
            tokens = list(range(mark - blk + 1, mark))
            weights[i, j, m, tokens] = shared[mark] * _softmax(s[tokens])
    return dict(q=q, k=k, v=v), dict(blk=blk), dict(weights=weights, out=weights @ v)


def medusa_tree(rng, b=1, h=2, prefix=4, d=4, e=4, parent=(-1, -1, 0, 0, 1, 2, 2)):
    nodes = len(parent)
    q, k, v = _qkv(rng, b, h, nodes, prefix + nodes, d, e)

    def path(t):
        return [t] + path(parent[t]) if t >= 0 else []

    mask = np.zeros((nodes, prefix + nodes), bool)
    for t in range(nodes):
        mask[t, :prefix] = True
        mask[t, [prefix + up for up in path(t)]] = True

    def pos(n):
        return n if n < prefix else prefix + len(path(n - prefix)) - 1

    def score(i, j, t, n):
        return _rope(q[i, j, t], pos(prefix + t)) @ _rope(k[i, j, n], pos(n)) / math.sqrt(d)

    out = _rows(q, k, v, score, lambda t, n: mask[t, n])
    return dict(q=q, k=k, v=v, parent=np.array(parent)), dict(prefix=prefix), dict(o=out, mask=mask)


def hyper_attention(rng, b=1, h=2, n=64, d=8, e=8, blk=16, n_samples=16, nproj=4):
    q, k, v = _qkv(rng, b, h, n, n, d, e)
    proj, samp = _normal(rng, d, nproj), rng.integers(0, n, (b, h, n_samples))
    q_sort, k_sort = np.zeros((b, h, n), int), np.zeros((b, h, n), int)
    out, lse = np.zeros((b, h, n, e)), np.zeros((b, h, n))

    def order(x):
        codes = [sum(1 << p for p in range(nproj) if row @ proj[:, p] > 0) for row in x]
        return np.argsort([c ^ c >> 1 for c in codes], kind="stable")

    for i, j in np.ndindex(b, h):
        q_sort[i, j], k_sort[i, j] = order(q[i, j]), order(k[i, j])
        for place, m in enumerate(q_sort[i, j]):
            block = place // blk
            keys = [(key, 1.0) for key in k_sort[i, j, block * blk : (block + 1) * blk]]
            keys += [(k_sort[i, j, c], n / n_samples) for c in samp[i, j] if c // blk != block]
            w = np.array([count * math.exp(q[i, j, m] @ k[i, j, key] / math.sqrt(d)) for key, count in keys])
            out[i, j, m] = w @ v[i, j, [key for key, _ in keys]] / w.sum()
            lse[i, j, m] = math.log(w.sum())
    outputs = dict(q_sort=q_sort, k_sort=k_sort, out=out, lse=lse)
    return dict(q=q, k=k, v=v, proj=proj, samp=samp), dict(blk=blk, nproj=nproj), outputs


def merge_states(rng, s=4, r=6, e=8):
    m, l, acc = _normal(rng, s, r), np.exp(_normal(rng, s, r)), _normal(rng, s, r, e)
    m[0, 0], l[0, 0], acc[0, 0] = -np.inf, 0, 0  # an empty piece
    total = (np.exp(m) * l).sum(0)
    out = (np.exp(m)[..., None] * acc).sum(0) / total[..., None]
    top = m.max(0)
    return dict(m=m, l=l, acc=acc), {}, dict(m_out=top, l_out=total / np.exp(top), out=out, lse=np.log(total))


def sage1(rng, b=1, h=2, m_blocks=4, n_blocks=8, d=8, e=8, bq=8, bk=4, causal=True):
    q, k, v = _qkv(rng, b, h, m_blocks * bq, n_blocks * bk, d, e)
    k += 2.0 * _normal(rng, b, h, 1, d)  # the common part that smoothing removes
    mean = k.mean(2, keepdims=True)

    def quantise(x, size):
        blocks = x.reshape(b, h, -1, size, d)
        scale = np.maximum(np.abs(blocks).max((3, 4)), 1e-7) / 127
        codes = blocks / scale[..., None, None]
        codes = np.sign(codes) * np.floor(np.abs(codes) + 0.5)
        return codes.reshape(x.shape), scale, (codes * scale[..., None, None]).reshape(x.shape)

    q_int, q_scale, q_back = quantise(q / math.sqrt(d), bq)
    k_int, k_scale, k_back = quantise(k - mean, bk)

    def keep(m, n):
        return n <= m or not causal

    out = _rows(q, k, v, lambda i, j, m, n: q_back[i, j, m] @ k_back[i, j, n], keep)
    dense = _rows(q, k, v, lambda i, j, m, n: q[i, j, m] @ k[i, j, n] / math.sqrt(d), keep)
    lse = np.zeros(q.shape[:3])
    for i, j, m in np.ndindex(*lse.shape):
        s = [q_back[i, j, m] @ k_back[i, j, n] for n in range(k.shape[2]) if keep(m, n)]
        lse[i, j, m] = np.log(np.exp(s).sum()) + q[i, j, m] @ mean[i, j, 0] / math.sqrt(d)
    outputs = dict(q_scale=q_scale, k_scale=k_scale, out=out, lse=lse, dense=dense)
    outputs.update(q_int=q_int.astype(np.int8), k_int=k_int.astype(np.int8))
    return dict(q=q, k=k, v=v), dict(bq=bq, bk=bk, causal=causal), outputs


def medusa_accept(rng, c=4, tokens=4, a=8, temp=0.7, thr=0.3, alpha=0.3):
    logits, cand = 2 * _normal(rng, c, tokens, a), rng.integers(0, a, (c, tokens))
    cand[:2] = np.concatenate([cand[:2, :1], logits[:2, :-1].argmax(-1)], -1)  # two likely candidates
    cand[1, -1] = cand[0, 0]
    ok, length, best = np.zeros((c, tokens - 1), bool), np.zeros(c, int), (0, 0.0, 0)
    for i in range(c):
        probs = [_softmax(logits[i, l] / temp) for l in range(tokens - 1)]
        drafted = [p[cand[i, l + 1]] for l, p in enumerate(probs)]
        ok[i] = [x > min(thr, alpha * math.exp((p * np.log(p + 1e-5)).sum())) for x, p in zip(drafted, probs)]
        length[i] = tokens - 1 if ok[i].all() else np.argmin(ok[i])
        # The reference compares candidates by the likelihood of as many tokens as the longest accepts.
        best = max(best, (length[i], sum(np.log(drafted[: length[i]])), -i))
    outputs = dict(ok=ok, accept_len=length, best=np.array(-best[2] if best[0] else 0))
    return dict(logits=logits, cand=cand), dict(temp=temp, thr=thr, alpha=alpha), outputs


def aaren(rng, b=2, h=2, t=8, d=4, e=3):
    q, k, v = _normal(rng, h, d), _normal(rng, b, h, t, d), _normal(rng, b, h, t, e)
    o, m, u = np.zeros((b, h, t, e)), np.zeros((b, h, t)), np.zeros((b, h, t))
    for i, j, a in np.ndindex(b, h, t):
        s = k[i, j, : a + 1] @ q[j] / math.sqrt(d)
        o[i, j, a], m[i, j, a] = _softmax(s) @ v[i, j, : a + 1], s.max()
        u[i, j, a] = np.exp(s - s.max()).sum()
    return dict(q=q, k=k, v=v), dict(scale=d**-0.5), dict(o=o, m=m, u=u)

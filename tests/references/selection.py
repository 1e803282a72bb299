"""References: dynamic sparsity, selection, eviction and merging of keys."""

import math

import numpy as np
from common import (
    among, attend, best, causal, lse, mask, normal, qkv, repeated, rope, scores, sigmoid, weights
)


def _outputs(q, k, v, sees, /, **others):
    s = scores(q, k)
    return dict(**others, out=weights(s, sees) @ v, lse=lse(s, sees))


def _blocks(x, size):
    """[..., n, d] as [..., n / size, size, d]."""
    return x.reshape(*x.shape[:-2], -1, size, x.shape[-1])


def minference_a_shape(rng, b=1, h=2, m=32, d=8, n_init=4, n_local=8):
    q, k, v = qkv(rng, b, h, m, m, d, d)
    keep = mask(lambda i, n: n <= i and (n < n_init or i - n < n_local), m, m)
    return dict(q=q, k=k, v=v), dict(n_init=n_init, n_local=n_local), _outputs(q, k, v, keep)


def seer_attention(rng, b=1, h=2, n=64, d=8, blk=8, dg=4, thr=0.12):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    wq, wk = normal(rng, h, d, dg), normal(rng, h, 3 * d, dg, s=3**-0.5)
    K = _blocks(k, blk)
    pooled = np.concatenate([K.max(-2), K.min(-2), K.mean(-2)], -1)
    gate = weights(scores(_blocks(q, blk).mean(-2) @ wq, pooled @ wk), causal(n // blk, n // blk))
    block_mask = (gate > thr) | np.eye(n // blk, dtype=bool)
    block_mask &= causal(n // blk, n // blk)
    keep = block_mask.repeat(blk, -1).repeat(blk, -2) & causal(n, n)
    P = weights(scores(q, k), causal(n, n))
    gt = P.reshape(b, h, n // blk, blk, n // blk, blk).max((3, 5))
    outputs = _outputs(q, k, v, keep, gate=gate, block_mask=block_mask, dense_out=P @ v, pooled_gt=gt)
    return dict(q=q, k=k, v=v, wq=wq, wk=wk), dict(blk=blk, thr=thr), outputs


def squeezed_hierarchical(rng, b=1, h=1, m=4, n=48, d=8, nc1=4, nc2=12, thr1=0.012, thr2=0.018):
    q, k, v = qkv(rng, b, h, m, n, d, d)
    c1, c2 = normal(rng, b, h, nc1, d), normal(rng, b, h, nc2, d)
    l1, l2 = rng.integers(0, nc1, (b, h, n)), rng.integers(0, nc2, (b, h, n))
    score1, score2, keep = np.zeros((b, h, nc1)), np.zeros((b, h, nc2)), np.zeros((b, h, n), bool)
    for i, j in np.ndindex(b, h):
        def lookup(c, count):
            e = np.exp(scores(q[i, j], c[i, j]))
            return (e / (e @ count)[:, None]).mean(0)

        score1[i, j] = lookup(c1, np.bincount(l1[i, j], minlength=nc1))
        first = score1[i, j][l1[i, j]] > thr1
        score2[i, j] = lookup(c2, np.bincount(l2[i, j][first], minlength=nc2))
        keep[i, j] = first & (score2[i, j][l2[i, j]] > thr2)
    outputs = _outputs(q, k, v, keep[:, :, None], score1=score1, score2=score2, key_keep=keep)
    inputs = dict(q=q, k=k, v=v, centroids1=c1, centroids2=c2, label1=l1, label2=l2)
    return inputs, dict(thr1=thr1, thr2=thr2), outputs


def landmark_retrieval(rng, b=1, h=2, nblk=6, blk=5, d=8, topk=2, nloc=3):
    q, kc, vc = normal(rng, b, h, 1, d), normal(rng, b, h, nblk, blk, d), normal(rng, b, h, nblk, blk, d)
    kl, vl = normal(rng, b, h, nloc, d), normal(rng, b, h, nloc, d)
    idx = best(scores(q, kc[:, :, :, -1])[:, :, 0], topk)  # the last key of a block is its landmark
    out = np.zeros((b, h, 1, d))
    for i, j in np.ndindex(b, h):
        own = scores(q[i, j], kl[i, j])[0]
        marks = np.array([q[i, j, 0] @ kc[i, j, t, -1] / math.sqrt(d) for t in idx[i, j]])
        shared = weights(np.concatenate([own, marks]))
        out[i, j, 0] = shared[:nloc] @ vl[i, j]
        for weight, t in zip(shared[nloc:], idx[i, j]):
            out[i, j] += weight * attend(q[i, j], kc[i, j, t, :-1], vc[i, j, t, :-1])
    return dict(q=q, k_cache=kc, v_cache=vc, k_local=kl, v_local=vl), dict(topk=topk, blk=blk), dict(block_idx=idx, out=out)


def longheads(rng, b=1, h=2, g=6, w=4, d=8, ksel=4):
    n = g * w
    q, k, v = qkv(rng, b, h, n, n, d, d)
    rep, chosen = np.zeros((b, h, g, d)), np.zeros((b, h, n, g), bool)
    for i, j, c in np.ndindex(b, h, g):
        own = slice(c * w, (c + 1) * w)
        answer = attend(q[i, j, own], k[i, j, own], v[i, j, own]).mean(0)
        rep[i, j, c] = attend(answer[None], k[i, j, own], k[i, j, own])[0]
    for i, j, m in np.ndindex(b, h, n):
        now = m // w
        worth = [math.inf if c in (0, now, now - 1) else q[i, j, m] @ rep[i, j, c] for c in range(now + 1)]
        chosen[i, j, m, best(np.array(worth), ksel)] = True
    keep = chosen.repeat(w, -1) & causal(n, n)
    return dict(q=q, k=k, v=v), dict(w=w, ksel=ksel), _outputs(q, k, v, keep, chunk_rep=rep, chunk_mask=chosen)


def cca(rng, b=1, h=2, n=24, D=12, d=6, g=4, w=6):
    x, wq, wk, wv = normal(rng, b, n, D), *(normal(rng, h, D, d, s=D**-0.5) for _ in range(3))
    core, out, logs = np.zeros((b, h, n // g, D)), np.zeros((b, h, n, d)), np.zeros((b, h, n))
    for i, j in np.ndindex(b, h):
        q, k, v = x[i] @ wq[j], x[i] @ wk[j], x[i] @ wv[j]
        for c in range(n // g):
            own = slice(c * g, (c + 1) * g)
            core[i, j, c] = attend(q[(c + 1) * g - 1][None], k[own], x[i, own])[0]
        for m in range(n):
            old = max((m - w) // g, 0)
            K = np.concatenate([core[i, j, :old] @ wk[j], k[g * old : m + 1]])
            V = np.concatenate([core[i, j, :old] @ wv[j], v[g * old : m + 1]])
            out[i, j, m], logs[i, j, m] = attend(q[m][None], K, V)[0], lse(scores(q[m][None], K))[0]
    return dict(x=x, wq=wq, wk=wk, wv=wv), dict(group=g, window=w), dict(core=core, out=out, lse=logs)


def dual_chunk_attention(rng, b=1, h=2, n=24, d=8, s=6, c=9):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    at = np.arange(n)
    K = rope(k, at % s)
    kinds = [scores(rope(q, pos), K) for pos in (at % s, np.minimum(at % s + s, c), np.full(n, min(2 * s - 1, c)))]
    chunks = np.minimum(at[:, None] // s - at // s, 2)
    S = np.where(chunks <= 0, kinds[0], np.where(chunks == 1, kinds[1], kinds[2]))
    outputs = dict(out=weights(S, causal(n, n)) @ v, lse=lse(S, causal(n, n)))
    return dict(q=q, k=k, v=v), dict(chunk=s, clamp=c, rope_base=10000.0), outputs


def probsparse_select(rng, b=1, h=2, m=16, n=16, d=8, u=4, ns=6):
    q, k, v = qkv(rng, b, h, m, n, d, d)
    idx = rng.integers(0, n, (m, ns))
    measure = np.zeros((b, h, m))
    for i, j, r in np.ndindex(b, h, m):
        s = k[i, j, idx[r]] @ q[i, j, r]
        measure[i, j, r] = s.max() - s.sum() / n
    top, mean = best(measure, u), np.broadcast_to(v.mean(2, keepdims=True), (b, h, m, d))
    out = np.where(among(measure, u)[..., None], attend(q, k, v), mean)
    return dict(q=q, k=k, v=v, idx=idx), dict(u=u), dict(measure=measure, top=top, out=out)


def cab_patterns(rng, b=1, h=2, m=8, n=12, d=8):
    q, ks, vs = qkv(rng, b, h, m, m, d, d)
    kc, vc, ctx = normal(rng, b, h, n, d), normal(rng, b, h, n, d), np.sort(rng.integers(1, n + 1, m))
    outputs = dict(
        noncausal_self=attend(q, ks, vs), causal_self=attend(q, ks, vs, causal(m, m)), noncausal_cross=attend(q, kc, vc),
        causal_cross=attend(q, kc, vc, np.arange(n) < ctx[:, None]),
    )
    return dict(q=q, k_self=ks, v_self=vs, k_cross=kc, v_cross=vc, ctx_len=ctx), {}, outputs


def quest(rng, b=1, hk=2, grp=2, n=48, d=8, page=4, budget=3, share=False):
    q, k, v = normal(rng, b, hk * grp, 1, d), normal(rng, b, hk, n, d), normal(rng, b, hk, n, d)
    pages = n // page
    bound, chosen = np.zeros((b, hk * grp, pages)), np.zeros((b, hk * grp, pages), bool)
    for i, h, p in np.ndindex(b, hk * grp, pages):
        own = k[i, h // grp, p * page : (p + 1) * page]
        bound[i, h, p] = sum(max(x * lo, x * hi) for x, lo, hi in zip(q[i, h, 0], own.min(0), own.max(0)))
    rated = bound.reshape(b, hk, grp, pages).sum(2).repeat(grp, 1) if share else bound
    chosen[..., :-1] = among(rated[..., :-1], budget)
    chosen[..., -1] = True
    K, V = repeated(k, grp), repeated(v, grp)
    outputs = _outputs(q, K, V, chosen.repeat(page, -1)[:, :, None], bound=bound, page_mask=chosen)
    return dict(q=q, k=k, v=v), dict(page=page, budget=budget, share=share), outputs


def ada_snapkv(rng, b=1, hk=3, grp=2, n=40, d=8, win=8, ksz=5, cap=14, loc=6, pre=2, min_ratio=0.6):
    h = hk * grp
    q, k, v, qn = normal(rng, b, h, n, d), normal(rng, b, hk, n, d), normal(rng, b, hk, n, d), normal(rng, b, h, 1, d)
    floor = int(cap * min_ratio)
    p = weights(scores(q, repeated(k, grp)), causal(n, n))[:, :, -win:]
    votes = p.reshape(b, hk, grp * win, n).max(2)
    importance = np.zeros_like(votes)
    for i in range(n):
        importance[..., i] = sum(votes[..., j] for j in range(i - ksz // 2, i - ksz // 2 + ksz) if 0 <= j < n) / ksz
    rated = importance.copy()
    rated[..., :pre] = rated[..., n - loc :] = np.inf
    keep = among(rated, floor)
    for i in range(b):
        rest = np.where(keep[i], -np.inf, rated[i]).reshape(-1)
        keep[i] |= among(rest, hk * (cap - floor)).reshape(hk, n)
    K, V = repeated(k, grp), repeated(v, grp)
    outputs = _outputs(qn, K, V, repeated(keep[..., None, :], grp), importance=importance, keep=keep, head_len=keep.sum(-1))
    params = dict(win=win, ksz=ksz, cap=cap, loc=loc, pre=pre, floor=floor)
    return dict(q=q, k=k, v=v, q_next=qn), params, outputs


def kinetics_block_topk(rng, b=2, hk=2, grp=2, n=48, d=8, blk=4, kb=3, sink=4, local=8):
    q, k, v = normal(rng, b, hk * grp, 1, d), normal(rng, b, hk, n, d), normal(rng, b, hk, n, d)
    K, V = repeated(k, grp), repeated(v, grp)
    blocks = (n - sink - local) // blk
    middle = scores(q, K)[:, :, 0, sink : sink + blocks * blk]
    score = middle.reshape(b, hk, grp, blocks, blk).mean((2, 4))
    chosen = among(score, kb)
    keep = np.ones((b, hk, n), bool)
    keep[..., sink : sink + blocks * blk] = chosen.repeat(blk, -1)
    outputs = _outputs(q, K, V, repeated(keep[:, :, None], grp), block_score=score, block_mask=chosen)
    return dict(q=q, k=k, v=v), dict(blk=blk, kb=kb, sink=sink, local=local), outputs


def h2o_global(rng, b=1, h=2, n=24, d=8, heavy=5, recent=4):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    col = weights(scores(q, k), causal(n, n)).sum(2)
    keep = (among(col, heavy)[:, :, None] | mask(lambda i, j: i - j <= recent, n, n)) & causal(n, n)
    return dict(q=q, k=k, v=v), dict(heavy=heavy, recent=recent), _outputs(q, k, v, keep, col_score=col, idx=best(col, heavy), mask=keep)


def h2o_decode_step(rng, b=1, h=2, c=12, d=8, recent=4):
    q, k, v = qkv(rng, b, h, 1, c + 1, d, d)
    acc = rng.random((b, h, c))
    new = np.concatenate([acc, np.zeros((b, h, 1))], 2) + weights(scores(q, k))[:, :, 0]
    evict = new[..., : c + 1 - recent].argmin(-1)
    return dict(q=q, k=k, v=v, acc=acc), dict(recent=recent, capacity=c), _outputs(q, k, v, True, acc_new=new, evict=evict)


def _nearest(k, keep):
    """Of each evicted key: the kept key with the largest cosine, and that cosine."""
    unit = k / np.sqrt((k * k).sum(-1, keepdims=True))
    kept = np.flatnonzero(keep)
    cosines = {i: [unit[i] @ unit[j] for j in kept] for i in np.flatnonzero(~keep)}
    return {i: (kept[np.argmax(it)], max(it)) for i, it in cosines.items()}


def d2o(rng, b=1, h=2, n=24, d=8, hh=5, recent=4, sink=2, alpha=0.5, tau_prev=0.3):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    k, qn = k + normal(rng, b, h, 1, d), normal(rng, b, h, 1, d)
    col = weights(scores(q, k), causal(n, n)).sum(2)
    rated = np.concatenate([np.full((b, h, sink), np.inf), col[..., sink : n - recent]], -1)
    keep = np.concatenate([among(rated, hh), np.ones((b, h, recent), bool)], -1)
    threshold, n_merged = np.zeros((b, h)), np.zeros((b, h), int)
    kc, vc = np.zeros((b, h, hh + recent, d)), np.zeros((b, h, hh + recent, d))
    for i, j in np.ndindex(b, h):
        near = _nearest(k[i, j], keep[i, j])
        threshold[i, j] = alpha * tau_prev + (1 - alpha) * np.mean([u for _, u in near.values()])
        joins = {x: it for x, it in near.items() if it[1] >= threshold[i, j]}
        n_merged[i, j] = len(joins)
        for slot, c in enumerate(np.flatnonzero(keep[i, j])):
            mine = [(x, math.exp(u)) for x, (to, u) in joins.items() if to == c]
            for cache, full in ((kc, k), (vc, v)):
                total = math.e * full[i, j, c] + sum(w * full[i, j, x] for x, w in mine)
                cache[i, j, slot] = total / (math.e + sum(w for _, w in mine))
    outputs = _outputs(qn, kc, vc, True, col_score=col, keep=keep, threshold=threshold, n_merged=n_merged, k_cache=kc, v_cache=vc)
    params = dict(hh=hh, recent=recent, sink=sink, alpha=alpha, tau_prev=tau_prev)
    return dict(q=q, k=k, v=v, q_next=qn), params, outputs


def d2o_layer_density(rng, layers=4, h=2, n=16, d=8):
    q, k = normal(rng, layers, h, n, d), normal(rng, layers, h, n, d)
    col = weights(scores(q, k), causal(n, n)).sum(2)
    return dict(q=q, k=k), {}, dict(col_sum=col, density=col.var(-1).mean(-1))


def alisa_swa(rng, b=1, h=2, n=24, d=8, nloc=4, nglob=4, look=4):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    keep, P = np.zeros((b, h, n, n), bool), np.zeros((b, h, n, n))
    for i, j, m in np.ndindex(b, h, n):
        others = range(max(m - nloc + 1, 0))
        mass = [P[i, j, max(m - look, 0) : m, t].sum() for t in others]
        keep[i, j, m, best(np.array(mass), nglob)] = True
        keep[i, j, m, max(m - nloc + 1, 0) : m + 1] = True
        P[i, j, m] = weights(scores(q[i, j, m][None], k[i, j]), keep[i, j, m])[0]
    return dict(q=q, k=k, v=v), dict(nloc=nloc, nglob=nglob, look=look), dict(mask=keep, out=P @ v)


def lookm(rng, b=1, h=2, n=24, d=8, hh=8, recent=4, mode="pivot"):
    q, k, v = qkv(rng, b, h, n, n, d, d)
    qn, text = normal(rng, b, h, 1, d), rng.random(n) < 0.4
    col = weights(scores(q, k), causal(n, n)).sum(2)
    rated = np.where(text, col + col.max(-1, keepdims=True) + 1, col)
    keep = np.concatenate([among(rated[..., : n - recent], hh), np.ones((b, h, recent), bool)], -1)
    caches = {f"{t}_{how}": np.zeros((b, h, hh + recent, d)) for how in ("average", "pivot", "weighted") for t in "kv"}
    for i, j in np.ndindex(b, h):
        near = _nearest(k[i, j], keep[i, j])
        for slot, c in enumerate(np.flatnonzero(keep[i, j])):
            mine = [(x, u) for x, (to, u) in near.items() if to == c]
            for t, full in (("k", k[i, j]), ("v", v[i, j])):
                of = dict(average=lambda x, u: full[x], pivot=lambda x, u: (full[x] + full[c]) / 2, weighted=lambda x, u: u * full[x])
                for how, value in of.items():
                    caches[f"{t}_{how}"][i, j, slot] = np.mean([full[c]] + [value(x, u) for x, u in mine], 0)
    outputs = _outputs(qn, caches["k_" + mode], caches["v_" + mode], True, **caches, col_score=col, keep=keep)
    return dict(q=q, k=k, v=v, q_next=qn, is_text=text), dict(hh=hh, recent=recent, mode=mode), outputs


def attention_gate(rng, b=1, h=3, n=16, D=12, d=4, hg=2, dgate=4, tau=0.5):
    x, wq, wk, wv = normal(rng, b, n, D), *(normal(rng, h, D, d, s=D**-0.5) for _ in range(3))
    gq, gk, gv = (normal(rng, hg, D, dgate, s=D**-0.5) for _ in range(3))
    wg, X = normal(rng, hg * dgate, h), x[:, None]
    small = attend(X @ gq, X @ gk, X @ gv)
    gate = sigmoid(small.swapaxes(1, 2).reshape(b, n, hg * dgate) @ wg)
    keep = gate.swapaxes(1, 2) > tau
    sees = (keep[:, :, None] | np.eye(n, dtype=bool)) & causal(n, n)
    outputs = _outputs(X @ wq, X @ wk, X @ wv, sees, gate=gate, keep=keep)
    return dict(x=x, wq=wq, wk=wk, wv=wv, gq=gq, gk=gk, gv=gv, wg=wg), dict(tau=tau), outputs


def double_sparsity(rng, b=1, h=2, n=32, d=16, r=4, topk=8, samples=64):
    q, k, v = qkv(rng, b, h, 1, n, d, d)
    cq, ck = normal(rng, samples, h, d), normal(rng, samples, h, d)
    channels = best(abs(cq * ck).mean(0), r)
    label = np.stack([k[:, j][..., channels[j]] for j in range(h)], 1)
    approx = np.array([[label[i, j] @ q[i, j, 0, channels[j]] for j in range(h)] for i in range(b)])
    outputs = _outputs(q, k, v, among(approx, topk)[:, :, None], channels=channels, approx=approx, idx=best(approx, topk))
    return dict(q=q, k=k, v=v, calib_q=cq, calib_k=ck, k_label=label), dict(r=r, topk=topk), outputs


def instinfer_sparf(rng, b=1, hk=2, grp=2, n=32, d=16, r=4, topk=8, local=4):
    q, k, v = normal(rng, b, hk * grp, 1, d), normal(rng, b, hk, n, d), normal(rng, b, hk, n, d)
    v_mean, Q = v.mean(2), q.reshape(b, hk, grp, d)
    channels = best(abs(Q).sum(2), r)
    approx, alpha, out = np.zeros((b, hk, grp, n)), np.zeros((b, hk, grp)), np.zeros((b, hk, grp, d))
    idx = np.zeros((b, hk, topk), int)
    for i, j in np.ndindex(b, hk):
        c = channels[i, j]
        for g in range(grp):
            cover = abs(Q[i, j, g, c]).sum() / abs(Q[i, j, g]).sum()
            approx[i, j, g] = k[i, j][:, c] @ Q[i, j, g, c] / math.sqrt(d * cover)
        rated = approx[i, j].sum(0)
        rated[n - local :] = np.inf
        idx[i, j] = best(rated, topk)
        alpha[i, j] = weights(approx[i, j])[:, idx[i, j]].sum(-1)
        exact = attend(Q[i, j], k[i, j, idx[i, j]], v[i, j, idx[i, j]])
        out[i, j] = alpha[i, j][:, None] * exact + (1 - alpha[i, j])[:, None] * v_mean[i, j]
    outputs = dict(channels=channels, approx=approx, idx=idx, alpha=alpha, out=out.reshape(b, hk * grp, 1, d))
    return dict(q=q, k=k, v=v, v_mean=v_mean), dict(r=r, topk=topk, local=local, grp=grp), outputs


def fastervlm(rng, b=2, h=3, n=24, d=8, keep=6, f=12):
    q, k, x = normal(rng, b, h, 1, d), normal(rng, b, h, n + 1, d), normal(rng, b, n, f)
    score = weights(scores(q, k))[:, :, 0, 1:].mean(1)
    idx = best(score, keep)
    kept = np.stack([x[i, idx[i]] for i in range(b)])
    return dict(q_cls=q, k=k, x=x), dict(keep=keep), dict(score=score, idx=idx, x_kept=kept)


def leaf(rng, n=24, frac=0.1, cap=0.5, b=1, h=2, d=8):
    gs, gt = np.exp(normal(rng, n)), np.exp(normal(rng, n))
    q, k, v = qkv(rng, b, h, n, n, d, d)

    def minmax(x):
        return (x - x.min()) / (x.max() - x.min())

    delta = minmax(minmax(gt) - minmax(gs))
    threshold = min(np.quantile(delta, frac), cap)
    keep = delta > threshold
    outputs = _outputs(q, k, v, causal(n, n) & keep, delta=delta, threshold=threshold, keep=keep)
    return dict(grad_student=gs, grad_teacher=gt, q=q, k=k, v=v), dict(frac=frac, cap=cap), outputs

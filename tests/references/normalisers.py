"""References: normalisers, temperatures and edits of the attention map. Each follows the catalogue's formula, not the spec."""

import math

import numpy as np
from common import attend, among, causal, elu1, heads, layernorm, lse, mask, merged, normal, qkv, rope, scores, sigmoid, weights


def power_softmax(rng, B=2, H=2, M=6, N=7, D=4, E=4, p=4, c=2.0, eps=0.01):
    q, k, v = qkv(rng, B, H, M, N, D, E)
    u = (scores(q, k) / c) ** p
    w = u / (u.sum(-1, keepdims=True) + eps * N)
    return dict(q=q, k=k, v=v), dict(scale=D**-0.5, p=p, c=c, eps=eps), dict(o=w @ v)


def relu_attention_active_dormant(rng, B=2, H=2, N=8, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    w = np.where(causal(N, N), np.maximum(scores(q, k), 0), 0) / np.arange(1, N + 1)[:, None]
    return dict(q=q, k=k, v=v), dict(scale=D**-0.5), dict(o=w @ v)


def _random_feature(x0, x, W, v):
    f = np.zeros(len(x0))
    for b, h, n in np.ndindex(len(x0), len(W), x.shape[1]):
        f[b] += max(x0[b] @ W[h] @ x[b, n], 0) * (v[h] @ x[b, n]) / x.shape[1]
    return f


def random_feature_relu_attention(rng, B=2, H=5, N=6, D=3):
    q, k, W, v = normal(rng, B, D), normal(rng, B, N, D), normal(rng, H, D, D), normal(rng, H, D)
    return dict(q=q, k=k, W=W, v=v), {}, dict(f=_random_feature(q, k, W, v))


def random_feature_attention_layer(rng, b=3, h=6, n=5, d=4):
    x0, x, W, v = normal(rng, b, d), normal(rng, b, n, d), normal(rng, h, d, d), normal(rng, h, d)
    return dict(x0=x0, x=x, W=W, v=v), {}, dict(f=_random_feature(x0, x, W, v))


def _relu_softmax(s, eps):
    w = np.maximum(s, 0)
    return w / (w.sum(-1, keepdims=True) + eps)


def mpcvit_relu_softmax(rng, B=2, H=2, N=7, D=4, E=4, eps=1e-6):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    return dict(q=q, k=k, v=v), dict(eps=eps), dict(o=_relu_softmax(scores(q, k), eps) @ v)


def mpcvit_scaling(rng, B=2, H=2, N=7, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    return dict(q=q, k=k, v=v), dict(scale=D**-0.5), dict(o=scores(q, k) / N @ v)


def mpcvit_heterogeneous(rng, B=2, H=4, N=7, D=4, E=4, eps=1e-6):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    alpha = np.arange(H) % 2.0
    s = scores(q, k)
    w = np.where(alpha[:, None, None] == 1, _relu_softmax(s, eps), s / N)
    return dict(q=q, k=k, v=v, alpha=alpha), dict(eps=eps), dict(o=w @ v)


def sink_kv_bias(rng, B=2, H=2, N=7, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    ks, vs = normal(rng, H, D), normal(rng, H, E)
    K = np.concatenate([np.broadcast_to(ks[None, :, None], (B, H, 1, D)), k], 2)
    V = np.concatenate([np.broadcast_to(vs[None, :, None], (B, H, 1, E)), v], 2)
    keep = np.concatenate([np.ones((N, 1), bool), causal(N, N)], 1)
    return dict(q=q, k=k, v=v, k_star=ks, v_star=vs), {}, dict(o=attend(q, K, V, keep))


def sink_sim_normalised(rng, B=2, H=2, N=7, D=4, E=4, eps=1e-8):
    q, k, v = qkv(rng, B, H, N, N, D, E)

    def of(phi):
        w = np.where(causal(N, N), phi(scores(q, k)), 0)
        return w / (w.sum(-1, keepdims=True) + eps) @ v

    return dict(q=q, k=k, v=v), dict(eps=eps), dict(o_sigmoid=of(sigmoid), o_elu=of(elu1))


def linear_sim_clamped_norm(rng, B=2, H=2, N=7, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    s = np.where(causal(N, N), scores(q, k), 0)
    return dict(q=q, k=k, v=v), {}, dict(o=s / np.maximum(abs(s.sum(-1, keepdims=True)), 1) @ v)


def selective_self_attention(rng, B=2, H=2, N=7, D=4):
    q, k, v = qkv(rng, B, H, N, N, D, D)
    x = normal(rng, B, N, H * D)
    w_q, w_v, beta_q, beta_v = normal(rng, H, H * D), normal(rng, H, H * D), normal(rng, H), normal(rng, H)

    def tau(w, beta):
        t = np.zeros((B, H, N))
        for b, h, n in np.ndindex(B, H, N):
            t[b, h, n] = math.tanh(x[b, n] @ w[h]) + 1 + math.exp(-math.exp(beta[h])) * math.log(n + 1)
        return t

    tq, tv = tau(w_q, beta_q), tau(w_v, beta_v)
    o = weights(tq[..., None] * scores(q, k), causal(N, N)) @ (tv[..., None] * v)
    inputs = dict(x=x, q=q, k=k, v=v, w_q=w_q, w_v=w_v, beta_q=beta_q, beta_v=beta_v)
    return inputs, {}, dict(o=o, tau_q=tq, tau_v=tv)


def tempscale(rng, B=2, H=2, M=6, N=7, D=4, E=4, tau=0.95):
    q, k, v = qkv(rng, B, H, M, N, D, E)
    return dict(q=q, k=k, v=v), dict(tau=tau), dict(o=weights(scores(q, k) / tau) @ v)


def vit_smoothed_attention(rng, B=2, H=2, N=7, D=4, E=4, tau=1.75):
    return tempscale(rng, B, H, N, N, D, E, tau)


def entropy_scale_t2i(rng, B=2, H=2, N=12, D=4, E=4, T=64):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    scale = math.sqrt(math.log(N) / math.log(T) / D)
    return dict(q=q, k=k, v=v), dict(T=T, scale=scale), dict(o=weights(scores(q, k, scale)) @ v)


def entropy_guided_attention(rng, B=2, H=3, N=8, D=4, E=4, margin=0.2, eps=1e-9):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    temp, theta = np.exp(normal(rng, H, s=0.3)), normal(rng, H, s=0.3)
    p = weights(temp[:, None, None] * scores(q, k), causal(N, N))
    ent = -(p * np.log(p + eps)).sum(-1)
    dev = ent - theta[:, None] * math.log(N)
    loss = np.where(abs(dev) > margin * math.log(N), dev**2, 0).sum((0, 2)).mean()
    outputs = dict(o=p @ v, entropy=ent, loss=loss)
    return dict(q=q, k=k, v=v, temp=temp, theta=theta), dict(margin=margin, eps=eps), outputs


def sigma_reparam_attention(rng, B=2, H=2, N=6, D=4, gamma=1.3):
    C = H * D
    x, w = normal(rng, B, N, C), [normal(rng, C, C) for _ in range(4)]
    wq, wk, wv, wo = (gamma * it / np.linalg.svd(it, compute_uv=False)[0] for it in w)
    q, k, v = (heads(x @ it, H) for it in (wq, wk, wv))
    p = weights(scores(q, k))
    outputs = dict(y=merged(p @ v) @ wo, entropy=-(p * np.log(p)).sum(-1))
    return dict(x=x, wq=w[0], wk=w[1], wv=w[2], wo=w[3]), dict(gamma=gamma, H=H), outputs


def qk_layernorm_attention(rng, B=2, H=2, N=6, D=4, E=4, eps=1e-6):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    g_q, b_q, g_k, b_k = (normal(rng, D) for _ in range(4))
    o = attend(layernorm(q, eps) * g_q + b_q, layernorm(k, eps) * g_k + b_k, v)
    return dict(q=q, k=k, v=v, g_q=g_q, b_q=b_q, g_k=g_k, b_k=b_k), dict(eps=eps), dict(o=o)


def acmil_stkim(rng, B=1, N=10, C=6, D=4, K=3, topk=4, ratio=0.5):
    x, V, U, w, u = normal(rng, B, N, C), normal(rng, C, D), normal(rng, C, D), normal(rng, D, K), rng.random((B, K, topk))
    a = np.swapaxes((np.tanh(x @ V) * sigmoid(x @ U)) @ w, 1, 2)
    ndrop, keep = math.floor(topk * ratio), np.ones((B, K, N), bool)
    for b, i in np.ndindex(B, K):
        order = np.argsort(-a[b, i], kind="stable")[:topk]  # the draws belong to the places in this order
        keep[b, i, order[np.argsort(u[b, i], kind="stable")[:ndrop]]] = False
    A = weights(a, keep)
    outputs = dict(z=A @ x, bag=(A.mean(1)[:, None] @ x)[:, 0], keep=keep)
    return dict(u=u, x=x, V=V, U=U, w=w), dict(topk=topk, ndrop=ndrop), outputs


def carve_contrastive(rng, B=2, H=2, M=3, N=9, D=4, lam=0.05, K=4):
    q_gen, q_task, k = normal(rng, B, H, M, D), normal(rng, B, H, M, D), normal(rng, B, H, N, D)
    a_gen, a_task = (weights(scores(it, k)).mean((1, 2)) for it in (q_gen, q_task))
    c = a_task / (a_gen + lam)
    outputs = dict(c=c, keep=among(c, K), a_gen=a_gen, a_task=a_task)
    return dict(q_gen=q_gen, q_task=q_task, k=k), dict(lam=lam, K=K), outputs


def vhr_head_reinforcement(rng, B=2, H=4, N=8, D=4, E=4, im=1, P=4, alpha=2.0):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    image = (np.arange(N) >= im) & (np.arange(N) < im + P)
    o, blind = attend(q, k, v, causal(N, N)), attend(q, k, v, causal(N, N) & ~image)
    vhd = np.sqrt(((o - blind)[:, :, -1] ** 2).sum(-1))
    sel = vhd > np.median(vhd, axis=1, keepdims=True)
    outputs = dict(o=np.where(sel[..., None, None], alpha * o, o), vhd=vhd, sel=sel)
    return dict(q=q, k=k, v=v), dict(im=im, P=P, alpha=alpha), outputs


def echoatt_shared_attention(rng, B=2, H=2, N=7, D=4, L=3):
    C = H * D
    x, wq, wk = normal(rng, B, N, C), normal(rng, C, C), normal(rng, C, C)
    wv, wo = normal(rng, L, C, C, s=C**-0.5), normal(rng, L, C, C, s=C**-0.5)
    A, y = weights(scores(heads(x @ wq, H), heads(x @ wk, H)), causal(N, N)), x
    for l in range(L):
        y = y + merged(A @ heads(y @ wv[l], H)) @ wo[l]
    return dict(x=x, wq=wq, wk=wk, wv=wv, wo=wo), dict(H=H), dict(y=y, A=A)


def pine_position_invariant(rng, B=1, H=2, ND=3, L=3, D=4, E=4, pre=2):
    N = pre + ND * L
    q, k, v = qkv(rng, B, H, N, N, D, E)
    o, order = np.zeros((B, H, ND * L, E)), np.zeros((B, H, ND, ND), int)
    docs = ND * L
    region = mask(lambda m, n: m // L != n // L or n <= m, docs, docs)  # the prefix has no part in the ranking
    free = weights(scores(q[:, :, pre:], k[:, :, pre:]), region)
    for b, h, i in np.ndindex(B, H, ND):
        own = slice(i * L, (i + 1) * L)
        worth = [free[b, h, own, j * L : (j + 1) * L].sum() / L if j != i else math.inf for j in range(ND)]
        order[b, h, i, np.argsort(-np.array(worth), kind="stable")] = range(ND)
        last = pre + docs - L  # where a document lies that is read last
        pos = [*range(pre), *(last - order[b, h, i, j] * L + x for j in range(ND) for x in range(L))]
        at = [last + x for x in range(L)]
        Q, K = rope(q[b, h, pre:][own], at), rope(k[b, h], pos)
        o[b, h, own] = attend(Q, K, v[b, h], mask(lambda x, n: pos[n] <= at[x], L, N))
    return dict(q=q, k=k, v=v), dict(prefix=pre, ndoc=ND, doclen=L), dict(o=o, order=order)


def filip_late_interaction(rng, BI=3, BT=4, NI=5, NT=6, D=4):
    image, text, text_len = normal(rng, BI, NI, D), normal(rng, BT, NT, D), rng.integers(1, NT + 1, BT)
    image, text = (it / np.sqrt((it * it).sum(-1, keepdims=True)) for it in (image, text))
    i2t, t2i = np.zeros((BI, BT)), np.zeros((BI, BT))
    for i, t in np.ndindex(BI, BT):
        s = image[i] @ text[t, : text_len[t]].T
        i2t[i, t], t2i[i, t] = s.max(1).mean(), s.max(0).mean()
    return dict(image=image, text=text, text_len=text_len), {}, dict(i2t=i2t, t2i=t2i)


def consistedit_fusion(rng, B=1, H=2, T=3, N=8, D=4, E=4):
    src, tgt = qkv(rng, B, H, T + N, T + N, D, E), qkv(rng, B, H, T + N, T + N, D, E)
    soft_qk, soft_v = rng.random(T + N), rng.random(T + N)
    vision = np.arange(T + N) >= T

    def blend(s, t, by):
        by = np.where(vision, by, 0)[:, None]
        return by * s + (1 - by) * t

    q, k, v = (blend(s, t, by) for s, t, by in zip(src, tgt, (soft_qk, soft_qk, soft_v)))
    inputs = dict(zip(("q_src", "k_src", "v_src", "q_tgt", "k_tgt", "v_tgt"), src + tgt))
    return dict(**inputs, mask_qk=soft_qk, mask_v=soft_v), dict(text_len=T), dict(o=attend(q, k, v))


def diffportrait3d_attention(rng, B=1, V=3, H=2, N=4, D=4, E=4):
    q, k, v = normal(rng, B, V, H, N, D), normal(rng, B, V, H, N, D), normal(rng, B, V, H, N, E)
    kr, vr = normal(rng, B, H, N, D), normal(rng, B, H, N, E)
    o_app, o_view = np.zeros((B, V, H, N, E)), np.zeros((B, V, H, N, E))
    for b, f, h in np.ndindex(B, V, H):
        o_app[b, f, h] = attend(q[b, f, h], np.concatenate([k[b, f, h], kr[b, h]]), np.concatenate([v[b, f, h], vr[b, h]]))
    for b, h, n in np.ndindex(B, H, N):
        o_view[b, :, h, n] = attend(q[b, :, h, n], k[b, :, h, n], v[b, :, h, n])
    return dict(q=q, k=k, v=v, k_ref=kr, v_ref=vr), {}, dict(o_app=o_app, o_view=o_view)


def chatdit_grouped(rng, B=1, H=2, T=3, P=4, NI=3, D=4, E=4):
    N = T + NI * P
    q, k, v = qkv(rng, B, H, N, N, D, E)
    group = rng.integers(0, 2, NI)

    def panel(n):
        return (n - T) // P

    def sees(m, n):
        if m < T or n < T:
            return True
        return panel(m) == panel(n) or group[panel(m)] == group[panel(n)]

    outputs = dict(o=attend(q, k, v, mask(sees, N, N)), o_all=attend(q, k, v))
    return dict(q=q, k=k, v=v, group=group), dict(text_len=T, panel=P), outputs


def parallel_visual_attention(rng, B=2, H=2, M=6, NT=5, NR=4, D=4, E=4, lam=1.0):
    q, kt, vt = qkv(rng, B, H, M, NT, D, E)
    ki, vi = normal(rng, B, H, NR, D), normal(rng, B, H, NR, E)
    o = attend(q, kt, vt) + lam * attend(q, ki, vi)
    return dict(q=q, k_text=kt, v_text=vt, k_id=ki, v_id=vi), dict(lam=lam), dict(o=o)


def speedupnet_negative_offset(rng, B=2, H=2, M=6, NT=5, D=4, E=4, w=0.8):
    q, k, v = qkv(rng, B, H, M, NT, D, E)
    ka, va, kn, vn = (normal(rng, B, H, NT, it) for it in (D, E, D, E))
    o = attend(q, k, v) + w * (attend(q, ka, va) - attend(q, kn, vn))
    return dict(q=q, k_pos=k, v_pos=v, k_apos=ka, v_apos=va, k_aneg=kn, v_aneg=vn), dict(w=w), dict(o=o)


def causalmm_counterfactual(rng, B=2, H=2, N=6, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    A = weights(scores(q, k))
    uniform = np.broadcast_to(A.mean((2, 3), keepdims=True), A.shape)
    o, o_uniform, o_reversed = A @ v, uniform @ v, (A.max((2, 3), keepdims=True) - A) @ v
    return dict(q=q, k=k, v=v), {}, dict(o=o, o_uniform=o_uniform, o_reversed=o_reversed, effect=o - o_uniform)


def vlsam_attention_flow(rng, B=1, H=3, L=3, N=6, D=4):
    q, k = normal(rng, L, B, H, N, D), normal(rng, L, B, H, N, D)
    flow = None
    for l in range(L):
        A = weights(scores(q[l], k[l]), causal(N, N))
        w = A.max(-1).mean(-1)[..., None, None]
        S = (w * A).sum(1) / w.sum(1) * (1 - np.arange(N) / N)[:, None]
        flow = S if flow is None else (S + np.eye(N)) @ flow
    return dict(q=q, k=k), {}, dict(flow=flow)


def attention_statistics(rng, B=1, H=2, N=9, D=4, E=4, W=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    s = scores(q, k)
    A = weights(s, causal(N, N))
    entropy, fai, waad = np.zeros((B, H, N)), np.zeros((B, H, N)), np.zeros((B, H, N))
    for b, h, i in np.ndindex(B, H, N):
        entropy[b, h, i] = -sum(A[b, h, i, n] * math.log(A[b, h, i, n]) for n in range(i + 1))
        waad[b, h, i] = sum(A[b, h, i, n] * min(i - n, W) for n in range(i + 1))
        fai[b, h, i] = sum(A[b, h, m, i] for m in range(i + 1, N)) / max(N - 1 - i, 1)
    outputs = dict(o=A @ v, entropy=entropy, lse=lse(s, causal(N, N)), colsum=A.sum(2), fai=fai, waad=waad)
    return dict(q=q, k=k, v=v), dict(W=W), outputs


def additive_attention_perturbed(rng, B=2, N=6, C=5, D=4, eps=0.5):
    x, W, b, v, r = normal(rng, B, N, C), normal(rng, C, D), normal(rng, D), normal(rng, D), normal(rng, B, N)
    c = np.tanh(x @ W + b) @ v
    adv = c + eps * r / np.sqrt((r * r).sum(-1, keepdims=True))
    z, z_adv = ((weights(it)[:, None] @ x)[:, 0] for it in (c, adv))
    return dict(x=x, W=W, b=b, v=v, r=r), dict(eps=eps), dict(z=z, z_adv=z_adv)


def head_masking_uniform(rng, B=1, H=4, N=7, D=4, E=4):
    q, k, v = qkv(rng, B, H, N, N, D, E)
    selected = np.arange(H) % 3 == 0
    uniform = causal(N, N) / np.arange(1, N + 1)[:, None]
    A = np.where(selected[:, None, None], uniform, weights(scores(q, k), causal(N, N)))
    return dict(q=q, k=k, v=v, selected=selected), {}, dict(o=A @ v)

#!/usr/bin/env python3
"""Makes tests/fixtures/ from naive numpy references: what each kernel of the gallery must compute.

    make_fixtures.py [ORACLES [NAME...]]    (default: ../shared/oracles beside the repository, all systems; needs numpy)

ORACLES holds part_a.py, part_b.py and part_c.py with functions `name(rng, **dims) -> (inputs, params, outputs)`, some called
`sys_name`; systems it lacks come from references/. Every system has two cases or three: 0 has the reference's own sizes, or
smaller ones, 1 odd ones, 2 those of MORE.

    tests/fixtures/NAME/CASE/in/TENSOR.npy      float64, int64, int8, uint8 or bool, C order
                             out/TENSOR.npy     what is expected
                             params.json        scalar parameters by name
                             set.json           extents that no input carries (--set), if any

A parameter that is a tuple or list becomes a one-dimensional input; one that is a text is fixed by the spec and left out.

It also writes tests/signatures.json from signatures.json in the folder `variants` beside ORACLES: for every system its inputs and
outputs, each `dtype extent ...`, and its parameters by default value, under the names that its spec has to use.
"""

import importlib.util
import json
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "tests/references"

# The odd sizes of each system: no multiple of a block or window, d unlike e, one token or one head, where it may vary.
ODD = {
    "aaren": dict(b=1, h=1, t=1, d=3, e=5),
    "abc": dict(h=1, m=3, n=7, d=5, c=3),
    "abc_causal": dict(b=1, h=1, t=9, d=3, r=2),
    "abc_noncausal": dict(b=1, h=1, m=3, n=5, d=5, r=2),
    "acmil_stkim": dict(B=2, N=7, C=3, D=5, K=1, topk=3, ratio=0.7),
    "act_calibration": dict(H=1, N=7, D=5, E=3, beta=0.25, thr=0.16),
    "activator_glu": dict(B=1, N=3, C=5, F=3),
    "ada_snapkv": dict(b=1, hk=2, grp=1, n=19, d=5, win=3, ksz=3, cap=9, loc=3, pre=1),
    "additive_attention_perturbed": dict(B=1, N=5, C=3, D=7, eps=0.9),
    "agent_attention": dict(b=1, h=1, H=4, W=6, d=3, ah=2),
    "agent_attention_plain": dict(b=1, h=1, m=1, n=5, a=2, d=5, e=2),
    "alibi_attention": dict(B=1, H=3, N=1, D=5, E=2),
    "alisa_swa": dict(b=1, h=1, n=17, d=5, nloc=3, nglob=2, look=5),
    "ape": dict(h=1, npre=3, ctx=2, nc=5, nq=4, d=5, T=0.6, S=0.8),
    "ape_parallel_encoding": dict(B=1, H=1, M=3, Np=4, Nc=5, D=5, E=3, T=0.5, S=0.7),
    "attention_gate": dict(b=1, h=2, n=7, D=5, d=3, hg=1, dgate=2, tau=0.4),
    "attention_influence": dict(b=1, h=3, n=5, d=5, V=7),
    "attention_recall": dict(b=1, h=1, n=13, d=5, last_q=4, nv0=2, ns0=1, target=0.9, step=2),
    "attention_statistics": dict(B=1, H=1, N=7, D=5, E=3, W=2),
    "autopasta_steering": dict(B=1, H=1, N=7, D=5, E=3, alpha=0.2),
    "bam_mixture_of_attention": dict(B=1, X=2, H=1, N=5, D=3),
    "based_taylor_causal": dict(b=1, h=1, t=5, d=2, e=3),
    "bidirectional_mamba": dict(b=1, t=5, c=2, n=3),
    "bilinear_attention": dict(B=1, H=1, M=3, N=5, C=3, E=5),
    "block_transformer": dict(H=1, NB=3, L=5, D=5, E=3),
    "block_transformer_decode": dict(h=1, nb=3, lb=2, d=5, pre=1),
    "bwd_deltanet": dict(b=2, h=1, t=1, d=5, e=2),
    "bwd_gla": dict(b=2, h=1, t=1, d=5, e=2),
    "bwd_linear_causal": dict(h=1, t=1, d=5, e=2),
    "bwd_linear_causal_normalised": dict(h=1, t=1, d=5, e=2),
    "bwd_lse_merge": dict(h=1, m=3, e=5),
    "bwd_mamba1_selective_scan": dict(b=2, t=1, c=2, n=3),
    "bwd_softcap": dict(h=1, m=7, d=5, e=2, cap=0.7),
    "bwd_softmax_causal": dict(b=2, h=1, m=1, n=4, d=5, e=2),
    "cab_patterns": dict(b=1, h=1, m=5, n=3, d=5),
    "cape_parameter_channel_attention": dict(B=1, C=2, X=7, W=3, P=3, K=5),
    "carve_contrastive": dict(B=1, H=1, M=1, N=7, D=5, lam=0.2, K=3),
    "causal_softmax_attention": dict(B=1, H=1, N=13, D=5, E=3),
    "causalmm_counterfactual": dict(B=1, H=1, N=5, D=5, E=3),
    "cca": dict(b=1, h=1, n=15, D=7, d=5, g=3, w=4),
    "chatdit_grouped": dict(B=1, H=1, T=2, P=3, NI=4, D=5, E=3),
    "chess": dict(b=1, c=7, o=3, keep=0.5, ncal=23),
    "class_semantics_attention": dict(B=1, T=4, C=3, K=2, R=3),
    "clear_circular": dict(H=1, T=2, Y=3, X=4, R=2, D=5, E=3),
    "clear_downsampled": dict(B=1, H=1, T=1, Y=3, X=6, R=3, df=3, D=5, E=3),
    "clipped_softmax": dict(B=1, H=1, M=3, N=5, D=5, E=3, zeta=1.1, gamma=-0.2),
    "compress_kv_heads": dict(B=1, HK=1, R=3, N=7, D=3, rank=2),
    "consistedit_fusion": dict(B=1, H=1, T=2, N=5, D=5, E=3),
    "contmix": dict(Gh=1, Y=4, X=6, D=5, R=3, K=3, E=2),
    "cosformer": dict(b=1, h=1, m=3, n=7, d=5, e=2),
    "customvideox_reference": dict(H=1, NV=5, R=2, D=5, E=3, t=10),
    "d2o": dict(b=1, h=1, n=13, d=5, hh=3, recent=2, sink=1, alpha=0.7, tau_prev=0.1),
    "d2o_layer_density": dict(layers=2, h=1, n=7, d=5),
    "dcal_glca": dict(B=1, H=1, L=1, N=7, D=3, E=5, R=2),
    "dcal_pwca": dict(B=1, H=1, N=3, D=5, E=3),
    "deberta_disentangled": dict(b=1, h=1, n=11, d=3, e=5, K=2),
    "deformable_attention_2d": dict(B=1, H=1, M=1, V=1, Y=3, X=5, Pt=4, E=3),
    "deltanet": dict(b=1, h=1, t=13, d=5, e=2),
    "deltanet_layer_core": dict(b=1, h=1, t=9, d=3, eps=1e-3),
    "dfc_attention": dict(B=1, C=2, Y=4, X=6, K=3),
    "dfc_ghostnetv2": dict(b=1, c=2, H=3, W=2),
    "diffportrait3d_attention": dict(B=1, V=2, H=1, N=3, D=5, E=3),
    "diffqkv": dict(B=1, HQ=4, HK=1, HV=2, N=5, D=3, E=5, topv=2),
    "distca": dict(h=1, d=5, doclens=(5, 8), tasks=((1, 0, 8), (0, 2, 5), (0, 0, 2)), order=(1, 0, 2)),
    "distributed_mha": dict(n=9, D=5, h=1, d=3, gq=3, gk=3),
    "distribution_transformer": dict(B=1, H=1, C=3, N=5, D=3),
    "double_sparsity": dict(b=1, h=1, n=17, d=7, r=3, topk=5, samples=9),
    "dreamtuner_self_subject": dict(H=1, N=5, R=3, D=5, E=3, omega=0.5),
    "dsf_ltv": dict(b=1, t=1, N=3, c=2, p=3),
    "dual_chunk_attention": dict(b=1, h=1, n=17, d=6, s=5, c=7),
    "duo_attention": dict(H=3, N=7, S=1, W=2, D=5, E=3),
    "duoattention_decode": dict(hk=2, grp=3, n=11, d=5, sink=1, recent=4, retrieval=(True, False)),
    "dyvte": dict(h=1, n=9, D=5, d=3, vis=(2, 5), hid=3),
    "echoatt_shared": dict(h=1, n=7, d=5),
    "echoatt_shared_attention": dict(B=1, H=1, N=5, D=3, L=2),
    "efficient_vdit_tile": dict(H=1, F=6, P=2, k=3, D=5, E=3),
    "entropy_guided_attention": dict(B=1, H=1, N=5, D=5, E=3, margin=0.1),
    "entropy_scale_t2i": dict(B=1, H=1, N=5, D=5, E=3, T=16),
    "escaip_neighbor_attention": dict(B=3, H=1, N=4, D=5, E=3),
    "fai_waad": dict(h=5, n=11, d=5, W=3, lo=1, hi=4, frac=0.4),
    "fastervlm": dict(b=1, h=1, n=11, d=5, keep=4, f=3),
    "filip_late_interaction": dict(BI=1, BT=2, NI=3, NT=5, D=6),
    "fixing_imbalanced_attention": dict(H=3, N=9, D=5, E=3, im=1, P=4, K=2),
    "flash_mixed_chunk": dict(b=1, t=9, L=3, s=2, e=5),
    "flashdecoding_pp": dict(b=1, h=3, n=15, d=5, splits=3),
    "flexprefill": dict(n=19, d=5, last_q=5, min_budget=2),
    "gated_attention": dict(B=1, H=3, N=5, D=3),
    "gated_class_attention": dict(B=1, H=2, N=5, D=3, s=0.5),
    "gated_deltanet": dict(b=1, h=1, t=11, d=3, e=5),
    "gated_mil_attention": dict(B=1, N=5, C=3, D=5, K=2),
    "gau": dict(b=1, t=5, c=3, s=2, e=4, causal=False),
    "gaussian_adaptive_attention": dict(B=1, N=3, C=15, H=3, Gn=2),
    "gla": dict(b=1, h=3, t=1, d=3, e=5),
    "gla_layer": dict(b=1, t=5, c=12, h=3, r=2, norm=4.0),
    "gla_strong_decay": dict(h=1, t=19, d=3, e=5),
    "gqa": dict(B=1, HK=3, R=1, N=5, D=3, E=6),
    "gqa_packed_decode": dict(b=1, hk=1, grp=3, n=9, d=5),
    "group_pose": dict(H=1, NI=3, K=2, D=3),
    "h2o": dict(h=1, n=17, d=5, heavy=4, recent=2),
    "h2o_decode_step": dict(b=2, h=1, c=7, d=5, recent=2),
    "h2o_global": dict(b=1, h=1, n=13, d=5, heavy=3, recent=2),
    "halonet_blocked_local": dict(H=1, Y=4, X=4, BS=2, halo=1, D=5, E=3),
    "head_masking_uniform": dict(B=1, H=1, N=5, D=5, E=3),
    "hedgehog_distill_loss": dict(b=1, h=1, t=5, d=3),
    "hedgehog_exp_causal": dict(b=1, h=1, t=5, d=3, e=5),
    "hedgehog_noncausal": dict(b=1, h=1, m=1, n=5, d=3, e=5),
    "hip": dict(h=1, n=32, d=5, topk=3),
    "hired": dict(parts=3, h=1, n=12, d=5, rate=0.6, alpha=0.3, grid=(1, 2)),
    "hot_token_pruning_cluster": dict(B=1, N=7, C=3, K=3, R=2),
    "hot_token_recovering": dict(B=1, H=1, F=5, R=3, D=5),
    "hydragen": dict(b=2, hk=1, grp=3, npre=5, nsuf=4, d=5, lens=(4, 1)),
    "hydragen_tree": dict(b=2, h=1, d=5, n0=3, n1=1, n2=4),
    "hyper_attention": dict(h=1, n=24, d=5, e=3, blk=8, n_samples=5, nproj=3),
    "hyper_attention_causal": dict(h=1, n=32, d=5, blk=4, nsamp=5, nproj=3),
    "inline_attention": dict(b=1, h=1, H=2, W=5, d=3),
    "instinfer_sparf": dict(b=1, hk=1, grp=3, n=17, d=7, r=3, topk=5, local=2),
    "keyformer": dict(h=1, n=11, d=5, kkey=3, recent=2, steps=4),
    "kinetics_block_topk": dict(b=1, hk=1, grp=3, n=35, d=5, blk=3, kb=2, sink=2, local=5),
    "kronecker_attention": dict(B=1, H=1, M=1, N=3, P=5, D=5, E=3),
    "kv_cache_fp8": dict(b=2, hk=1, grp=3, n=9, d=5),
    "kv_cache_int4": dict(b=2, hk=1, grp=3, n=6, d=6, group=3),
    "kv_cache_int8": dict(hk=1, grp=3, n=9, d=5),
    "lacing_dual_attention": dict(H=1, NI=2, NT=5, D=5, E=3, lam=0.5),
    "lamina_offload": dict(b=1, h=1, n=10, d=5, workers=4),
    "landmark": dict(h=1, n_blocks=3, blk=4, d=5, e=3),
    "landmark_retrieval": dict(b=1, h=1, nblk=4, blk=3, d=5, topk=3, nloc=2),
    "lara": dict(b=1, h=1, n=6, d=3, e=5, c=3),
    "large_kernel_attention": dict(B=2, C=1, Y=3, X=7),
    "lasp2": dict(h=1, n=15, d=5, e=3, ranks=3),
    "lasp2_masked": dict(b=1, h=1, W=2, L=4, d=3, e=5),
    "lasp2_unmasked": dict(b=1, h=1, W=2, L=4, d=3, e=5),
    "lasp2h": dict(b=1, h=1, n=15, d=5, ranks=3),
    "leaf": dict(n=17, frac=0.3, cap=0.35, h=1, d=5),
    "lean_attention": dict(b=2, h=1, d=5, lens=(3, 14), tile=3, ctas=4),
    "lightning_attention": dict(b=1, h=3, t=1, d=3, e=5, layer=2),
    "lina_speech_gla": dict(b=1, h=1, t=5, d=3, e=2, r=3),
    "linear_attention_causal": dict(b=1, h=1, t=1, d=3, e=5),
    "linear_attention_decode_step": dict(b=1, h=1, d=5, e=2),
    "linear_attention_noncausal": dict(b=1, h=1, m=1, n=9, d=5, e=2),
    "linear_attention_unnormalised": dict(b=1, h=1, t=1, d=3, e=5),
    "linear_sim_clamped_norm": dict(B=1, H=1, N=9, D=5, E=3),
    "linformer": dict(b=1, h=1, m=3, n=7, d=5, e=2, r=2),
    "lka_van": dict(b=2, c=1, H=3, W=5),
    "llm_int8": dict(m=3, c=11, o=5),
    "long_short_noncausal": dict(b=1, h=1, n=15, d=6, r=3, w=5),
    "longgen": dict(H=1, N=13, BS=3, S=2, W=3, stride=2, D=5, E=3),
    "longheads": dict(b=1, h=1, g=5, w=3, d=5, ksel=3),
    "longlora_shifted": dict(B=1, H=2, N=18, Gs=6, D=5, E=3),
    "longlora_shifted_varlen": dict(B=1, H=2, N=18, Gs=6, D=5, E=3),
    "lookm": dict(b=1, h=1, n=13, d=5, hh=4, recent=2),
    "lookupvit_mhbc": dict(B=1, H=1, M=2, N=5, D=3),
    "mala": dict(b=1, h=1, m=1, n=9, d=5, e=2),
    "mala_released": dict(b=1, h=1, H=2, W=4, d=12),
    "mamba1_selective_scan": dict(b=1, c=2, t=9, n=3),
    "mamba2_ssd": dict(b=1, h=3, G=3, t=1, p=5, n=2),
    "mamba_block": dict(b=2, t=5, c=3, ei=4, n=2, kw=4, r=1),
    "mamba_retriever_score": dict(b=1, t=3, c=5),
    "masformer": dict(B=1, H=1, N=7, BS=3, L=2, D=3, full=(0,)),
    "meap_masked_tokens": dict(B=1, N=5, C=6, H=3),
    "medusa_accept": dict(c=3, tokens=6, a=5),
    "medusa_tree": dict(h=1, prefix=1, d=6, e=3, parent=(-1, 0, 1, 1, 3, -1)),
    "medusa_tree_verify": dict(b=1, h=1, ncache=3, d=6, parent=(-1, 0, 1, 1)),
    "mega_chunk": dict(b=1, t=9, c=2, n=3, zd=3, hd=2, L=3),
    "mega_ema": dict(b=1, t=5, c=2, n=3),
    "merge_states": dict(s=3, r=1, e=5),
    "meta_optimizer_dual": dict(b=1, h=1, m=1, n1=4, n2=2, d=3, e=5),
    "minference_a_shape": dict(b=1, h=1, m=13, d=5, n_init=2, n_local=3),
    "minference_block_sparse": dict(h=1, n=20, d=5, blk=4, topk=3),
    "minference_vertical_slash": dict(h=1, n=20, d=5, last_q=5, n_vert=4, n_slash=3, force_v=1, force_s=2, blk=4),
    "mla": dict(B=1, H=1, N=5, C=7, DC=3, DQ=4, DN=3, DR=4, E=5),
    "moa_spans": dict(H=3, N=9, S=2, D=5, E=3),
    "moh_dit": dict(B=1, N=1, H=4, HS=1, topk=2, D=3),
    "moh_llama": dict(B=1, N=5, H=4, HS=1, topk=2, D=3),
    "mom_gated": dict(b=2, t=5, c=3, M=4, topk=2, d=2, e=5),
    "mom_linear": dict(b=1, t=5, c=3, M=4, topk=1, d=2, e=3, shared=False),
    "momentum_attention": dict(B=1, H=1, N=7, D=5, E=3, eta=0.9),
    "momentum_attention_linear": dict(b=1, h=1, t=5, d=3, e=5, eta=0.7),
    "mpcformer_2quad": dict(B=1, H=1, N=7, D=5, E=3, c=2.5),
    "mpcvit_heterogeneous": dict(B=1, H=3, N=5, D=5, E=3, eps=0.1),
    "mpcvit_relu_softmax": dict(B=1, H=1, N=5, D=5, E=3, eps=0.1),
    "mpcvit_scaling": dict(B=1, H=1, N=9, D=5, E=3),
    "mqa": dict(B=1, H=3, N=5, D=5, E=3),
    "multi_layer_trainable_pooling": dict(B=1, L=3, N=5, C=5, S=2),
    "mvinpainter_ref_kv": dict(F=2, H=1, N=3, D=5, E=3),
    "neighborhood_1d": dict(H=1, N=17, K=4, dil=3, D=5, E=3),
    "neighborhood_2d": dict(H=1, Y=5, X=4, KY=2, KX=3, DY=1, DX=1, D=5, E=3, causal_y=False),
    "neighborhood_3d_gna": dict(T=3, Y=3, X=5, K=(3, 2, 3), S=(1, 2, 1), D=5, E=3),
    "ninformer_gate": dict(B=1, N=3, C=5, TH=4, CH=3, eps=1e-3),
    "normalized_attention_dsf": dict(b=1, h=1, t=5, d=3, e=2),
    "nystromformer": dict(b=1, h=3, n=15, d=5, e=2, c=3, iters=4),
    "ofq_qkr": dict(h=1, n=5, D=3, d=5, bits=4),
    "packed_documents": dict(B=1, H=1, D=5, E=3, lens=(1, 6, 2)),
    "pag_guidance": dict(B=1, H=1, N=7, D=5, E=3, s=0.5),
    "paged_decode": dict(b=2, hk=1, grp=3, d=5, page=3, npages=9, lens=(1, 11)),
    "parallel_visual_attention": dict(B=1, H=1, M=1, NT=3, NR=5, D=5, E=3, lam=0.5),
    "partial_self_attention": dict(H=1, Y=2, X=4, C=8),
    "pavlovian_hebbian": dict(b=1, h=1, m=1, n=5, d=5, e=2),
    "performer_causal": dict(b=1, h=1, t=5, d=3, e=5, r=4),
    "performer_noncausal": dict(b=1, h=1, m=1, n=9, d=3, e=5, r=5),
    "pine_position_invariant": dict(B=1, H=1, ND=4, L=2, D=6, E=3, pre=1),
    "plga": dict(b=1, h=1, t=7, d=3),
    "plga_gcache_decode": dict(b=1, h=1, n=9, d=5),
    "plga_power_law_graph_attention": dict(B=1, H=1, N=5, D=4, eps=1e-3),
    "power_softmax": dict(B=1, H=1, M=1, N=9, D=5, E=3, p=2, c=1.5, eps=0.1),
    "power_softmax_he": dict(h=1, n=7, d=5, p=2, eps=0.1),
    "power_softmax_stable": dict(B=1, H=1, M=1, N=9, D=5, E=3, p=4),
    "prefix_lm": dict(B=1, H=1, N=7, D=5, E=3),
    "prepbn_train": dict(b=1, t=7, c=3, lam=0.8),
    "prflash": dict(h=1, n=15, d=5, blk=5),
    "prflash_attention": dict(B=1, H=1, N=15, BS=5, D=5, E=3, lam=0.3),
    "primecomposer_infusion": dict(H=1, N=5, T=4, D=5, E=3),
    "probsparse_attention": dict(b=1, h=1, t=7, d=3, e=5, u=2, samples=3),
    "probsparse_select": dict(b=1, h=1, m=5, n=9, d=5, u=2, ns=3),
    "qk_layernorm_attention": dict(B=1, H=1, N=5, D=6, E=3, eps=0.1),
    "quest": dict(b=2, hk=1, grp=3, n=30, d=5, page=5, budget=2, share=True),
    "radial_attention": dict(H=1, F=5, P=6, D=5, E=3, thr=3, sink=False),
    "rala": dict(b=1, h=1, H=2, W=4, d=12),
    "rala_core": dict(b=1, h=1, m=1, n=9, d=5, e=2),
    "random_feature_attention_layer": dict(b=1, h=3, n=1, d=5),
    "random_feature_relu_attention": dict(B=1, H=1, N=7, D=5),
    "rat": dict(b=1, h=1, t=11, d=6, L=3, base=100.0),
    "rcmha": dict(B=1, H=1, N=5, D=3, W=2),
    "recycled_attention": dict(b=1, h=1, n=11, d=5, topk=3, S=4, steps=7, thr=0.5),
    "reformer_lsh_ideal": dict(b=1, h=1, t=13, d=3, e=5, nb=6),
    "relu_attention_active_dormant": dict(B=1, H=1, N=5, D=5, E=3),
    "retention": dict(b=1, h=2, t=1, d=5, e=2),
    "retnet_msr": dict(b=1, h=3, t=5, d=6, e=3, eps=1e-3),
    "retrieval_attention": dict(h=1, n=17, d=5, sink=2, local=3, topk=3),
    "retrieval_head_score": dict(steps=5, h=3, n=9, d=5, needle=(2, 6), vocab=3),
    "rfa_gated": dict(b=1, h=1, t=1, d=5, e=2, r=3),
    "ring_attention": dict(b=1, h=1, n=15, d=5, ranks=3),
    "rope_alibi_harmonic": dict(B=1, H=1, N=5, D=6, E=3, a=0.9),
    "rope_attention": dict(b=1, h=1, n=5, d=6, e=3, base=500.0),
    "routing_transformer": dict(h=1, n=13, d=5, nc=3, w=4),
    "rsq_importance": dict(b=1, h=1, n=9, d=5, D=3, rmin=0.2, rmax=0.9),
    "s2_attention_shards": dict(B=1, H=3, N=19, BS=3, L=1, stride=7, dense=1, D=5, E=3),
    "s4d": dict(b=1, c=1, t=5, n=3),
    "sage1": dict(h=1, m_blocks=3, n_blocks=3, d=5, e=3, bq=3, bk=5, causal=False),
    "sage2": dict(b=1, h=1, n=32, d=5, bq=16, bk=8, bits=3),
    "saq": dict(h=2, n=15, d=6, group=5, stairs=((5, 16), (10, 3), (15, 2))),
    "scatterbrain": dict(h=1, n=15, d=5, f=6, blk=5),
    "scatterbrain_local": dict(b=1, h=1, t=11, d=3, e=5, r=5, w=4),
    "sea_linear": dict(h=1, t=10, tm=5, d=3, e=5, kk=4),
    "sea_pipeline": dict(b=1, h=1, n=19, d=5, tm=6, kk=3, f=4, hid=3),
    "seer_attention": dict(b=1, h=1, n=20, d=5, blk=5, dg=3, thr=0.3),
    "seer_decode": dict(b=1, hk=1, grp=3, n=20, d=5, blk=5, dg=3, budget=2),
    "selective_self_attention": dict(B=1, H=1, N=5, D=5),
    "sentence_attention_block": dict(B=1, C=4, Y=2, X=5, S=3, R=2),
    "seqboat_sma": dict(b=1, t=13, c=3, s=2, e=4, w=3, temp=0.7),
    "shadowkv": dict(hk=1, grp=3, n=30, d=6, rank=4, c=3, local_chunks=3, outlier=1, nsel=2),
    "shiftadd_linangular": dict(b=1, h=1, n=5, d=3, kk=5),
    "shiftaddvit": dict(b=1, h=1, n=7, d=5, ker=3),
    "shiftaddvit_quadratic": dict(h=1, n=5, d=7),
    "sigma_reparam_attention": dict(B=1, H=1, N=5, D=5, gamma=0.7),
    "sigmoid_attention": dict(B=1, H=1, N=13, D=5, E=3),
    "simple_gla": dict(b=1, h=1, t=1, d=3, e=5),
    "sink_key_bias": dict(B=1, H=1, N=1, D=5, E=3),
    "sink_kv_bias": dict(B=1, H=1, N=1, D=5, E=3),
    "sink_sim_normalised": dict(B=1, H=1, N=5, D=5, E=3, eps=0.1),
    "sink_sim_unnormalised": dict(B=1, H=1, N=7, D=5, E=3),
    "sinklora_sf_attn": dict(H=2, N=11, Gs=3, S=1, D=5, E=3),
    "slab_sla": dict(b=1, h=1, H=3, W=5, d=3),
    "sliding_window_softmax": dict(b=1, h=1, t=13, d=3, e=5, w=4),
    "slot_attention_step": dict(B=1, S=2, N=5, D=3),
    "snapkv": dict(hk=1, grp=3, n=23, d=5, win=5, ksz=3, cap=9, loc=4, pre=1),
    "softmax_attention": dict(B=1, H=1, M=1, N=13, D=5, E=3),
    "softmax_off_by_one": dict(B=1, H=1, M=1, N=9, D=5, E=3),
    "softplus_lssa": dict(B=1, H=1, N=7, D=5, E=3),
    "softplus_lssar": dict(B=1, H=1, N=7, D=5, E=3, p=2, offset=0.25),
    "sparse_query_attention": dict(B=1, HQ=3, HK=1, N=5, C=7, D=3),
    "sparsifiner": dict(b=1, h=3, n=11, d=5, c=3, r=4, budget=4, coef_k=2, basis_thr=0.2),
    "speedupnet_negative_offset": dict(B=1, H=1, M=1, NT=7, D=5, E=3, w=0.3),
    "squeeze_excite": dict(B=1, C=4, Y=2, X=5, R=2),
    "squeezed_attention": dict(h=1, m=3, n=19, d=5, nc=4, obs=4, thr=0.06),
    "squeezed_hierarchical": dict(b=1, h=2, m=3, n=19, d=5, nc1=3, nc2=5, thr1=0.02, thr2=0.03),
    "ss2d_cross_scan": dict(H=2, W=5, c=3, n=1),
    "ssa_position_only": dict(B=1, H=1, N=7, D=5, E=3),
    "state_resonance_hebbian_bias": dict(b=1, h=1, t=5, d=3, e=5),
    "streaming_llm": dict(H=1, N=11, S=3, W=2, D=5, E=3),
    "streaming_llm_cache_positions": dict(H=1, N=9, S=1, W=3, D=6, E=3),
    "style_injection": dict(B=1, H=1, N=7, D=5, E=3, gamma=0.3, tau=0.9),
    "synaptic_resonance": dict(H=1, N=5, D=3, E=5, T=2),
    "tap_adl": dict(B=1, H=1, Y=3, X=5, C=4, S=2, th=0.9),
    "tc_llava_attention": dict(B=1, H=1, T0=1, F=2, P=3, T1=2, D=6, E=3, gamma=0.5),
    "tcnca": dict(b=1, t=10, c=2, zd=3, hd=2, L=3, K=2, dils=(2, 1)),
    "tempscale": dict(B=1, H=1, M=1, N=9, D=5, E=3, tau=0.5),
    "tidaldecode": dict(layers=4, hk=1, grp=3, n=13, d=5, topk=4, select=(0, 1)),
    "titans_linear": dict(b=1, h=1, t=9, d=3, e=5),
    "titans_linear_chunk": dict(b=1, h=1, t=11, c=3, d=3, e=5),
    "titans_mlp_chunk": dict(t=7, c=2, d=2, f=5),
    "titans_persistent_window": dict(b=1, h=1, t=11, P=3, d=5, e=2, w=4),
    "tnl_layer": dict(b=1, t=5, c=6, h=3, layer=2, r=2),
    "tokenselect": dict(hk=1, grp=3, n=23, d=5, c=2, ninit=2, nloc=3, topk=5, pool=5),
    "tokenselect_cache": dict(steps=6, h=1, n=11, d=5, topk=3, thr=0.8),
    "transformer_xl_relative": dict(b=1, h=1, m=1, mem=6, d=5, e=3),
    "transmla_from_gqa": dict(B=1, HK=1, R=3, N=5, C=5, D=3),
    "transnormer_diag_attention": dict(b=1, h=1, t=11, d=3, e=5, w=4, causal=False),
    "transnormer_norm_attention": dict(b=1, h=1, t=5, d=3, e=5, causal=False),
    "transnormerllm_lrpe_decay": dict(b=1, h=3, t=5, d=3, e=2),
    "urpe": dict(B=1, H=1, N=5, D=5, E=3),
    "value_bias_only": dict(B=1, H=1, N=7, D=5, E=3),
    "var_redistribution": dict(H=1, N=9, D=5, E=3, im=1, P=4),
    "varlen": dict(hk=1, grp=3, d=5, qlens=(1, 4), klens=(7, 4)),
    "vhr_head_reinforcement": dict(B=1, H=3, N=7, D=5, E=3, im=2, P=3, alpha=1.5),
    "video_ccam": dict(B=1, H=1, NQ=3, F=5, P=2, D=5, E=3),
    "vir_2d_retention": dict(b=1, h=1, H=2, W=5, d=3, gamma=(0.8,)),
    "vir_released_parallel": dict(b=1, h=3, t=5, d=3),
    "vir_retention": dict(b=1, h=1, t=5, d=3),
    "vit_smoothed_attention": dict(B=1, H=1, N=5, D=5, E=3, tau=3.0),
    "vlsam_attention_flow": dict(B=2, H=1, L=2, N=5, D=5),
    "wide_attention": dict(B=1, H=3, N=3, C=5, D=4),
    "window_attention_2d": dict(B=1, H=1, Y=4, X=6, W=2, shift=1, D=5, E=3),
    "window_linear_one_normaliser": dict(b=1, h=1, t=7, d=3, e=5, w=2),
    "zero_tprune": dict(h=2, n=11, d=5, iters=2, prune_i=3, prune_s=2),
}

# Where the reference's own sizes take more room than they are worth.
SMALLER = {
    "ada_snapkv": dict(n=24, d=4),
    "alisa_swa": dict(d=4),
    "attention_influence": dict(b=1, d=4),
    "attention_recall": dict(n=16, d=4),
    "cca": dict(h=1),
    "chess": dict(ncal=40),
    "d2o": dict(d=4),
    "diffqkv": dict(B=1),
    "distca": dict(d=4),
    "double_sparsity": dict(samples=16),
    "dual_chunk_attention": dict(h=1),
    "duoattention_decode": dict(n=16),
    "fai_waad": dict(n=14),
    "flexprefill": dict(h=1, n=24, d=4),
    "gla_strong_decay": dict(h=1),
    "h2o_global": dict(n=16, d=4),
    "hip": dict(h=1, d=4),
    "hired": dict(h=1, d=4),
    "hyper_attention": dict(h=1, d=4),
    "hyper_attention_causal": dict(h=1, d=4),
    "instinfer_sparf": dict(d=8),
    "kinetics_block_topk": dict(b=1, d=4),
    "lamina_offload": dict(b=1),
    "landmark": dict(h=1),
    "lasp2": dict(h=1),
    "lasp2h": dict(h=1, d=4),
    "leaf": dict(d=4),
    "lean_attention": dict(b=2, lens=(5, 17)),
    "longheads": dict(d=4),
    "lookm": dict(d=4),
    "mala_released": dict(b=1),
    "minference_a_shape": dict(h=1, d=4),
    "minference_block_sparse": dict(h=1, n=40, d=4),
    "minference_vertical_slash": dict(h=1, d=4),
    "prflash": dict(h=1),
    "quest": dict(n=32, d=4),
    "radial_attention": dict(H=1, F=6),
    "rala": dict(b=1),
    "recycled_attention": dict(d=4),
    "ring_attention": dict(h=1, d=4),
    "routing_transformer": dict(h=1),
    "s2_attention_shards": dict(N=20),
    "sage1": dict(h=1, d=4),
    "sage2": dict(h=1, d=4),
    "scatterbrain": dict(h=1),
    "sea_pipeline": dict(h=1, d=4),
    "seer_attention": dict(n=32, h=1, d=4),
    "seer_decode": dict(b=1, n=32),
    "shadowkv": dict(d=4),
    "shiftaddvit": dict(b=1),
    "shiftaddvit_quadratic": dict(d=8),
    "snapkv": dict(n=24),
    "squeezed_attention": dict(h=1),
    "squeezed_hierarchical": dict(d=4),
    "tidaldecode": dict(d=4),
    "tokenselect": dict(d=4),
    "window_attention_2d": dict(H=1),
}

# Sizes that a spec once got wrong: no keys, fewer than are asked for, a group that has no half.
MORE = {
    "double_sparsity": dict(b=1, h=1, n=1, d=5, samples=3),
    "h2o_global": dict(h=1, n=3, d=3),
    "longlora_shifted_varlen": dict(H=2, N=14, Gs=7, D=3, E=2),
    "power_softmax": dict(B=1, H=1, N=0),
}

# A name that is a keyword of the language, and an extent that no input carries.
RENAMED = {("shiftadd_linangular", "kernel"): "taps"}
EXTENTS = {"lean_attention": lambda outputs: {"p": len(outputs["part_m"])}}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def references(oracles):
    """Every reference by the name of its system; those of the oracles come first."""
    sys.path.insert(0, str(OWN))
    found = {}
    for path in sorted(OWN.glob("*.py")):
        own = {k: v for k, v in load(path).items() if getattr(v, "__module__", None) == path.stem and not k.startswith("_")}
        assert not found.keys() & own.keys(), "a system has two references"
        found.update(own if path.stem != "common" else {})
    for path in sorted(oracles.glob("part_*.py")):
        found.update((k.removeprefix("sys_"), v) for k, v in load(path).items() if callable(v))
    return found


def write(folder, tensors):
    folder.mkdir(parents=True)
    for name, value in tensors.items():
        np.save(folder / f"{name}.npy", np.asarray(value, order="C"))


def make(name, case, reference, dims):
    folder, seed = ROOT / "tests/fixtures" / name / str(case), zlib.crc32(f"{name}/{case}".encode())
    inputs, params, outputs = reference(np.random.default_rng(seed), **dims)
    params = {RENAMED.get((name, k), k): v for k, v in params.items()}
    inputs.update((k, np.array(v)) for k, v in params.items() if isinstance(v, (tuple, list)))
    scalars = {k: v for k, v in params.items() if not isinstance(v, (tuple, list, str))}
    write(folder / "in", inputs)
    write(folder / "out", outputs)
    (folder / "params.json").write_text(json.dumps(scalars, default=lambda x: x.item()) + "\n")
    if name in EXTENTS:
        (folder / "set.json").write_text(json.dumps(EXTENTS[name](outputs)) + "\n")


def signatures(catalogue):
    lines = []
    for name, entry in json.loads(catalogue.read_text()).items():
        params = {RENAMED.get((name, k), k): v for k, v in entry["params"].items()}
        inputs, outputs = ({k: np.zeros(it["shape"], it["dtype"]) for k, it in entry[side].items()} for side in ("inputs", "outputs"))
        inputs.update((k, np.array(v)) for k, v in params.items() if isinstance(v, list))
        signature = {side: {k: " ".join(map(str, (it.dtype, *it.shape))) for k, it in tensors.items()}
                     for side, tensors in (("inputs", inputs), ("outputs", outputs))}
        signature["params"] = {k: v for k, v in params.items() if not isinstance(v, (list, str))}
        if name in EXTENTS:
            signature["set"] = EXTENTS[name](outputs)
        lines.append(f"{json.dumps(name)}: {json.dumps(signature)}")
    (ROOT / "tests/signatures.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    oracles = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared/oracles"
    found = references(oracles)
    for name in sys.argv[2:] or ["."]:
        shutil.rmtree(ROOT / "tests/fixtures" / name, ignore_errors=True)
    for name, odd in ODD.items():
        if name not in (sys.argv[2:] or ODD):
            continue
        for case, dims in enumerate([SMALLER.get(name, {}), odd, *(MORE[it] for it in [name] if it in MORE)]):
            make(name, case, found[name], dims)
    signatures(oracles.parent / "variants/signatures.json")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tests/fixtures/ from naive numpy references: what each kernel of the gallery must compute.

    make_fixtures.py [ORACLES]      (default: ../shared/oracles beside the repository; needs numpy)

ORACLES holds part_a.py, part_b.py and part_c.py with functions `name(rng, **dims) -> (inputs, params, outputs)`, some called
`sys_name`; systems it lacks come from references.py. Every system has two cases: 0 has the reference's own sizes, 1 odd ones.

    tests/fixtures/NAME/CASE/in/TENSOR.npy      float64, int64, int8, uint8 or bool, C order
                             out/TENSOR.npy     what is expected
                             params.json        scalar parameters by name

A parameter that is a tuple becomes a one-dimensional input; one that is a text is fixed by the spec and left out.
"""

import importlib.util
import json
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

# The odd sizes of each system: no multiple of a block or window, d unlike e, one token or one head, where it may vary.
ODD = {
    "aaren": dict(b=1, h=1, t=1, d=3, e=5),
    "alibi_attention": dict(B=1, H=3, N=1, D=5, E=2),
    "bwd_gla": dict(b=2, h=1, t=1, d=5, e=2),
    "bwd_softmax_causal": dict(b=2, h=1, m=1, n=4, d=5, e=2),
    "causal_softmax_attention": dict(B=1, H=1, N=13, D=5, E=3),
    "deberta_disentangled": dict(b=1, h=1, n=11, d=3, e=5, K=2),
    "deltanet": dict(b=1, h=1, t=13, d=5, e=2),
    "flashdecoding_pp": dict(b=1, h=3, n=15, d=5, splits=3),
    "flexprefill": dict(n=19, d=5, last_q=5, min_budget=2),
    "gla": dict(b=1, h=3, t=1, d=3, e=5),
    "gqa": dict(B=1, HK=3, R=1, N=5, D=3, E=6),
    "h2o": dict(h=1, n=17, d=5, heavy=4, recent=2),
    "hyper_attention": dict(h=1, n=24, d=5, e=3, blk=8, n_samples=5, nproj=3),
    "kv_cache_int4": dict(b=2, hk=1, grp=3, n=6, d=6, group=3),
    "landmark": dict(h=1, n_blocks=3, blk=4, d=5, e=3),
    "large_kernel_attention": dict(B=2, C=1, Y=3, X=7),
    "linear_attention_causal": dict(b=1, h=1, t=1, d=3, e=5),
    "linear_attention_noncausal": dict(b=1, h=1, m=1, n=9, d=5, e=2),
    "llm_int8": dict(m=3, c=11, o=5),
    "mamba2_ssd": dict(b=1, h=3, G=3, t=1, p=5, n=2),
    "medusa_accept": dict(c=3, tokens=6, a=5),
    "medusa_tree": dict(h=1, prefix=1, d=6, e=3, parent=(-1, 0, 1, 1, 3, -1)),
    "merge_states": dict(s=3, r=1, e=5),
    "mla": dict(B=1, H=1, N=5, C=7, DC=3, DQ=4, DN=3, DR=4, E=5),
    "moa_spans": dict(H=3, N=9, S=2, D=5, E=3),
    "moh_dit": dict(B=1, N=1, H=4, HS=1, topk=2, D=3),
    "neighborhood_1d": dict(H=1, N=17, K=4, dil=3, D=5, E=3),
    "neighborhood_2d": dict(H=1, Y=5, X=4, KY=2, KX=3, DY=1, DX=1, D=5, E=3, causal_y=False),
    "paged_decode": dict(b=2, hk=1, grp=3, d=5, page=3, npages=9, lens=(1, 11)),
    "probsparse_attention": dict(b=1, h=1, t=7, d=3, e=5, u=2, samples=3),
    "reformer_lsh_ideal": dict(b=1, h=1, t=13, d=3, e=5, nb=6),
    "retention": dict(b=1, h=2, t=1, d=5, e=2),
    "rope_attention": dict(b=1, h=1, n=5, d=6, e=3, base=500.0),
    "routing_transformer": dict(h=1, n=13, d=5, nc=3, w=4),
    "sage1": dict(h=1, m_blocks=3, n_blocks=3, d=5, e=3, bq=3, bk=5, causal=False),
    "sigmoid_attention": dict(B=1, H=1, N=13, D=5, E=3),
    "sink_key_bias": dict(B=1, H=1, N=1, D=5, E=3),
    "snapkv": dict(hk=1, grp=3, n=23, d=5, win=5, ksz=3, cap=9, loc=4, pre=1),
    "softmax_attention": dict(B=1, H=1, M=1, N=13, D=5, E=3),
    "ss2d_cross_scan": dict(H=2, W=5, c=3, n=1),
    "streaming_llm": dict(H=1, N=11, S=3, W=2, D=5, E=3),
    "titans_persistent_window": dict(b=1, h=1, t=11, P=3, d=5, e=2, w=4),
    "transformer_xl_relative": dict(b=1, h=1, m=1, mem=6, d=5, e=3),
    "varlen": dict(hk=1, grp=3, d=5, qlens=(1, 4), klens=(7, 4)),
}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def references(oracles):
    """Every reference by the name of its system; those of the oracles come first."""
    found = {k: v for k, v in load(ROOT / "tests/references.py").items() if not k.startswith("_")}
    for path in sorted(oracles.glob("part_*.py")):
        found.update((k.removeprefix("sys_"), v) for k, v in load(path).items() if callable(v))
    return found


def write(folder, tensors):
    folder.mkdir(parents=True)
    for name, value in tensors.items():
        np.save(folder / f"{name}.npy", np.asarray(value, order="C"))


def make(folder, reference, dims, seed):
    inputs, params, outputs = reference(np.random.default_rng(seed), **dims)
    inputs.update((k, np.array(v)) for k, v in params.items() if isinstance(v, tuple))
    scalars = {k: v for k, v in params.items() if not isinstance(v, (tuple, str))}
    write(folder / "in", inputs)
    write(folder / "out", outputs)
    (folder / "params.json").write_text(json.dumps(scalars, default=lambda x: x.item()) + "\n")


def main():
    oracles = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared/oracles"
    found, target = references(oracles), ROOT / "tests/fixtures"
    shutil.rmtree(target, ignore_errors=True)
    for name, odd in ODD.items():
        for case, dims in enumerate([{}, odd]):
            make(target / name / str(case), found[name], dims, zlib.crc32(f"{name}/{case}".encode()))


if __name__ == "__main__":
    main()

"""What is aimed at on an H200, and what was found, from the rows of `run.py`.

Speeds are of the longest shapes, 8192 and 16384 tokens: the lowest counts.
"""

LONG = ("8192", "16384")
# TFLOP/s by features: full and causal; and of products by single warps.
FORWARD = {128: (600, 560), 64: (450, 420), 256: (650, 580)}
BY_WARPS = {128: 330}
# Each variant, and what it is held against: what sees as many keys.
VARIANTS = {"alibi": "causal", "softcap": "plain", "window": "causal", "sink": "plain", "sigmoid": "plain"}
OF_PLAIN, OVER_FLEX, OF_COPY = 0.95, 1.3, 0.85


class Found:
    """Rows by variant, shape and name."""

    def __init__(self, rows):
        self.rows = {(it["variant"], it["shape"], it["name"]): it for it in rows}

    def over(self, variant, features, value):
        """The least of what is made of the rows of the long shapes, by name; none where a shape or a name is missing."""
        shapes = [f"{n}x{features}" for n in LONG]
        all_named = [{name: it for (of, at, name), it in self.rows.items() if (of, at) == (variant, shape)} for shape in shapes]
        values = [value(shape, named) for shape, named in zip(shapes, all_named) if "attnc" in named]
        return min(values) if len(values) == len(LONG) and None not in values else None

    def speed(self, variant, features, name="attnc"):
        return self.over(variant, features, lambda _, it: float(it[name]["gflops"]) / 1e3 if name in it else None)

    def ratio(self, variant, features, names):
        """By how much the fastest of these takes longer."""

        def least(_, named):
            found = [float(named[it]["ratio"]) for it in names if it in named]
            return min(found) if found else None

        return self.over(variant, features, least)

    def share(self, variant, features, of):
        """The speed of a variant over that of another."""

        def share(shape, named):
            other = self.rows.get((of, shape, "attnc"))
            return float(named["attnc"]["gflops"]) / float(other["gflops"]) if other else None

        return self.over(variant, features, share)


def lines(forward, decode):
    """What is aimed at, in words, with the least that will do and what was found, if it was measured."""
    found = Found(forward)
    for features, both in FORWARD.items():
        for variant, least in zip(("plain", "causal"), both):
            yield f"{variant}, {features} features, TFLOP/s", least, found.speed(variant, features)
            yield f"{variant}, {features} features, over SDPA", 1.0, found.ratio(variant, features, ["cudnn", "flash"])
    for features, least in BY_WARPS.items():
        name = "attnc" if any(it["target"] == "sm_80" for it in forward) else "attnc sm_80"
        yield f"plain by mma.sync, {features} features, TFLOP/s", least, found.speed("plain", features, name)
    for variant, of in VARIANTS.items():
        for features in FORWARD:
            yield f"{variant}, {features} features, of {of}", OF_PLAIN, found.share(variant, features, of)
            if variant != "sigmoid":
                yield f"{variant}, {features} features, over FlexAttention", OVER_FLEX, found.ratio(variant, features, ["flex"])
    for row in decode:
        if row["name"] == "attnc":
            yield f'decoding, {row["variant"]}, {row["shape"]}, of a copy', OF_COPY, float(row["share_of_copy"])


def report(forward, decode):
    """Prints what was aimed at and found; how much of it was reached."""
    counts = {"reached": 0, "missed": 0, "not measured": 0}
    for what, least, value in lines(forward, decode):
        said = "not measured" if value is None else "reached" if value >= least else "missed"
        counts[said] += 1
        print(f"{what:48} {least:7g} {'-' if value is None else format(value, '.2f'):>8}  {said}")
    print(", ".join(f"{count} {said}" for said, count in counts.items()))
    return counts

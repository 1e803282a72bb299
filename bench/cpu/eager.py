"""A cascade as eager PyTorch, as one writes it by hand.

`Eager` takes a cascade and inputs, and writes straight-line code, line by line, which it runs as it goes:

- A sum of a product is an einsum, a softmax is `torch.softmax`, an index tensor indexes, and a recurrence is a loop over its
  rank, unrolled. Ranks that a tensor does not depend on are views, nothing is expanded before it has to be.
- Absence is a mask beside a tensor, and only where something is absent: that a condition holds at all points of these
  inputs, or that all indices are in range, is seen as the code is written, and then taken for granted.
- What depends on neither inputs nor outputs, such as masks by position, is computed once, outside of the code that is timed.
- What nothing reads is left out, and what has been read for the last time is let go, as in nested expressions.
"""
import collections
import dataclasses
import itertools
import math

import torch
from torch.nn import functional

from cascade import Recurrence, node

MOST_BYTES = 1 << 30

DTYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
    "f8e4m3": torch.float8_e4m3fn, "f8e5m2": torch.float8_e5m2,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
}
UNARY = {
    "neg": "-{0}", "not": "~{0}", "real": "{0}.float()", "relu": "torch.relu({0})", "gelu": "functional.gelu({0})",
    "silu": "functional.silu({0})", "softplus": "functional.softplus({0})",
} | {
    it: f"torch.{it}({{0}})"
    for it in (
        "exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "abs", "sign",
        "floor", "ceil", "round", "trunc", "isnan", "isinf",
    )
}
BINARY = {it: f"{{0}} {it} {{1}}" for it in ("+", "-", "*", "/", "==", "!=", "<", "<=", ">", ">=")} | {
    "^": "{0} ** {1}", "bitand": "{0} & {1}", "bitor": "{0} | {1}", "bitxor": "{0} ^ {1}",
    "min": "torch.minimum({0}, {1})", "max": "torch.maximum({0}, {1})",
}
# What nothing is reduced to, and what a reduction is called.
IDENTITY = {"sum": 0, "prod": 1, "max": -math.inf, "min": math.inf, "any": False, "all": True}
REDUCE = {"sum": "sum", "max": "amax", "min": "amin", "any": "any", "all": "all"}
LEAST, LARGEST = -(2**62), 2**62


class Unsupported(Exception):
    """Why a kernel has no counterpart."""


@dataclasses.dataclass
class Value:
    """A tensor, or a number, with a name for each of its axes.

    At points where `mask` is false it is absent and holds `fill`, or anything if that is None.
    """

    code: str
    axes: tuple
    data: object
    root: str | None = None  # the line that `code` is a part of
    const: bool = False
    mask: "Value | None" = None
    fill: object = None

    @property
    def is_number(self):
        return not isinstance(self.data, torch.Tensor)

    @property
    def is_absent(self):
        return self.mask is not None and self.mask.data is False


def number(data, mask=None):
    return Value(f"({data!r})" if data < 0 else repr(data), (), data, const=True, mask=mask)


ABSENT = number(0, number(False))


@dataclasses.dataclass
class Stored:
    """A tensor of the cascade: as a whole, or a value for each coordinate of the dimension that a recurrence goes along."""

    dims: list  # a rank and how many coordinates it has
    value: Value | None = None
    make: object = None
    along: int | None = None
    steps: dict | None = None


@dataclasses.dataclass
class Line:
    name: str
    code: str
    reads: list
    const: bool


class Eager:
    def __init__(self, cascade, inputs):
        """Writes the code, and keeps what it gives for these inputs as `outputs`, by name."""
        self.cascade, self.lines, self.order = cascade, [], ()
        self.env = {"torch": torch, "functional": functional, "inf": math.inf, "nan": math.nan}
        self.sizes, self.tensors, self.memo, self.views = {}, {}, {}, {}
        self.bound, self.group, self.softmaxes, self.fresh = {}, set(), {}, itertools.count()
        self.passing = []
        self.extents = cascade.sizes()
        for rank in cascade.parts:
            if math.prod(self.extents[it] for it in cascade.atoms(rank)) < self.extents[rank]:
                raise Unsupported(f"rank {rank} has more coordinates than its parts")
        for name, (ranks, dtype) in cascade.inputs.items():
            self.input(name, ranks, dtype, inputs[name])
        for step in cascade.steps:
            self.recurrence(step) if isinstance(step, Recurrence) else self.define(step)
        einsums = [it for step in cascade.steps for it in (step.body if isinstance(step, Recurrence) else [step])]
        results = {it.name: self.result(it) for it in einsums if it.output}
        self.outputs = {name: it.data for name, it in results.items()}
        self.live([it.root for it in results.values() if it.root], [it.code for it in results.values()])

    def live(self, roots, results):
        """The code without lines that nothing reads; constants stay in its environment."""
        needed, lines, dropped = set(roots), [], set(roots)
        written = {it.name for it in self.lines if not it.const}
        for line in reversed(self.lines):
            if line.name in needed:
                needed.update(line.reads)
                if not line.const:
                    last = sorted({it for it in line.reads if it not in dropped and it in written})
                    dropped.update(last)
                    lines += [f"del {', '.join(last)}"] if last else []
                    lines.append(f"{line.name} = {line.code}")
        self.text = "def run():\n" + "".join(f"    {it}\n" for it in lines[::-1]) + f"    return {', '.join(results)},\n"
        consts = {it.name for it in self.lines if it.const and it.name in needed}
        own = {it.name for it in self.lines}
        self.env = {name: it for name, it in self.env.items() if name not in own or name in consts}
        exec(self.text, self.env)
        self.run = self.env["run"]

    # Lines.

    def size(self, axis):
        return self.sizes[axis] if axis in self.sizes else self.extents[axis]

    def shape(self, axes):
        return tuple(self.size(it) for it in axes)

    def emit(self, code, reads, axes, mask=None, fill=None):
        """A line that makes a tensor with those axes of values."""
        bytes_ = 4 * math.prod(self.shape(axes))
        if bytes_ > MOST_BYTES:
            raise Unsupported(f"a tensor of {bytes_ / 2**30:.1f} GiB, [{', '.join(axes)}]")
        name = f"_{len(self.lines)}"
        try:
            data = eval(code, self.env)
        except Exception as error:
            raise Unsupported(f"`{code}`: {error}") from error
        if isinstance(data, torch.Tensor) and data.shape != self.shape(axes):
            raise Unsupported(f"`{code}` has shape {tuple(data.shape)}, not [{', '.join(axes)}] {self.shape(axes)}")
        const = all(it.const for it in reads)
        self.env[name] = data
        if self.bound and not const:
            self.passing.append(name)
        self.lines.append(Line(name, code, [it.root for it in reads if it.root], const))
        return Value(name, axes, data, name, const, mask, fill)

    def sorted(self, axes):
        """Axes in the order of the einsum at hand."""
        known = [it for it in self.order if it in axes]
        return tuple(known + [it for it in axes if it not in known])

    def union(self, values):
        return self.sorted(list(dict.fromkeys(axis for it in values for axis in it.axes)))

    def aligned(self, value, axes, whole=False):
        """The code of a view that broadcasts along axes that it lacks; `whole` says that it has the first, too."""
        if value.is_number:
            return value.code
        code, own = value.code, [it for it in axes if it in value.axes]
        if tuple(own) != value.axes:
            code += f".permute({', '.join(str(value.axes.index(it)) for it in own)})"
        index = [":" if it in own else "None" for it in axes]
        while index and index[0] == "None" and not whole:
            index.pop(0)
        if "None" in index:
            tail = len(index) - index[::-1].index("None")
            code += f"[{', '.join(index[:tail]) if 'None' in index[:tail] else ''}]"
        return code

    def expanded(self, value, axes):
        """A value with exactly those axes."""
        if value.is_number:
            return self.emit(f"torch.full({self.shape(axes)}, {value.code})", [value], axes, value.mask, value.data)
        code = self.aligned(value, axes, whole=True)
        if set(axes) != set(value.axes):
            code += f".expand({', '.join(map(str, self.shape(axes)))})"
        return value if code == value.code else self.emit(code, [value], axes, value.mask, value.fill)

    def map(self, template, *values, mask=None, fill=None, axes=None):
        """A function of values, point by point."""
        axes = axes or self.union(values)
        if all(it.is_number for it in values):
            given = [torch.tensor(it.data, dtype=torch.float64) if isinstance(it.data, float) else torch.tensor(it.data) for it in values]
            data = eval(template.format(*(f"given[{it}]" for it in range(len(given)))), self.env | {"given": given}).item()
            return dataclasses.replace(number(data), mask=mask)
        return self.emit(template.format(*(self.aligned(it, axes) for it in values)), values, axes, mask, fill)

    # Presence.

    def all_of(self, masks):
        """Where all masks are true; one that is None always is."""
        found = []
        for it in masks:
            if it is None or it.data is True or any(it is other for other in found):
                continue
            if it.data is False:
                return it
            found.append(it)
        if not found:
            return None
        result = found[0]
        for it in found[1:]:
            key = ("and", result.code, it.code)
            if key not in self.memo:
                self.memo[key] = self.map("{0} & {1}", result, it)
            result = self.memo[key]
        return result

    def holds(self, condition, *where):
        """A condition is true at all points where the masks are: looked at now, not in the code."""
        if condition.is_number:
            return bool(condition.data)
        where = [it for it in where if it is not None]
        if any(it.data is False for it in where):
            return True
        axes = self.union([condition, *where])
        view = lambda it: eval(self.aligned(it, axes), self.env)
        result = view(condition)
        for it in where:
            result = result | ~view(it) if not it.is_number else result
        return bool(result.all())

    def filled(self, value, identity):
        """A value that is the identity where it is absent."""
        if value.mask is None or (value.fill is not None and value.fill == identity and not value.is_number):
            return value
        if value.is_absent:
            return number(identity)
        if value.mask.is_number:
            return value
        if value.data is True and identity is False:
            return dataclasses.replace(value.mask, mask=None)
        code = "torch.where({0}, {1}, {2})"
        return dataclasses.replace(self.map(code, value.mask, value, number(identity)), mask=value.mask, fill=identity)

    def where(self, value, condition):
        """A value where a condition is present and true."""
        if value.is_absent or condition.is_absent or condition.data is False:
            return ABSENT
        if self.holds(condition, condition.mask, value.mask):
            return dataclasses.replace(value, mask=self.all_of([value.mask, condition.mask]))
        plain = dataclasses.replace(condition, mask=None)
        return dataclasses.replace(
            value, mask=self.all_of([value.mask, condition.mask, plain]), fill=None
        )

    # Ranks and tensors.

    def atoms(self, rank):
        return self.cascade.atoms(rank) if rank in self.cascade.parts else (rank,)

    def is_ragged(self, rank):
        return math.prod(self.shape(self.atoms(rank))) != self.extents[rank]

    def input(self, name, ranks, dtype, data):
        self.env[name] = data
        axes = tuple(f"{name}.{it}" for it in range(len(ranks)))
        self.sizes.update(zip(axes, data.shape))
        value = Value(name, axes, data, name)
        if dtype.startswith("f8"):
            value = self.emit(f"{name}.float()", [value], axes)
        for axis, rank in zip(axes, ranks):
            value = self.split(value, axis, self.atoms(rank))
        self.tensors[name] = Stored([(it, self.extents[it]) for it in ranks], value)

    def split(self, value, axis, atoms):
        """The axis of a composite rank as those of its parts; parts may have more points than it."""
        if axis not in value.axes:
            return value
        at = value.axes.index(axis)
        axes = value.axes[:at] + tuple(atoms) + value.axes[at + 1 :]
        mask = value.mask and self.split(value.mask, axis, atoms)
        if len(atoms) == 1:
            return dataclasses.replace(value, axes=axes, mask=mask)
        sizes, code, reads = self.shape(atoms), value.code, value
        if (missing := math.prod(sizes) - self.size(axis)) > 0:
            padding = [0] * (2 * (len(value.axes) - at - 1)) + [0, missing]
            padded = self.fresh_axis(math.prod(sizes))
            reads = self.emit(f"functional.pad({code}, {padding})", [value], value.axes[:at] + (padded,) + value.axes[at + 1 :])
            code = reads.code
            present = torch.arange(math.prod(sizes)).reshape(sizes) < self.size(axis)
            mask = self.all_of([mask, self.constant(present, tuple(atoms))])
        return self.emit(f"{code}.unflatten({at}, {sizes})", [reads], axes, mask, value.fill)

    def fresh_axis(self, size):
        axis = f"@{next(self.fresh)}"
        self.sizes[axis] = size
        return axis

    def constant(self, data, axes):
        name = f"_{len(self.lines)}"
        self.env[name] = data
        self.lines.append(Line(name, "", [], True))
        return Value(name, axes, data, name, True)

    def index(self, rank):
        """The coordinate along a rank."""
        atoms = self.atoms(rank)
        if len(atoms) == 1:
            if rank in self.bound:
                return number(self.bound[rank])
            return self.constant(torch.arange(self.size(rank)), atoms)
        value = number(0)
        for atom in atoms:
            value = self.map("{0} * {1} + {2}", value, number(self.size(atom)), self.value(node("index", atom)))
        if self.is_ragged(rank):
            value = self.where(value, self.map("{0} < {1}", value, number(self.extents[rank])))
        return value

    # Einsums.

    def define(self, einsum):
        """A tensor that is computed when something reads it."""
        dims = [(rank, self.extents[rank]) for rank, _ in einsum.at]
        self.note_softmax(einsum)
        self.tensors[einsum.name] = Stored(dims, make=lambda: self.einsum(einsum))

    def recurrence(self, step):
        """One coordinate after the other; what does not depend on them is computed before, for all."""
        for einsum in step.body:
            along = next(at for at, it in enumerate(einsum.at) if it[0] == step.rank)
            rank_lag = einsum.at[along][1]
            dims = [(rank, self.extents[rank] + shift) for rank, shift in einsum.at]
            self.tensors[einsum.name] = Stored(dims, along=along, steps={})
        for einsum in step.bases:
            along = self.tensors[einsum.name].along
            self.tensors[einsum.name].steps[einsum.at[along]] = self.einsum(einsum)
        atoms, outside = self.atoms(step.rank), self.memo
        self.group = {it.name for it in step.body}
        self.varies, self.outside = {}, outside
        for coordinate in range(self.extents[step.rank]):
            rest = coordinate
            for atom in reversed(atoms):
                self.bound[atom], rest = rest % self.size(atom), rest // self.size(atom)
            self.memo = {}
            for einsum in step.body:
                stored = self.tensors[einsum.name]
                stored.steps[coordinate + einsum.at[stored.along][1]] = self.einsum(einsum)
            self.forget(step, coordinate)
        self.bound, self.group, self.memo = {}, set(), outside

    def forget(self, step, coordinate):
        """Lets go of what only this coordinate needed."""
        kept = {it.root for it in self.views.values() if isinstance(it, Value)}
        for einsum in step.body:
            stored = self.tensors[einsum.name]
            value = stored.steps[coordinate + einsum.at[stored.along][1]]
            kept |= {it.root for it in (value, value.mask) if it is not None}
        for name in self.passing:
            if name not in kept:
                self.env.pop(name, None)
        self.passing = []

    def einsum(self, einsum):
        before, self.order = self.order, tuple(
            atom
            for rank in [it[0] for it in einsum.at if isinstance(it, tuple)] + einsum.ranks
            for atom in self.atoms(rank)
            if atom not in self.bound
        )
        self.order = tuple(dict.fromkeys(self.order))
        value = self.operation(einsum)
        for rank in {it[0] for it in einsum.at if isinstance(it, tuple)}:
            if self.is_ragged(rank) and self.bound.keys().isdisjoint(self.atoms(rank)):
                value = dataclasses.replace(value, mask=self.all_of([value.mask, self.value(node("index", rank)).mask]), fill=None)
        if einsum.dtype not in ("real", "int", "bool", "f32", "f64", "i32", "i64"):
            value = self.cast(value, einsum.dtype)
        self.order = before
        return value

    def operation(self, einsum):
        if einsum.op is None:
            return self.value(einsum.value)
        if einsum.op == "sum":
            return self.sum(einsum)
        if einsum.op == "any" and (found := self.scattered(einsum)):
            return found
        ragged = [self.value(node("index", it)) for it in einsum.ranks if self.is_ragged(it)]
        value = self.value(einsum.value)
        if ragged:
            value = dataclasses.replace(value, mask=self.all_of([value.mask, *(it.mask for it in ragged)]), fill=None)
        atoms = [tuple(it for it in self.atoms(rank)) for rank in einsum.ranks]
        match einsum.op:
            case "cumsum" | "cumprod" | "cummax":
                return self.scan(einsum.op, value, atoms[0])
            case "argmax" | "argmin":
                return self.extreme(einsum.op, value, atoms[0])
            case "topk" | "argsort":
                return self.select(einsum.op, value, *atoms)
            case "place":
                return self.place(value, atoms[0])
        return self.reduce(einsum.op, value, [it for group in atoms for it in group])

    def dims(self, value, reduced):
        return tuple(value.axes.index(it) for it in reduced if it in value.axes)

    def without(self, value, reduced):
        return tuple(it for it in value.axes if it not in reduced)

    def counted(self, value, reduced):
        """How many points along ranks are present."""
        if value.is_absent:
            return number(0)
        missing = value.mask is None or value.mask.is_number
        own = () if missing else tuple(it for it in reduced if it in value.mask.axes)
        times = math.prod(self.size(it) for it in reduced if it not in own)
        if missing:
            return number(times)
        count = value.mask
        if own:
            dims = self.dims(count, own)
            count = self.emit(f"{count.code}.sum({dims})", [count], self.without(count, own))
        else:
            count = self.map("{0}.long()", count)
        return count if times == 1 else self.map("{0} * {1}", count, number(times))

    def reduce(self, op, value, reduced):
        if op == "count":
            return self.counted(self.where(value, value), reduced)
        if op == "mean":
            if value.mask is None:
                dims = self.dims(value, reduced)
                return self.emit(f"{value.code}.mean({dims})", [value], self.without(value, reduced)) if dims else value
            count = self.counted(value, reduced)
            total = self.reduce("sum", value, reduced)
            some = self.map("{0} > {1}", count, number(0))
            if self.holds(some):
                return self.map("{0} / {1}", total, count)
            return self.where(self.map("{0} / {1}.clamp(min=1)", total, count), some)
        is_integer = (isinstance(value.data, int) if value.is_number else not value.data.is_floating_point()) and op in ("max", "min")
        identity = {"max": LEAST, "min": LARGEST}[op] if is_integer else IDENTITY[op]
        some = self.map("{0} > {1}", self.counted(value, reduced), number(0)) if is_integer and value.mask else None
        present = dataclasses.replace(self.filled(value, identity), mask=None)
        dims = self.dims(present, reduced)
        missing = math.prod(self.size(it) for it in reduced if it not in present.axes)
        result = present
        if dims and op == "prod":
            for dim in sorted(dims, reverse=True):
                result = self.emit(f"{result.code}.prod({dim})", [result], result.axes[:dim] + result.axes[dim + 1 :])
        elif dims:
            result = self.emit(f"{present.code}.{REDUCE[op]}({dims})", [present], self.without(present, reduced))
        if missing != 1 and op in ("sum", "prod"):
            result = self.map("{0} * {1}" if op == "sum" else "{0} ** {1}", result, number(missing))
        return result if some is None else self.where(result, some)

    def factors(self, expression):
        """A product as factors, those it is divided by, and conditions on it; whether its sign changes."""
        over, under, conditions, sign = [], [], [], 1
        match expression.op, *expression.args:
            case "*", a, b:
                parts = [self.factors(a), self.factors(b)]
                for o, u, c, s in parts:
                    over, under, conditions, sign = over + o, under + u, conditions + c, sign * s
                return over, under, conditions, sign
            case "/", a, b if expression not in self.softmaxes:
                over, under, conditions, sign = self.factors(a)
                return over, under + [b], conditions, sign
            case "where", a, b:
                over, under, conditions, sign = self.factors(a)
                return over, under, conditions + [b], sign
            case "neg", a:
                over, under, conditions, sign = self.factors(a)
                return over, under, conditions, -sign
            case _:
                return [expression], [], [], 1

    def sum(self, einsum):
        """A sum of a product as an einsum, any other as it is."""
        reduced = {atom for rank in einsum.ranks for atom in self.atoms(rank)}
        over, under, conditions, sign = self.factors(einsum.value)
        factors = [self.value(it) for it in over]
        divisors = [self.value(it) for it in under]
        masks = [it.mask for it in factors + divisors]
        for it in conditions:
            condition = self.value(it)
            if condition.is_absent or condition.data is False:
                return number(0.0)
            if not self.holds(condition, condition.mask, *masks):
                masks.append(dataclasses.replace(condition, mask=None))
            masks.append(condition.mask)
        masks += [self.value(node("index", it)).mask for it in einsum.ranks if self.is_ragged(it)]
        if any(it is not None and it.data is False for it in masks):
            return number(0.0)
        if any(not it.is_number and not it.data.is_floating_point() or isinstance(it.data, int) for it in factors):
            value = dataclasses.replace(self.value(einsum.value), mask=self.all_of(masks), fill=None)
            return self.reduce("sum", value, reduced)
        scale, after, inner = float(sign), [], []
        for it in divisors:
            plain = dataclasses.replace(it, mask=None)
            if reduced.isdisjoint(it.axes) and it.mask is None:
                after.append(("{0} / {1}", plain))
                continue
            covering = [at for at, f in enumerate(factors) if set(it.axes) <= set(f.axes)]
            at = covering[0] if covering else 0
            old = factors[at]
            factors[at] = dataclasses.replace(self.map("{0} / {1}", old, plain), mask=old.mask, fill=None)
        for it in factors:
            zeroed = dataclasses.replace(self.filled(it, 0), mask=None)
            if it.mask is not None and not it.mask.is_number:
                masks = [m for m in masks if m is not it.mask]
            if it.is_number and it.mask is None:
                scale *= it.data
            elif reduced.isdisjoint(zeroed.axes):
                after.append(("{0} * {1}", zeroed))
            else:
                inner.append(zeroed)
        for mask in list({id(it): it for it in masks if it is not None and it.data is not True}.values()):
            covering = [at for at, f in enumerate(inner) if set(mask.axes) <= set(f.axes)]
            if covering:
                at = min(covering, key=lambda it: math.prod(self.shape(inner[it].axes)))
                inner[at] = self.map("torch.where({0}, {1}, 0.0)", mask, inner[at])
            else:
                inner.append(self.map("{0}.float()", mask))
        result = self.contracted(inner, reduced) if inner else number(1.0)
        missing = math.prod(self.size(it) for it in reduced if not any(it in f.axes for f in inner))
        if scale * missing != 1:
            result = self.map("{0} * {1}", result, number(scale * missing))
        for template, it in after:
            result = self.map(template, result, it)
        return dataclasses.replace(result, mask=None)

    def contracted(self, factors, reduced):
        """The sum of a product of tensors, pair by pair."""
        cost = lambda a, b: math.prod(self.shape(set(a.axes) | set(b.axes)))
        while len(factors) > 2:
            pairs = list(itertools.combinations(range(len(factors)), 2))
            a, b = min(pairs, key=lambda it: cost(factors[it[0]], factors[it[1]]))
            others = [it for at, it in enumerate(factors) if at not in (a, b)]
            x, y = factors[a], factors[b]
            own = {it for it in reduced if not any(it in other.axes for other in others)}
            if set(x.axes) <= set(y.axes) or set(y.axes) <= set(x.axes) or not own & (set(x.axes) | set(y.axes)):
                factors = others + [self.map("{0} * {1}", x, y)]
            else:
                factors = others + [self.contracted([x, y], own)]
        axes = self.sorted([it for it in dict.fromkeys(axis for f in factors for axis in f.axes) if it not in reduced])
        if len(factors) == 1:
            (it,) = factors
            dims = self.dims(it, reduced)
            return self.emit(f"{it.code}.sum({dims})", [it], self.without(it, reduced)) if dims else it
        letters = dict(zip(self.union(factors), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        word = lambda axes: "".join(letters[it] for it in axes)
        formula = f"{word(factors[0].axes)},{word(factors[1].axes)}->{word(axes)}"
        return self.emit(f'torch.einsum("{formula}", {factors[0].code}, {factors[1].code})', factors, axes)

    # What goes along a rank.

    def last(self, value, atoms):
        """A value whose last axis is a rank, flat, and the others."""
        others = tuple(it for it in self.sorted(value.axes) if it not in atoms)
        value = self.expanded(value, others + atoms)
        if len(atoms) > 1:
            axis = self.fresh_axis(math.prod(self.shape(atoms)))
            value = self.emit(f"{value.code}.flatten({len(others)})", [value], others + (axis,), value.mask, value.fill)
        return value, others

    def scan(self, op, value, atoms):
        value = dataclasses.replace(self.filled(value, {"cumsum": 0, "cumprod": 1, "cummax": -math.inf}[op]), mask=None)
        if len(atoms) == 1 and not value.is_number and atoms[0] in value.axes:
            tail = ".values" if op == "cummax" else ""
            return self.emit(f"torch.{op}({value.code}, {value.axes.index(atoms[0])}){tail}", [value], value.axes)
        value, others = self.last(value, atoms)
        tail = ".values" if op == "cummax" else ""
        result = self.emit(f"torch.{op}({value.code}, -1){tail}", [value], value.axes)
        return self.split(result, result.axes[-1], atoms)

    def ordered(self, value, largest):
        """A value whose absent points come last in order."""
        is_integer = not value.is_number and not value.data.is_floating_point() or isinstance(value.data, int)
        low, high = (LEAST, LARGEST) if is_integer else (-math.inf, math.inf)
        return dataclasses.replace(self.filled(value, low if largest else high), mask=None)

    def extreme(self, op, value, atoms):
        count = self.counted(value, atoms) if value.mask is not None else None
        flat, others = self.last(self.ordered(value, op == "argmax"), atoms)
        result = self.emit(f"{flat.code}.{op}(-1)", [flat], others)
        return result if count is None else self.where(result, self.map("{0} > {1}", count, number(0)))

    def select(self, op, value, atoms, to):
        count = self.counted(value, atoms) if value.mask is not None else None
        flat, others = self.last(self.ordered(value, op == "topk"), atoms)
        k, n = math.prod(self.shape(to)), self.size(flat.axes[-1])
        axis = self.fresh_axis(k)
        if op == "topk" and k < n and flat.data.is_floating_point():
            code = f"torch.topk({flat.code}, {k}).indices"
        else:
            code = f"torch.argsort({flat.code}, dim=-1, descending={op == 'topk'}, stable=True)"
            if k < n:
                code += f"[..., :{k}]"
        if k > n:
            code = f"functional.pad({code}, (0, {k - n}))"
            count = count or number(n)
        result = self.split(self.emit(code, [flat], others + (axis,)), axis, to)
        if count is None:
            return result
        place = number(0)
        for atom in to:
            place = self.map("{0} * {1} + {2}", place, number(self.size(atom)), self.value(node("index", atom)))
        return self.where(result, self.map("{0} < {1}", place, count))

    def place(self, value, atoms):
        flat, others = self.last(self.ordered(value, True), atoms)
        code = f"torch.argsort(torch.argsort({flat.code}, dim=-1, descending=True, stable=True), dim=-1)"
        result = self.split(self.emit(code, [flat], flat.axes), flat.axes[-1], atoms)
        return dataclasses.replace(result, mask=value.mask)

    def scattered(self, einsum):
        """`any[j](index == n)` puts true where indices point to."""
        expression = einsum.value
        if expression.op != "==" or len(einsum.ranks) != 1:
            return None
        for a, b in (expression.args, expression.args[::-1]):
            if a.op == "read" and b.op == "index" and len(self.atoms(b.args[0])) == 1 and b.args[0] not in self.bound:
                (j,), n, index = self.atoms(einsum.ranks[0])[:1], b.args[0], self.value(a)
                if index.mask is not None or index.is_number or n in index.axes or j not in index.axes or len(self.atoms(einsum.ranks[0])) > 1:
                    return None
                if not bool(((index.data >= 0) & (index.data < self.size(n))).all()):
                    return None
                at, axes = index.axes.index(j), tuple(n if it == j else it for it in index.axes)
                code = f"torch.zeros({self.shape(axes)}, dtype=torch.bool).scatter_({at}, {index.code}, True)"
                return self.emit(code, [index], axes)
        return None

    def note_softmax(self, einsum):
        """Remembers `exp(s - max(s)) / sum(exp(s - max(s)))` and `max(s) + log(sum(exp(s - max(s))))` by its last operation."""
        expression = einsum.value
        if einsum.op == "max":
            self.softmaxes[einsum.name] = (einsum.ranks, expression)
        if einsum.op == "sum" and expression.op == "exp" and expression.args[0].op == "-":
            scores, shift = expression.args[0].args
            if shift.op == "read" and self.softmaxes.get(shift.args[0]) == (einsum.ranks, scores):
                total = node("read", einsum.name, None)
                self.softmaxes[node("/", expression, total)] = ("softmax", einsum.ranks, scores)
                self.softmaxes[node("+", shift, node("log", total))] = ("logsumexp", einsum.ranks, scores)

    def softmax(self, op, ranks, expression):
        """torch.softmax or torch.logsumexp."""
        scores = self.value(expression)
        if scores.is_number:
            return None
        atoms = tuple(it for rank in ranks for it in self.atoms(rank))
        masked = dataclasses.replace(self.filled(scores, -math.inf), mask=None)
        if op == "softmax" and len(atoms) == 1 and atoms[0] in masked.axes:
            at = masked.axes.index(atoms[0])
            result = self.emit(f"torch.softmax({masked.code}, {at})", [masked], masked.axes)
        elif op == "softmax":
            flat, others = self.last(masked, atoms)
            result = self.split(self.emit(f"torch.softmax({flat.code}, -1)", [flat], flat.axes), flat.axes[-1], atoms)
        else:
            masked = self.expanded(masked, self.sorted(set(masked.axes) | set(atoms))) if not set(atoms) <= set(masked.axes) else masked
            dims = self.dims(masked, atoms)
            return self.emit(f"torch.logsumexp({masked.code}, {dims})", [masked], self.without(masked, atoms))
        if scores.mask is not None and not self.holds(self.map("{0} == {0}", result)):
            result = self.emit(f"{result.code}.nan_to_num(0.0)", [result], result.axes)
        return dataclasses.replace(result, mask=scores.mask, fill=0 if scores.mask else None)

    # Expressions.

    def value(self, expression):
        if expression in self.memo:
            return self.memo[expression]
        if self.bound and expression.op == "index" and self.bound.keys().isdisjoint(self.atoms(expression.args[0])):
            memo, self.memo = self.memo, self.outside
            value = self.value(expression) if expression in self.memo else self.evaluated(expression)
            self.memo[expression] = value
            self.memo = memo
        elif self.bound and self.is_before(expression):
            bound, memo = self.bound, self.memo
            self.bound, self.memo = {}, self.outside
            order, self.order = self.order, tuple(bound) + self.order
            whole = self.value(expression)
            self.bound, self.memo, self.order = bound, memo, order
            value = self.at_bound(whole)
        else:
            value = self.evaluated(expression)
        self.memo[expression] = value
        return value

    def evaluated(self, expression):
        op, args = expression.op, expression.args
        match op:
            case "number":
                return number(args[0])
            case "extent":
                return number(self.extents[args[0]])
            case "index":
                return self.index(args[0])
            case "param":
                return self.value(self.cascade.params[args[0]])
            case "read":
                return self.read(*args)
            case "where":
                return self.where(self.value(args[0]), self.value(args[1]))
            case "else":
                return self.otherwise(expression)
            case "if":
                return self.choice(*map(self.value, args))
            case "present":
                mask = self.value(args[0]).mask
                return number(True) if mask is None else dataclasses.replace(mask, mask=None)
            case "pick":
                return self.pick(*map(self.value, args))
            case "and" | "or":
                return self.decided(op, *map(self.value, args))
        if expression in self.softmaxes and (found := self.softmax(*self.softmaxes[expression])):
            return found
        values = [self.value(it) for it in args]
        if any(it.is_absent for it in values):
            return ABSENT
        mask = self.all_of([it.mask for it in values])
        plain = [dataclasses.replace(it, mask=None) for it in values]
        if op in DTYPES:
            return dataclasses.replace(self.cast(plain[0], op, args[0].op), mask=mask)
        if op in ("//", "%", "shl", "shr", "ilog2"):
            return self.partial(op, plain, mask)
        if op in ("min", "max") and sum(it.is_number for it in plain) == 1:
            tensor, bound = sorted(plain, key=lambda it: it.is_number)
            return self.map(f"{{0}}.clamp({'max' if op == 'min' else 'min'}={{1}})", tensor, bound, mask=mask)
        if op == "not" and plain[0].is_number:
            return number(not plain[0].data, mask)
        if op in ("floor", "ceil", "round", "trunc", "relu", "sign") and not plain[0].is_number and not plain[0].data.is_floating_point():
            return plain[0] if op not in ("relu", "sign") else self.map(UNARY[op], *plain, mask=mask)
        template = UNARY.get(op) if len(values) == 1 else BINARY.get(op)
        if template is None:
            raise Unsupported(f"operation {op}")
        return self.map(template, *plain, mask=mask, fill=0 if op in ("neg",) and values[0].fill == 0 else None)

    def partial(self, op, values, mask):
        """Integer operations that are absent for some operands."""
        a, b = values[0], values[-1]
        guard = {"//": "{0} != 0", "%": "{0} != 0", "ilog2": "{0} >= 1"}.get(op, "({0} >= 0) & ({0} < 64)")
        inside = self.map(guard, b)
        if not self.holds(inside, mask):
            mask = self.all_of([mask, inside])
        if mask is not None and not self.holds(inside):
            if mask.data is False:
                return ABSENT
            b = self.map("torch.where({0}, {1}, 1)", inside, b)
        template = {"//": "{0} // {1}", "%": "{0} % {1}", "shl": "{0} << {1}", "shr": "{0} >> {1}", "ilog2": "torch.floor(torch.log2({0}.double())).long()"}
        return self.map(template[op], *([b] if op == "ilog2" else [a, b]), mask=mask)

    def cast(self, value, dtype, of=None):
        if value.is_absent:
            return value
        if value.is_number:
            data = torch.tensor(value.data, dtype=torch.float64 if isinstance(value.data, float) else None)
            if dtype[0] in "iu" and isinstance(value.data, float):
                data = data.round()
            data = data.to(DTYPES[dtype]).item()
            return number(float(data) if dtype[0] in "fb" and dtype != "bool" else data, value.mask)
        floating = value.data.is_floating_point()
        if dtype in ("f32", "f64"):
            return value if floating else self.map("{0}.float()", value, mask=value.mask)
        if dtype == "bool":
            return self.map("{0} != 0", value, mask=value.mask)
        if dtype[0] in "fb":
            limit = ".clamp(-448, 448)" if dtype == "f8e4m3" else ""
            return self.map(f"{{0}}{limit}.to({DTYPES[dtype]}).float()", value, mask=value.mask)
        code = "{0}"
        if floating and of not in ("floor", "ceil", "round", "trunc"):
            code += ".round()"
        if dtype != "i64":
            limits = torch.iinfo(DTYPES[dtype])
            code += f".clamp({limits.min}, {limits.max})" if value.data.dtype not in (torch.bool, torch.uint8) else ""
        code += ".long()" if value.data.dtype != torch.int64 else ""
        return value if code == "{0}" else self.map(code, value, mask=value.mask)

    def chosen(self, condition, a, b):
        """a where a condition is true, else b, of masks, too."""
        if a is b:
            return a
        if isinstance(a.data, bool) and isinstance(b.data, bool):
            return b if a.data == b.data else condition if a.data else self.map("~{0}", condition)
        if a.is_number and b.is_number and isinstance(a.data, float) != isinstance(b.data, float):
            a, b = number(float(a.data)), number(float(b.data))
        return self.map("torch.where({0}, {1}, {2})", condition, a, b)

    def choice(self, condition, a, b):
        if condition.is_absent:
            return ABSENT
        if condition.is_number:
            return a if condition.data else b
        plain = dataclasses.replace(condition, mask=None)
        if a.is_absent:
            return self.where(b, dataclasses.replace(self.map("~{0}", plain), mask=condition.mask))
        if b.is_absent:
            return self.where(a, condition)
        mask = condition.mask
        if a.mask is not None or b.mask is not None:
            chosen = self.chosen(plain, a.mask or number(True), b.mask or number(True))
            mask = self.all_of([mask, chosen])
            if mask is not None and self.holds(mask):
                mask = None
        value = self.chosen(plain, dataclasses.replace(a, mask=None), dataclasses.replace(b, mask=None))
        return dataclasses.replace(value, mask=mask, fill=None)

    def pick(self, index, *values):
        result, mask = values[-1], None
        inside = self.map("({0} >= 0) & ({0} < {1})", dataclasses.replace(index, mask=None), number(len(values)))
        for at in reversed(range(len(values) - 1)):
            condition = self.map("{0} == {1}", dataclasses.replace(index, mask=None), number(at))
            result = self.choice(condition, values[at], result)
        return self.where(result, dataclasses.replace(inside, mask=index.mask))

    def decided(self, op, a, b):
        """`and`, `or`: a present false decides the one, a present true the other."""
        decides = op == "or"
        for x, y in ((a, b), (b, a)):
            if x.is_number and x.mask is None:
                return number(decides) if x.data == decides else y
        template = "{0} | {1}" if decides else "{0} & {1}"
        if a.mask is None and b.mask is None:
            return self.map(template, a, b)
        if a.is_absent and b.is_absent:
            return ABSENT
        x, y = (dataclasses.replace(self.filled(it, not decides), mask=None) for it in (a, b))
        value = self.decided(op, x, y) if x.is_number or y.is_number else self.map(template, x, y)
        present = self.all_of([a.mask, b.mask]) or number(True)
        decisive = value if decides else self.map("~{0}", value)
        mask = self.map("{0} | {1}", present, decisive) if not present.is_number else decisive if not present.data else None
        return dataclasses.replace(value, mask=mask)

    def otherwise(self, expression):
        """The first where it is present, else the second."""
        a, b = map(self.value, expression.args)
        if a.is_absent:
            return b
        if a.mask is None or a.mask.data is True:
            return a
        mask = None
        if b.mask is not None:
            if b.is_absent:
                return a
            mask = self.map("{0} | {1}", a.mask, b.mask)
            mask = None if self.holds(mask) else mask
        x, y = (dataclasses.replace(it, mask=None) for it in (a, b))
        if a.fill is not None and y.is_number and a.fill == y.data:
            return dataclasses.replace(a, mask=mask, fill=None)
        return dataclasses.replace(self.chosen(dataclasses.replace(a.mask, mask=None), x, y), mask=mask)

    # Loops.

    def free(self, expression):
        """The ranks that an expression depends on, and whether it reads what a recurrence defines."""
        if expression in self.varies:
            return self.varies[expression]
        op, args = expression.op, expression.args
        axes, grouped, largest = set(), False, 1
        if op == "index":
            axes = set(self.atoms(args[0]))
        elif op == "param":
            axes, grouped, largest = self.free(self.cascade.params[args[0]])
        elif op == "read":
            name, coordinates = args
            grouped = name in self.group
            if coordinates is None:
                axes = {atom for rank, _ in self.tensors[name].dims for atom in self.atoms(rank)}
            for it in coordinates or []:
                inner = self.free(it)
                axes, grouped = axes | inner[0], grouped or inner[1]
            largest = math.prod(self.shape(axes))
        elif op not in ("number", "extent"):
            for it in args:
                inner = self.free(it)
                axes, grouped, largest = axes | inner[0], grouped or inner[1], max(largest, inner[2])
        self.varies[expression] = (axes, grouped, largest)
        return self.varies[expression]

    def is_before(self, expression):
        """It may be computed before the loop, for all its coordinates, and is not larger than what it reads."""
        if expression.op in ("number", "extent", "index", "param", "read"):
            return False
        axes, grouped, largest = self.free(expression)
        return not grouped and (math.prod(self.shape(axes)) <= max(largest, 1 << 18))

    def at_bound(self, value):
        mask = value.mask and self.at_bound(value.mask)
        for axis in value.axes:
            if axis in self.bound:
                value = self.selected(dataclasses.replace(value, mask=None), axis, self.bound[axis])
        return dataclasses.replace(value, mask=mask if mask is None or not mask.is_number or not mask.data else None)

    def selected(self, value, axis, at):
        """One coordinate of an axis."""
        dim, axes = value.axes.index(axis), tuple(it for it in value.axes if it != axis)
        if not self.bound:
            return self.emit(f"{value.code}.select({dim}, {at})", [value], axes, None, value.fill)
        if (value.code, dim) not in self.views:
            self.views[value.code, dim] = self.emit(f"{value.code}.unbind({dim})", [value], value.axes)
        parts = self.views[value.code, dim]
        data = parts.data[at]
        result = Value(f"{parts.code}[{at}]", axes, data, parts.root, parts.const, None, value.fill)
        # A condition by position alone is known for this coordinate.
        if value.const and data.dtype == torch.bool and data.numel() and bool(data.all() if data.flatten()[0] else not data.any()):
            return number(bool(data.flatten()[0]))
        return result if axes or not value.const else number(data.item())

    # Reading at coordinates.

    def read(self, name, coordinates):
        stored = self.tensors[name]
        if coordinates is None:
            coordinates = [node("index", rank) for rank, _ in stored.dims]
        if stored.steps is not None:
            return self.read_steps(stored, list(coordinates))
        if stored.value is None:
            bound, memo, group = self.bound, self.memo, self.group
            if bound:
                self.bound, self.memo = {}, self.outside
            stored.value = stored.make()
            self.bound, self.memo = bound, memo
        return self.access(stored.value, stored.dims, list(coordinates))

    def read_steps(self, stored, coordinates):
        """A tensor that a recurrence defines: at one of its coordinates, or at several, one beside the other."""
        along = stored.along
        others = stored.dims[:along] + stored.dims[along + 1 :]
        at = self.value(coordinates[along])
        if at.is_absent:
            return ABSENT
        if at.is_number:
            value = stored.steps.get(at.data, ABSENT)
            return self.access(value, others, coordinates[:along] + coordinates[along + 1 :])
        first, last = 0, stored.dims[along][1] - 1
        if at.const and at.mask is None:
            first, last = max(first, int(at.data.min())), min(last, int(at.data.max()))
        axis = self.fresh_axis(last + 1 - first)
        key = (id(stored), first, last)
        if key not in self.views:
            values = [stored.steps[it] for it in range(first, last + 1)]
            axes = self.sorted(list(dict.fromkeys(a for v in values for it in (v, v.mask) if it is not None for a in it.axes)))
            dims = [atom for rank, _ in others for atom in self.atoms(rank)]
            axes = tuple(sorted(axes, key=lambda it: dims.index(it) if it in dims else -1))
            place = sum(it in axes for rank, _ in stored.dims[:along] for it in self.atoms(rank))
            self.views[key] = self.stacked(values, axes, place, axis), axis
        value, old = self.views[key]
        rename = lambda it: it and dataclasses.replace(it, axes=tuple(axis if a == old else a for a in it.axes), mask=rename(it.mask))
        shift = coordinates[along] if first == 0 else node("-", coordinates[along], node("number", first))
        dims = stored.dims[:along] + [(axis, last + 1 - first)] + stored.dims[along + 1 :]
        return self.access(rename(value), dims, coordinates[:along] + [shift] + coordinates[along + 1 :])

    def stacked(self, values, axes, place, axis):
        masks = [it.mask for it in values]
        plain = [self.expanded(dataclasses.replace(it, mask=None), axes) for it in values]
        first = max((it.data.dtype for it in plain), key=lambda it: it.is_floating_point)
        code = ", ".join(it.code if it.data.dtype == first else f"{it.code}.to({first})" for it in plain)
        result = self.emit(f"torch.stack([{code}], {place})", plain, axes[:place] + (axis,) + axes[place:])
        if any(it is not None for it in masks):
            mask = self.stacked([it or number(True) for it in masks], axes, place, axis)
            result = dataclasses.replace(result, mask=mask)
        return result

    def access(self, value, dims, coordinates):
        """A tensor at coordinates, one for each of its dimensions."""
        if value.is_absent:
            return ABSENT
        mask = value.mask
        if mask is not None:
            mask = self.access(dataclasses.replace(mask, mask=None), dims, coordinates)
            mask = self.all_of([mask.mask, dataclasses.replace(mask, mask=None)])
        masks, fill = [mask], value.fill
        value = dataclasses.replace(value, mask=None)
        plain, gathers, selects = [], [], []
        # Names of its own for each axis, so that those of others may come in their place.
        groups, axes = [], list(value.axes)
        for rank, size in dims:
            group = []
            for atom in self.atoms(rank):
                if atom in value.axes:
                    own = self.fresh_axis(self.size(atom))
                    axes[axes.index(atom)] = own
                    group.append(own)
                else:
                    group.append(None)
            groups.append(group)
        value = dataclasses.replace(value, axes=tuple(axes))
        for (rank, size), group, coordinate in zip(dims, groups, coordinates):
            to = self.atoms(coordinate.args[0]) if coordinate.op == "index" else ()
            alike = coordinate.op == "index" and size == self.extents[coordinate.args[0]] and len(to) == len(group) and all(
                self.size(a) == self.size(b) for a, b in zip(self.atoms(rank), to)
            )
            if alike:
                for own, atom in zip(group, to):
                    if own is not None:
                        selects.append((own, self.bound[atom])) if atom in self.bound else plain.append((own, (atom,)))
                continue
            at = self.value(coordinate)
            if at.is_absent:
                return ABSENT
            masks.append(at.mask)
            if at.is_number:
                if not 0 <= at.data < size:
                    return ABSENT
                rest = at.data
                for own, atom in reversed(list(zip(group, self.atoms(rank)))):
                    if own is not None:
                        selects.append((own, rest % self.size(atom)))
                    rest //= self.size(atom)
                continue
            at, inside = self.clamped(at, size)
            masks.append(inside)
            if any(it is not None for it in group):
                value, own = self.joined(value, group, self.atoms(rank), size)
                gathers.append((own, at))
        for own, at in selects:
            value = self.selected(value, own, at)
        if value.is_number:
            return dataclasses.replace(value, mask=self.all_of(masks))
        value = self.gathered(value, plain, gathers)
        return dataclasses.replace(value, mask=self.all_of(masks), fill=fill if len([it for it in masks if it is not None]) == (mask is not None) else None)

    def clamped(self, at, size):
        """Coordinates that are in range, and where they were."""
        plain = dataclasses.replace(at, mask=None)
        ok = Value("", at.axes, (at.data >= 0) & (at.data < size), const=True)
        if bool(ok.data.all()):
            return plain, None
        present = None
        seen = ok.data
        if at.mask is not None and not at.mask.is_number:
            axes = self.union([plain, at.mask])
            view = lambda it: eval(self.aligned(it, axes), self.env | {"ok": ok.data})
            seen = view(dataclasses.replace(ok, code="ok")) | ~view(at.mask)
        key = ("inside", at.code, size)
        if not bool(seen.all()):
            if key not in self.memo:
                self.memo[key] = self.map(f"({{0}} >= 0) & ({{0}} < {size})", plain)
            present = self.memo[key]
        key = ("clamped", at.code, size)
        if key not in self.memo:
            self.memo[key] = self.map(f"{{0}}.clamp(0, {size - 1})", plain)
        return self.memo[key], present

    def joined(self, value, group, atoms, size):
        """A value with one axis for those of a composite rank."""
        if len(group) == 1:
            return value, group[0]
        own = [it if it is not None else self.fresh_axis(self.size(atom)) for it, atom in zip(group, atoms)]
        at = min(value.axes.index(it) for it in group if it is not None)
        rest = [it for it in value.axes if it not in own]
        before = sum(1 for it in value.axes[:at] if it not in own)
        value = self.expanded(value, tuple(rest[:before] + own + rest[before:]))
        axis = self.fresh_axis(math.prod(self.shape(own)))
        axes = tuple(rest[:before]) + (axis,) + tuple(rest[before:])
        return self.emit(f"{value.code}.flatten({before}, {before + len(own) - 1})", [value], axes, None, value.fill), axis

    def gathered(self, value, plain, gathers):
        """Takes axes over as they are, or at indices."""
        uses = collections.Counter(axis for _, axes in plain for axis in axes)
        uses.update(axis for _, at in gathers for axis in at.axes)
        is_alone = lambda axes: all(uses[it] == 1 for it in axes)
        index = {}
        for own, at in gathers:
            if (start := self.run_of(at)) is None or not is_alone(at.axes):
                index[own] = at
                continue
            count = at.data.numel()
            if start or count != self.size(own):
                dim, axis = value.axes.index(own), self.fresh_axis(count)
                axes = tuple(axis if it == own else it for it in value.axes)
                value = self.emit(f"{value.code}.narrow({dim}, {start}, {count})", [value], axes, None, value.fill)
                own = axis
            plain.append((own, at.axes))
        for own, axes in plain:
            if is_alone(axes):
                value = self.split(value, own, axes)
            else:
                index[own] = self.emit(f"torch.arange({self.size(own)}).reshape({self.shape(axes)})", [], axes)
        return self.indexed(value, index) if index else value

    def run_of(self, at):
        """The first of coordinates that follow each other, if they do."""
        if not at.const or not at.data.numel() or at.axes != tuple(it for it in at.axes):
            return None
        start = int(at.data.flatten()[0])
        wanted = torch.arange(start, start + at.data.numel()).reshape(at.data.shape)
        return start if torch.equal(at.data, wanted) else None

    def indexed(self, value, index):
        values = list(index.values())
        axes = self.union(values)
        dims = [value.axes.index(it) for it in index]
        if len(index) == 1 and len(axes) == 1:
            own = tuple(axes[0] if it in index else it for it in value.axes)
            return self.emit(f"{value.code}.index_select({dims[0]}, {values[0].code})", [value, *values], own, None, value.fill)
        if set(value.axes) == set(index) and (found := self.taken(value, index)):
            return found
        entries, shape = [], []
        for axis in value.axes:
            if axis in index:
                entries.append(self.aligned(index[axis], axes))
            else:
                entries.append(":")
                shape.append(axis)
        together = dims == list(range(min(dims), min(dims) + len(dims))) or sorted(dims) == list(range(min(dims), max(dims) + 1))
        before = [it for it in value.axes[: min(dims)]] if together else []
        shape = tuple(before) + axes + tuple(it for it in shape if it not in before)
        while entries and entries[-1] == ":":
            entries.pop()
        return self.emit(f"{value.code}[{', '.join(entries)}]", [value, *values], shape, None, value.fill)

    def taken(self, value, index):
        """torch.gather, where all axes but one are kept."""
        moved = [own for own, at in index.items() if len(at.axes) != 1 or self.run_of(at) != 0 or at.data.numel() != self.size(own)]
        if len(moved) != 1:
            return None
        kept = {own: at.axes[0] for own, at in index.items() if own != moved[0]}
        new = [it for it in index[moved[0]].axes if it not in kept.values()]
        if len(new) != 1 or len(index[moved[0]].axes) != len(value.axes):
            return None
        axes = tuple(kept.get(it, new[0]) for it in value.axes)
        at = self.expanded(index[moved[0]], axes)
        return self.emit(f"torch.gather({value.code}, {value.axes.index(moved[0])}, {at.code})", [value, at], axes, None, value.fill)

    # Results.

    def result(self, einsum):
        """A whole output, as its dtype says; absent points are 0, false or -1."""
        stored = self.tensors[einsum.name]
        ranks = [f"@{einsum.name}.{it}" for it in range(len(stored.dims))]
        own = [rank for rank, _ in stored.dims]
        if stored.steps is not None and stored.dims[stored.along][1] != self.extents[own[stored.along]]:
            raise Unsupported(f"output {einsum.name} has more coordinates than its rank")
        atoms = tuple(atom for rank in own for atom in self.atoms(rank))
        self.order = atoms
        value = self.read(einsum.name, None)
        dtype = DTYPES[einsum.dtype]
        fill = 0 if dtype.is_floating_point or einsum.dtype == "u8" else False if einsum.dtype == "bool" else -1
        if value.is_number and not value.is_absent and dtype.is_floating_point:
            value = dataclasses.replace(number(float(value.data)), mask=value.mask)
        value = dataclasses.replace(self.filled(value, fill), mask=None)
        value = self.expanded(value, atoms) if atoms or not value.is_number else self.emit(f"torch.tensor({value.code})", [value], ())
        at = 0
        for rank in own:
            count = len(self.atoms(rank))
            if count > 1:
                axis = self.fresh_axis(math.prod(self.shape(self.atoms(rank))))
                axes = value.axes[:at] + (axis,) + value.axes[at + count :]
                value = self.emit(f"{value.code}.flatten({at}, {at + count - 1})", [value], axes)
                if self.is_ragged(rank):
                    part = self.fresh_axis(self.extents[rank])
                    axes = axes[:at] + (part,) + axes[at + 1 :]
                    value = self.emit(f"{value.code}.narrow({at}, 0, {self.extents[rank]})", [value], axes)
            at += 1
        if value.data.dtype != dtype and (value.data.dtype.is_floating_point or dtype.is_floating_point):
            value = self.emit(f"{value.code}.to({dtype})", [value], value.axes)
        return value

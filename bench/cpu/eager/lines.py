"""Lines of code that make tensors whose axes have names, each run as it is written; and where tensors are absent."""
import contextlib
import dataclasses
import itertools
import math

import torch
from torch.nn import functional

# Of one tensor.
MOST_BYTES = 1 << 30


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
    def plain(self):
        """The same, with nothing said of where it is absent."""
        return dataclasses.replace(self, mask=None)

    def present(self, mask, fill=None):
        """The same, present where that mask says."""
        return dataclasses.replace(self, mask=mask, fill=fill)

    @property
    def key(self):
        """Equal for values that are the same."""
        return self.code, self.axes

    @property
    def is_number(self):
        return not isinstance(self.data, torch.Tensor)

    @property
    def is_integer(self):
        return isinstance(self.data, int) if self.is_number else not self.data.is_floating_point()

    @property
    def is_absent(self):
        return self.mask is not None and self.mask.data is False


def number(data, mask=None):
    """A number, which code spells out."""
    return Value(f"({data!r})" if data < 0 else repr(data), (), data, const=True, mask=mask)


ABSENT = number(0, number(False))


@dataclasses.dataclass
class Line:
    """`name = code`, which reads other lines and inputs; what is constant is run once."""

    name: str
    code: str
    reads: list
    const: bool


class Lines:
    """The code so far, and what it made."""

    def __init__(self, cascade):
        self.cascade, self.extents = cascade, cascade.sizes()
        self.env = {"torch": torch, "functional": functional, "inf": math.inf, "nan": math.nan}
        self.lines, self.order = [], ()
        # Sizes of axes that are no ranks.
        self.sizes, self.fresh = {}, itertools.count()
        # Lines by their code, and those that only the step at hand of a loop needs.
        self.written, self.passing = {}, {}
        # The coordinates of a loop at hand, and the values of expressions, in its step and before it.
        self.bound, self.outside = {}, {}
        self.memo = self.outside

    def size(self, axis):
        return self.sizes[axis] if axis in self.sizes else self.extents[axis]

    def shape(self, axes):
        return tuple(self.size(it) for it in axes)

    def atoms(self, rank):
        return self.cascade.atoms(rank) if rank in self.cascade.parts else (rank,)

    def is_ragged(self, rank):
        """A composite rank has fewer coordinates than its parts have combinations."""
        return math.prod(self.shape(self.atoms(rank))) != self.extents[rank]

    def emit(self, code, reads, axes, mask=None, fill=None):
        """A line that makes a tensor with those axes of values."""
        bytes_ = 4 * math.prod(self.shape(axes))
        if bytes_ > MOST_BYTES:
            raise Unsupported(f"a tensor of {bytes_ / 2**30:.1f} GiB, [{', '.join(axes)}]")
        if code in self.written:
            name, const = self.written[code]
            if not self.bound:
                self.passing.pop(name, None)
            return Value(name, axes, self.env[name], name, const, mask, fill)
        name = f"_{len(self.lines)}"
        try:
            data = eval(code, self.env)
        except Exception as error:
            raise Unsupported(f"`{code}`: {error}") from error
        if isinstance(data, torch.Tensor) and data.shape != self.shape(axes):
            raise Unsupported(f"`{code}` has shape {tuple(data.shape)}, not [{', '.join(axes)}] {self.shape(axes)}")
        const = all(it.const for it in reads)
        self.env[name] = data
        self.written[code] = name, const
        if self.bound and not const:
            self.passing[name] = code
        self.lines.append(Line(name, code, [it.root for it in reads if it.root], const))
        return Value(name, axes, data, name, const, mask, fill)

    def constant(self, data, axes):
        """A tensor that depends on positions alone, made here."""
        name = f"_{len(self.lines)}"
        self.env[name] = data
        self.lines.append(Line(name, "", [], True))
        return Value(name, axes, data, name, True)

    @contextlib.contextmanager
    def before_loop(self):
        """What is written now stands before the loop at hand, for all its coordinates."""
        inside = self.bound, self.memo, self.order
        self.bound, self.memo, self.order = {}, self.outside, tuple(self.bound) + self.order
        yield
        self.bound, self.memo, self.order = inside

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
            wide = lambda it: torch.tensor(it, dtype=torch.float64 if isinstance(it, float) else None)
            given = [wide(it.data) for it in values]
            data = eval(template.format(*(f"given[{it}]" for it in range(len(given)))), self.env | {"given": given})
            return number(data.item(), mask)
        return self.emit(template.format(*(self.aligned(it, axes) for it in values)), values, axes, mask, fill)

    # Axes.

    def fresh_axis(self, size):
        axis = f"@{next(self.fresh)}"
        self.sizes[axis] = size
        return axis

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
            padded = value.axes[:at] + (self.fresh_axis(math.prod(sizes)),) + value.axes[at + 1 :]
            reads = self.emit(f"functional.pad({code}, {padding})", [value], padded)
            code = reads.code
            present = torch.arange(math.prod(sizes)).reshape(sizes) < self.size(axis)
            mask = self.all_of([mask, self.constant(present, tuple(atoms))])
        return self.emit(f"{code}.unflatten({at}, {sizes})", [reads], axes, mask, value.fill)

    def last(self, value, atoms):
        """A value whose last axis is a rank, flat, and the others."""
        others = tuple(it for it in self.sorted(value.axes) if it not in atoms)
        value = self.expanded(value, others + atoms)
        if len(atoms) > 1:
            axis = self.fresh_axis(math.prod(self.shape(atoms)))
            value = self.emit(f"{value.code}.flatten({len(others)})", [value], others + (axis,), value.mask, value.fill)
        return value, others

    def without(self, value, reduced):
        """The axes that are left when ranks are reduced."""
        return tuple(it for it in value.axes if it not in reduced)

    def dims(self, value, reduced):
        """The places of the axes that are reduced."""
        return tuple(value.axes.index(it) for it in reduced if it in value.axes)

    # Presence.

    def all_of(self, masks):
        """Where all masks are true; one that is None always is."""
        found = []
        for it in masks:
            if it is None or it.data is True or any(it.key == other.key for other in found):
                continue
            if it.data is False:
                return it
            found.append(it)
        if not found:
            return None
        result = found[0]
        for it in found[1:]:
            result = self.map("{0} & {1}", result, it)
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
            return value.mask.plain
        code = "torch.where({0}, {1}, {2})"
        return self.map(code, value.mask, value, number(identity)).present(value.mask, identity)

    def where(self, value, condition):
        """A value where a condition is present and true."""
        if value.is_absent or condition.is_absent or condition.data is False:
            return ABSENT
        if self.holds(condition, condition.mask, value.mask):
            return dataclasses.replace(value, mask=self.all_of([value.mask, condition.mask]))
        return value.present(self.all_of([value.mask, condition.mask, condition.plain]))

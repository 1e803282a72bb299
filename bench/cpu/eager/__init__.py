"""A cascade as eager PyTorch, as one writes it by hand.

`Eager` takes a cascade and inputs, and writes straight-line code, line by line, which it runs as it goes:

- A sum of a product is an einsum, a softmax is `torch.softmax`, an index tensor indexes, and a recurrence is a loop over its
  rank, unrolled. Ranks that a tensor does not depend on are views, nothing is expanded before it has to be.
- Absence is a mask beside a tensor, and only where something is absent: that a condition holds at all points of these
  inputs, or that all indices are in range, is seen as the code is written, and then taken for granted.
- What depends on neither inputs nor outputs, such as masks by position, is computed once, outside of the code that is timed.
- What nothing reads is left out, and what has been read for the last time is let go, as in nested expressions.
"""
import math

from .cascade import Recurrence
from .expressions import DTYPES
from .lines import Unsupported, Value, number
from .reading import Stored
from .reductions import Reductions

__all__ = ["DTYPES", "Eager", "Unsupported"]


class Eager(Reductions):
    def __init__(self, cascade, inputs):
        """Writes the code, and keeps what it gives for these inputs as `outputs`, by name."""
        super().__init__(cascade)
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
        """The function `run`, without lines that nothing reads; constants stay in its environment."""
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

    def input(self, name, ranks, dtype, data):
        """A tensor that is given, with an axis for each part of its ranks."""
        self.env[name] = data
        axes = tuple(f"{name}.{it}" for it in range(len(ranks)))
        self.sizes.update(zip(axes, data.shape))
        value = Value(name, axes, data, name)
        if dtype.startswith("f8"):
            value = self.emit(f"{name}.float()", [value], axes)
        for axis, rank in zip(axes, ranks):
            value = self.split(value, axis, self.atoms(rank))
        self.tensors[name] = Stored([(it, self.extents[it]) for it in ranks], value)

    def define(self, einsum):
        """A tensor that is computed when something reads it."""
        dims = [(rank, self.extents[rank]) for rank, _ in einsum.at]
        self.note_softmax(einsum)
        self.tensors[einsum.name] = Stored(dims, make=lambda: self.einsum(einsum))

    def recurrence(self, step):
        """One coordinate after the other; what does not depend on them is computed before, for all."""
        for einsum in step.body:
            along = next(at for at, it in enumerate(einsum.at) if it[0] == step.rank)
            dims = [(rank, self.extents[rank] + shift) for rank, shift in einsum.at]
            self.tensors[einsum.name] = Stored(dims, along=along, steps={})
        for einsum in step.bases:
            along = self.tensors[einsum.name].along
            self.tensors[einsum.name].steps[einsum.at[along]] = self.einsum(einsum)
        atoms = self.atoms(step.rank)
        self.group, self.free_of = {it.name for it in step.body}, {}
        for coordinate in range(self.extents[step.rank]):
            rest = coordinate
            for atom in reversed(atoms):
                self.bound[atom], rest = rest % self.size(atom), rest // self.size(atom)
            self.memo = {}
            for einsum in step.body:
                stored = self.tensors[einsum.name]
                stored.steps[coordinate + einsum.at[stored.along][1]] = self.einsum(einsum)
            self.forget(step, coordinate)
        self.bound, self.group, self.memo = {}, set(), self.outside

    def forget(self, step, coordinate):
        """Lets go of what only this coordinate needed."""
        kept = {it.root for it in self.views.values() if isinstance(it, Value)}
        for einsum in step.body:
            stored = self.tensors[einsum.name]
            value = stored.steps[coordinate + einsum.at[stored.along][1]]
            kept |= {it.root for it in (value, value.mask) if it is not None}
        for name, code in self.passing.items():
            if name not in kept:
                del self.env[name], self.written[code]
        self.passing = {}

    def einsum(self, einsum):
        """What an einsum defines, for the step of a loop at hand or as a whole."""
        own = [it[0] for it in einsum.at if isinstance(it, tuple)]
        atoms = dict.fromkeys(atom for rank in own + einsum.ranks for atom in self.atoms(rank))
        before, self.order = self.order, tuple(it for it in atoms if it not in self.bound)
        value = self.operation(einsum)
        for rank in dict.fromkeys(own):
            if self.is_ragged(rank) and self.bound.keys().isdisjoint(self.atoms(rank)):
                value = value.present(self.all_of([value.mask, self.value(node("index", rank)).mask]))
        if einsum.dtype not in ("real", "int", "bool", "f32", "f64", "i32", "i64"):
            value = self.cast(value, einsum.dtype)
        self.order = before
        return value

    def result(self, einsum):
        """A whole output, as its dtype says; absent points are 0, false or -1."""
        stored = self.tensors[einsum.name]
        own = [rank for rank, _ in stored.dims]
        if stored.steps is not None and stored.dims[stored.along][1] != self.extents[own[stored.along]]:
            raise Unsupported(f"output {einsum.name} has more coordinates than its rank")
        atoms = tuple(atom for rank in own for atom in self.atoms(rank))
        self.order = atoms
        value = self.read(einsum.name, None)
        dtype = DTYPES[einsum.dtype]
        fill = 0 if dtype.is_floating_point or einsum.dtype == "u8" else False if einsum.dtype == "bool" else -1
        if value.is_number and not value.is_absent and dtype.is_floating_point:
            value = number(float(value.data), value.mask)
        value = self.expanded(self.filled(value, fill).plain, atoms)
        for at, rank in enumerate(own):
            count = len(self.atoms(rank))
            if count > 1:
                axis = self.fresh_axis(math.prod(self.shape(self.atoms(rank))))
                axes = value.axes[:at] + (axis,) + value.axes[at + count :]
                value = self.emit(f"{value.code}.flatten({at}, {at + count - 1})", [value], axes)
                if self.is_ragged(rank):
                    part = self.fresh_axis(self.extents[rank])
                    axes = axes[:at] + (part,) + axes[at + 1 :]
                    value = self.emit(f"{value.code}.narrow({at}, 0, {self.extents[rank]})", [value], axes)
        if value.data.dtype != dtype and (value.data.dtype.is_floating_point or dtype.is_floating_point):
            value = self.emit(f"{value.code}.to({dtype})", [value], value.axes)
        return value

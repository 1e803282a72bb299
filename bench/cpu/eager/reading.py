"""Tensors at coordinates: by other names, in parts, at windows that slide, at indices."""
import collections
import dataclasses
import math

import torch

from .cascade import node
from .lines import ABSENT, Lines, Value, number


@dataclasses.dataclass
class Stored:
    """A tensor of the cascade: as a whole, or a value for each coordinate of the dimension that a recurrence goes along."""

    dims: list  # a rank and how many coordinates it has
    value: Value | None = None
    make: object = None
    along: int | None = None
    steps: dict | None = None


class Reading(Lines):
    def __init__(self, cascade):
        super().__init__(cascade)
        self.tensors, self.views = {}, {}

    def read(self, name, coordinates):
        """A tensor of the cascade at coordinates; at its own if there are none."""
        stored = self.tensors[name]
        if coordinates is None:
            coordinates = [node("index", rank) for rank, _ in stored.dims]
        if stored.steps is not None:
            return self.read_steps(stored, list(coordinates))
        if stored.value is None:
            with self.before_loop():
                stored.value = stored.make()
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
        key = (id(stored), first, last)
        if key not in self.views:
            values = [stored.steps[it] for it in range(first, last + 1)]
            axes = self.union([it for value in values for it in (value, value.mask) if it is not None])
            dims = [atom for rank, _ in others for atom in self.atoms(rank)]
            axes = tuple(sorted(axes, key=lambda it: dims.index(it) if it in dims else -1))
            place = sum(it in axes for rank, _ in stored.dims[:along] for it in self.atoms(rank))
            axis = self.fresh_axis(last + 1 - first)
            self.views[key] = self.stacked(values, axes, place, axis), axis
        value, axis = self.views[key]
        shift = coordinates[along] if first == 0 else node("-", coordinates[along], node("number", first))
        dims = stored.dims[:along] + [(axis, last + 1 - first)] + stored.dims[along + 1 :]
        return self.access(value, dims, coordinates[:along] + [shift] + coordinates[along + 1 :])

    def stacked(self, values, axes, place, axis):
        """Values with those axes side by side, along a new one."""
        masks = [it.mask for it in values]
        plain = [self.expanded(it.plain, axes) for it in values]
        first = max((it.data.dtype for it in plain), key=lambda it: it.is_floating_point)
        code = ", ".join(it.code if it.data.dtype == first else f"{it.code}.to({first})" for it in plain)
        result = self.emit(f"torch.stack([{code}], {place})", plain, axes[:place] + (axis,) + axes[place:])
        if any(it is not None for it in masks):
            mask = self.stacked([it or number(True) for it in masks], axes, place, axis)
            result = result.present(mask)
        return result

    def access(self, value, dims, coordinates):
        """A tensor at coordinates, one for each of its dimensions."""
        if value.is_absent:
            return ABSENT
        mask = value.mask
        if mask is not None:
            mask = self.access(mask.plain, dims, coordinates)
            mask = self.all_of([mask.mask, mask.plain])
        masks, fill = [mask], value.fill
        # Names of its own for each axis, so that those of others may come in their place.
        fresh = {atom: self.fresh_axis(self.size(atom)) for atom in value.axes}
        groups = [[fresh.get(atom) for atom in self.atoms(rank)] for rank, _ in dims]
        value = dataclasses.replace(value.plain, axes=tuple(fresh.values()))
        plain, gathers, selects, indices = [], [], [], []
        for (rank, size), group, coordinate in zip(dims, groups, coordinates):
            to = self.atoms(coordinate.args[0]) if coordinate.op == "index" else ()
            if to and size == self.extents[coordinate.args[0]] and self.shape(to) == self.shape(self.atoms(rank)):
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
            if all(it is None for it in group):
                masks.append(self.clamped(at, size)[1])
                continue
            value, own = self.joined(value, group, self.atoms(rank), size)
            indices.append((own, at.plain, at.mask, size))
        for own, at in selects:
            value = self.selected(value, own, at)
        if value.is_number:
            return value.present(self.all_of(masks))
        targets = [axes for _, axes in plain] + [at.axes for _, at, _, _ in indices]
        uses = collections.Counter(axis for axes in targets for axis in axes)
        is_alone = lambda axes: all(uses[it] == 1 for it in axes)
        others = sum(it is not None for it in masks) - (mask is not None)
        for own, at, present, size in indices:
            if is_alone(at.axes) and (window := self.window(at)):
                value, inside = self.slid(value, own, at, size, *window)
                others, fill = (others, fill) if inside is None else (others + (mask is not None), 0)
            else:
                at, inside = self.clamped(at.present(present), size)
                gathers.append((own, at))
                others += inside is not None
            masks.append(inside)
        value = self.gathered(value, plain, gathers, is_alone)
        return value.present(self.all_of(masks), None if others else fill)

    def at_bound(self, value):
        """A value at the coordinates of the loop at hand."""
        mask = value.mask and self.at_bound(value.mask)
        for axis in value.axes:
            if axis in self.bound:
                value = self.selected(value.plain, axis, self.bound[axis])
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
        # What is the same everywhere by position alone is known.
        if value.const and (not axes or data.dtype == torch.bool and bool((data == data.flatten()[0]).all())):
            return number(data.flatten()[0].item())
        return result

    # Where coordinates are computed.

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
        code = f"{value.code}.flatten({before}, {before + len(own) - 1})"
        return self.emit(code, [value], axes, None, value.fill), axis

    def window(self, at):
        """The step, the dilation and the start of coordinates that slide, if they do."""
        if not at.const or at.data.dim() != 2 or 1 in at.data.shape:
            return None
        start = int(at.data[0, 0])
        step, dilation = int(at.data[1, 0]) - start, int(at.data[0, 1]) - start
        places, taps = (torch.arange(it) for it in at.data.shape)
        slides = step > 0 and dilation > 0 and torch.equal(at.data, start + step * places[:, None] + dilation * taps)
        return (step, dilation, start) if slides else None

    def slid(self, value, own, at, size, step, dilation, start):
        """A view of windows along an axis, with zeros around it, and where there are none."""
        dim, (places, taps) = value.axes.index(own), at.data.shape
        reach = dilation * (taps - 1) + 1
        before, after = max(0, -start), max(0, start + step * (places - 1) + reach - size)
        inside, value = None, dataclasses.replace(value, fill=None)
        with_axis = lambda axis: value.axes[:dim] + (axis,) + value.axes[dim + 1 :]
        if before or after:
            inside = self.map(f"({{0}} >= 0) & ({{0}} < {size})", at)
            padding = [0] * (2 * (len(value.axes) - dim - 1)) + [before, after]
            padded = with_axis(self.fresh_axis(size + before + after))
            value = self.emit(f"functional.pad({value.code}, {padding})", [value], padded)
        first, length = start + before, step * (places - 1) + reach
        code = f"{value.code}.narrow({dim}, {first}, {length}).unfold({dim}, {reach}, {step})"
        code += f"[..., ::{dilation}]" if dilation > 1 else ""
        return self.emit(code, [value], with_axis(at.axes[0]) + (at.axes[1],)), inside

    def clamped(self, at, size):
        """Coordinates that are in range, and where they were."""
        plain = at.plain
        ok = Value("", at.axes, (at.data >= 0) & (at.data < size), const=True)
        if bool(ok.data.all()):
            return plain, None
        present = None
        seen = ok.data
        if at.mask is not None and not at.mask.is_number:
            axes = self.union([plain, at.mask])
            view = lambda it: eval(self.aligned(it, axes), self.env | {"ok": ok.data})
            seen = view(dataclasses.replace(ok, code="ok")) | ~view(at.mask)
        if not bool(seen.all()):
            present = self.map(f"({{0}} >= 0) & ({{0}} < {size})", plain)
        return self.map(f"{{0}}.clamp(0, {size - 1})", plain), present

    def gathered(self, value, plain, gathers, is_alone):
        """Takes axes over as they are, or at indices."""
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
        if not at.const or not at.data.numel():
            return None
        start = int(at.data.flatten()[0])
        wanted = torch.arange(start, start + at.data.numel()).reshape(at.data.shape)
        return start if torch.equal(at.data, wanted) else None

    def indexed(self, value, index):
        """A tensor with some axes at indices."""
        values = list(index.values())
        axes = self.union(values)
        dims = [value.axes.index(it) for it in index]
        if len(index) == 1 and len(axes) == 1:
            own = tuple(axes[0] if it in index else it for it in value.axes)
            code = f"{value.code}.index_select({dims[0]}, {values[0].code})"
            return self.emit(code, [value, *values], own, None, value.fill)
        if set(value.axes) == set(index) and (found := self.taken(value, index)):
            return found
        entries = [self.aligned(index[it], axes) if it in index else ":" for it in value.axes]
        # Where indices stand side by side, what they make stands in their place, else in front.
        place = min(dims) if max(dims) - min(dims) < len(dims) else 0
        kept = tuple(it for it in value.axes if it not in index)
        shape = kept[:place] + axes + kept[place:]
        while entries and entries[-1] == ":":
            entries.pop()
        return self.emit(f"{value.code}[{', '.join(entries)}]", [value, *values], shape, None, value.fill)

    def taken(self, value, index):
        """torch.gather, where all axes but one are kept."""
        is_kept = lambda own, at: len(at.axes) == 1 and self.run_of(at) == 0 and at.data.numel() == self.size(own)
        moved = [own for own, at in index.items() if not is_kept(own, at)]
        if len(moved) != 1:
            return None
        kept = {own: at.axes[0] for own, at in index.items() if own != moved[0]}
        new = [it for it in index[moved[0]].axes if it not in kept.values()]
        if len(new) != 1 or len(index[moved[0]].axes) != len(value.axes):
            return None
        axes = tuple(kept.get(it, new[0]) for it in value.axes)
        at = self.expanded(index[moved[0]], axes)
        code = f"torch.gather({value.code}, {value.axes.index(moved[0])}, {at.code})"
        return self.emit(code, [value, at], axes, None, value.fill)

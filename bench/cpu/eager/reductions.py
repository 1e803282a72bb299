"""Reductions, prefixes and selections."""
import dataclasses
import itertools
import math

from .cascade import node
from .expressions import Expressions
from .lines import ABSENT, number

# What nothing is reduced to, and what a reduction is called.
IDENTITY = {"sum": 0, "prod": 1, "max": -math.inf, "min": math.inf, "any": False, "all": True}
REDUCE = {"sum": "sum", "max": "amax", "min": "amin", "any": "any", "all": "all"}
LEAST, LARGEST = -(2**62), 2**62


class Reductions(Expressions):
    def operation(self, einsum):
        """The value of an einsum, with its axes in any order."""
        if einsum.op is None:
            return self.value(einsum.value)
        if einsum.op == "sum" or einsum.op == "mean" and einsum.value.op in ("*", "where", "/"):
            return self.sum(einsum)
        if einsum.op == "any" and (found := self.scattered(einsum)):
            return found
        ragged = [self.value(node("index", it)) for it in einsum.ranks if self.is_ragged(it)]
        value = self.value(einsum.value)
        if ragged:
            value = value.present(self.all_of([value.mask, *(it.mask for it in ragged)]))
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

    def reduce(self, op, value, reduced):
        """A reduction of what is present along ranks without parts."""
        if op == "count":
            return self.counted(self.where(value, value), reduced)
        if op == "mean":
            if value.mask is None:
                dims = self.dims(value, reduced)
                return self.emit(f"{value.code}.mean({dims})", [value], self.without(value, reduced)) if dims else value
            return self.averaged(self.reduce("sum", value, reduced), self.counted(value, reduced))
        is_integer = value.is_integer and op in ("max", "min")
        identity = {"max": LEAST, "min": LARGEST}[op] if is_integer else IDENTITY[op]
        some = self.map("{0} > {1}", self.counted(value, reduced), number(0)) if is_integer and value.mask else None
        present = self.filled(value, identity).plain
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

    def averaged(self, total, count):
        """The mean of so many points; absent where there are none."""
        if count.is_number:
            return self.map("{0} * {1}", total, number(1 / count.data)) if count.data else ABSENT
        some = self.map("{0} > {1}", count, number(0))
        if self.holds(some):
            return self.map("{0} / {1}", total, count)
        return self.where(self.map("{0} / {1}.clamp(min=1)", total, count), some)

    # Sums of products.

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
                return number(0.0) if einsum.op == "sum" else ABSENT
            if not self.holds(condition, condition.mask, *masks):
                masks.append(condition.plain)
            masks.append(condition.mask)
        masks += [self.value(node("index", it)).mask for it in einsum.ranks if self.is_ragged(it)]
        if any(it is not None and it.data is False for it in masks):
            return number(0.0) if einsum.op == "sum" else ABSENT
        if any(it.is_integer for it in factors):
            value = self.value(einsum.value).present(self.all_of(masks))
            return self.reduce(einsum.op, value, reduced)
        result = self.summed(factors, divisors, masks, reduced, float(sign))
        if einsum.op == "sum":
            return result
        return self.averaged(result, self.counted(number(0, self.all_of(masks)), reduced))

    def summed(self, factors, divisors, masks, reduced, scale):
        """The sum of a product: what does not depend on the ranks is multiplied by last, what is absent counts as 0."""
        after, inner = [], []
        for it in divisors:
            if reduced.isdisjoint(it.axes) and it.mask is None:
                after.append(("{0} / {1}", it))
                continue
            at = next((at for at, factor in enumerate(factors) if set(it.axes) <= set(factor.axes)), 0)
            factors[at] = self.map("{0} / {1}", factors[at], it.plain).present(factors[at].mask)
        for it in factors:
            zeroed = self.filled(it, 0).plain
            if it.mask is not None and not it.mask.is_number:
                masks = [mask for mask in masks if mask is None or mask.key != it.mask.key]
            if it.is_number and it.mask is None:
                scale *= it.data
            elif reduced.isdisjoint(zeroed.axes):
                after.append(("{0} * {1}", zeroed))
            else:
                inner.append(zeroed)
        # Masks by position are one; others are put where they are smallest.
        fixed = self.all_of([it for it in masks if it is not None and it.const])
        others = {it.key: it for it in [fixed, *masks] if it is not None and (it is fixed or not it.const)}
        for mask in others.values():
            covering = [at for at, factor in enumerate(inner) if set(mask.axes) <= set(factor.axes)]
            if covering:
                at = min(covering, key=lambda it: math.prod(self.shape(inner[it].axes)))
                inner[at] = self.map("torch.where({0}, {1}, 0.0)", mask, inner[at])
            else:
                inner.append(self.map("{0}.float()", mask))
        result = self.contracted(inner, reduced) if inner else number(1.0)
        missing = math.prod(self.size(it) for it in reduced if not any(it in factor.axes for factor in inner))
        if scale * missing != 1:
            result = self.map("{0} * {1}", result, number(scale * missing))
        for template, it in after:
            result = self.map(template, result, it)
        return result.plain

    def factors(self, expression):
        """A product as factors, those it is divided by, and conditions on it; whether its sign changes."""
        match expression.op, *expression.args:
            case "*", a, b:
                (over, under, conditions, sign), others = self.factors(a), self.factors(b)
                return over + others[0], under + others[1], conditions + others[2], sign * others[3]
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

    # Softmax.

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
        masked = self.filled(scores, -math.inf).plain
        if op == "softmax" and len(atoms) == 1 and atoms[0] in masked.axes:
            at = masked.axes.index(atoms[0])
            result = self.emit(f"torch.softmax({masked.code}, {at})", [masked], masked.axes)
        elif op == "softmax":
            flat, _ = self.last(masked, atoms)
            result = self.split(self.emit(f"torch.softmax({flat.code}, -1)", [flat], flat.axes), flat.axes[-1], atoms)
        else:
            masked = self.expanded(masked, self.sorted([*masked.axes, *(it for it in atoms if it not in masked.axes)]))
            dims = self.dims(masked, atoms)
            return self.emit(f"torch.logsumexp({masked.code}, {dims})", [masked], self.without(masked, atoms))
        if scores.mask is not None and not self.holds(self.map("{0} == {0}", result)):
            result = self.emit(f"{result.code}.nan_to_num(0.0)", [result], result.axes)
        return result.present(scores.mask, 0 if scores.mask else None)

    # Along a rank.

    def scan(self, op, value, atoms):
        """A prefix reduction."""
        value = self.filled(value, {"cumsum": 0, "cumprod": 1, "cummax": -math.inf}[op]).plain
        tail = ".values" if op == "cummax" else ""
        if len(atoms) == 1 and atoms[0] in value.axes:
            return self.emit(f"torch.{op}({value.code}, {value.axes.index(atoms[0])}){tail}", [value], value.axes)
        value, _ = self.last(value, atoms)
        result = self.emit(f"torch.{op}({value.code}, -1){tail}", [value], value.axes)
        return self.split(result, result.axes[-1], atoms)

    def ordered(self, value, largest):
        """A value whose absent points come last in order."""
        low, high = (LEAST, LARGEST) if value.is_integer else (-math.inf, math.inf)
        return self.filled(value, low if largest else high).plain

    def extreme(self, op, value, atoms):
        """The index of the largest or smallest."""
        count = self.counted(value, atoms) if value.mask is not None else None
        flat, others = self.last(self.ordered(value, op == "argmax"), atoms)
        result = self.emit(f"{flat.code}.{op}(-1)", [flat], others)
        return result if count is None else self.where(result, self.map("{0} > {1}", count, number(0)))

    def select(self, op, value, atoms, to):
        """Indices in order, as many as a rank has coordinates."""
        count = self.counted(value, atoms) if value.mask is not None else None
        flat, others = self.last(self.ordered(value, op == "topk"), atoms)
        k, n = math.prod(self.shape(to)), self.size(flat.axes[-1])
        axis = self.fresh_axis(k)
        if op == "topk" and k < n and not flat.is_integer:
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
        """How many come before each in descending order."""
        flat, _ = self.last(self.ordered(value, True), atoms)
        code = f"torch.argsort(torch.argsort({flat.code}, dim=-1, descending=True, stable=True), dim=-1)"
        result = self.split(self.emit(code, [flat], flat.axes), flat.axes[-1], atoms)
        return dataclasses.replace(result, mask=value.mask)

    def scattered(self, einsum):
        """`any[j](index == n)` puts true where indices point to."""
        is_plain = lambda rank: len(self.atoms(rank)) == 1 and rank not in self.bound
        if einsum.value.op != "==" or len(einsum.ranks) != 1 or not is_plain(einsum.ranks[0]):
            return None
        for a, b in (einsum.value.args, einsum.value.args[::-1]):
            if a.op != "read" or b.op != "index" or not is_plain(b.args[0]):
                continue
            j, n, index = einsum.ranks[0], b.args[0], self.value(a)
            if index.mask is not None or j not in index.axes or n in index.axes or self.clamped(index, self.size(n))[1]:
                return None
            at, axes = index.axes.index(j), tuple(n if it == j else it for it in index.axes)
            code = f"torch.zeros({self.shape(axes)}, dtype=torch.bool).scatter_({at}, {index.code}, True)"
            return self.emit(code, [index], axes)
        return None

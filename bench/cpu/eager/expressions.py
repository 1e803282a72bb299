"""Expressions, point by point."""
import dataclasses
import math

import torch

from .cascade import node
from .lines import ABSENT, Unsupported, number
from .reading import Reading

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

# Of integers; absent for some operands.
PARTIAL = {
    "//": "{0} // {1}", "%": "{0} % {1}", "shl": "{0} << {1}", "shr": "{0} >> {1}",
    "ilog2": "torch.log2({0}.double()).floor().long()",
}


class Expressions(Reading):
    def __init__(self, cascade):
        super().__init__(cascade)
        # What a recurrence at hand defines, and what is known of expressions in it.
        self.group, self.free_of = set(), {}
        self.softmaxes = {}

    def value(self, expression):
        """The value of an expression, written once."""
        if expression in self.memo:
            return self.memo[expression]
        if self.bound and self.is_before(expression):
            with self.before_loop():
                whole = self.value(expression)
            value = self.at_bound(whole)
        else:
            value = self.evaluated(expression)
        self.memo[expression] = value
        return value

    def evaluated(self, expression):
        """The lines of an expression, those of its operands first."""
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
                return number(True) if mask is None else mask.plain
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
        plain = [it.plain for it in values]
        if op in DTYPES:
            return dataclasses.replace(self.cast(plain[0], op, args[0].op), mask=mask)
        if op in ("//", "%", "shl", "shr", "ilog2"):
            return self.partial(op, plain, mask)
        if op in ("min", "max") and sum(it.is_number for it in plain) == 1:
            tensor, bound = sorted(plain, key=lambda it: it.is_number)
            return self.map(f"{{0}}.clamp({'max' if op == 'min' else 'min'}={{1}})", tensor, bound, mask=mask)
        if op == "not" and plain[0].is_number:
            return number(not plain[0].data, mask)
        if op in ("floor", "ceil", "round", "trunc") and plain[0].is_integer:
            return values[0]
        template = UNARY.get(op) if len(values) == 1 else BINARY.get(op)
        if template is None:
            raise Unsupported(f"operation {op}")
        return self.map(template, *plain, mask=mask)

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
        return self.map(PARTIAL[op], *([b] if op == "ilog2" else [a, b]), mask=mask)

    def cast(self, value, dtype, of=None):
        """A value as a dtype stores it; what comes `of` rounding is whole."""
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

    # Choices.

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
        """`if`: only what is chosen counts for presence."""
        if condition.is_absent:
            return ABSENT
        if condition.is_number:
            return a if condition.data else b
        plain = condition.plain
        if a.is_absent:
            return self.where(b, self.map("~{0}", plain, mask=condition.mask))
        if b.is_absent:
            return self.where(a, condition)
        mask = condition.mask
        if a.mask is not None or b.mask is not None:
            chosen = self.chosen(plain, a.mask or number(True), b.mask or number(True))
            mask = self.all_of([mask, chosen])
            if mask is not None and self.holds(mask):
                mask = None
        value = self.chosen(plain, a.plain, b.plain)
        return value.present(mask)

    def pick(self, index, *values):
        """One of the values, absent outside."""
        result = values[-1]
        inside = self.map("({0} >= 0) & ({0} < {1})", index.plain, number(len(values)))
        for at in reversed(range(len(values) - 1)):
            condition = self.map("{0} == {1}", index.plain, number(at))
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
        x, y = (self.filled(it, not decides).plain for it in (a, b))
        value = self.decided(op, x, y) if x.is_number or y.is_number else self.map(template, x, y)
        present = self.all_of([a.mask, b.mask]) or number(True)
        decisive = value if decides else self.map("~{0}", value)
        if present.is_number:
            return value if present.data else value.present(decisive)
        return value.present(self.map("{0} | {1}", present, decisive))

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
        if a.fill is not None and b.is_number and a.fill == b.data:
            return a.present(mask)
        return self.chosen(a.mask.plain, a.plain, b.plain).present(mask)

    # Loops.

    def is_before(self, expression):
        """It may be computed before the loop, for all its coordinates, and is not larger than what it reads."""
        if expression.op == "index":
            return self.bound.keys().isdisjoint(self.atoms(expression.args[0]))
        if expression.op in ("number", "extent", "param", "read"):
            return False
        axes, grouped, largest = self.free(expression)
        return not grouped and (math.prod(self.shape(axes)) <= max(largest, 1 << 18))

    def free(self, expression):
        """The ranks that an expression depends on, and whether it reads what a recurrence defines."""
        if expression in self.free_of:
            return self.free_of[expression]
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
        self.free_of[expression] = (axes, grouped, largest)
        return self.free_of[expression]

"""The cascade that `attnc dump SPEC --after lower` prints, as data: ranks, parameters, inputs and einsums in order."""
import dataclasses
import functools
import math
import operator
import re

TOKEN = re.compile(
    r"\s*(%\d+|[A-Za-z_]\w*(?:\.[A-Za-z0-9_]+)*|\d+(?:\.\d+)?(?:e-?\d+)?|//|==|!=|<=|>=|->|[-+*/%^<>|\[\](),])"
)
# Operators of two operands, loosest first.
LEVELS = [["or"], ["and"], ["not"], ["==", "!=", "<", "<=", ">", ">="], ["+", "-"], ["*", "/", "//", "%"]]

INTEGERS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
    "min": min, "max": max, "i64": round, "real": float, "f32": float, "/": operator.truediv, "floor": math.floor, "ceil": math.ceil,
    "sqrt": math.sqrt, "ilog2": lambda it: it.bit_length() - 1, "log2": math.log2, "^": operator.pow, "neg": operator.neg,
}


class Node:
    """An operation of an expression. Equal ones are the same object, made by `node`."""

    def __init__(self, op, args):
        self.op, self.args = op, args


@functools.cache
def _node(op, args, _types):
    return Node(op, args)


def node(op, *args):
    return _node(op, args, tuple(map(type, args)))


@dataclasses.dataclass
class Einsum:
    """`name[at] = op[ranks](value)`; a coordinate of `at` is a rank and a shift, or a number."""

    name: str
    at: list
    dtype: str
    op: str | None
    ranks: list
    value: Node
    output: bool


@dataclasses.dataclass
class Recurrence:
    rank: str
    bases: list
    body: list


@dataclasses.dataclass
class Cascade:
    parts: dict  # of ranks: the names of parts, none for those without
    extents: dict  # of ranks: an expression, or None where inputs bring it along
    params: dict
    inputs: dict  # ranks and dtype
    steps: list
    assumes: list

    def atoms(self, rank):
        """The ranks without parts that a rank stands for, major to minor."""
        parts = self.parts[rank]
        return tuple(it for part in parts for it in self.atoms(part)) if parts else (rank,)

    def sizes(self):
        """The extents of all ranks, where those that inputs bring along are known."""
        return {rank: self._size(rank) for rank in self.extents}

    def _size(self, rank):
        extent = self.extents[rank]
        if extent is None and not self.parts[rank]:
            raise ValueError(f"the extent of rank {rank} is not known")
        return math.prod(map(self._size, self.parts[rank])) if extent is None else self._integer(extent)

    def _integer(self, expression):
        """The value of an expression over extents and parameters."""
        match expression.op, *expression.args:
            case "number", it:
                return it
            case "extent", rank:
                return self._size(rank)
            case "param", name:
                return self._integer(self.params[name])
            case "else", it, _:
                return self._integer(it)
            case op, *operands:
                return INTEGERS[op](*map(self._integer, operands))

    def open(self):
        """The ranks without parts that a call has to settle: inputs bring them along, or composite ranks of which they are parts."""
        whole = {rank for rank, extent in self.extents.items() if extent is None and self.parts[rank]}
        of_whole = lambda rank, extent: any(rank in self.parts[it] and it in whole for it in mentioned(extent))
        return [rank for rank, it in self.extents.items() if not self.parts[rank] and (it is None or of_whole(rank, it))]


def mentioned(expression):
    """The ranks whose extents an expression depends on."""
    if expression.op == "extent":
        return {expression.args[0]}
    return set().union(*(mentioned(it) for it in expression.args if isinstance(it, Node)))


class _Expression:
    """One line as tokens, and where we are in it."""

    def __init__(self, cascade, text, lets):
        self.cascade, self.lets = cascade, lets
        self.tokens, at = [], 0
        while at < len(text.rstrip()):
            token = TOKEN.match(text, at)
            if not token:
                raise ValueError(f"no token at `{text[at:]}`")
            self.tokens.append(token[1])
            at = token.end()
        self.tokens.append("")
        self.at = 0

    def peek(self):
        return self.tokens[self.at]

    def next(self, expected=None):
        token = self.peek()
        if expected is not None and token != expected:
            raise ValueError(f"`{token}` where `{expected}` is expected in `{' '.join(self.tokens)}`")
        self.at += 1
        return token

    def whole(self):
        value = self.expr()
        self.next("")
        return value

    def expr(self):
        value = self.branch()
        while self.peek() in ("where", "else"):
            value = node(self.next(), value, self.branch())
        return value

    def branch(self):
        if self.peek() != "if":
            return self.binary(0)
        self.next()
        condition = self.branch()
        self.next("then")
        value = self.branch()
        self.next("else")
        return node("if", condition, value, self.branch())

    def binary(self, level):
        if level == len(LEVELS):
            return self.sign()
        if LEVELS[level] == ["not"]:
            if self.peek() != "not":
                return self.binary(level + 1)
            self.next()
            return node("not", self.binary(level))
        value = self.binary(level + 1)
        while self.peek() in LEVELS[level]:
            value = node(self.next(), value, self.binary(level + 1))
        return value

    def sign(self):
        if self.peek() == "-":
            self.next()
            value = self.sign()
            return node("number", -value.args[0]) if value.op == "number" else node("neg", value)
        value = self.atom()
        if self.peek() == "^":
            self.next()
            return node("^", value, self.sign())
        return value

    def atom(self):
        token = self.next()
        if token == "(":
            value = self.expr()
            self.next(")")
            return value
        if token == "|":
            rank = self.next()
            self.next("|")
            return node("extent", rank)
        if token in ("true", "false"):
            return node("number", token == "true")
        if token == "inf":
            return node("number", float("inf"))
        if token[0].isdigit():
            return node("number", int(token) if token.isdigit() else float(token))
        if token[0] == "%":
            return self.lets[token]
        if self.peek() == "(":
            return node(token, *self.list("(", ")"))
        if self.peek() == "[":
            return node("read", token, tuple(self.list("[", "]")))
        if token in self.cascade.parts:
            return node("index", token)
        return node("param", token) if token in self.cascade.params else node("read", token, None)

    def list(self, first, last):
        self.next(first)
        values = []
        while self.peek() != last:
            values.append(self.expr())
            if self.peek() != last:
                self.next(",")
        self.next(last)
        return values


OPERATIONS = "sum prod max min mean any all count cumsum cumprod cummax argmax argmin topk argsort place"
REDUCTION = re.compile(rf"({'|'.join(OPERATIONS.split())})\[([^\]]*)\]\(")
EINSUM = re.compile(r"(?:exact )?(output )?([\w.]+)(?:\[([^\]]*)\])?: (\w+)(?: [\w.]+\+\d+)* = (.*)")


def _coordinate(text):
    if text.isdigit():
        return int(text)
    rank, _, shift = text.partition("+")
    return rank, int(shift or 0)


def _einsum(line, read):
    output, name, at, dtype, text = EINSUM.fullmatch(line).groups()
    at = [_coordinate(it) for it in at.split(", ")] if at else []
    op, ranks = None, []
    if found := REDUCTION.match(text):
        op, ranks = found[1], re.split(r", | -> ", found[2])
        text = text[found.end() - 1 :]
    return Einsum(name, at, dtype, op, ranks, read(text), bool(output))


def parse(text):
    """The cascade of the one kernel that a dump prints."""
    cascade = Cascade({}, {}, {}, {}, [], [])
    lines = text.splitlines()[1:]
    # All names first: what a name stands for does not depend on where it stands.
    declared = re.compile(r"(?:local )?rank ([\w.]+)(?: = \(([^)]*)\))?(?: of (.*))?")
    ranks = [found.groups() for it in lines if (found := declared.fullmatch(it.strip()))]
    cascade.parts = {name: parts.split(", ") if parts else [] for name, parts, _ in ranks}
    param = re.compile(r"(?:fixed )?param (\w+): (\w+)(?: = (.*))?")
    cascade.params = {found[1]: None for it in lines if (found := param.fullmatch(it.strip()))}
    lets = {}
    read = lambda text: _Expression(cascade, text, lets).whole()
    into = cascade.steps
    for line in lines:
        depth, line = len(line) - len(line.lstrip()), line.strip()
        if depth == 2:
            into = cascade.steps
        if found := re.fullmatch(r"let (%\d+) = (.*)", line):
            lets[found[1]] = read(found[2])
        elif found := declared.fullmatch(line):
            cascade.extents[found[1]] = read(found[3]) if found[3] else None
        elif found := param.fullmatch(line):
            cascade.params[found[1]] = read(found[3]) if found[3] else None
        elif found := re.fullmatch(r"input (\w+)(?:\[([^\]]*)\])?: (\w+)", line):
            cascade.inputs[found[1]] = (found[2].split(", ") if found[2] else [], found[3])
        elif found := re.fullmatch(r"assume\[[^\]]*\] (.*)", line):
            cascade.assumes.append(read(found[1]))
        elif line.startswith("check "):
            pass
        elif found := re.fullmatch(r"recurrence (\w+)", line):
            cascade.steps.append(Recurrence(found[1], [], []))
            into = cascade.steps[-1].bases
        elif re.fullmatch(r"for \w+", line):
            into = cascade.steps[-1].body
        else:
            into.append(_einsum(line, read))
    return cascade

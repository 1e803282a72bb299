#!/usr/bin/env python3
"""The probes of layouts on a GPU: do instructions find and put elements where the emulator has them?

`tests/probes/NAME.ptx` says in its head what it is run with, `NAME.snap` what the emulator makes of it, which a test of
ours checks. This runs the same texts on the GPU and compares. Prints a line for each; the status is 1 if any differs.

    .venv/bin/python bench/gpu/probes.py [NAME...]
"""
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common
import cuda

FOLDER = common.ROOT / "tests/probes"
# How elements are packed, by type; what is not here is encoded first.
FORMAT = {"u8": "B", "i8": "b", "f8e4m3": "B", "u16": "H", "bf16": "H", "f16": "e", "i32": "i", "f32": "f", "tf32": "f"}
E4M3 = {0: 0x00, 1: 0x38, 2: 0x40, 3: 0x44, 4: 0x48}


class Probe:
    """A probe: its text, and what its head says."""

    def __init__(self, path):
        self.name, self.text = path.stem, path.read_text()
        self.snapshot = path.with_suffix(".snap").read_text().split("---\n", 2)[2].strip().splitlines()
        self.params, self.threads = [], None
        for line in self.text.splitlines():
            if not line.startswith("// "):
                break
            key, _, value = line[3:].partition(": ")
            match key, value.split(" "):
                case "threads", [count]:
                    self.threads = int(count)
                case "in", [ty, pattern, count]:
                    self.params.append(("in", ty, elements(ty, pattern, int(count))))
                case "out", [ty, count, "by", by]:
                    self.params.append(("out", ty, b"\xff" * (int(count) * size(ty))))
                    self.by = int(by)
                case "map", [of, shape, "box", extents, "swizzle", span]:
                    sizes = lambda text: [int(it) for it in text.split("x")]
                    self.params.append(("map", of, sizes(shape), sizes(extents), int(span)))
        if self.threads is None or len(self.params) < 1:
            raise SystemExit(f"{path}: its head does not say what it is run with")

    def run(self, driver):
        """The lines that the GPU makes of it, as the snapshot has them."""
        import torch

        buffers = {}
        for kind, ty, *rest in self.params:
            if kind != "map":
                data = torch.frombuffer(bytearray(rest[0]), dtype=torch.uint8).cuda()
                buffers[kind] = (ty, data)
        params = []
        for kind, what, *rest in self.params:
            if kind == "map":
                ty, data = buffers[what]
                params.append(driver.tensor_map(data.data_ptr(), size(ty), *rest))
            else:
                params.append(cuda.u64(buffers[kind][1].data_ptr()))
        function = driver.module(self.text)("probe")
        driver.launch(function, 1, self.threads, 0, params, torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()
        ty, data = buffers["out"]
        return lines(ty, bytes(data.cpu().numpy()), self.by)


def size(ty):
    return struct.calcsize(FORMAT[ty])


def elements(ty, pattern, count):
    """The bytes of an input."""
    values = range(count) if pattern == "index" else [scattered(it) % 9 - 4 for it in range(count)]
    if ty == "bf16":
        values = [struct.unpack("<I", struct.pack("<f", it))[0] >> 16 for it in values]
    elif ty == "f8e4m3":
        values = [E4M3[abs(it)] | (0x80 if it < 0 else 0) for it in values]
    elif ty[0] in "ui":
        bits = 8 * size(ty)
        values = [it % (1 << bits) for it in values]
        values = [it - (1 << bits) if ty[0] == "i" and it >> (bits - 1) else it for it in values]
    return struct.pack(f"<{count}{FORMAT[ty]}", *values)


def scattered(i):
    """A number that looks random."""
    once = (i + 1) * 2654435761 & 0xFFFFFFFF
    twice = (once ^ once >> 15) * 2246822519 & 0xFFFFFFFF
    return twice ^ twice >> 13


def lines(ty, data, by):
    """An output as text."""
    values = struct.unpack(f"<{len(data) // size(ty)}{FORMAT[ty]}", data)
    text = lambda it: f"{it:.9g}".replace("nan", "NaN") if ty == "f32" else str(it)
    return [" ".join(text(it) for it in values[at : at + by]) for at in range(0, len(values), by)]


def probes(names=()):
    found = [Probe(it) for it in sorted(FOLDER.glob("*.ptx")) if not names or it.stem in names]
    if len(found) < max(1, len(names)):
        raise SystemExit(f"no such probe in {FOLDER}: {', '.join(set(names) - {it.name for it in found})}")
    return found


def compare(driver, found, golden=None):
    """How many of the probes differ on the GPU; prints a line for each. What it gives is kept in a folder, if there is one."""
    n_wrong = 0
    if golden:
        golden.mkdir(parents=True, exist_ok=True)
    for probe in found:
        try:
            lines = probe.run(driver)
            if golden:
                (golden / f"{probe.name}.txt").write_text("\n".join(lines) + "\n")
            wrong = [at for at, (here, there) in enumerate(zip(lines, probe.snapshot)) if here != there]
            wrong = wrong or [0] * (len(lines) != len(probe.snapshot))
            said = f"differs in {len(wrong)} of {len(lines)} lines, first in {wrong[0] + 1}" if wrong else "as emulated"
            for at in wrong[:1]:
                said += f"\n  emulator: {probe.snapshot[at]}\n  GPU:      {lines[at]}"
        except RuntimeError as error:
            # A context that met a fault can do no more, so what follows fails, too; each says why.
            wrong, said = [0], f"failed: {error}"
        n_wrong += bool(wrong)
        print(f"{probe.name:24} {said}", flush=True)
    return n_wrong


def main():
    found = probes(sys.argv[1:])
    n_wrong = compare(cuda.Driver(), found)
    print(f"{len(found) - n_wrong} of {len(found)} probes are as emulated")
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()

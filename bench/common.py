"""What the benchmarks of all machines share: the C ABI of a kernel, ratios by rounds, tables and plots."""
import csv
import ctypes
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Abi:
    """The functions of a kernel in a folder that `attnc compile` wrote."""

    def __init__(self, folder, name):
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.info = next(it for it in self.manifest["kernels"] if it["name"] == name)
        library = ctypes.CDLL(str(folder / f"lib{name}.so"))
        function = lambda suffix: getattr(library, self.info["symbol"] + suffix)
        self._bind, self._size, self._check, self._tasks, self.run = map(
            function, ["_bind", "_workspace", "_check", "_tasks", "_run"]
        )
        self._size.restype = self._tasks.restype = ctypes.c_uint64

    def bind(self, tensors):
        """The words of the arguments; of each tensor, by name: an address, extents, strides in elements."""
        words = (ctypes.c_int64 * self.info["words"])()
        for tensor in self.info["tensors"]:
            address, shape, strides = tensors[tensor["name"]]
            words[tensor["word"]] = address
            for at, (dim, extent, stride) in enumerate(zip(tensor["dims"], shape, strides, strict=True)):
                words[tensor["word"] + 1 + at] = stride
                for rank in self.info["ranks"]:
                    if rank["name"] == dim["rank"] and "word" in rank["extent"]:
                        words[rank["extent"]["word"]] = extent
        given = (ctypes.c_uint8 * max(1, len(self.info["params"])))()
        self._done(self._bind(words, given, None))
        return words

    def workspace(self, words, threads):
        """The bytes of workspace that so many threads need."""
        return self._size(words, ctypes.c_uint32(threads))

    def check(self, words, workspace, size, threads):
        """Refuses arguments or a workspace, at that address, that will not do."""
        self._done(
            self._check(words, ctypes.c_void_p(workspace), ctypes.c_uint64(size), ctypes.c_uint32(threads))
        )

    def tasks(self, words, stage):
        return self._tasks(words, ctypes.c_uint32(stage))

    @staticmethod
    def _done(status):
        if status:
            raise RuntimeError(f"status {status & 255}, index {status >> 8}")


def compiled(attnc, spec, folder, *options):
    """The folder with what attnc makes of a spec."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    out = pathlib.Path(tempfile.mkdtemp(dir=folder))
    ran = subprocess.run([attnc, "compile", str(spec), "-o", str(out), *options], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{spec}: {ran.stderr.strip()}")
    # With one target the files lie in the folder itself, else in one for each target.
    return out if (out / "manifest.json").exists() else next(it for it in out.iterdir() if it.is_dir())


def interleaved(found, rounds, sample):
    """The times of each contestant in so many rounds, which go forwards and backwards in turn."""
    times = {name: [] for name in found}
    for at in range(rounds):
        for name in list(found) if at % 2 == 0 else list(found)[::-1]:
            times[name].append(sample(found[name]))
    return times


def quartiles(values):
    """The lower quartile, the median and the upper quartile, each one of the values."""
    values = sorted(values)
    return [values[int(q * (len(values) - 1))] for q in (0.25, 0.5, 0.75)]


def rows_of(labels, flops, times):
    """What is written of each contestant, printed, too. `labels` are the first columns."""
    for name, all_times in times.items():
        low, middle, high = quartiles(it / ours for it, ours in zip(all_times, times["attnc"]))
        median, best = statistics.median(all_times), min(all_times)
        row = labels | {
            "name": name,
            "ms": round(median * 1e3, 3), "gflops": round(flops / median / 1e9, 1),
            "gflops_best": round(flops / best / 1e9, 1), "ratio": round(middle, 3),
            "ratio_q1": round(low, 3), "ratio_q3": round(high, 3), "rounds": len(all_times),
        }
        print(
            f'{" ".join(str(it) for it in labels.values())} {name:8} {row["ms"]:9.3f} ms '
            f'{row["gflops"]:9.1f} GFLOP/s (best {row["gflops_best"]:9.1f})  '
            f'{row["ratio"]:5.2f} [{row["ratio_q1"]:.2f}, {row["ratio_q3"]:.2f}]',
            flush=True,
        )
        yield row


def plot(rows, path, label):
    """Bars: how many times longer each peer takes; what `label` says of a row stands before its bar."""
    bars = [it for it in rows if it["name"] != "attnc"]
    width, height, left = 900, 22 * len(bars) + 40, 330
    scale = (width - left - 60) / max([float(it["ratio"]) for it in bars] + [1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="16">time of the peer over that of attnc, median of rounds</text>',
    ]
    for at, it in enumerate(bars):
        ratio = float(it["ratio"])
        y, length = 26 + 22 * at, ratio * scale
        colour = "#2b7a4b" if ratio >= 1 else "#a33"
        parts.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{label(it)}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="16" fill="{colour}"/>')
        parts.append(f'<text x="{left + length + 4:.1f}" y="{y + 13}">{ratio:.2f}</text>')
    x = left + scale
    parts.append(f'<line x1="{x:.1f}" y1="22" x2="{x:.1f}" y2="{height - 10}" stroke="black" stroke-dasharray="3 3"/></svg>')
    path.write_text("\n".join(parts) + "\n")


def keep(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def kept(path):
    """The rows that `keep` wrote."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))

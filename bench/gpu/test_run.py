"""What of `run.py` takes neither a GPU nor PyTorch: options, what maps take, what is aimed at, plots.

    python3 bench/gpu/test_run.py
"""
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common
import cuda
import run
import targets


def script(*words):
    return subprocess.run([sys.executable, str(HERE / "run.py"), *words], capture_output=True, text=True)


def row(variant, shape, name, gflops, ratio=1.0, target="sm_90a"):
    return {"variant": variant, "shape": shape, "name": name, "gflops": gflops, "ratio": ratio, "target": target}


class Options(unittest.TestCase):
    def test_help_names_every_part(self):
        ran = script("--help")
        self.assertEqual(ran.returncode, 0)
        for part in run.PARTS:
            self.assertIn(f"`{part}`", ran.stdout)

    def test_what_is_not_known_is_refused(self):
        for option, said in [("--parts", "no part none"), ("--variants", "no variant none"), ("--targets", "no target none")]:
            ran = script(option, "none")
            self.assertNotEqual(ran.returncode, 0)
            self.assertIn(said, ran.stderr)

    def test_every_variant_has_a_spec_in_short_floats(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name in run.names():
                self.assertIn(": bf16", run.spec(name, folder).read_text())
            for name, (path, _) in run.decoding(folder).items():
                self.assertIn(": f16" if name == "f16" else ": bf16", path.read_text())

    def test_all_that_is_aimed_at_is_measured_by_default(self):
        args = run.options().parse_args([])
        self.assertLessEqual({f"{n}x{d}" for n in targets.LONG for d in targets.FORWARD}, set(args.shapes.split(",")))
        self.assertLessEqual(set(targets.VARIANTS), set(args.variants.split(",")))
        self.assertEqual(set(args.targets.split(",")), {"sm_80", "sm_90a"})


class Maps(unittest.TestCase):
    def test_extents_and_strides_are_innermost_first_and_in_bytes(self):
        self.assertEqual(cuda.laid_out(0x1000, 2, (3, 70, 64), (70 * 72, 72, 1)), ([64, 70, 3], [144, 10080]))
        # What has one coordinate may have any stride.
        self.assertEqual(cuda.laid_out(0x1000, 2, (1, 70, 64), (5, 64, 1)), ([64, 70, 1], [128, 128]))
        self.assertEqual(cuda.dense([64, 70, 3], 2), [128, 8960])

    def test_what_a_map_does_not_take_is_said(self):
        for address, shape, strides, said in [
            (0x1008, (70, 64), (64, 1), "lies at 0x1008, expected a multiple of 16"),
            (0x1000, (70, 64), (68, 1), "has a stride of 68, expected a positive multiple of 8"),
            (0x1000, (70, 64), (-64, 1), "has a stride of -64, expected a positive multiple of 8"),
            (0x1000, (70, 64), (1, 70), "has a stride of 70 along its last dimension, expected 1"),
            (0x1000, (0, 64), (64, 1), "has 0 elements along a dimension, expected 1 to 2147483647"),
        ]:
            with self.assertRaises(ValueError) as caught:
                cuda.laid_out(address, 2, shape, strides)
            self.assertEqual(str(caught.exception), said)


class Targets(unittest.TestCase):
    def report(self, forward, decode=()):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            counts = targets.report(forward, list(decode))
        return counts, out.getvalue()

    def test_nothing_is_reached_that_was_not_measured(self):
        counts, _ = self.report([])
        self.assertEqual((counts["reached"], counts["missed"]), (0, 0))
        # Of one of the long shapes alone nothing is said.
        counts, _ = self.report([row("plain", "8192x128", "attnc", 700e3)])
        self.assertEqual((counts["reached"], counts["missed"]), (0, 0))

    def test_the_slowest_of_the_long_shapes_and_the_fastest_peer_count(self):
        rows = []
        for n, speed in [("8192", 620e3), ("16384", 590e3)]:
            rows.append(row("plain", f"{n}x128", "attnc", speed))
            rows.append(row("plain", f"{n}x128", "attnc sm_80", 340e3, 1.8))
            rows.append(row("plain", f"{n}x128", "cudnn", 500e3, 1.2))
            rows.append(row("plain", f"{n}x128", "flash", 350e3, 1.7))
            rows.append(row("softcap", f"{n}x128", "attnc", speed * 0.96))
            rows.append(row("softcap", f"{n}x128", "flex", 400e3, 1.25))
        said = {it[:48].strip(): it[48:].split() for it in self.report(rows)[1].splitlines()[:-1]}
        self.assertEqual(said["plain, 128 features, TFLOP/s"], ["600", "590.00", "missed"])
        self.assertEqual(said["plain, 128 features, over SDPA"], ["1", "1.20", "reached"])
        self.assertEqual(said["plain by mma.sync, 128 features, TFLOP/s"], ["330", "340.00", "reached"])
        self.assertEqual(said["softcap, 128 features, of plain"], ["0.95", "0.96", "reached"])
        self.assertEqual(said["softcap, 128 features, over FlexAttention"], ["1.3", "1.25", "missed"])

    def test_decoding_is_held_against_a_copy(self):
        decode = [{"name": "attnc", "variant": "bf16", "shape": "8192x128", "share_of_copy": "0.9"}]
        counts, said = self.report([], decode)
        self.assertEqual(counts["reached"], 1)
        self.assertIn("decoding, bf16, 8192x128, of a copy", said)


class Plots(unittest.TestCase):
    def test_a_plot_is_made_of_a_table(self):
        with tempfile.TemporaryDirectory() as out:
            out = pathlib.Path(out)
            self.assertIn("to plot", script("--parts", "plot", "--out", str(out)).stderr)
            common.keep([row("plain", "8192x128", name, 1e5, 1.5) for name in ("attnc", "flash")], out / "results.csv")
            ran = script("--parts", "targets,plot", "--out", str(out))
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertIn("plain 8192x128, flash", (out / "results.svg").read_text())


if __name__ == "__main__":
    unittest.main()

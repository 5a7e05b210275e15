"""The benchmarks' commands go on working while the package changes: a quick one, at its smallest size."""

import subprocess
import sys

from fer_nb_utils.paths import ROOT


def test_the_benchmark_of_cached_features_compares_two_loops(tmp_path):
    command = [sys.executable, str(ROOT / "tests/benchmarks/benchmark.py"), "caching", "--images", "32"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["layer4", "fc"]

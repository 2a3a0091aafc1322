"""Measure the convex programs with benchopt, add the runs to ``results/runs.csv`` and print the ratio table.

``python benchmarks/measure.py`` measures everything; ``--problems c d --solvers native adelie`` measures a
part, whose rows replace the older ones of the same problem, program and solver. See ``README.md``.
"""

import argparse
import contextlib
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from ratios import KEY, RUNS, write_tables

HERE = Path(__file__).parent
ORDER = ["a", "b", "c", "g", "d", "e", "f", "h"]
COLUMNS = [
    *KEY,
    "setting",
    "seconds",
    "n_runs",
    "objective",
    "kind",
    "violation",
    "violation_repaired",
    "best_known",
    "lower_bound",
    "active",
    "capped",
    "failure",
    "versions",
]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", nargs="+", default=ORDER[:-1], choices=ORDER, help="all but h")
    parser.add_argument("--programs", nargs="+", default=["relu", "gated"], choices=["relu", "gated"])
    parser.add_argument("--solvers", nargs="+", default=[], help="names, default all")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds that one run may take")
    parser.add_argument("--repeat-within", type=float, default=10.0, help="seconds to repeat a short run in")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment of the run; idle threads sleep, so that they disturb no one's measurement."""
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    own = {
        "CONVEXNN_BENCH_CAP": str(options.cap),
        "CONVEXNN_BENCH_REPEAT": str(options.repeat_within),
        "OMP_WAIT_POLICY": "PASSIVE",
        "CONVEXNN_BENCH_OPTIMA": str(HERE / "results" / "optima.json"),
    }
    return os.environ | threads | own


def run(options: argparse.Namespace, folder: Path) -> pd.DataFrame:
    """Run benchopt once, small problems first, so that each method starts and warms up once.

    An interrupt ends the run; the rows measured until then are returned.
    """
    command = [sys.executable, "-m", "benchopt", "run", str(HERE / "convex_programs")]
    command += [
        "--no-cache",
        "--no-plot",
        "--no-timeout",
        "--seed",
        "0",
        "--output",
        str(folder / "runs.parquet"),
    ]
    for problem in sorted(options.problems, key=ORDER.index):
        command += ["-d", problem]
    for program in options.programs:
        command += ["-o", f"program[program={program}]"]
    for solver in options.solvers:
        command += ["-s", solver]
    journal = folder / "journal.jsonl"
    with contextlib.suppress(KeyboardInterrupt):
        surroundings = environment(options) | {"CONVEXNN_BENCH_JOURNAL": str(journal)}
        done = subprocess.run(command, env=surroundings, check=False)
        if done.returncode != 0:
            print(f"benchopt ended with code {done.returncode}; its own messages are above.")
    if not journal.exists():
        raise SystemExit("Nothing was measured. Check the names of problems and solvers.")
    return pd.read_json(journal, lines=True)


def tidy(rows: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """Return the rows in the form of ``runs.csv``."""
    rows = rows[COLUMNS].copy()
    parameters = rows["solver"].str.extract(r"\[rho=(.*)\]", expand=False)
    rows["solver"] = rows["solver"].str.replace(r"\[.*", "", regex=True)
    rows["solver"] += parameters.map(" rho={}".format, na_action="ignore").fillna("")
    rows["cap"] = options.cap
    rows["threads"] = options.threads
    rows["date"] = datetime.date.today().isoformat()
    rows["machine"] = f"{_cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return rows


def _cpu() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def store(rows: pd.DataFrame) -> None:
    """Replace the older rows of the same problem, program and solver."""
    if RUNS.exists():
        old = pd.read_csv(RUNS, keep_default_na=False)
        measured = set(rows[KEY].itertuples(index=False, name=None))
        kept = [key not in measured for key in old[KEY].itertuples(index=False, name=None)]
        rows = pd.concat([old[kept], rows])
    RUNS.parent.mkdir(exist_ok=True)
    rows.sort_values(KEY, kind="stable").to_csv(RUNS, index=False)


def main() -> None:
    """Measure, store and print the tables."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        store(tidy(run(options, Path(folder)), options))
    write_tables()


if __name__ == "__main__":
    main()

"""Print how long each method takes to a relative suboptimality of 1e-3 and 1e-6, beside ours.

``python benchmarks/ratios.py`` reads ``results/runs.csv``, writes ``results/ratios.md`` and ``ratios.csv``.
"""

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "runs.csv"
KEY = ["problem", "program", "solver"]
TARGETS = [1e-3, 1e-6]
OURS = "native"
# The second is this package's own way to Clarabel.
NO_PEERS = {OURS, "clarabel_direct"}
_FEASIBLE = 1e-12


def load() -> pd.DataFrame:
    """Read the runs; the optimum is the least value any method reached."""
    runs = pd.read_csv(RUNS, keep_default_na=False)
    runs["capped"] = runs["capped"].astype(str) == "True"
    feasible = (runs["kind"] == "program") & (runs["violation_repaired"] <= _FEASIBLE)
    group = [runs["problem"], runs["program"]]
    least = runs["objective"].where(feasible).groupby(group).transform("min")
    runs["best"] = least.combine(runs["best_known"], min)
    runs["suboptimality"] = (runs["objective"] - runs["best"]) / runs["best"]
    runs.loc[~feasible & (runs["kind"] == "program"), "suboptimality"] = float("inf")
    return runs


def seconds_to(rows: pd.DataFrame, target: float) -> float:
    """Least seconds of a run that reached `target`; NaN if none did."""
    reached = rows[(rows["suboptimality"] <= target) & ~rows["capped"] & (rows["failure"] == "")]
    return float(reached["seconds"].min())


def cell(rows: pd.DataFrame) -> str:
    """Return ``seconds to 1e-3 / to 1e-6``, or why there are none."""
    if (rows["failure"] != "").all():
        return "failed"
    parts = []
    for target in TARGETS:
        seconds = seconds_to(rows, target)
        capped = rows["capped"].any()
        limit = f"> {rows['cap'].max():.0f}" if capped else "-"
        parts.append(limit if pd.isna(seconds) else f"{seconds:.3g}")
    ran = rows[~rows["capped"] & (rows["failure"] == "")]
    if parts[-1][0] in "->" and len(ran):
        parts[-1] += f" [{max(ran['suboptimality'].min(), 0):.0e}]"
    return " / ".join(parts)


def ratio(runs: pd.DataFrame, target: float) -> str:
    """Return seconds of the fastest peer over ours."""
    ours = seconds_to(runs[runs["solver"] == OURS], target)
    peers = runs[~runs["solver"].isin(NO_PEERS)]
    times = {name: seconds_to(rows, target) for name, rows in peers.groupby("solver")}
    times = {name: seconds for name, seconds in times.items() if not pd.isna(seconds)}
    if pd.isna(ours):
        return "ours not reached"
    if times:
        fastest = min(times, key=lambda name: times[name])
        return f"{times[fastest] / ours:.3g} ({fastest})"
    capped = peers[peers["capped"]]
    return f"> {capped['cap'].max() / ours:.3g} (all stopped)" if len(capped) else "no peer reached it"


def program_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, one column for each problem; ratios below."""
    problems = sorted(runs["problem"].unique())
    solvers = sorted(runs["solver"].unique(), key=lambda name: (name != OURS, name))
    table = pd.DataFrame("", index=[*solvers], columns=problems)
    for (problem, solver), rows in runs.groupby(["problem", "solver"]):
        table.loc[solver, problem] = cell(rows)
    for target in TARGETS:
        table.loc[f"**fastest peer / ours, {target:.0e}**"] = [
            ratio(runs[runs["problem"] == problem], target) for problem in problems
        ]
    return table


def optima_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Best values with their lower bounds."""
    first = runs.groupby(["program", "problem"]).first()
    gap = (first["best"] - first["lower_bound"]) / first["best"]
    return pd.DataFrame(
        {
            "best value": first["best"].map("{:.10g}".format),
            "certified lower bound": first["lower_bound"].map("{:.10g}".format),
            "relative gap": gap.map("{:.0e}".format),
            "active blocks": first["active"].astype(int),
        }
    ).reset_index()


def network_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Descent on the network: best value against the sampled optimum, and seconds until below it."""
    table = pd.DataFrame("", index=sorted(runs["solver"].unique()), columns=sorted(runs["problem"].unique()))
    for (problem, solver), rows in runs.groupby(["problem", "solver"]):
        seconds = seconds_to(rows, 0.0)
        below = "never" if pd.isna(seconds) else f"{seconds:.2g} s"
        table.loc[solver, problem] = f"{100 * rows['suboptimality'].min():+.2g}% ({below})"
    return table


def report(runs: pd.DataFrame) -> str:
    """Return all tables as markdown."""
    convex = runs[runs["kind"] == "program"]
    parts = ["# Seconds to relative suboptimality 1e-3 / 1e-6\n", _EXPLAINED]
    for program, title in (("relu", "Relu program (cones)"), ("gated", "Gated program")):
        chosen = convex[convex["program"] == program]
        if len(chosen):
            parts += [f"\n## {title}\n", program_table(chosen).to_markdown()]
    parts += ["\n## Optima\n", optima_table(convex).to_markdown(index=False, disable_numparse=True)]
    networks = runs[runs["kind"] == "network"]
    if len(networks):
        parts += [
            "\n## Descent on networks of 100 neurons\n",
            _NETWORKS,
            network_table(networks).to_markdown(),
        ]
    parts += ["\n## Measured with\n"]
    parts += [f"- {line}" for line in sorted({*runs["machine"], *_versions(runs)})]
    span = " to ".join(sorted({runs["date"].min(), runs["date"].max()}))
    parts += [f"- {span}, {runs['threads'].max()} threads, one machine for all rows of a problem"]
    return "\n".join(parts) + "\n"


def _versions(runs: pd.DataFrame) -> set[str]:
    return {text for texts in runs["versions"] for text in texts.split(", ") if text}


_EXPLAINED = """Median seconds of the fastest setting whose point, projected on the cones, has the accuracy.
A dash: no setting had it (in brackets the best accuracy); "> 60": stopped after so many seconds. A method
that is absent from a table, or whose cell is empty, was not run or cannot take the program. The ratio leaves
out `clarabel_direct`, which is this package too.
"""
_NETWORKS = """Best value relative to the optimum of the sampled relu program, and seconds until below it:
they minimise over all networks, so they are no solvers of that program.
"""


def write_tables() -> None:
    """Write and print the report."""
    runs = load()
    text = report(runs)
    (RESULTS / "ratios.md").write_text(text)
    columns = [*KEY, "seconds_to_1e-3", "seconds_to_1e-6", "best_suboptimality"]
    rows = [
        [*key, *(seconds_to(group, target) for target in TARGETS), group["suboptimality"].min()]
        for key, group in runs.groupby(KEY)
    ]
    pd.DataFrame(rows, columns=columns).to_csv(RESULTS / "ratios.csv", index=False)
    print(text)


if __name__ == "__main__":
    write_tables()

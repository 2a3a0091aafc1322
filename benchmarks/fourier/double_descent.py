"""Double descent of random Fourier features on handwritten digits: curved against angular ones.

``python benchmarks/fourier/double_descent.py`` reads ``images/mnist.npz`` (``X_train``, ``y_train``,
``X_test``, ``y_test``, bytes) from the folder in ``CONVEXNN_DATA``, trains on 1000 images with 40 numbers of
features from a twentieth of that to ten times it, and for five draws of the frequencies measures errors on
2000 others. The coefficients of the first draw are compared with those of `numpy.linalg.lstsq` for each size,
and both are timed. ``--save`` writes ``results/double_descent.md`` and ``results/double_descent.png``.

The digits 0, 3, 6, 8 and 9 count as curved, 1, 2, 4, 5 and 7 as angular. 2 and 5 have strokes of both kinds
and could be either.
"""

import argparse
import datetime
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from convexnn.fourier import DoubleDescentCurve, RandomFourierClassifier, double_descent_curve
from convexnn.fourier.features import draw_features
from convexnn.fourier.nested import NestedLeastSquares
from convexnn.plotting import DoubleDescentDisplay

Array = NDArray[np.float64]
RESULTS = Path(__file__).parent.parent / "results"
CURVED = (0, 3, 6, 8, 9)
SHOWN = (0.05, 0.25, 0.5, 0.8, 0.95, 1.0, 1.05, 1.25, 2.0, 4.0, 10.0)


@dataclass(frozen=True)
class Setting:
    """Scaled images and the width of the kernel."""

    name: str
    gamma: float | str
    unit_norm: bool = False

    def samples(self, images: NDArray[np.uint8]) -> Array:
        """Return images as rows."""
        rows = images.reshape(len(images), -1) / 255.0
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if self.unit_norm else rows


SETTINGS = (
    Setting("v ~ N(0, I), images of unit norm", 0.5, unit_norm=True),
    Setting("median heuristic, pixels / 255", "median"),
    Setting("v ~ N(0, I), pixels / 255", 0.5),
)


@dataclass(frozen=True)
class Comparison:
    """Shared factors beside numpy's lstsq for each size: seconds and the largest relative differences."""

    nested_seconds: float
    lstsq_seconds: float
    coefficients: float
    predictions: float
    condition: float


def sizes(n: int) -> NDArray[np.intp]:
    """Return 40 numbers of frequencies, dense where there are as many features as samples."""
    ratios = [np.geomspace(0.05, 0.8, 10), np.linspace(0.85, 1.15, 15), np.geomspace(1.25, 10, 15)]
    return np.unique(np.round(n / 2 * np.concatenate(ratios)).astype(int))


def compared(X: Array, y: Array, X_test: Array, gamma: float, counts: NDArray[np.intp]) -> Comparison:
    """Solve all sizes of the first draw both ways."""
    features = draw_features(int(counts[-1]), gamma, X.min(axis=0) / 2 + X.max(axis=0) / 2, 0)
    waves, test = features.waves(X), features.waves(X_test)
    began = time.perf_counter()
    nested = NestedLeastSquares(waves, y[:, None])
    found = [nested.solve(2 * N, 0.0)[0][:, 0] for N in counts.tolist()]
    middle = time.perf_counter()
    expected = [np.linalg.lstsq(waves[:, : 2 * N], y, rcond=None)[0] for N in counts.tolist()]
    end = time.perf_counter()
    pairs = list(zip(found, expected, strict=True))
    values = np.linalg.svd(waves[:, : len(X)], compute_uv=False)
    return Comparison(
        middle - began,
        end - middle,
        max(difference(a, b) for a, b in pairs),
        max(difference(test[:, : len(a)] @ a, test[:, : len(a)] @ b) for a, b in pairs),
        values[0] / values[-1],
    )


def difference(a: Array, b: Array) -> float:
    """Return the relative difference in norm."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def table(curve: DoubleDescentCurve) -> list[str]:
    """Return rows for some sizes: the median over the draws and, for errors, the extremes."""
    lines = [
        "| features / n | train error | test error | misclassified | norm |",
        "|---|---|---|---|---|",
    ]
    ratios = curve.n_features / curve.n_samples
    for shown in SHOWN:
        s = np.abs(ratios - shown).argmin()
        assert curve.test_misclassified is not None
        test, wrong = curve.test_error[s], curve.test_misclassified[s]
        lines.append(
            f"| {ratios[s]:.3g} | {np.median(curve.train_error[s]):.2g} | {np.median(test):.4g} "
            f"({test.min():.4g} to {test.max():.4g}) | {np.median(wrong):.3f} ({wrong.min():.3f} to "
            f"{wrong.max():.3f}) | {np.median(curve.coef_norm[s]):.3g} |"
        )
    return lines


def findings(curve: DoubleDescentCurve) -> str:
    """Return where the peaks are and how well the data is interpolated."""
    ratios = curve.n_features / curve.n_samples
    peaks = [
        ", ".join(f"{ratio:.3g}" for ratio in ratios[figures.argmax(axis=0)])
        for figures in (curve.test_error, curve.coef_norm)
    ]
    interpolating = curve.train_error[ratios >= 1]
    median = np.median(curve.test_error, axis=1)
    return (
        f"Largest test error at {peaks[0]} n features in the draws, largest norm at {peaks[1]} n. Largest "
        f"training error with n features or more: {interpolating.max():.1e}. Median test error at the peak "
        f"{median.max():.4g}, least before it {median[ratios < 1].min():.4g}, at the end {median[-1]:.4g}."
    )


def introduction(options: argparse.Namespace, n: int, n_test: int, count: int) -> list[str]:
    """Return what was measured with what."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    return [
        "# Double descent of random Fourier features",
        "",
        f"{datetime.date.today()}, threads: {options.threads}, Python {platform.python_version()}, "
        f"{packages}. MNIST, curved digits (0, 3, 6, 8, 9; +1) against angular ones (1, 2, 4, 5, 7; -1; "
        f"2 and 5 could be either): the first {n} training images, the first {n_test} test images. "
        f"{count} sizes, {options.repeats} draws of the frequencies, least norm, no intercept, n = {n}. "
        "Errors are mean squared; tables give the median over the draws and the extremes. Seconds were taken "
        "under load and are upper bounds.",
        "",
        "![Double descent](double_descent.png)",
        "",
    ]


def section(setting: Setting, curve: DoubleDescentCurve, seconds: float, both: Comparison) -> list[str]:
    """Return the text of one setting."""
    return [
        f"## {setting.name}",
        "",
        findings(curve),
        "",
        f"A draw, all sizes with features and test outputs: {seconds:.1f} s. Least squares alone: "
        f"{both.nested_seconds:.1f} s by shared factors, {both.lstsq_seconds:.1f} s by `numpy.linalg.lstsq` "
        f"for each size. Largest relative difference between the two: {both.coefficients:.1e} of "
        f"coefficients, {both.predictions:.1e} of test outputs (condition with n features: "
        f"{both.condition:.1e}).",
        "",
        *table(curve),
        "",
    ]


def draw(curves: list[DoubleDescentCurve], path: Path) -> None:
    """Write the picture."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 4), layout="constrained")
    for ax, curve, setting in zip(axes, curves, SETTINGS, strict=True):
        DoubleDescentDisplay.from_curve(curve, ax=ax, norm=True)
        ax.set_title(setting.name, fontsize="medium")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Run all settings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--test-samples", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    data = np.load(Path(os.environ["CONVEXNN_DATA"]) / "images" / "mnist.npz")
    n, n_test = options.samples, options.test_samples
    y, y_test = (
        2.0 * np.isin(data[f"y_{part}"][:m], CURVED) - 1 for part, m in (("train", n), ("test", n_test))
    )
    counts = sizes(n)
    lines, curves = introduction(options, n, n_test, len(counts)), []
    for setting in SETTINGS:
        X, X_test = setting.samples(data["X_train"][:n]), setting.samples(data["X_test"][:n_test])
        model = RandomFourierClassifier(1, gamma=setting.gamma, fit_intercept=False, random_state=0)
        with threadpool_limits(options.threads):
            both = compared(X, y, X_test, model.fit(X, y).gamma_, counts)
            began = time.perf_counter()
            curves.append(
                double_descent_curve(
                    model, X, y, X_test, y_test, n_frequencies=counts, n_repeats=options.repeats
                )
            )
        seconds = (time.perf_counter() - began) / options.repeats
        found = section(setting, curves[-1], seconds, both)
        print("\n".join(found), flush=True)
        lines += found
    if options.save:
        (RESULTS / "double_descent.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
        draw(curves, RESULTS / "double_descent.png")


if __name__ == "__main__":
    main()

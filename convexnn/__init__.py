"""Two-layer ReLU networks trained to their global optimum by convex optimisation.

The training objective, **a sum and not a mean**, is::

    F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + a_j^2)

for the network ``f(x) = sum_j a_j phi(u_j . x~) + c``. The estimators solve the equivalent convex program
over activation patterns and report a lower bound, so that the distance to the optimum is known; `certify`
proves one for networks of any origin.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from convexnn.certificates import Certificate
from convexnn.certificates.certify import certify
from convexnn.ensembles import DropoutEnsembleClassifier, DropoutEnsembleRegressor
from convexnn.estimators import (
    ConvexCNNClassifier,
    ConvexCNNRegressor,
    ConvexMLPClassifier,
    ConvexMLPClassifierCV,
    ConvexMLPRegressor,
    ConvexMLPRegressorCV,
)
from convexnn.fourier import RandomFourierClassifier, RandomFourierRegressor, double_descent_curve
from convexnn.networks import ConvNetwork, TwoLayerNetwork
from convexnn.paths import PathResult, convex_path
from convexnn.patterns import PatternSet, count_patterns, enumerate_patterns, sample_patterns

if TYPE_CHECKING:
    from convexnn.ensembles import ConvexStackingClassifier, ConvexStackingRegressor

__all__ = [
    "Certificate",
    "ConvNetwork",
    "ConvexCNNClassifier",
    "ConvexCNNRegressor",
    "ConvexMLPClassifier",
    "ConvexMLPClassifierCV",
    "ConvexMLPRegressor",
    "ConvexMLPRegressorCV",
    "ConvexStackingClassifier",
    "ConvexStackingRegressor",
    "DropoutEnsembleClassifier",
    "DropoutEnsembleRegressor",
    "PathResult",
    "PatternSet",
    "RandomFourierClassifier",
    "RandomFourierRegressor",
    "TwoLayerNetwork",
    "certify",
    "convex_path",
    "count_patterns",
    "double_descent_curve",
    "enumerate_patterns",
    "sample_patterns",
]

__version__ = version("convexnn")


def __getattr__(name: str) -> Any:
    """Import what loads large parts of scikit-learn on use."""
    if name in ("ConvexStackingClassifier", "ConvexStackingRegressor"):
        from convexnn import ensembles

        return getattr(ensembles, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

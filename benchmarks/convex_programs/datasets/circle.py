"""Problem a: inside or outside the unit circle, with all patterns."""

import numpy as np
from benchmark_utils.problems import all_patterns
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """Ten Gaussian points of the plane; the optimum is that of all networks."""

    name = "a"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        points = np.random.default_rng(0).standard_normal((10, 2))
        X = np.hstack([points, np.ones((10, 1))])
        y = np.where((points**2).sum(axis=1) > 1, 1.0, -1.0)
        return {"name": self.name, "X": X, "y": y, "gates": all_patterns(X), "alpha": 0.01}

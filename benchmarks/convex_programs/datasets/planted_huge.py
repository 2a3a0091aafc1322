"""Problem h: five planted neurons."""

from benchmark_utils.problems import distinct_gates, planted
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """20000 samples, 100 features, 2000 sampled patterns."""

    name = "h"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        X, y = planted(20000, 100, seed=0)
        return {"name": self.name, "X": X, "y": y, "gates": distinct_gates(X, 2000, seed=1), "alpha": 10000.0}

"""Problem b: five planted neurons."""

from benchmark_utils.problems import distinct_gates, planted
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """50 samples, 5 features, 100 sampled patterns."""

    name = "b"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        X, y = planted(50, 5, seed=0)
        return {"name": self.name, "X": X, "y": y, "gates": distinct_gates(X, 100, seed=1), "alpha": 0.1}

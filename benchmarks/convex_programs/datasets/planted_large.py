"""Problem f: five planted neurons."""

from benchmark_utils.problems import distinct_gates, planted
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """5000 samples, 50 features, 1000 sampled patterns."""

    name = "f"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        X, y = planted(5000, 50, seed=0)
        return {"name": self.name, "X": X, "y": y, "gates": distinct_gates(X, 1000, seed=1), "alpha": 1000.0}

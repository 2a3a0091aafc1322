"""Problem c: five planted neurons."""

from benchmark_utils.problems import distinct_gates, planted
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """200 samples, 10 features, 500 sampled patterns."""

    name = "c"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        X, y = planted(200, 10, seed=0)
        return {"name": self.name, "X": X, "y": y, "gates": distinct_gates(X, 500, seed=1), "alpha": 2.0}

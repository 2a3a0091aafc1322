"""Problem g: scikit-learn's diabetes data."""

from benchmark_utils.problems import distinct_gates, standardised
from benchopt import BaseDataset
from sklearn.datasets import load_diabetes


class Dataset(BaseDataset):
    """Disease progression, standardised."""

    name = "g"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        data = load_diabetes()
        X = standardised(data.data)
        y = (data.target - data.target.mean()) / data.target.std()
        return {"name": self.name, "X": X, "y": y, "gates": distinct_gates(X, 500, seed=1), "alpha": 5.0}

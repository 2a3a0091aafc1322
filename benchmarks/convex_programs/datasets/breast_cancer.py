"""Problem d: scikit-learn's breast cancer data, correlated columns."""

from benchmark_utils.problems import distinct_gates, standardised
from benchopt import BaseDataset
from sklearn.datasets import load_breast_cancer


class Dataset(BaseDataset):
    """Malignant against benign as -1 against +1."""

    name = "d"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        data = load_breast_cancer()
        X = standardised(data.data)
        return {
            "name": self.name,
            "X": X,
            "y": 2.0 * data.target - 1,
            "gates": distinct_gates(X, 500, seed=1),
            "alpha": 3.0,
        }

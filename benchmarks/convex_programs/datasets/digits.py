"""Problem e: scikit-learn's digits, 3 against 8."""

import numpy as np
from benchmark_utils.problems import distinct_gates, standardised
from benchopt import BaseDataset
from sklearn.datasets import load_digits


class Dataset(BaseDataset):
    """The 3 as +1, the 8 as -1."""

    name = "e"

    def get_data(self) -> dict[str, object]:
        """Return the arguments of ``Objective.set_data``."""
        data = load_digits()
        chosen = np.isin(data.target, [3, 8])
        X = standardised(data.data[chosen])
        y = np.where(data.target[chosen] == 3, 1.0, -1.0)
        return {"name": self.name, "X": X, "y": y, "gates": distinct_gates(X, 1000, seed=1), "alpha": 5.0}

"""Convolutional fits beside PyTorch: the same predictions, and no training that goes below the bound."""

import numpy as np
import pytest

from conv_restatement import SLOPES, loop_patches
from convexnn import ConvexCNNClassifier, ConvexCNNRegressor

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
SHAPE = (4, 3, 2)
IMAGES = RNG.normal(size=(9, *SHAPE))
KINDS = [
    {"pooling": "average"},
    {"pooling": "average", "activation": "leaky_relu", "padding": "zero", "hidden_bias": "free"},
    {"pooling": "average", "activation": "absolute_value", "padding": "circular"},
    {"pooling": "max", "padding": "zero"},
    {"pooling": None, "stride": (2, 1)},
    {"pooling": "weighted", "hidden_bias": "none", "padding": "circular", "tol": 1e-2},
    {"activation": "linear"},
    {"activation": "linear", "padding": "circular", "kernel_size": 9},
]


@pytest.mark.parametrize("options", KINDS)
def test_predictions_of_the_torch_form(options):
    model = ConvexCNNRegressor(**{"alpha": 0.5, "kernel_size": (2, 1), "random_state": 0} | options)
    pooling = options.get("pooling", "auto")
    y = RNG.normal(size=(9, 6) if pooling is None else 9)
    model.fit(IMAGES, y)
    assert model.n_neurons_ > 0
    module, inputs = model.network_.to_torch(), torch.from_numpy(np.moveaxis(IMAGES, -1, 1).copy())
    with torch.no_grad():
        outputs = module(inputs).numpy()
    np.testing.assert_allclose(
        outputs.reshape(model.predict(IMAGES).shape), model.predict(IMAGES), atol=1e-12
    )


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_logits_of_the_torch_form(pooling):
    labels = np.array(["a", "b", "c"] * 3)
    model = ConvexCNNClassifier(0.5, kernel_size=2, pooling=pooling, random_state=0).fit(IMAGES, labels)
    inputs = torch.from_numpy(np.moveaxis(IMAGES, -1, 1).copy())
    with torch.no_grad():
        logits = model.network_.to_torch()(inputs).numpy()
    np.testing.assert_allclose(logits, model.decision_function(IMAGES), atol=1e-12)


class Networks:
    """Many networks of 12 filters each on the same patches, trained side by side."""

    def __init__(self, patches, y, weight, model, n_networks, seed):
        generator = torch.Generator().manual_seed(seed)
        _, n_positions, d = patches.shape
        self.model = model
        self.patches, self.y, self.weight = (self._tensor(part) for part in (patches, y, weight))
        self.pooling = "weighted" if model.activation == "linear" else model.pooling
        shape = (n_networks, 12, n_positions) if self.pooling == "weighted" else (n_networks, 12)
        sizes = [(n_networks, 12, d), shape, (n_networks,)]
        drawn = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
        self.parameters = [(0.5 * part).requires_grad_() for part in drawn]

    @staticmethod
    def _tensor(array):
        return torch.from_numpy(np.ascontiguousarray(array))

    def objectives(self):
        """F of each network."""
        U, A, c = self.parameters
        c = c * float(self.model.fit_intercept)
        on, off = SLOPES[self.model.activation]
        z = torch.einsum("nkd,rmd->rnmk", self.patches, U)
        hidden = on * torch.relu(z) - off * torch.relu(-z)
        if self.pooling == "average":
            f = torch.einsum("rnmk,rm->rn", hidden, A) + c[:, None]
        elif self.pooling == "max":
            f = torch.einsum("rnm,rm->rn", hidden.amax(dim=3), A) + c[:, None]
        elif self.pooling == "weighted":
            f = torch.einsum("rnmk,rmk->rn", hidden, A) + c[:, None]
        else:
            f = torch.einsum("rnmk,rm->rnk", hidden, A) + c[:, None, None]
        loss = {
            "squared_error": lambda: 0.5 * (f - self.y) ** 2,
            "log_loss": lambda: torch.nn.functional.softplus(-self.y * f),
            "hinge": lambda: torch.relu(1.0 - self.y * f),
        }[self.model.loss]()
        fit = (loss.reshape(len(loss), len(self.weight), -1).sum(dim=2) * self.weight).sum(dim=1)
        penalized = U[:, :, :-1] if self.model.hidden_bias == "free" else U
        norms = (penalized**2).flatten(1).sum(dim=1) + (A**2).flatten(1).sum(dim=1)
        return fit + 0.5 * self.model.alpha * norms

    def train(self, n_steps):
        """Return the least objective that Adam and then L-BFGS reach."""
        # Threads cost more than they save on arrays this small.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._train(n_steps)
        finally:
            torch.set_num_threads(threads)

    def _train(self, n_steps):
        adam = torch.optim.Adam(self.parameters, lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
        for _ in range(n_steps):
            adam.zero_grad()
            self.objectives().sum().backward()
            adam.step()
            schedule.step()
        best = int(self.objectives().argmin())
        self.parameters = [
            part[best : best + 1].detach().clone().requires_grad_() for part in self.parameters
        ]
        lbfgs = torch.optim.LBFGS(self.parameters, max_iter=500, line_search_fn="strong_wolfe")

        def closure():
            lbfgs.zero_grad()
            total = self.objectives().sum()
            total.backward()
            return total

        before = self.objectives().item()
        lbfgs.step(closure)
        return min(before, self.objectives().item())


SMALL = [
    {"pooling": "average"},
    {"pooling": "average", "activation": "absolute_value", "hidden_bias": "free"},
    {"pooling": "average", "loss": "hinge", "fit_intercept": False},
    {"pooling": "max"},
    {"pooling": "max", "loss": "log_loss", "hidden_bias": "none"},
    {"pooling": None, "activation": "leaky_relu"},
    {"pooling": "weighted", "hidden_bias": "none"},
    {"pooling": "weighted", "hidden_bias": "none", "loss": "log_loss"},
    {"activation": "linear"},
    {"activation": "linear", "padding": "circular", "kernel_size": 4, "hidden_bias": "none"},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", SMALL)
def test_training_never_gets_below_the_bound(options, seed):
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(size=(10, 4, 1)), rng.uniform(0.5, 2.0, 10)
    shared = {"alpha": 0.2, "kernel_size": 2, "patterns": "exact", "tol": 1e-6, "random_state": 0}
    y = rng.normal(size=(10, 3) if options.get("pooling", "auto") is None else 10)
    is_classifier = options.get("loss") in ("hinge", "log_loss")
    model = (ConvexCNNClassifier if is_classifier else ConvexCNNRegressor)(**shared | options)
    y = np.sign(y) if is_classifier else y
    model.fit(X, y, sample_weight=weight)
    assert model.gap_scope_ == "global"
    geometry = model.network_.geometry
    patches = loop_patches(
        X, geometry.kernel_size, geometry.stride, geometry.padding, bias=model.hidden_bias != "none"
    )
    reached = Networks(patches, y, weight, model, n_networks=64, seed=seed).train(n_steps=1500)
    assert model.dual_objective_ <= reached
    assert reached <= 1.05 * model.objective_, "training is too weak to be a test"

"""Sub-models of PyTorch modules with dropout layers: one fixed mask per layer and sub-model.

torch is never imported here but by whoever made the module.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from convexnn._typing import FloatArray
from convexnn.labels import class_probabilities

__all__ = ["TorchSubModels", "draw_seeds"]

_BATCH_SIZE = 1024
_BATCH_BYTES = 2**24
"""Samples that a module sees at a time, and their bytes: 16 MB of images leave room for their activations."""

_SELU_FLOOR = -1.7580993408473766
"""Value of SELU at minus infinity, to which `torch.nn.AlphaDropout` sets what it drops."""


@dataclass(frozen=True, eq=False)
class TorchSubModels:
    """Sub-models of a trained PyTorch module, each with one fixed mask for each dropout layer.

    The module runs in evaluation mode; what it had is restored. Its dropout layers multiply by masks that are
    the same for all samples, in any batch and on any device: what is kept is scaled by ``1 / (1 - p)`` with
    the layer's own ``p``. Layers that drop channels (``Dropout1d`` and the like) have masks of channels, and
    alpha dropout its own affine map. A layer that is called twice has the same mask both times. Dropout
    that is no layer (``torch.nn.functional.dropout``) is not seen. The first axis is the samples'.

    Attributes
    ----------
    module : torch.nn.Module
        Not copied: training it further changes the sub-models.
    seeds : tuple of int
        One for each sub-model.
    n_classes : int or None
        Number of classes of a classifier, whose outputs are logits; None for a regressor.
    """

    module: Any
    seeds: tuple[int, ...]
    n_classes: int | None = None

    def __post_init__(self) -> None:
        """Check that there is something to drop."""
        if not self._dropout_layers():
            raise ValueError(
                f"The module {type(self.module).__name__} has no dropout layer, so all of its sub-models are "
                "the same. Use torch.nn.Dropout (or Dropout1d, Dropout2d, AlphaDropout, ...) as layers of it."
            )

    def __len__(self) -> int:
        """Return the number of sub-models."""
        return len(self.seeds)

    def outputs(self, X: NDArray[Any], which: ArrayLike | None = None) -> Iterator[FloatArray]:
        """Yield the predictions of one sub-model after another.

        Parameters
        ----------
        X : ndarray of shape (n_samples, ...)
            Goes to the module in batches, with the type and on the device of its parameters.
        which : array-like of int, optional
            Indices of the sub-models wanted, in this order; all unless given.

        Yields
        ------
        ndarray of shape (n_samples, K)
            Outputs of a regressor, or the probabilities of the K classes, also for two.

        Raises
        ------
        ValueError
            If the module's outputs have another shape.
        """
        indices = range(len(self)) if which is None else np.asarray(which, dtype=np.intp).tolist()
        for j in indices:
            # Nothing is yielded while the module is altered: the caller may never come back.
            with self._masked(self.seeds[j]):
                outputs = self._run(X)
            yield outputs

    def base_outputs(self, X: NDArray[Any]) -> FloatArray:
        """Return the predictions of the whole module, shape (n_samples, K); see `outputs`."""
        return self._run(X)

    def _dropout_layers(self) -> list[Any]:
        """Return the module's dropout layers, each once."""
        torch = sys.modules["torch"]
        kinds = (
            torch.nn.Dropout,
            torch.nn.Dropout1d,
            torch.nn.Dropout2d,
            torch.nn.Dropout3d,
            torch.nn.AlphaDropout,
            torch.nn.FeatureAlphaDropout,
        )
        return [layer for layer in self.module.modules() if isinstance(layer, kinds)]

    @contextmanager
    def _masked(self, seed: int) -> Iterator[None]:
        """Put the masks of one sub-model into the dropout layers."""
        with ExitStack() as stack:
            for number, layer in enumerate(self._dropout_layers()):
                hook = layer.register_forward_hook(_LayerMask(layer, _layer_seed(seed, number)))
                stack.callback(hook.remove)
            yield

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Put the module into evaluation mode, and each part back into what it was in."""
        flags = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        try:
            yield
        finally:
            for part, training in flags:
                part.training = training

    def _run(self, X: NDArray[Any]) -> FloatArray:
        """Return the module's predictions, batch by batch."""
        torch: Any = sys.modules["torch"]
        parameters = (p for p in self.module.parameters() if p.is_floating_point())
        like = next(parameters, torch.empty(0))
        rows = []
        size = max(1, min(_BATCH_SIZE, _BATCH_BYTES // X[0].nbytes))
        with self._evaluating(), torch.no_grad():
            for batch in gen_batches(len(X), size):
                inputs = torch.from_numpy(np.array(X[batch], order="C")).to(like)
                rows.append(self._linked(self.module(inputs), inputs.shape[0]))
        return np.concatenate(rows)

    def _linked(self, outputs: Any, n_samples: int) -> FloatArray:
        """Return a tensor of outputs as predictions or probabilities, shape (n_samples, K)."""
        shape = tuple(getattr(outputs, "shape", ()))
        if len(shape) not in (1, 2) or shape[0] != n_samples:
            found = f"shape {shape}" if hasattr(outputs, "shape") else f"a {type(outputs).__name__}"
            raise ValueError(
                f"The module must return a tensor with one row for each of {n_samples} samples, shape "
                f"({n_samples},) or ({n_samples}, K). Got {found}."
            )
        values = np.asarray(outputs.detach().cpu().double().numpy(), dtype=np.float64)
        values = values.reshape(n_samples, -1)
        if self.n_classes is None:
            return values
        one_logit = values.shape[1] == 1 and self.n_classes == 2
        if not one_logit and values.shape[1] != self.n_classes:
            raise ValueError(
                f"y has {self.n_classes} classes, so the module must return {self.n_classes} logits for each "
                f"sample (or one, for two classes). Got {values.shape[1]}; the k-th output belongs to the "
                "k-th of the sorted labels."
            )
        return np.asarray(class_probabilities(values))


def _layer_seed(seed: int, number: int) -> int:
    """Return a seed for the mask of one layer of a sub-model."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _LayerMask:
    """Forward hook that drops a fixed part of a dropout layer's outputs."""

    def __init__(self, layer: Any, seed: int) -> None:
        torch = sys.modules["torch"]
        self._p = float(layer.p)
        self._alpha = isinstance(layer, torch.nn.AlphaDropout | torch.nn.FeatureAlphaDropout)
        self._channels = not isinstance(layer, torch.nn.Dropout | torch.nn.AlphaDropout)
        self._seed = seed
        self._masks: dict[tuple[int, ...], Any] = {}

    def __call__(self, _layer: Any, _inputs: Any, outputs: Any) -> Any:
        """Return what the layer gives with its mask."""
        kept = self._mask(outputs)
        if not self._alpha:
            scale = 0.0 if self._p == 1 else 1 / (1 - self._p)
            return outputs * (kept * scale)
        if self._p == 1:
            return outputs * 0.0
        # Keeps mean and variance of self-normalising networks (Klambauer et al. 2017, section 3).
        a = 1 / math.sqrt((1 - self._p) * (1 + self._p * _SELU_FLOOR**2))
        return a * (outputs * kept + _SELU_FLOOR * (1 - kept) + self._p * -_SELU_FLOOR)

    def _mask(self, outputs: Any) -> Any:
        """Return the mask for outputs of this shape, drawn when it is first needed."""
        shape = tuple(outputs.shape[1:])
        if self._channels and shape:
            shape = (shape[0], *(1 for _ in shape[1:]))
        if shape not in self._masks:
            torch = sys.modules["torch"]
            # Drawn on the CPU, so that a sub-model is the same function on every device.
            generator = torch.Generator().manual_seed(self._seed)
            drawn = torch.rand((1, *shape), generator=generator) >= self._p
            self._masks[shape] = drawn.to(outputs)
        return self._masks[shape]


def draw_seeds(n_submodels: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Return one seed for each sub-model."""
    return tuple(int(seed) for seed in rng.integers(2**63, size=n_submodels, dtype=np.uint64))

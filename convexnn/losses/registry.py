"""Losses by name. A module of this folder registers its own; others call `register_loss`."""

from convexnn.losses.base import Loss

__all__ = ["LOSSES", "get_loss", "register_loss"]

LOSSES: dict[str, Loss] = {}
"""Losses by the names that users choose them by, with their default parameters."""


def register_loss(loss: Loss) -> Loss:
    """Make a loss available by its name, to all estimators of its task and to the command line.

    Nothing else in the package lists losses: what solvers, paths and certificates ask of one it answers
    itself, see `Loss`.

    Parameters
    ----------
    loss : Loss
        With default parameters.

    Returns
    -------
    Loss
        The same.

    Raises
    ------
    ValueError
        If another class has that name already.
    """
    known = LOSSES.get(loss.name)
    if known is not None and type(known) is not type(loss):
        raise ValueError(
            f"The name {loss.name!r} is that of the loss {type(known).__name__}. "
            f"Got another for {type(loss).__name__}; choose a different name."
        )
    LOSSES[loss.name] = loss
    return loss


def get_loss(loss: str | Loss, n_outputs: int = 1) -> Loss:
    """Return the loss of that name, or `loss` itself if it is one already.

    Parameters
    ----------
    loss : str or Loss
        A key of ``LOSSES``, or an object such as ``Huber(0.5)``.
    n_outputs : int
        Number of outputs of the network; the name "log_loss" means :class:`Softmax` above one, since its
        classes are then exclusive. Pass ``LogLoss()`` for independent binary outputs.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the known ones.
    """
    if isinstance(loss, Loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(
            f"Unknown loss {loss!r}. Choose one of {sorted(LOSSES)} or pass a Loss, for example Huber(0.5)."
        )
    return LOSSES[loss].named_for(n_outputs)

"""What an interrupt from the keyboard ends."""

import sys

__all__ = ["runs_among_others"]

# Packages whose frames on the stack mean that the caller is one of several pieces of work: scikit-learn's
# searches and cross-validation, and joblib, by which these and ensembles run.
_RUNNERS = ("sklearn.model_selection.", "sklearn.utils.parallel", "joblib.")


def runs_among_others() -> bool:
    """Whether the calling fit is one of several of a search, a cross-validation or an ensemble.

    A single fit that is interrupted keeps its best network and returns: that is what the user has pressed the
    keys for. One of several must let the interrupt through, else the others would still be run.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_RUNNERS):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False

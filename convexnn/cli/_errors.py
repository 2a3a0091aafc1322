"""The error that ends a command with exit code 2."""

__all__ = ["CommandError"]


class CommandError(Exception):
    """A command cannot be carried out as it was given; the text is shown to the user in one line."""

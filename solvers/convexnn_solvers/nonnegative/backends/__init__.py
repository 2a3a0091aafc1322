"""One module for each solver of least squares over non-negative weights."""

"""Settings of the documentation: ``python -m sphinx -W -b html docs OUTPUT``."""

import importlib.metadata

project = "convexnn"
author = "The convexnn developers"
project_copyright = author
release = importlib.metadata.version(project)

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "numpydoc"]
default_role = "py:obj"
autodoc_member_order = "bysource"
# Shapes and defaults stand in the docstrings, once.
autodoc_typehints = "none"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"convexnn {release}"

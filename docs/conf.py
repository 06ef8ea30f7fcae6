"""How Sphinx builds the documentation; `make docs` runs it with every warning an error."""

from importlib.metadata import version as installed

project = "tradeguard"
author = "The tradeguard authors"
copyright = "The tradeguard authors, Apache-2.0"
release = version = installed("tradeguard")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"tradeguard {release}"
html_show_sphinx = False

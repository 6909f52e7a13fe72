"""The documentation site: Sphinx with MyST and Furo, built by ``make docs`` without a network.

Whatever lies in this folder is a page of it. Every warning is an error there, above all a link that leads nowhere.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # docsite/ is not installed

project = "sandbox-executor"
copyright = "the sandbox-executor authors"
extensions = ["myst_parser", "docsite.extension"]
exclude_patterns: list[str] = []
nitpicky = True
smartquotes = False  # "" is a default, not a quotation

myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "sandbox-executor"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}

repository_url = ""  # where the repository can be read, up to the path of a file; pages then link there

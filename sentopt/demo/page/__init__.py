"""The Gradio page: one module for each tab, put together by `layout`."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported, which every tab does

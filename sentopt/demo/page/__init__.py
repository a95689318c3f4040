"""The Gradio page: one module for each tab, put together by `layout`."""

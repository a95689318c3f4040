"""The web demo of a bundle: a page and HTTP endpoints, on one classifier.

server (starts and stops) -> admission (who and how much) -> api, page (JSON and Gradio) -> service (limits,
explanation) -> batcher (micro-batches) -> runtime.
"""

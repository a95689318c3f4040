from __future__ import annotations
import gradio as gr
def mount(app, service, bundle):
    with gr.Blocks(title="sentopt") as b:
        gr.Markdown("hi")
    b.queue()
    b._queue.sleep_when_free = 0.02
    gr.mount_gradio_app(app, b, path="/")

"""A run: the order of its stages, which of them are current, and whether it may go on in its directory."""

from sentopt.pipeline.order import Depth, Pipeline

__all__ = ["Depth", "Pipeline"]

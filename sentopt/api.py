"""The whole of sentopt from Python."""

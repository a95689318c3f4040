"""The version of sentopt: a module of its own, so that no module of the package imports the package's root."""

__version__ = "0.1.0"

"""The whole of sentopt from Python: what every verb of the command line does, in one call each.

    run = sentopt.train(data, epochs=2).optimize()
    classifier = run.classifier()

Nothing here prints results: progress goes to stderr or to a function, results are returned, and what cannot be done is
raised as one of `sentopt.errors`. What belongs to the caller (models, random states, environment, log levels) is left
as it was.
"""

from sentopt.api.bundles import check, pack, push, score, score_files, serve, tune
from sentopt.api.data import check_data
from sentopt.api.machine import Environment, emulator, environment
from sentopt.api.run import Report, Run
from sentopt.api.runs import average, find, open, optimize, search, train

__all__ = [
    "Environment",
    "Report",
    "Run",
    "average",
    "check",
    "check_data",
    "emulator",
    "environment",
    "find",
    "open",
    "optimize",
    "pack",
    "push",
    "score",
    "score_files",
    "search",
    "serve",
    "train",
    "tune",
]

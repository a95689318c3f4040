"""Scores more rows than one file, one machine or one evening holds, in units that can be repeated.

inputs (which files) -> units (pieces of them) -> job (the output folder: what it is for, what is finished) -> scoring
(one unit gives one output file) -> local, on_ray, on_spark (who scores which unit where).

A unit depends on its rows and the bundle alone. So whoever scores it writes the same bytes, and what was killed is
scored again.
"""

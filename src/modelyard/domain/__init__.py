"""The rules: what a model is, which states it can be in, what follows from what.

Pure: no I/O, no clock, no framework, and nothing of ours from outside this package. Time enters as
an argument; the outside world enters as an :class:`~modelyard.domain.observation.Observation`.
"""

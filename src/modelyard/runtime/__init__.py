"""The worker: engines, inference protocols and the frames they travel in.

Usable alone (``python -m modelyard.runtime --model PATH``); knows nothing of control, store or API.
"""

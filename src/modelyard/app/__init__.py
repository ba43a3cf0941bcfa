"""The composition root: the one place that knows every part. ``python -m modelyard.app`` is the control process.

``plane`` puts the parts together; ``registry``, ``access`` and ``alerts`` those of one matter each.
"""

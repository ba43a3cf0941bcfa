"""Metrics and health of models, as seen by the control process."""

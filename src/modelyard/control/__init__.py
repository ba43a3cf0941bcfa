"""The reconciler, the commands and the operations: the only writers of a model's status."""

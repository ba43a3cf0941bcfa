"""The command line: a thin client of the API through the Python SDK, except for ``up`` and ``down``.

What a command does belongs to the API; here stands how it is asked for and how its answer is shown.
Nothing heavy is imported before a command runs, so that help and completion come at once.
"""

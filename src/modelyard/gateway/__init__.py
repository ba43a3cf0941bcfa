"""The front door: routes inference to instances and everything else to the control process.

It runs as a process of its own (``python -m modelyard.gateway``), holds no state that it could not
read again from ``run/routes``, and goes on serving while the control process is away.
"""

"""Keeps the gateway and the control processes of one home running: ``python -m modelyard.supervisor``.

It binds the port and hands the listening socket on, starts them, restarts each when it dies, adopts
those that an earlier supervisor has left, reaps orphans, and on SIGTERM ends everything. It knows nothing
of models and imports nothing but the standard library: what is never restarted itself must be small.

``modelyard up`` starts it with resolved settings in the environment (``MODELYARD_HOME``, ``_HOST``,
``_PORT``, ``_TOKEN``, ``_CONTROL_PROCESSES``) and with ``MODELYARD_REPORT_FD``, a pipe on which it says, a
JSON object a line, that it is ``up``, that it cannot be (``error``), and which service has ended (``exit``).
"""

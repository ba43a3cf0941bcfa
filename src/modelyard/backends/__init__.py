"""Where instances live: one module or folder a backend, all behind the port in ``port.py``."""

"""Load for a server of HTTP/1.1, and what it answered with: how fast, how evenly, with which errors.

It uses nothing else of Modelyard. :func:`modelyard.loadtest.measuring.measure` is where to begin.
"""

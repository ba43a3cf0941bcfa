"""Benchmarks: ``make bench``. They measure and report; no test depends on them."""

"""The steps that bring a database to this version; :mod:`modelyard.store.migrate` runs them."""

"""What there is to serve: the catalog of models and versions, and the bytes that they are made of."""

"""Who a caller is, shown by an API key or a token, how often it may ask, and the secrets of specs.

Only parts: what stores keys, makes routes and opens connections uses them. Knows the domain and nobody else.
"""

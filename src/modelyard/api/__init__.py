"""The REST API: routers and schemas. Thin: what a request means is decided in control and domain."""

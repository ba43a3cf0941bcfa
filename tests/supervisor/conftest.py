from tests.cli.conftest import own

__all__ = ["own"]

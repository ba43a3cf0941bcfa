from tests.store.conftest import home, postgres, postgres_url

__all__ = ["home", "postgres", "postgres_url"]

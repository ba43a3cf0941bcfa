"""Writes the OpenAPI document: ``python -m modelyard.api.describe > docs/openapi.yaml``."""

from __future__ import annotations

import sys

import yaml

from modelyard.api.app import create_app


def document() -> str:
    """The OpenAPI document of this version as YAML."""
    return yaml.safe_dump(create_app(None).openapi(), sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    sys.stdout.write(document())

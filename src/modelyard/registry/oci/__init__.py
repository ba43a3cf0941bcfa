"""Versions as OCI images in a container registry, and OCI images and artifacts as sources of versions."""

"""What the registry is compared with, each in an environment of its own."""

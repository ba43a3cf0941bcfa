"""The dashboard in a real Chromium, before a real Modelyard with real models."""

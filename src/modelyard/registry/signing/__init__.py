"""Signatures of versions: keys, how signatures are made and checked, and what a namespace trusts."""

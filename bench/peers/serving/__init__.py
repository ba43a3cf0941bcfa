"""Model servers beside ours, measured alike: ``python -m bench.peers.serving`` (``make bench-peers``)."""

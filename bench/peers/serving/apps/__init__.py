"""One small server a peer, as its documentation would have it, run by that peer's own interpreter: ``python -m
bench.peers.serving.apps.<name> PORT WORKERS``. Each gives the digits model's two outputs as V2 does."""

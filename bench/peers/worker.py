"""The peers at work, with their defaults; runs where they are installed (``python -m bench.peers.worker``).

Those that fetch a file say how many seconds it then takes to have it on the disk, which none of them waits for.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from bench.lines import serve, synced

os.environ |= {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def boto3_and_sha256(bucket: str, key: str, to: str) -> dict[str, Any]:
    _s3().download_file(bucket, key, to)
    with Path(to).open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def mlflow(url: str, to: str) -> dict[str, Any]:
    from mlflow.artifacts import download_artifacts

    return {"path": download_artifacts(artifact_uri=url, dst_path=to)}


def hub(repository: str, revision: str, name: str, cache: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    return {"path": hf_hub_download(repository, name, revision=revision, cache_dir=cache)}


def xet_upload(path: str, store: str) -> dict[str, Any]:
    import hf_xet

    with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{store}") as commit:
        upload = commit.start_upload_file(path)
    info = upload.result().xet_info
    return {"digest": info.hash, "size": info.file_size}


def xet_download(digest: str, size: int, store: str, to: str) -> dict[str, Any]:
    import hf_xet

    with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{store}") as group:
        group.start_download_file(hf_xet.XetFileInfo(digest, size), to)
    return {"fetched": group.progress().total_transfer_bytes_completed}


def sync(paths: list[str]) -> float:
    return synced(paths)


if __name__ == "__main__":
    serve({each.__name__: each for each in (boto3_and_sha256, mlflow, hub, xet_upload, xet_download, sync)})

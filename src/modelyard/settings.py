"""Settings of one Modelyard: from flags, then the environment (``MODELYARD_*``), then ``modelyard.toml``.

The toml file is looked for in the working folder, then in the home. Paths inside the home have one
name each, here, so that no two parts of the house disagree about them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from modelyard.access.members import parse_roles
from modelyard.access.secrets import parse_keys
from modelyard.access.tokens import ALGORITHMS
from modelyard.domain.quantities import parse_bytes

CONFIG_NAME = "modelyard.toml"
# sun_path holds 108 bytes (unix(7)); the longest socket name below the home takes 32 of them.
_MAX_HOME = 107 - 32
_STORE = re.compile(r"(s3|gs|az)://[^/?#@\s]+(/[^?#@\s]*)?|file://(localhost)?/[^?#]*")
_PEER = re.compile(r"https?://[^/?#@\s,]+/?")
_SECURE = re.compile(r"https://[^/?#@\s,]+[^?#@\s,]*|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^?#@\s,]*)?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?")
_DECLARED = re.compile(r"gpu:(\d{1,3})")


class Settings(BaseSettings):
    """One home, one front door."""

    model_config = SettingsConfigDict(env_prefix="MODELYARD_", extra="ignore", hide_input_in_errors=True)

    home: Path = Field(default=Path("~/.modelyard"), description="Holds state, models, sockets and logs.")
    host: str = Field(default="127.0.0.1", description="The address that the front door binds to.")
    port: int = Field(default=8900, ge=1, le=65535, description="The port of the front door.")
    database_url: str = Field(
        default="", description="PostgreSQL as postgresql://user@host/name; empty: SQLite in the home."
    )
    token: str = Field(default="", description="The administrator token; empty: read from admin.token in the home.")
    max_body: int = Field(default=4 * 2**20, ge=1024, description="Bytes of a request body that the API accepts.")
    dashboard: str = Field(default="", description="The folder that the dashboard is built in; empty: the package's.")
    grpc_port: int | None = Field(
        default=None, ge=0, le=65535, description="The port of the front door for gRPC, 0 for a free one; empty: none. "
        "Needs modelyard[grpc].",
    )  # fmt: skip
    grpc_max_message: int = Field(
        default=64 * 2**20, ge=1024, description="Bytes of a message over gRPC, whatever the model's own limit is."
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    devices: str = Field(
        default="", description="The GPUs of this machine: 'gpu:2' declares two, 'none' none; empty: found by NVML."
    )

    warm_start: bool = Field(
        default=True, description="Whether workers are forked from processes that have imported their engine already."
    )

    registry_path: str = Field(
        default="", description="The store of registered models: a folder; empty: in the home. Homes that share a "
        "database share it.",
    )  # fmt: skip
    registry_url: str = Field(
        default="", description="Instead of registry_path: s3://bucket/prefix, gs://…, az://container/prefix or "
        "file:///path. Credentials are read from the environment.",
    )  # fmt: skip
    models_path: str = Field(
        default="", validation_alias=AliasChoices("MODELYARD_MODELS_PATH", "EFS_MODELS_PATH", "models_path"),
        description="A folder for registered models' files that several machines may share; empty: in the home.",
    )  # fmt: skip

    import_paths: str = Field(
        default="", description="Folders below which the server may read files for its callers, separated as in PATH; "
        "empty: none.",
    )  # fmt: skip

    import_hosts: str = Field(
        default="", description="Hosts that the server may fetch from though they are this machine or link-local, with "
        "commas between them; '*': all.",
    )  # fmt: skip

    webhook_hosts: str = Field(
        default="", description="Hosts that webhooks may be sent to though they are this machine or link-local, with "
        "commas between them; '*': all.",
    )  # fmt: skip

    cache_size: str = Field(
        default="", description="What the cache of registered models is kept to, for example 200Gi; empty: no limit."
    )

    peers: str = Field(
        default="", description="URLs of Modelyards on other machines, with commas between them: what their caches "
        "have comes from there before the store.",
    )  # fmt: skip
    peers_token: str = Field(default="", description="The token for the peers, which share it.")

    audit_days: float | None = Field(
        default=None, gt=0, le=36_500, description="For how many days the record of who did what is kept; empty: for "
        "ever."
    )  # fmt: skip
    metrics_days: float = Field(
        default=30, ge=2, le=36_500, description="For how many days the history of metrics is kept: the first day by "
        "minutes, then by hours.",
    )  # fmt: skip
    ended_key_days: float = Field(
        default=90, ge=0, le=36_500, description="For how many days API keys are still listed that were revoked or "
        "have expired; the record of who did what keeps what they did.",
    )  # fmt: skip

    oidc_issuer: str = Field(
        default="", description="The identity provider whose tokens are taken, exactly as it names itself; empty: none."
    )
    oidc_audience: str = Field(
        default="", description="Whom its tokens must be for (aud), with commas between several; needed with an issuer."
    )
    oidc_jwks_url: str = Field(default="", description="Where its keys are; empty: where its discovery document says.")
    oidc_algorithms: str = Field(
        default="RS256,ES256,PS256,Ed25519", description="What its tokens may be signed by, with commas between them."
    )
    oidc_groups_claim: str = Field(
        default="groups", description="The claim with the groups: its name, or a path with dots (realm_access.roles)."
    )
    oidc_roles: str = Field(
        default="", description="What groups may: group=role@namespace with commas between them, @* for all namespaces."
    )
    oidc_leeway: float = Field(default=30.0, ge=0, le=300, description="Seconds by which clocks may differ.")
    oidc_client_id: str = Field(
        default="", description="What the identity provider knows this installation by, for people to sign in by it in "
        "a browser; empty: they cannot.",
    )  # fmt: skip
    oidc_client_secret: str = Field(default="", description="The client's secret; empty: it is a public client.")
    oidc_scopes: str = Field(
        default="openid email profile", description="What is asked for at sign-in, with spaces between; openid must be "
        "among it.",
    )  # fmt: skip

    tls_cert: str = Field(
        default="", description="The front door's certificate with its chain, in a PEM file; empty: no TLS."
    )
    tls_key: str = Field(default="", description="The certificate's key, in a PEM file without a password.")
    public_url: str = Field(
        default="", description="What browsers call this installation by where that is another URL than its own: "
        "behind a proxy, say. Scheme and host, such as https://models.example.",
    )  # fmt: skip
    cors_origins: str = Field(
        default="", description="Web origins whose pages may call, such as https://app.example, with commas between "
        "them; empty: none.",
    )  # fmt: skip
    secrets_key: str = Field(
        default="", description="The keys that secrets in specs are sealed under, the newest first, with commas "
        "between them; empty: read from secrets.key in the home, which is made when it is needed.",
    )  # fmt: skip

    control_processes: int = Field(
        default=1, ge=1, le=8, description="One drives, the others take over when it dies; above 1 needs PostgreSQL."
    )

    @field_validator("control_processes")
    @classmethod
    def _possible(cls, count: int, info: ValidationInfo) -> int:
        if count > 1 and not _is_server(info.data.get("database_url", "")):
            raise ValueError(
                "Several control processes need PostgreSQL: set MODELYARD_DATABASE_URL to postgresql://user@host/name, "
                "or MODELYARD_CONTROL_PROCESSES to 1."
            )
        return count

    @field_validator("grpc_port", "audit_days", mode="before")
    @classmethod
    def _none_if_empty(cls, port: object) -> object:
        return None if port == "" else port

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _trustworthy(cls, url: str) -> str:
        if url and _SECURE.fullmatch(url) is None:
            raise ValueError(f"{url!r} is no https:// URL (http:// is for this machine alone).")
        return url

    @field_validator("oidc_client_id", "oidc_client_secret")
    @classmethod
    def _printable(cls, text: str) -> str:
        if not text.isascii() or not text.strip().isprintable():
            raise ValueError("a client's id and secret are printable ASCII.")
        return text.strip()

    @field_validator("oidc_scopes")
    @classmethod
    def _with_openid(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise ValueError(f"{scopes[:200]!r} is without openid: then there is no ID token to sign in by.")
        return scopes

    @field_validator("public_url")
    @classmethod
    def _origin(cls, url: str) -> str:
        url = url.strip().rstrip("/").lower()
        if url and (_ORIGIN.fullmatch(url) is None or not url.startswith(("https://", "http://"))):
            raise ValueError(f"{url!r} is no URL of scheme and host, such as https://models.example.")
        return url

    @field_validator("oidc_algorithms")
    @classmethod
    def _public_keys(cls, names: str) -> str:
        unknown = [name for name in map(str.strip, names.split(",")) if name not in ALGORITHMS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no algorithm with public keys; there are {', '.join(ALGORITHMS)}.")
        return names

    @field_validator("oidc_roles")
    @classmethod
    def _known_roles(cls, roles: str) -> str:
        parse_roles(roles)
        return roles

    @field_validator("secrets_key")
    @classmethod
    def _usable(cls, keys: str) -> str:
        if keys.strip():
            parse_keys(keys)
        return keys.strip()

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: str) -> str:
        for origin in filter(None, map(str.strip, origins.split(","))):
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(f"{origin!r} is no web origin: write scheme and host, such as https://app.example.")
        return origins

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if self.oidc_issuer and not (self.oidc_audience.strip(", ") or self.oidc_client_id):
            raise ValueError(
                "With MODELYARD_OIDC_ISSUER set MODELYARD_OIDC_AUDIENCE or MODELYARD_OIDC_CLIENT_ID as well: without "
                "them tokens that the issuer made for other programs would be taken."
            )
        if self.oidc_client_id and not self.oidc_issuer:
            raise ValueError("MODELYARD_OIDC_CLIENT_ID is of no use without MODELYARD_OIDC_ISSUER: set both.")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("MODELYARD_TLS_CERT and MODELYARD_TLS_KEY belong together: set both or none.")
        return self

    @field_validator("token", "peers_token")
    @classmethod
    def _bare(cls, token: str) -> str:
        return token.strip()

    @field_validator("devices")
    @classmethod
    def _understood(cls, devices: str) -> str:
        text = devices.strip().lower()
        if text not in ("", "none") and _DECLARED.fullmatch(text) is None:
            raise ValueError(
                f"MODELYARD_DEVICES {devices!r} is not understood: write 'gpu:2' for two GPUs, 'none' for none, or "
                "leave it empty to have them found."
            )
        return text

    @field_validator("cache_size")
    @classmethod
    def _measurable(cls, size: str) -> str:
        if size:
            parse_bytes(size)
        return size

    @field_validator("registry_url")
    @classmethod
    def _one_store(cls, url: str, info: ValidationInfo) -> str:
        if url and _STORE.fullmatch(url) is None:
            raise ValueError(
                "MODELYARD_REGISTRY_URL is s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or "
                "file:///path; credentials are read from the environment."
            )
        if url and info.data.get("registry_path"):
            raise ValueError("There is one store: set MODELYARD_REGISTRY_URL or MODELYARD_REGISTRY_PATH, not both.")
        return url

    @field_validator("peers")
    @classmethod
    def _reachable(cls, peers: str) -> str:
        for url in filter(None, map(str.strip, peers.split(","))):
            if _PEER.fullmatch(url) is None:
                raise ValueError(
                    "MODELYARD_PEERS is a list of URLs with commas between them, such as "
                    "http://10.0.0.2:8900,https://other.example; their token is MODELYARD_PEERS_TOKEN."
                )
        return peers

    @field_validator("models_path", "registry_path", "tls_cert", "tls_key")
    @classmethod
    def _where(cls, path: str) -> str:
        return os.path.abspath(Path(path).expanduser()) if path else ""  # noqa: PTH100 - as for the home

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        home = Path(os.path.abspath(home.expanduser()))  # noqa: PTH100 - resolve() would follow links
        if len(os.fsencode(home)) > _MAX_HOME:
            raise ValueError(
                f"MODELYARD_HOME {home} is {len(os.fsencode(home))} bytes long; Unix sockets allow {_MAX_HOME}. "
                "Choose a shorter path."
            )
        return home

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = Path(os.environ.get("MODELYARD_HOME", "~/.modelyard")).expanduser()
        files = [path for path in (Path(CONFIG_NAME), home / CONFIG_NAME) if path.is_file()]
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, files[:1] or None)

    @property
    def declared_gpus(self) -> int | None:
        """How many GPUs there are by declaration; None when they are to be found."""
        if not self.devices:
            return None
        match = _DECLARED.fullmatch(self.devices)
        return int(match[1]) if match is not None else 0

    # ------------------------------------------------------------------ where things are

    @property
    def database(self) -> str:
        """The database's URL; SQLite in the home unless one is set."""
        return self.database_url or f"sqlite:///{self.home / 'state.db'}"

    @property
    def has_server(self) -> bool:
        """Whether the database is a server's, which several control processes may use."""
        return _is_server(self.database_url)

    @property
    def token_file(self) -> Path:
        return self.home / "admin.token"

    @property
    def access_file(self) -> Path:
        """Who may come in, for a gateway that nobody has spoken to yet: keys' digests, and members."""
        return self.run_dir / "access.json"

    @property
    def secrets_file(self) -> Path:
        """The keys that secrets in specs are sealed under."""
        return self.home / "secrets.key"

    @property
    def origins(self) -> frozenset[str]:
        """Web origins whose pages may call."""
        return frozenset(filter(None, map(str.strip, self.cors_origins.split(","))))

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def registry(self) -> str:
        """The URL of the store of registered models' bytes."""
        folder = Path(self.registry_path) if self.registry_path else self.home / "registry"
        return self.registry_url.rstrip("/") or folder.as_uri()

    @property
    def peer_urls(self) -> tuple[str, ...]:
        return tuple(filter(None, map(str.strip, self.peers.split(","))))

    @property
    def cache_dir(self) -> Path:
        """Registered models as plain files, from which they are served."""
        return Path(self.models_path) if self.models_path else self.home / "cache"

    @property
    def import_folders(self) -> tuple[Path, ...]:
        """Folders below which callers may have the server read files."""
        return tuple(Path(part).expanduser() for part in self.import_paths.split(os.pathsep) if part)

    @property
    def webhook_names(self) -> frozenset[str]:
        """Hosts that webhooks may be sent to whatever their address is."""
        return _hosts(self.webhook_hosts)

    @property
    def import_names(self) -> frozenset[str]:
        """Hosts that callers may have the server reach whatever their address is."""
        return _hosts(self.import_hosts)

    @property
    def transfers_dir(self) -> Path:
        """One folder a transfer, for as long as that lasts."""
        return self.home / "transfers"

    @property
    def signing_dir(self) -> Path:
        """The secrets that signatures of registered versions may be made with, a file each."""
        return self.home / "signing"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def instances_dir(self) -> Path:
        """Where the local backend keeps a folder an instance; sockets stand beside them."""
        return self.run_dir / "i"

    @property
    def warm_dir(self) -> Path:
        """Which engines' workers were launched here lately: an empty file for each."""
        return self.run_dir / "warm"

    @property
    def routes_dir(self) -> Path:
        """One file a model: what a gateway serves before the control process has spoken to it."""
        return self.run_dir / "routes"

    @property
    def control_socket(self) -> Path:
        """The control process's API (HTTP)."""
        return self.run_dir / "control.sock"

    @property
    def gateway_socket(self) -> Path:
        """The gateway's channel for the control process (frames)."""
        return self.run_dir / "gateway.sock"

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    @property
    def address(self) -> str:
        """What browsers call it by."""
        return self.public_url or self.url


def _hosts(text: str) -> frozenset[str]:
    return frozenset(filter(None, (host.strip(" []").rstrip(".").lower() for host in text.split(","))))


def _is_server(url: str) -> bool:
    return url.startswith("postgres")

"""Settings: defaults, config.yaml, ``LOOKALIKE_SECTION__KEY`` and flags, the last one wins."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from indexer.errors import ConfigError
from indexer.machine import NoHome, user_data_folder
from indexer.text import decode, encoding_of

ENV_PREFIX = "LOOKALIKE_"
NO_SETTINGS = {"LOOKALIKE_KEY"}
"""Variables with this prefix that are no settings: the key that the command line sends."""
INJECTED = re.compile(
    r"LOOKALIKE\w*_("
    r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|NAME|ENV_\w+"
    r")=.*|LOOKALIKE\w*_PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)
"""``NAME=value`` of what orchestrators put into the environment for services called ``lookalike``,
``lookalike-server`` and so on: https://kubernetes.io/docs/concepts/services-networking/service/ and
https://docs.docker.com/engine/network/links/."""
DEFAULT_FILE = Path("config.yaml")

Mode = Literal["exact", "approximate"]
"""How neighbours are found: by exact search, or by an approximate index."""

Precision = Literal["float32", "tf32", "bfloat16"]
"""The arithmetic of the network; all but float32 are for GPUs."""


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path} cannot be used: there is no such home folder") from None


FolderPath = Annotated[Path, AfterValidator(lambda path: _expanded(path).absolute())]
"""A path, made absolute against the working directory unless config.yaml has resolved it."""


ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+")
"""What object storage is addressed by, such as ``s3://bucket/photos``."""

Address = Annotated[str, Field(pattern=f"^{ADDRESS.pattern}$")]


def is_address(text: str) -> bool:
    """Tell whether a text is an address rather than a path."""
    return ADDRESS.fullmatch(text) is not None


def is_weights_path(weights: str) -> bool:
    """Tell whether a ``weights`` setting names a file, not ``imagenet`` or ``random:<seed>``."""
    return weights != "imagenet" and not weights.startswith("random:")


def _absolute_weights(value: object) -> object:
    if isinstance(value, str) and is_weights_path(value):
        return str(_expanded(Path(value)).absolute())
    return value


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


EXCLUDED = (
    "@eaDir",
    "@Recycle",
    "@Recently-Snapshot",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "RECYCLER",
    "System Volume Information",
    "lost+found",
    "__MACOSX",
    "Network Trash Folder",
)
"""Where disks and systems keep thumbnails, deleted files and copies. Hidden ones are always passed
over: .Trash-1000, .thumbnails, ._1.jpg."""


class DatasetConfig(Section):
    """Where the images are."""

    kind: Literal["folder", "list", "coco", "tar", "parquet", "objects"] = "folder"
    root: Address | FolderPath | Annotated[tuple[FolderPath, ...], Field(min_length=1)] = Field(
        default=Path("data/images"), validate_default=True
    )
    annotations: FolderPath | Annotated[tuple[FolderPath, ...], Field(min_length=1)] | None = None
    image_column: str | None = None
    items: Literal["images", "boxes"] = "images"
    box_margin: float = Field(default=0.0, ge=0, le=1)
    box_min_side: int = Field(default=16, ge=1)
    metadata: FolderPath | None = None
    exclude: tuple[Annotated[str, Field(pattern="[^/]")], ...] = EXCLUDED
    follow_links: bool | None = None
    gps: bool = False
    max_pixels: int = Field(default=100_000_000, ge=1)

    @property
    def roots(self) -> tuple[Path, ...]:
        """``root`` as a tuple, of one or several; empty if it is an address."""
        if isinstance(self.root, str):
            return ()
        return self.root if isinstance(self.root, tuple) else (self.root,)

    @property
    def address(self) -> str | None:
        """``root`` if it is an address, not a path."""
        return self.root if isinstance(self.root, str) else None

    @property
    def annotation_files(self) -> tuple[Path, ...]:
        """``annotations`` as a tuple, of none, one or several."""
        if self.annotations is None:
            return ()
        return self.annotations if isinstance(self.annotations, tuple) else (self.annotations,)

    @model_validator(mode="after")
    def _fits_the_kind(self) -> "DatasetConfig":
        if (self.kind == "coco") != (self.annotations is not None):
            named = "null" if self.annotations is None else "given"
            raise ValueError(f"dataset.kind is {self.kind}, but dataset.annotations is {named}")
        if self.kind != "parquet" and (self.kind == "objects") != (self.address is not None):
            what = (
                f"is {self.address}" if self.address else "is no address such as s3://bucket/path"
            )
            raise ValueError(f"dataset.kind is {self.kind}, but dataset.root {what}")
        if self.kind in ("list", "coco") and len(self.roots) > 1:
            raise ValueError(f"dataset.kind is {self.kind}, which takes one dataset.root")
        if self.kind != "coco" and self.items == "boxes":
            raise ValueError(f"dataset.items is boxes, but dataset.kind is {self.kind}, not coco")
        return self


class EncoderConfig(Section):
    """What turns an image into a vector."""

    model: Literal["vgg16", "efficientnet_lite0"] = "vgg16"
    layer: Literal["fc1", "fc2"] = "fc2"
    weights: Annotated[str, BeforeValidator(_absolute_weights)] = "imagenet"
    runtime: Literal["auto", "keras", "ncnn"] = "auto"
    precision: Precision = "float32"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"


class ExecutorConfig(Section):
    """Where images are read, decoded and encoded by a build."""

    kind: Literal["local", "ray"] = "local"
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    address: str = Field(default="auto", pattern=r"^(auto|[^/\s]+:\d+)$")


class IndexConfig(Section):
    """The approximate index, and whether vectors stay in memory."""

    approximate: str | None = None
    recall: float = Field(default=0.99, gt=0, le=1)
    resident: bool = False


class SearchConfig(Section):
    """Defaults and limits of queries, and where they are answered."""

    k: int = Field(default=30, ge=1)
    max_k: int = Field(default=1000, ge=1)
    mode: Mode = "exact"
    backend: Literal["local", "ray"] = "local"
    shards: int = Field(default=2, ge=1, le=1000)
    replicas: int = Field(default=2, ge=1, le=10)
    address: str = Field(default="auto", pattern=r"^(auto|[^/\s]+:\d+)$")
    pushed_to: Address | None = None

    @model_validator(mode="after")
    def _k_within_max_k(self) -> "SearchConfig":
        if self.k > self.max_k:
            raise ValueError(f"k is {self.k}, more than max_k, which is {self.max_k}")
        return self


class ApiKey(Section):
    """An API key of the server, by its SHA-256."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scope: Literal["read", "admin"] = "read"


class ServerConfig(Section):
    """How the HTTP server listens, and its limits."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    trusted_hosts: list[str] | None = None
    proxies: int = Field(default=0, ge=0)
    api_keys: tuple[ApiKey, ...] = ()
    rate_limit: str | None = Field(default=None, pattern=r"^[1-9]\d*/(second|minute|hour|day)$")
    threads: int = Field(default=40, ge=1)
    max_encoding: int = Field(default=6, ge=1)
    allow_url_queries: bool = False
    url_query_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (443,)
    max_upload_bytes: int = Field(default=20_000_000, ge=1)
    max_pixels: int = Field(default=100_000_000, ge=1)
    thumbnail_cache_bytes: int = Field(default=1_000_000_000, ge=0)


class _YamlFile(YamlConfigSettingsSource):
    """config.yaml, with relative paths resolved against its folder."""

    def __init__(self, settings_cls: type[BaseSettings], file: Path) -> None:
        self._folder = file.absolute().parent
        data = file.read_bytes()
        decode(data)  # its error says what is wrong with the text
        super().__init__(settings_cls, yaml_file=file, yaml_file_encoding=encoding_of(data))

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        self._anchor(values, "store")
        self._anchor(values.get("dataset"), "root")
        self._anchor(values.get("dataset"), "annotations")
        self._anchor(values.get("dataset"), "metadata")
        encoder = values.get("encoder")
        if isinstance(encoder, dict) and is_weights_path(str(encoder.get("weights", "imagenet"))):
            self._anchor(encoder, "weights")
        return values

    def _anchor(self, section: object, key: str) -> None:
        value = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(value, str):
            section[key] = self._anchored(value)
        if isinstance(section, dict) and isinstance(value, list):
            section[key] = [self._anchored(v) if isinstance(v, str) else v for v in value]

    def _anchored(self, path: str) -> str:
        if is_address(path):
            return path
        return os.path.normpath(self._folder / _expanded(Path(path)))


class Config(BaseSettings):
    """All settings. Build one with :func:`load_config`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    dataset: DatasetConfig = DatasetConfig()
    store: FolderPath = Field(default=Path("var/store"), validate_default=True)
    encoder: EncoderConfig = EncoderConfig()
    executor: ExecutorConfig = ExecutorConfig()
    index: IndexConfig = IndexConfig()
    search: SearchConfig = SearchConfig()
    server: ServerConfig = ServerConfig()
    _chosen_encoder: frozenset[str] = PrivateAttr(frozenset())

    @property
    def chosen_encoder(self) -> frozenset[str]:
        """The settings of ``encoder`` that were given for this run: by flags or variables."""
        return self._chosen_encoder

    @field_validator("store")
    @classmethod
    def _store_is_text(cls, store: Path) -> Path:
        try:
            str(store).encode()
        except UnicodeEncodeError:  # FAISS and SQLite cannot open such files
            raise ValueError(f"the path of the store is not valid UTF-8: {store!r}") from None
        return store

    @model_validator(mode="after")
    def _index_suits_search(self) -> "Config":
        if self.search.mode == "approximate" and not self.index.approximate:
            raise ValueError("search.mode is approximate, but index.approximate is null")
        if self.search.backend == "ray" and self.index.resident:
            raise ValueError("index.resident is true, but search.backend is ray, not local")
        return self


def load_config(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Config:
    """Read the settings from defaults, ``file``, the environment and ``flags``, the last one wins.

    ``flags`` is nested like the file (``{"server": {"port": 8001}}``). Without ``file``,
    ``config.yaml`` in the working directory is read if there is one. Relative paths in the file
    are relative to the file; elsewhere, to the working directory. Where no file is read, the store
    is the user's own, the same from every folder: ``~/.local/share/lookalike/store``.

    Raises :class:`ConfigError` for a missing or malformed file, an unknown key or a bad value.
    """
    if file is None and DEFAULT_FILE.is_file():
        file = DEFAULT_FILE
    if file is not None and not file.is_file():
        raise ConfigError(f"The configuration file {file} does not exist.", "Check --config.")
    _refuse_unknown_variables()

    class Sources(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if file:
                return init_settings, env_settings, _YamlFile(settings_cls, file)
            return init_settings, env_settings, InitSettingsSource(settings_cls, _without_file())

    try:
        config = Sources(**(flags or {}))
    except ValidationError as error:
        raise ConfigError(_explain(error), _hint(file)) from None
    except (YAMLError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"The configuration cannot be read: {reason}", _hint(file)) from None
    names, variables = {*(flags or {}).get("encoder", {})}, f"{ENV_PREFIX}ENCODER__"
    names |= {
        name.removeprefix(variables) for name in map(str.upper, os.environ) if variables in name
    }
    config._chosen_encoder = frozenset(map(str.lower, names))  # noqa: SLF001 -- only here
    return config


def _without_file() -> dict[str, Any]:
    try:
        return {"store": str(user_data_folder() / "store")}
    except NoHome:
        return {}


def _refuse_unknown_variables() -> None:
    """Raise ConfigError for a misspelt variable, which would otherwise be ignored silently."""
    sections = {f"{ENV_PREFIX}{name.upper()}" for name in Config.model_fields}
    for name, value in os.environ.items():
        if name in NO_SETTINGS or INJECTED.fullmatch(f"{name}={value}"):
            continue
        if name.startswith(ENV_PREFIX) and name.split("__")[0].upper() not in sections:
            raise ConfigError(
                f"The environment variable {name} is not a setting.",
                f"Settings are {ENV_PREFIX}SECTION__KEY, for example {ENV_PREFIX}SERVER__PORT.",
            )


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        # A part in brackets is not a key but one of the types that pydantic tried.
        key = ".".join(part for part in map(str, problem["loc"]) if "[" not in part)
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key} is not a setting")
        elif problem["type"] == "value_error":
            lines.append(problem["msg"].removeprefix("Value error, "))
        else:
            lines.append(f"{key}: {problem['msg']}, not {problem['input']!r}")
    return "; ".join(lines) + "."


def _hint(file: Path | None) -> str:
    source = f"{file}, the environment or the flags" if file else "the environment or the flags"
    return f"Correct it in {source}; config.yaml of the project lists every setting."

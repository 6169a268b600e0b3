"""Configuration: the keys, their bounds and defaults, and how a file and the environment set them."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

ENVIRONMENT_PREFIX: Final = "AVATAR_SERVER__"
"""`AVATAR_SERVER__VIDEO__FPS=25` sets `video.fps`."""

_PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
_ICE_URL: Final = re.compile(r"(stun:[^\s?]+|turns?:[^\s?]+(\?transport=(udp|tcp))?)", re.IGNORECASE)
_AVATAR_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A network packet's worth of sound that may come early without being dropped.
_BUFFER_ROOM_MS: Final = 100


class ConfigError(ValueError):
    """The configuration cannot be used. The message says where it was set, which key, and what was expected."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class ServerConfig(_Section):
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address the HTTP server listens on; `0.0.0.0` for all."""
    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port of the HTTP server; 0 lets the system choose one."""


class SessionsConfig(_Section):
    max_sessions: int = Field(default=4, ge=1, le=1000)
    """Sessions served at once; one more is answered 503."""
    connect_timeout_s: float = Field(default=15.0, ge=1, le=300)
    """A session that has not connected this long after its offer is closed."""
    silence_timeout_s: float = Field(default=10.0, ge=2, le=300)
    """A session whose peer has sent no packet for this long is closed."""
    max_duration_s: float = Field(default=0.0, ge=0)
    """Longest life of a session; 0 means no limit."""


class VideoConfig(_Section):
    fps: int = Field(default=30, ge=5, le=60)
    """Pictures per second sent to the caller."""
    codecs: tuple[Literal["H264", "VP8"], ...] = Field(default=("H264", "VP8"), strict=False, min_length=1)
    """Codecs on offer, the preferred one first."""
    bitrate_start_bps: int = Field(default=1_000_000, ge=50_000, le=20_000_000)
    """Bitrate until the caller's browser reports its estimate."""
    bitrate_min_bps: int = Field(default=250_000, ge=50_000, le=20_000_000)
    """Bitrate below which the picture is never squeezed."""
    bitrate_max_bps: int = Field(default=2_000_000, ge=50_000, le=20_000_000)
    """Bitrate never exceeded."""

    @field_validator("codecs")
    @classmethod
    def _no_codec_twice(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(codecs)) < len(codecs):
            raise ValueError("expected each codec once")
        return codecs

    @model_validator(mode="after")
    def _bitrates_in_order(self) -> VideoConfig:
        if not self.bitrate_min_bps <= self.bitrate_start_bps <= self.bitrate_max_bps:
            raise ValueError(
                "expected bitrate_min_bps <= bitrate_start_bps <= bitrate_max_bps, "
                f"got {self.bitrate_min_bps}, {self.bitrate_start_bps}, {self.bitrate_max_bps}"
            )
        return self


class PlayoutConfig(_Section):
    # A picture needs the sound up to 105 ms past its instant; the rest is one packet of sound and the net.
    delay_ms: int = Field(default=200, ge=150, le=2000)
    """How long after its arrival sound is played back, together with its picture. Less answers quicker, until
    pictures come too late to be shown: the lip-sync net alone needs 105 ms of sound ahead."""
    max_buffer_ms: int = Field(default=1000, ge=200, le=10_000)
    """Most sound that may wait to be played; what comes on top is dropped. At least `playout.delay_ms` + 100."""

    @model_validator(mode="after")
    def _buffer_holds_the_delay(self) -> PlayoutConfig:
        least = self.delay_ms + _BUFFER_ROOM_MS
        if self.max_buffer_ms < least:
            raise ValueError(
                f"expected max_buffer_ms to be at least delay_ms + {_BUFFER_ROOM_MS} = {least}, "
                f"got {self.max_buffer_ms}"
            )
        return self


class InferenceConfig(_Section):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the lip-sync net runs; `auto` takes the GPU if ONNX Runtime can use one."""
    threads: int = Field(default=0, ge=0, le=256)
    """Inference threads on the CPU; 0 means one per core."""
    warmup: bool = True
    """Load and run the default avatar's net before the server reports that it is ready."""


class IceServer(_Section):
    url: str
    """`stun:host:port`, `turn:host:port?transport=udp` (or `tcp`), or `turns:host:port`."""
    username: str | None = None
    """For TURN."""
    credential: str | None = Field(default=None, repr=False)
    """For TURN."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if not _ICE_URL.fullmatch(url):
            raise ValueError("expected a URL such as stun:host:port or turn:host:port?transport=udp")
        return url

    @model_validator(mode="after")
    def _turn_has_credentials(self) -> IceServer:
        if self.is_turn and not (self.username and self.credential):
            raise ValueError("expected username and credential, which a TURN server needs")
        return self

    @property
    def is_turn(self) -> bool:
        return self.url.lower().startswith("turn")


class IceConfig(_Section):
    servers: tuple[IceServer, ...] = Field(default=(), strict=False)
    """STUN and TURN servers for the server itself, at most one of each. Only a server behind NAT needs one; one
    that does not answer costs every session 5 s."""

    @field_validator("servers")
    @classmethod
    def _one_of_each(cls, servers: tuple[IceServer, ...]) -> tuple[IceServer, ...]:
        # aiortc would ignore the second one of a kind without a word.
        turn = sum(server.is_turn for server in servers)
        if turn > 1 or len(servers) - turn > 1:
            raise ValueError("expected at most one STUN and one TURN server")
        return servers


class LogConfig(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message logged."""
    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object per line."""


class Config(_Section):
    """Everything that can be configured. Frozen; `Config()` is the built-in defaults."""

    server: ServerConfig = ServerConfig()
    sessions: SessionsConfig = SessionsConfig()
    video: VideoConfig = VideoConfig()
    playout: PlayoutConfig = PlayoutConfig()
    inference: InferenceConfig = InferenceConfig()
    ice: IceConfig = IceConfig()
    models_root: Path = Field(default=Path("models"), strict=False)
    """Folder of the avatars. A relative path counts from the configuration file's folder, or from the project's
    where there is no file."""
    default_avatar: str = "default"
    """Avatar of an offer that names none: a folder of `models_root`."""
    avatar_cache_mb: int = Field(default=2048, ge=0, le=1_000_000)
    """Memory for avatars no session is using; the default avatar takes about 110 MB."""
    log: LogConfig = LogConfig()

    @field_validator("default_avatar")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _AVATAR_NAME.fullmatch(name):
            raise ValueError("expected a folder's name: letters, digits, '.', '_' and '-'")
        return name


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The defaults, overridden by a YAML file (if a path is given), overridden by environment variables.

    A relative `models_root` is resolved against the file's folder, without a file against the project's root.
    Raises ConfigError for anything unreadable, unknown, of the wrong type or out of range.
    """
    settings: dict[str, Any] = {} if path is None else _read_yaml(path)
    # A section whose keys are all commented out reads as null: it means its defaults.
    for name, field in Config.model_fields.items():
        if name in settings and settings[name] is None and _model_of(field.annotation):
            settings[name] = {}
    sources: dict[tuple[str, ...], str] = {}
    for variable, key, value in _environment(environ):
        parent = settings
        for name in key[:-1]:
            parent = parent.setdefault(name, {})
            if not isinstance(parent, dict):
                break
        if isinstance(parent, dict):
            parent[key[-1]] = value
            sources[key] = variable
    try:
        config = Config.model_validate(settings)
    except ValidationError as invalid:
        raise ConfigError(_explain(invalid, path, sources)) from None
    root = _PROJECT_ROOT if path is None else path.resolve().parent
    return config.model_copy(update={"models_root": root / config.models_root})


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, refusing a key given twice (YAML itself lets the last one win)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.load(path.read_bytes(), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected sections such as 'video:', got {_type_name(settings)}")
    return settings


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Each of our variables, the key it sets, and its value. Raises ConfigError where there is no such key."""
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        key = tuple(variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        _, field = _field_at(key)
        if field is None:
            hint = _did_you_mean(_dotted(key), [name for name, _ in dotted_keys(Config)])
            raise ConfigError(f"{variable}: {_dotted(key)}: no such key{hint}")
        if section := _model_of(field.annotation):
            example = f"{variable}__{next(iter(section.model_fields)).upper()}"
            raise ConfigError(f"{variable}: {_dotted(key)} is a section; set one of its keys, such as {example}")
        yield variable, key, _environment_value(variable, environ[variable], field)


def _environment_value(variable: str, text: str, field: FieldInfo) -> Any:
    if field.annotation in (str, Path):
        return text
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"{variable}: expected {expected_value(field)}, written as YAML") from None


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that takes a value, as ("video.fps", its field), in the order of the models."""
    for name, field in model.model_fields.items():
        if section := _model_of(field.annotation):
            yield from dotted_keys(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _model_of(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def expected_value(field: FieldInfo) -> str:
    """What a key accepts, in words: "a whole number, 1 to 60", "auto, cpu or cuda"."""
    words = _expected_type(field.annotation)
    low = high = None
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge(ge=value):
                low = value
            case annotated_types.Le(le=value):
                high = value
    if low is not None and high is not None:
        return f"{words}, {low} to {high}"
    return words if low is None else f"{words}, {low} or more"


def _expected_type(annotation: Any) -> str:
    if annotation is bool:
        return "true or false"
    if annotation is int:
        return "a whole number"
    if annotation is float:
        return "a number"
    if annotation is str:
        return "text"
    if annotation is Path:
        return "a path"
    if model := _model_of(annotation):
        return "{" + ", ".join(model.model_fields) + "}"
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        *others, last = arguments
        return f"{', '.join(others)} or {last}"
    if get_origin(annotation) is tuple:
        return f"a list of {_expected_type(arguments[0])}"
    if get_origin(annotation) is types.UnionType:
        return " or ".join(_expected_type(member) for member in arguments)
    if annotation is types.NoneType:
        return "nothing"
    raise TypeError(f"no words for {annotation}")


def _explain(invalid: ValidationError, path: Path | None, sources: Mapping[tuple[str, ...], str]) -> str:
    """One line per fault: where it was set, the dotted path, what was expected, what was found."""
    lines = []
    errors = invalid.errors()
    for error in errors:
        location = error["loc"]
        # A list is also called too short where its items were refused: once is enough.
        if error["type"] == "too_short" and any(other["loc"][:-1] == location for other in errors):
            continue
        # A rule between keys of a section is located at the section: any variable inside it may be at fault.
        variables = [
            variable
            for key, variable in sources.items()
            if key[: len(location)] == location or key == location[: len(key)]
        ]
        origin = ", ".join(variables) or str(path)
        lines.append(f"{origin}: {_dotted(location)}: {_fault(error['type'], location, error)}")
    return "\n".join(lines)


def _fault(kind: str, location: Sequence[int | str], error: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return str(error["ctx"]["error"])
    parent, field = _field_at(location)
    if kind in ("extra_forbidden", "invalid_key") and parent is not None:
        known = [_dotted((*location[:-1], name)) for name in parent.model_fields]
        return f"no such key{_did_you_mean(_dotted(location), known)}"
    if field is None:
        return str(error["msg"])
    is_item = isinstance(location[-1], int)
    wanted = _expected_type(get_args(field.annotation)[0]) if is_item else expected_value(field)
    if kind == "missing":
        return f"missing; expected {wanted}"
    # A credential must not reach a log.
    found = "something else" if field.repr is False else _abridged(error["input"])
    return f"expected {wanted}, got {found}"


def _field_at(location: Sequence[int | str]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model that a place in the settings belongs to and its field there; None where there is none."""
    parent: type[BaseModel] | None = None
    model: type[BaseModel] | None = Config
    field: FieldInfo | None = None
    for step in location:
        if isinstance(step, int) and field is not None:
            model = _model_of(get_args(field.annotation)[0])
        else:
            parent = model
            field = None if model is None else model.model_fields.get(str(step))
            model = None if field is None else _model_of(field.annotation)
    return parent, field


def _dotted(location: Sequence[int | str]) -> str:
    first, *rest = location
    return str(first) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _abridged(value: object) -> str:
    # A list or a section may hold a credential, and would be too long anyway.
    if value is None or isinstance(value, dict | list):
        return _type_name(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _type_name(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a section"
        case list():
            return "a list" if value else "an empty list"
        case str():
            return "text"
        case _:
            return repr(value)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from pipeline.config import (
    Config,
    ConfigError,
    IceServer,
    LogConfig,
    PlayoutConfig,
    VideoConfig,
    dotted_keys,
    expected_value,
    load_config,
)
from pipeline.features import LOOKAHEAD_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str, **environ: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_config(path, environ)

    return load


@pytest.fixture
def fault(load, tmp_path: Path):
    """What ConfigError says, the temporary folder taken off."""

    def fault(text: str, **environ: str) -> str:
        with pytest.raises(ConfigError) as raised:
            load(text, **environ)
        return str(raised.value).replace(f"{tmp_path}/", "")

    return fault


# The file in the repository, and the page about it


def test_the_shipped_file_equals_the_defaults():
    assert load_config(ROOT / "config.yaml", {}) == load_config(None, {})
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert sorted(dotted_names(written)) == sorted(name for name, _ in dotted_keys(Config))


def dotted_names(settings: dict[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from dotted_names(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_key_in_the_shipped_file_has_a_comment():
    above = ""
    for line in (ROOT / "config.yaml").read_text().splitlines():
        key, colon, rest = line.partition(":")
        is_section = not rest.strip()
        if colon and not line.lstrip().startswith("#") and not is_section:
            assert "#" in rest or above.lstrip().startswith("#"), f"no comment for {key.strip()}"
        above = line


def shown(value: object) -> str:
    match value:
        case bool() | None:
            return yaml.safe_dump(value).split()[0]
        case float() if value.is_integer():
            return str(int(value))
        case int():
            return f"{value:_}" if value >= 10_000 else str(value)
        case tuple():
            return f"[{', '.join(value)}]"
        case _:
            return str(value)


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The lines of the table in docs/configuration.md."""
    for name, field in dotted_keys(model):
        description = " ".join((field.description or "").split())
        default = "" if field.is_required() else f"`{shown(field.default)}`"
        yield f"| `{prefix}{name}` | {default} | {expected_value(field)} | {description} |"


def test_the_page_about_configuration_has_every_key_as_it_is():
    page = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    expected = [*rows(Config), *rows(IceServer, "ice.servers[].")]
    assert [line for line in page if line.startswith("| `")] == expected


def test_every_key_is_described():
    assert [name for name, field in dotted_keys(Config) if not field.description] == []


def test_times_sizes_and_rates_carry_their_unit():
    units = ("_s", "_ms", "_bps", "fps", "_mb", "_px")
    for name, field in dotted_keys(Config):
        if field.annotation in (int, float):
            counts = ("server.port", "sessions.max_sessions", "inference.threads")
            assert name.endswith(units) or name in counts


# Where values come from


def test_a_file_overrides_defaults_and_the_environment_overrides_the_file(load):
    text = "video: {fps: 25, codecs: [VP8]}\nlog: {level: debug}"
    config = load(text, AVATAR_SERVER__VIDEO__FPS="24", AVATAR_SERVER__SESSIONS__CONNECT_TIMEOUT_S="7.5")
    assert config.video == VideoConfig(fps=24, codecs=("VP8",))
    assert config.log == LogConfig(level="debug")
    assert config.sessions.connect_timeout_s == 7.5
    assert config.server == Config().server


@pytest.mark.parametrize("text", ["", "# nothing\n", "video:\n", "video:\n  # fps: 25\nlog:\n"])
def test_what_is_left_out_has_its_default(load, text):
    assert load(text).model_copy(update={"models_root": Path("models")}) == Config()


def test_models_root_counts_from_the_files_folder(load, tmp_path):
    assert load("models_root: faces").models_root == tmp_path / "faces"
    assert load("models_root: /srv/faces").models_root == Path("/srv/faces")
    assert load("", AVATAR_SERVER__MODELS_ROOT="faces").models_root == tmp_path / "faces"
    assert load_config(None, {}).models_root == ROOT / "models"


def test_environment_values_are_yaml(load):
    config = load(
        "",
        AVATAR_SERVER__VIDEO__CODECS="[VP8]",
        AVATAR_SERVER__INFERENCE__WARMUP="false",
        AVATAR_SERVER__VIDEO__BITRATE_START_BPS="1_500_000",
        AVATAR_SERVER__ICE__SERVERS="[{url: 'turn:h:3478', username: u, credential: c}]",
    )
    assert config.video.codecs == ("VP8",)
    assert config.inference.warmup is False
    assert config.video.bitrate_start_bps == 1_500_000
    assert config.ice.servers == (IceServer(url="turn:h:3478", username="u", credential="c"),)


def test_text_from_the_environment_is_taken_as_it_is(load):
    assert load("", AVATAR_SERVER__SERVER__HOST="::").server.host == "::"
    assert load("", AVATAR_SERVER__DEFAULT_AVATAR="42").default_avatar == "42"


def test_other_environment_variables_are_none_of_ours(load):
    # A service named avatar-server gets AVATAR_SERVER_PORT and the like from Kubernetes.
    assert load("", AVATAR_SERVER_PORT="tcp://10.0.0.1:80", FPS="1").server.port == 8080


def test_a_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().video.fps = 25


# What is refused, and in which words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video: {fps: fast}", "video.fps: expected a whole number, 5 to 60, got 'fast'"),
        ("video: {fps: 0}", "video.fps: expected a whole number, 5 to 60, got 0"),
        ("video: {fps: 29.97}", "video.fps: expected a whole number, 5 to 60, got 29.97"),
        ("video: {fps: true}", "video.fps: expected a whole number, 5 to 60, got True"),
        ("video: {fps: }", "video.fps: expected a whole number, 5 to 60, got nothing"),
        ("video: 30", "video: expected {fps, codecs, bitrate_start_bps, bitrate_min_bps, bitrate_max_bps}, got 30"),
        ("video: {fpss: 25}", "video.fpss: no such key; did you mean video.fps?"),
        ("vidoe: {fps: 25}", "vidoe: no such key; did you mean video?"),
        ("log: {tint: true}", "log.tint: no such key; there are log.level, log.format"),
        ("log: {level: loud}", "log.level: expected debug, info, warning or error, got 'loud'"),
        ("log: {level: on}", "log.level: expected debug, info, warning or error, got True"),
        ("video: {codecs: [AV1]}", "video.codecs[0]: expected H264 or VP8, got 'AV1'"),
        ("video: {codecs: VP8}", "video.codecs: expected a list of H264 or VP8, got 'VP8'"),
        ("video: {codecs: []}", "video.codecs: expected a list of H264 or VP8, got an empty list"),
        ("video: {codecs: [VP8, VP8]}", "video.codecs: expected each codec once"),
        ("inference: {warmup: 1}", "inference.warmup: expected true or false, got 1"),
        ("server: {port: 70000}", "server.port: expected a whole number, 0 to 65535, got 70000"),
        ("sessions: {max_duration_s: -1}", "sessions.max_duration_s: expected a number, 0 or more, got -1"),
        ("sessions: {max_duration_s: .nan}", "sessions.max_duration_s: expected a number, 0 or more, got nan"),
        ("models_root: 3", "models_root: expected a path, got 3"),
        (
            "default_avatar: ../x",
            "default_avatar: expected a folder's name: letters, digits, '.', '_' and '-'",
        ),
        ("playout: {delay_ms: 100}", "playout.delay_ms: expected a whole number, 150 to 2000, got 100"),
        (
            "playout: {delay_ms: 950}",
            "playout: expected max_buffer_ms to be at least delay_ms + 100 = 1050, got 1000",
        ),
        (
            "video: {bitrate_min_bps: 2_000_000}",
            "video: expected bitrate_min_bps <= bitrate_start_bps <= bitrate_max_bps, got 2000000, 1000000, 2000000",
        ),
        (
            "ice: {servers: [{url: 'http://x'}]}",
            "ice.servers[0].url: expected a URL such as stun:host:port or turn:host:port?transport=udp",
        ),
        ("ice: {servers: [{username: me}]}", "ice.servers[0].url: missing; expected text"),
        (
            "ice: {servers: [{url: 'stun:a', credental: x}]}",
            "ice.servers[0].credental: no such key; did you mean ice.servers[0].credential?",
        ),
        (
            "ice: {servers: [{url: 'turn:a'}]}",
            "ice.servers[0]: expected username and credential, which a TURN server needs",
        ),
        (
            "ice: {servers: [{url: 'stun:a'}, {url: 'stun:b'}]}",
            "ice.servers: expected at most one STUN and one TURN server",
        ),
    ],
)
def test_faults_name_the_key_and_what_was_expected(fault, text, message):
    assert fault(text) == f"config.yaml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video: {fps: 30", ":1:16: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("video:\n  fps: 30\n fps: 31", ":3:2: not valid YAML: "),
        ("log:\n  level: info\nlog:\n  level: debug", ":3:1: not valid YAML: the key log is given twice"),
        ("video: {fps: 30, fps: 31}", ":1:18: not valid YAML: the key fps is given twice"),
        ("[a]: 3", ":1:1: not valid YAML: found unhashable key"),
        ("- 3", ": expected sections such as 'video:', got a list"),
        ("3", ": expected sections such as 'video:', got 3"),
        ("a: \0", ": not valid YAML: "),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_the_place(fault, text, message):
    assert fault(text).startswith(f"config.yaml{message}")


def test_every_fault_is_told_at_once(fault):
    assert fault("video: {fps: 0}\nlog: {level: x, tint: y}").splitlines() == [
        "config.yaml: video.fps: expected a whole number, 5 to 60, got 0",
        "config.yaml: log.level: expected debug, info, warning or error, got 'x'",
        "config.yaml: log.tint: no such key; there are log.level, log.format",
    ]


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("VIDEO__FPS", "fast", "video.fps: expected a whole number, 5 to 60, got 'fast'"),
        ("VIDEO__FPS", "", "video.fps: expected a whole number, 5 to 60, got nothing"),
        ("VIDEO__FPS", "[", "expected a whole number, 5 to 60, written as YAML"),
        ("VIDEO__FPSS", "25", "video.fpss: no such key; did you mean video.fps?"),
        ("VIDOE__FPS", "25", "vidoe.fps: no such key; did you mean video.fps?"),
        ("VIDEO__FPS__X", "25", "video.fps.x: no such key; did you mean video.fps?"),
        ("VIDEO", "{fps: 25}", "video is a section; set one of its keys, such as AVATAR_SERVER__VIDEO__FPS"),
        ("PLAYOUT__DELAY_MS", "20", "playout.delay_ms: expected a whole number, 150 to 2000, got 20"),
        (
            "VIDEO__BITRATE_MIN_BPS",
            "1_500_000",
            "video: expected bitrate_min_bps <= bitrate_start_bps <= bitrate_max_bps, got 1500000, 1000000, 2000000",
        ),
    ],
)
def test_faults_in_the_environment_name_the_variable(fault, variable, value, message):
    variable = f"AVATAR_SERVER__{variable}"
    assert fault("log: {level: debug}", **{variable: value}) == f"{variable}: {message}"


def test_a_fault_of_the_file_is_not_blamed_on_the_environment(fault):
    assert fault("video: {fps: 0}", AVATAR_SERVER__VIDEO__CODECS="[VP8]").startswith("config.yaml: video.fps")
    assert fault("video: 30", AVATAR_SERVER__VIDEO__FPS="25").endswith("got 30")


def test_a_credential_is_shown_nowhere(load, fault):
    secret = "hunter2"
    config = load(f"ice: {{servers: [{{url: 'turn:a', username: u, credential: {secret}}}]}}")
    assert secret not in repr(config)
    for text in (
        f"ice: {{servers: {{credential: {secret}}}}}",
        f"ice: {{servers: [{{url: 'turn:a', credential: [{secret}]}}]}}",
        f"ice: {{servers: [{{url: 'turn:a', credential: {secret}}}]}}",
    ):
        assert secret not in fault(text)
    assert secret not in fault("", AVATAR_SERVER__ICE__SERVERS=f"[{{credential: {secret}")


def test_the_shortest_delay_leaves_time_for_the_features_and_a_packet():
    packet_ms = 20
    with pytest.raises(ValueError, match="greater than or equal"):
        PlayoutConfig(delay_ms=int(LOOKAHEAD_S * 1000) + packet_ms)

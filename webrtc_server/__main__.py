"""The command line: `avatar-server serve`, `avatar-server render`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

# Numpy's matrix products here are tiny: its own threads would only take cores from inference and encoding.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pipeline.config import Config, ConfigError, load_config
from webrtc_server.log import setup_logging

PROJECT_CONFIG = Path(__file__).resolve().parent.parent / "config.yaml"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for what went wrong, 2 for what was asked wrongly."""
    options = _parser().parse_args(arguments)
    try:
        config = _config(options)
    except ConfigError as error:
        return _fail(str(error), 2)
    setup_logging("debug" if options.verbose else config.log.level, config.log.format)
    return _render(options, config) if options.command == "render" else _serve(config)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="configuration (default: ./config.yaml if there)")
    common.add_argument("-v", "--verbose", action="store_true", help="log everything, WebRTC's inner life included")
    parser = argparse.ArgumentParser(
        prog="avatar-server", description="Send it sound over WebRTC; a face that speaks it comes back, in time."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", parents=[common], help="run the server and its demo page")
    serve.add_argument("--host", help="address to listen on (server.host)")
    serve.add_argument("--port", type=int, help="TCP port, 0 for any free one (server.port)")
    render = commands.add_parser("render", parents=[common], help="make a video of a recording")
    render.add_argument("speech", type=Path, help="any file with sound")
    render.add_argument("video", type=Path, help="the file to write, e.g. out.mp4")
    render.add_argument("--avatar", metavar="NAME", help="a folder of models_root (default: default_avatar)")
    return parser


def _config(options: argparse.Namespace) -> Config:
    path: Path | None = options.config
    if path is None:
        path = next((p for p in (Path("config.yaml"), PROJECT_CONFIG) if p.is_file()), None)
    environ = dict(os.environ)
    # The command line speaks last, through the same checks as everything else.
    for option in ("host", "port"):
        value = getattr(options, option, None)
        if value is not None:
            environ[f"AVATAR_SERVER__SERVER__{option.upper()}"] = str(value)
    return load_config(path, environ)


def _serve(config: Config) -> int:
    from webrtc_server.app import CannotServe, serve

    try:
        asyncio.run(serve(config))
    except CannotServe as error:
        return _fail(str(error), 1)
    return 0


def _render(options: argparse.Namespace, config: Config) -> int:
    from tqdm import tqdm

    from pipeline.avatar import AvatarError, load_avatar
    from pipeline.onnx import DeviceUnavailable
    from pipeline.render import CannotRender, duration_of, render

    name = options.avatar or config.default_avatar
    try:
        avatar = load_avatar(config.models_root / name, config.inference.device)
        length = duration_of(options.speech)
        known = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]"
        with tqdm(
            total=length,
            desc=options.video.name,
            bar_format=known if length else "{desc}: {n:.1f} s [{elapsed}]",
            disable=None,
        ) as bar:

            def progress(done: float) -> None:
                bar.update(done - bar.n)

            seconds = render(avatar, options.speech, options.video, fps=config.video.fps, progress=progress)
    except (AvatarError, DeviceUnavailable, CannotRender) as error:
        return _fail(str(error), 1)
    print(f"{options.video}: {seconds:.1f} s, {avatar.width}x{avatar.height} at {config.video.fps} fps")
    return 0


def _fail(message: str, status: int) -> int:
    print(f"avatar-server: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

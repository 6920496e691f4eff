"""Start a ComfyUI with this pack, to use in the browser: `python dev.py serve [--demo]`."""

import argparse
import signal
import sys
from pathlib import Path

from tools.comfy_server import ComfyServer, require_free
from tools.disk import refusal

from .page.toys import write_pictures


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py serve", description=__doc__)
    parser.add_argument("folder", type=Path, help="where models/, input/ and output/ are kept")
    parser.add_argument("--port", type=int, default=8188, help="port to listen on (default 8188)")
    parser.add_argument("--demo", action="store_true", help="add pictures of the demo model's toy world to input/")
    options = parser.parse_args()
    try:
        require_free(options.port)
    except ValueError as error:
        parser.error(str(error))
    # A second server on another port must not empty the first one's temp/, as ComfyUI does when it starts.
    temp = options.folder.resolve() / f"port-{options.port}"
    server = ComfyServer(options.folder, port=options.port, extra_args=["--temp-directory", str(temp)])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # however this ends, ComfyUI ends with it
    try:
        if options.demo:
            write_pictures(options.folder / "input")
        server.start(show_log=True)
        print(f"\nComfyUI with this pack: {server.url}   (Ctrl-C stops it)", flush=True)
        if options.demo:
            print("Open Templates → comfyui-ace-editor → ACE Start here. Find more toy pictures in Load Image.", flush=True)
        sys.exit(server.process.wait())
    except KeyboardInterrupt:
        server.stop()
        sys.exit(130)
    except OSError as error:
        server.stop()
        sys.exit(f"serve: {refusal(error, options.folder, f'make {options.folder} a folder that you may write to')}")


if __name__ == "__main__":
    main()

"""Runs a program and ends it when its own input ends: what a killed worker started must not outlive it.

    python keeper.py PROGRAM ARGUMENT …
"""

import os
import subprocess
import sys
import threading


def main() -> None:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: os._exit(child.wait() and 1), daemon=True).start()
    sys.stdin.buffer.read()  # until the worker closes it, in whatever way it ends
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main()

"""A Python that has imported the slow packages already: scripts run in forks of it, which begin in a moment.

    python tests/faults/warm.py FOLDER

FOLDER is then a VENV for the Makefile. FOLDER/bin/python hands its arguments, environment and descriptors to a fork and
waits for its exit status; both belong to the process group of who called, so that what kills the one kills the other. Of
this repository nothing is imported before the fork. It ends with its standard input.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

SLOW = ("torch", "transformers", "transformers.models.llama.modeling_llama", "transformers.models.llama.tokenization_llama",
        "accelerate", "safetensors.torch", "outlines_core", "pandas", "statsmodels.api", "tabulate", "jinja2", "tqdm",
        "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf")  # fmt: skip
MESSAGE = 1 << 20  # bytes at most
CLIENT = """#!{python} -SE
import json, os, socket, sys
words = sys.argv[1:]
if not words or words[0] != "-m" and words[0].startswith("-"):
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    message = json.dumps([words, os.getcwd(), dict(os.environ), os.getpgid(0)])
    socket.send_fds(server, [message.encode()], [0, 1, 2])
    server.recv(9)
    server.send(b"go")  # it is in the group now: a kill of the group reaches it
    sys.exit(int(server.recv(9) or 137))
"""


def run(words: list[str]) -> int:
    """What `python WORDS` does: a script or `-m module`; its exit status."""
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))  # as an interpreter that begins now
    module = words[0] == "-m"
    sys.argv = words[1:] if module else words
    start = os.getcwd() if module else str(Path(words[0]).resolve().parent)
    sys.path[:1] = [start, *map(os.path.abspath, os.environ.get("PYTHONPATH", "").split(":"))]
    try:
        if module:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve_one(connection: socket.socket) -> None:
    """In a fork: take over what the client is, run it, and tell the status."""
    message, handles, _, _ = socket.recv_fds(connection, MESSAGE, 3)
    words, folder, environment, group = json.loads(message)
    os.setpgid(0, group)
    connection.send(b"joined")
    if not connection.recv(9):
        return  # the client was killed before this process was in its group
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = run(words)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(str(status).encode())


def serve(folder: Path) -> None:
    """Fork for each client until standard input ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(folder / "socket"))
        listening.listen(16)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
        for name in ("bin/python", ".installed"):  # from now on it can be used
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(CLIENT.format(python=sys.executable, address=str(folder / "socket")))
            (folder / name).chmod(0o755)
        while sys.stdin not in (ready := select.select([listening, sys.stdin], [], [])[0]):
            for _ in ready:
                connection, _ = listening.accept()
                if os.fork() == 0:
                    try:
                        listening.close()
                        serve_one(connection)
                    finally:
                        os._exit(0)
                connection.close()


if __name__ == "__main__":
    for name in SLOW:
        importlib.import_module(name)
    gc.freeze()
    serve(Path(sys.argv[1]))

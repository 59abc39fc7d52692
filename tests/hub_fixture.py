"""A small hub on loopback: the few requests that fetching makes, and whatever can go wrong."""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    """A repository at one commit. Of the file `cut` the first answer ends in the middle, and
    `broken` more fail."""

    commit: str
    files: dict[str, bytes]
    status: int = 200
    error: str = ""  # the hub's X-Error-Code
    wrong: str | None = None  # a file whose content is not what its checksum says
    cut: str | None = None
    broken: int = 0
    served: list[tuple[str, str | None]] = field(default_factory=list)  # (file, Range)

    def entry(self, name: str) -> dict:
        content = self.files[name]
        if not name.endswith((".safetensors", ".bin", ".model")):
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return {"type": "file", "path": name, "size": len(content), "oid": oid}
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return {"type": "file", "path": name, "size": len(content), "oid": "f" * 40, "lfs": lfs}


class Hub:
    """The server; `url` is its HF_ENDPOINT."""

    def __init__(self, repositories: dict[str, Repository]):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.repositories = repositories
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        asked = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(\w+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", path)
        if not asked and not file:
            send_error(request, 404)
            return
        name = (asked or file)[1]
        repository = self.repositories.get(name)
        revision = asked[3] if asked else file[2]
        if repository is None:
            send_error(request, 404, "RepoNotFound")
        elif repository.status != 200:
            send_error(request, repository.status, repository.error)
        elif revision not in (None, "main", repository.commit):
            send_error(request, 404, "RevisionNotFound")
        elif asked and asked[2] == "tree":
            tree = [repository.entry(each) for each in repository.files]
            send(request, 200, json.dumps(tree).encode())
        elif asked:
            model = {"id": name, "sha": repository.commit, "siblings": []}
            send(request, 200, json.dumps(model).encode())
        else:
            send_file(request, repository, file[3])


def send_error(request: BaseHTTPRequestHandler, status: int, code: str = "") -> None:
    headers = {"X-Error-Code": code} if code else {}
    send(request, status, b"{}", **headers)


def send(request: BaseHTTPRequestHandler, status: int, content: bytes, size: int = 0, **headers: str) -> None:
    """An answer; `size` is said to be its length where its content is shorter."""
    request.send_response(status)
    length = str(size or len(content))
    for key, value in {"Content-Length": length, **headers}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(content)


def send_file(request: BaseHTTPRequestHandler, repository: Repository, name: str) -> None:
    entry, content = repository.entry(name), repository.files[name]
    if name == repository.wrong:
        content = content[::-1]
    etag = entry.get("lfs", entry)["oid"]
    headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
    if request.command == "HEAD":
        send(request, 200, b"", len(content), **headers)
        return
    wanted = request.headers.get("Range")
    repository.served.append((name, wanted))
    if name == repository.cut and wanted is None:
        send(request, 200, content[: len(content) // 2], len(content), **headers)
        request.close_connection = True
    elif name == repository.cut and repository.broken > 0:
        repository.broken -= 1
        send(request, 416, b"")
    elif wanted:
        first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        span = f"bytes {first}-{len(content) - 1}/{len(content)}"
        send(request, 206, content[first:], **headers, **{"Content-Range": span})
    else:
        send(request, 200, content, **headers)

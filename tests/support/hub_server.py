"""A server on loopback that speaks the part of the Hub's protocol that a push and `load_dataset` use.

    with HubServer() as hub:
        process(..., HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
        hub.fail("commit", 503, times=2)
        hub.calls("commit")

Real HTTP, real clients; only the standard library. The calls that it answers, by the names that `calls` and
`fail` take them:

    whoami   GET  /api/whoami-v2
    create   POST /api/repos/create
    yaml     POST /api/validate-yaml
    info     GET  /api/datasets/ID, /api/datasets/ID/revision/REV
    tree     GET  /api/datasets/ID/tree/REV[/PATH]
    paths    POST /api/datasets/ID/paths-info/REV
    refs     GET  /api/datasets/ID/refs
    preupload POST /api/datasets/ID/preupload/REV
    batch    POST /datasets/ID.git/info/lfs/objects/batch
    put      PUT  /lfs/ID/OID              the storage behind the Hub, single part
    verify   POST /lfs/ID/verify
    xet      GET  /api/datasets/ID/xet-write-token/REV, xet-read-token/REV
    commit   POST /api/datasets/ID/commit/REV
    branch   POST, DELETE /api/datasets/ID/branch/NAME
    tag      POST /api/datasets/ID/tag/REV
    resolve  GET, HEAD /datasets/ID/resolve/REV/PATH
    blob     GET, HEAD /lfs/ID/OID         the storage, with Range

Where it differs from the real Hub: there are no users beside the owner of the token, no rate limits, quotas,
gating, pull requests, multi-part uploads or pages of long listings; a commit checks that all large files have
arrived and that what it deletes is there, but no names or sizes; commit ids are random; YAML is not validated;
storage is the same server by another name (`localhost`), as the client demands another host. Xet, if it is on,
is the client's own store in a local directory (`casUrl: local://`), whose files this server cannot read: what
was pushed through it can be loaded by clients that use Xet, too, but not streamed.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Tree = dict[str, dict[str, Any]]
"""Path -> `{"content": bytes}` for small files, `{"oid": sha256, "size": n}` for large ones."""

TOKEN = "hf_madeup"  # noqa: S105  made up

ROUTES = [
    ("whoami", r"/api/whoami-v2"),
    ("create", r"/api/repos/create"),
    ("yaml", r"/api/validate-yaml"),
    ("tree", r"/api/datasets/(?P<id>[^/]+/[^/]+)/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?"),
    ("paths", r"/api/datasets/(?P<id>[^/]+/[^/]+)/paths-info/(?P<rev>[^/]+)"),
    ("refs", r"/api/datasets/(?P<id>[^/]+/[^/]+)/refs"),
    ("preupload", r"/api/datasets/(?P<id>[^/]+/[^/]+)/preupload/(?P<rev>[^/]+)"),
    ("xet", r"/api/datasets/(?P<id>[^/]+/[^/]+)/xet-(?:write|read)-token/(?P<rev>[^/]+)"),
    ("commit", r"/api/datasets/(?P<id>[^/]+/[^/]+)/commit/(?P<rev>[^/]+)"),
    ("branch", r"/api/datasets/(?P<id>[^/]+/[^/]+)/branch/(?P<rev>[^/]+)"),
    ("tag", r"/api/datasets/(?P<id>[^/]+/[^/]+)/tag/(?P<rev>[^/]+)"),
    ("info", r"/api/datasets/(?P<id>[^/]+/[^/]+)(?:/revision/(?P<rev>[^/]+))?"),
    ("batch", r"/datasets/(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    ("resolve", r"/datasets/(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)"),
    ("verify", r"/lfs/(?P<id>[^/]+/[^/]+)/verify"),
    ("blob", r"/lfs/(?P<id>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"),
]


@dataclass
class Commit:
    """One commit: its id, message and files, and the operations that made it."""

    oid: str
    summary: str
    files: Tree
    operations: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Repo:
    """One dataset: branches and tags are names of commits; `stored` are the large files that arrived."""

    private: bool
    commits: dict[str, Commit]
    branches: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    @property
    def history(self) -> list[Commit]:
        return list(self.commits.values())


@dataclass
class Fault:
    """What happens to the next `times` calls of a kind, after `skip` of them: a status, or a cut connection.

    `when="after"` lets the call do its work and loses the answer. `run` is called first.
    """

    kind: str
    status: int | None
    times: int
    skip: int
    headers: dict[str, str]
    when: str
    run: Callable[[], object] | None


class HubServer:
    """A Hub with one user; `stop` and `start` keep its repos and its port."""

    def __init__(self, *, owner: str = "alice", token: str = TOKEN, xet: Path | None = None) -> None:
        self.owner, self.token, self.xet = owner, token, xet
        self.repos: dict[str, Repo] = {}
        self.taken: set[str] = set()  # names that cannot be made: 409, and nothing to be seen there
        self.role = "write"
        self.log: list[tuple[str, str, str]] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> HubServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def storage(self) -> str:
        return f"http://localhost:{self._port}"

    def make(self, repo_id: str, *, private: bool = False, **files: str) -> Repo:
        """A repo as the Hub makes it: one commit, with what stands here in it."""
        tree: Tree = {".gitattributes": {"content": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"}}
        tree |= {path: {"content": text.encode()} for path, text in files.items()}
        first = Commit(secrets.token_hex(20), "initial commit", tree)
        self.repos[repo_id] = Repo(private, {first.oid: first}, {"main": first.oid})
        return self.repos[repo_id]

    def commit(
        self, repo_id: str, branch: str = "main", summary: str = "by hand", **files: str | None
    ) -> str:
        """Somebody else's commit: small files, None deletes one."""
        repo = self.repos[repo_id]
        tree = dict(repo.commits[repo.branches[branch]].files)
        for path, text in files.items():
            if text is None:
                del tree[path]
            else:
                tree[path] = {"content": text.encode()}
        made = Commit(secrets.token_hex(20), summary, tree)
        repo.commits[made.oid] = made
        repo.branches[branch] = made.oid
        return made.oid

    def fail(
        self,
        kind: str,
        status: int | None,
        *,
        times: int = 1,
        skip: int = 0,
        when: str = "before",
        run: Callable[[], object] | None = None,
        **headers: str,
    ) -> None:
        """Have the next calls of a kind fail: with a status, or cut (None); headers with `_` for `-`.

        A cut `put` is read half before the connection is reset.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(kind, status, times, skip, named, when, run))

    def fault(self, kind: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.kind == kind and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        return None
                    fault.times -= 1
                    return fault
        return None

    def calls(self, kind: str) -> list[str]:
        """The paths of all calls of a kind so far."""
        return [path for name, _, path in self.log if name == kind]

    def forget(self) -> None:
        """Forget calls and faults; repos stay."""
        self.log.clear()
        self.faults.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to print."""


class _Refusal(Exception):  # noqa: N818
    def __init__(self, status: int, code: str = "", message: str = "", **body: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


class _CutError(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    # ---- one request

    def _any(self) -> None:
        path = urlsplit(self.path).path
        kind, groups = next(
            ((name, found) for name, rule in ROUTES if (found := re.fullmatch(rule, path))), ("unknown", None)
        )
        kind = "put" if kind == "blob" and self.command == "PUT" else kind
        arguments = {
            key: unquote(value) if value else value
            for key, value in (groups.groupdict() if groups else {}).items()
        }
        with self.hub.lock:
            self.hub.log.append((kind, self.command, self.path))
        try:
            fault = self.hub.fault(kind)
            if fault and fault.run:
                fault.run()
            if fault and fault.when == "before":
                self._break(fault)
            if not path.startswith("/lfs/") or kind == "verify":
                self._authorize()
            if kind == "unknown":
                raise _Refusal(404, "", f"no such call: {path}")  # noqa: TRY301
            answer = getattr(self, f"_{kind}")(**arguments)
            if fault and fault.when == "after":
                self._break(fault)
            if answer is not None:
                self._answer(200, answer)
        except _CutError:
            self._cut()
        except _Refusal as refusal:
            self._drain()
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            body = {"error": refusal.message, **refusal.body}
            self._answer(
                refusal.status,
                body,
                {k: v for k, v in headers.items() if v} | refusal.body.get("headers", {}),
            )

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _any  # noqa: N815  the library's names

    def _break(self, fault: Fault) -> None:
        if fault.status is None:
            raise _CutError
        raise _Refusal(fault.status, "", "injected", headers=fault.headers)

    def _cut(self) -> None:
        """Read half of what is coming and reset the connection."""
        left = int(self.headers.get("Content-Length") or 0)
        if self.command == "PUT":
            self.rfile.read(left // 2)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _drain(self) -> None:
        if not getattr(self, "_taken", False):
            self._body()

    def _body(self) -> bytes:
        self._taken = True
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self) -> Any:
        return json.loads(self._body() or b"{}")

    def parse_request(self) -> bool:
        self._taken = False
        return super().parse_request()

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _authorize(self) -> None:
        given = self.headers.get("Authorization", "")
        if given and given != f"Bearer {self.hub.token}":
            raise _Refusal(401, "", "Invalid credentials in Authorization header")
        if self.command in {"POST", "PUT", "DELETE"} and not self.path.startswith("/api/validate-yaml"):
            if not given:
                raise _Refusal(401, "", "Invalid username or password.")
            if self.hub.role != "write":
                raise _Refusal(403, "", "You don't have the required permissions")

    def _repo(self, id: str) -> Repo:  # noqa: A002
        repo = self.hub.repos.get(id)
        if repo is None or (repo.private and not self.headers.get("Authorization")):
            status = 404 if self.headers.get("Authorization") else 401
            raise _Refusal(status, "RepoNotFound", "Repository not found")
        return repo

    def _at(self, id: str, rev: str | None) -> Commit:  # noqa: A002
        commit = self._repo(id).at(rev or "main")
        if commit is None:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        return commit

    # ---- the calls

    def _whoami(self) -> Any:
        role = {"displayName": "test", "role": self.hub.role}
        return {"type": "user", "name": self.hub.owner, "orgs": [], "auth": {"accessToken": role}}

    def _create(self) -> Any:
        asked = self._json()
        repo_id = f"{asked.get('organization') or self.hub.owner}/{asked['name']}"
        if not repo_id.startswith(f"{self.hub.owner}/"):
            raise _Refusal(403, "", "You don't have the rights to create a dataset under this namespace")
        url = f"{self.hub.url}/datasets/{repo_id}"
        if repo_id in self.hub.repos or repo_id in self.hub.taken:
            raise _Refusal(409, "", "You already created this dataset repo", url=url)
        self.hub.make(repo_id, private=asked.get("visibility") == "private" or asked.get("private") is True)
        return {"url": url, "name": repo_id}

    def _yaml(self) -> Any:
        self._body()
        return {"errors": [], "warnings": []}

    def _info(self, id: str, rev: str | None) -> Any:  # noqa: A002
        commit, private = self._at(id, rev), self._repo(id).private
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        return {"id": id, "sha": commit.oid, "private": private, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False}  # fmt: skip

    def _entry(self, path: str, file: dict[str, Any]) -> dict[str, Any]:
        if "content" in file:
            content = file["content"]
            return {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}
        oid, size = file["oid"], file["size"]
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()
        entry = {"type": "file", "path": path, "size": size, "oid": _git_hash(pointer)}
        entry["lfs"] = {"oid": oid, "size": size, "pointerSize": len(pointer)}
        if xet := self._xet_hashes().get(oid):
            entry["xetHash"] = xet
        return entry

    def _tree(self, id: str, rev: str, path: str | None) -> Any:  # noqa: A002
        commit, start = self._at(id, rev), f"{path.strip('/')}/" if path else ""
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in {
            "true",
            "1",
        }
        found: dict[str, dict[str, Any]] = {}
        for name, file in sorted(commit.files.items()):
            if not name.startswith(start):
                continue
            parts = name[len(start) :].split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                folder = start + "/".join(parts[:depth])
                found[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
            if recursive or len(parts) == 1:
                found[name] = self._entry(name, file)
        if start and not found:
            raise _Refusal(404, "EntryNotFound", f"{path} does not exist")
        return list(found.values())

    def _paths(self, id: str, rev: str) -> Any:  # noqa: A002
        asked = self._body()
        paths = json.loads(asked)["paths"] if asked.startswith(b"{") else parse_qs(asked.decode())["paths"]
        files = self._at(id, rev).files
        return [self._entry(path, files[path]) for path in paths if path in files]

    def _refs(self, id: str) -> Any:  # noqa: A002
        repo = self._repo(id)
        heads = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.branches.items()]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repo.tags.items()]
        return {"branches": heads, "tags": tags, "converts": []}

    def _preupload(self, id: str, rev: str) -> Any:  # noqa: A002
        commit, files = self._at(id, rev), []
        for asked in self._json()["files"]:
            path, there = asked["path"], commit.files.get(asked["path"])
            oid = None if there is None else there.get("oid") or _git_hash(there["content"])
            rules = commit.files.get(".gitignore", {}).get("content", b"").decode().split()
            ignored = any(fnmatch(path, rule) for rule in rules)
            mode = "lfs" if path.endswith(".parquet") or asked["size"] > 10_000_000 else "regular"
            files.append(
                {"path": path, "uploadMode": mode, "shouldIgnore": ignored, **({"oid": oid} if oid else {})}
            )
        return {"files": files}

    def _batch(self, id: str) -> Any:  # noqa: A002
        repo, objects = self._repo(id), []
        for asked in self._json()["objects"]:
            oid, line = asked["oid"], {"oid": asked["oid"], "size": asked["size"]}
            if oid not in repo.stored:
                upload, verify = f"{self.hub.storage}/lfs/{id}/{oid}", f"{self.hub.url}/lfs/{id}/verify"
                line["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
            objects.append(line)
        return {"transfer": "basic", "objects": objects}

    def _put(self, id: str, oid: str) -> Any:  # noqa: A002
        content = self._body() if self.headers.get("Content-Length") else self._chunks()
        if hashlib.sha256(content).hexdigest() != oid:
            raise _Refusal(400, "", "the content has another sha256")
        self.hub.repos[id].stored[oid] = content
        return b""

    def _chunks(self) -> bytes:
        self._taken, parts = True, []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _verify(self, id: str) -> Any:  # noqa: A002
        asked = self._json()
        if len(self._repo(id).stored.get(asked["oid"], b"")) != asked["size"]:
            raise _Refusal(404, "", "the object has not arrived")
        return {}

    def _xet(self, id: str, rev: str) -> Any:  # noqa: A002
        self._at(id, rev)
        if self.hub.xet is None:
            raise _Refusal(404, "", "no Xet here")
        url = f"local://{self.hub.xet}"
        headers = {
            "X-Xet-Cas-Url": url,
            "X-Xet-Access-Token": "made-up",
            "X-Xet-Token-Expiration": "4102444800",
        }
        self._answer(200, {"accessToken": "made-up", "exp": 4102444800, "casUrl": url}, headers)

    def _commit(self, id: str, rev: str) -> Any:  # noqa: A002
        lines = [json.loads(line) for line in self._body().splitlines()]
        with self.hub.lock:
            repo, head = self._repo(id), self._at(id, rev)
            if rev not in repo.branches:
                raise _Refusal(400, "", f"{rev} is no branch")
            header = lines[0]["value"]
            if header.get("parentCommit") not in {None, head.oid}:
                raise _Refusal(412, "", "A commit has happened since. Please refresh and try again.")
            files, operations = copy.copy(head.files), []
            for line in lines[1:]:
                self._operate(repo, files, line["key"], line["value"])
                operations.append((line["key"], line["value"]["path"]))
            made = Commit(secrets.token_hex(20), header["summary"], files, operations)
            repo.commits[made.oid] = made
            repo.branches[rev] = made.oid
        url = f"{self.hub.url}/datasets/{id}/commit/{made.oid}"
        return {"success": True, "commitOid": made.oid, "commitUrl": url}

    def _operate(self, repo: Repo, files: Tree, key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = {"content": base64.b64decode(value["content"])}
        elif key == "lfsFile":
            if value["oid"] not in repo.stored and value["oid"] not in self._xet_hashes():
                raise _Refusal(400, "", f"the object of {path} has not arrived")
            files[path] = {"oid": value["oid"], "size": value["size"]}
        elif key == "deletedFile":
            if path not in files:
                raise _Refusal(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
            del files[path]
        else:
            raise _Refusal(400, "", f"{key} is not understood")

    def _branch(self, id: str, rev: str) -> Any:  # noqa: A002
        repo = self._repo(id)
        if self.command == "DELETE":
            del repo.branches[rev]
            return {}
        start = self._json().get("startingPoint")
        if rev in repo.branches:
            raise _Refusal(409, "", "Reference already exists")
        repo.branches[rev] = self._at(id, start).oid
        return {}

    def _tag(self, id: str, rev: str) -> Any:  # noqa: A002
        repo, name = self._repo(id), self._json()["tag"]
        if name in repo.tags:
            raise _Refusal(409, "", "Tag reference exists already")
        repo.tags[name] = self._at(id, rev).oid
        return {}

    def _resolve(self, id: str, rev: str, path: str) -> None:  # noqa: A002
        commit = self._at(id, rev)
        file = commit.files.get(path)
        if file is None:
            raise _Refusal(404, "EntryNotFound", "Entry not found", headers={"X-Repo-Commit": commit.oid})
        entry = self._entry(path, file)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if "content" in file:
            self._content(file["content"], {**headers, "ETag": f'"{entry["oid"]}"'})
            return
        headers |= {
            "X-Linked-Size": str(file["size"]),
            "X-Linked-Etag": f'"{file["oid"]}"',
            "ETag": f'"{entry["oid"]}"',
        }
        if "xetHash" in entry:
            read = f"{self.hub.url}/api/datasets/{id}/xet-read-token/{commit.oid}"
            headers |= {"X-Xet-Hash": entry["xetHash"], "Link": f'<{read}>; rel="xet-auth"'}
        self._answer(302, b"", {**headers, "Location": f"{self.hub.storage}/lfs/{id}/{file['oid']}"})

    def _blob(self, id: str, oid: str) -> None:  # noqa: A002
        content = self.hub.repos[id].stored.get(oid)
        if content is None:
            raise _Refusal(404, "", "no such object")
        self._content(content, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked or not any(asked.groups()):
            self._answer(200, content, headers)
            return
        if asked[1]:
            start, stop = int(asked[1]), int(asked[2]) + 1 if asked[2] else len(content)
        else:
            start, stop = max(0, len(content) - int(asked[2])), len(content)
        stop = min(stop, len(content))
        shown = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        self._answer(206, content[start:stop], shown)

    def _xet_hashes(self) -> dict[str, str]:
        """sha256 -> Xet hash of all files in the local store, read from its shards."""
        found: dict[str, str] = {}
        for path in self.hub.xet.rglob("*.mdb") if self.hub.xet else ():
            found |= dict(_hashes_in(path.read_bytes()))
        return found


def _hashes_in(shard: bytes) -> Iterator[tuple[str, str]]:
    """The files of a Xet shard: a header of 48 bytes; for each file 48 bytes (hash, flags, n), n entries of
    48, n more if bit 31 of the flags is set, and one with the sha256 if bit 30 is."""
    at = 48
    while at + 48 <= len(shard) and shard[at : at + 32] != b"\xff" * 32:
        flags, count = struct.unpack_from("<II", shard, at + 32)
        name = _xet_hex(shard[at : at + 32])
        at += 48 + 48 * count * (2 if flags >> 31 & 1 else 1)
        if flags >> 30 & 1:
            yield _xet_hex(shard[at : at + 32]), name
            at += 48


def _xet_hex(digest: bytes) -> str:
    """A hash as Xet writes it: four numbers of 64 bits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

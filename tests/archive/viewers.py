"""Small packages in the form of OHIF's."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from dicomnet.archive.viewer import Release

PAGE = (
    b'<!doctype html><html><head><script>console.time("x"),window.PUBLIC_URL="/"</script>'
    b'<link rel="manifest" href="/manifest.json"><script rel="preload" as="script" src="/app-config.js"></script>'
    b'<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script><title>OHIF Viewer</title>'
    b'<script>function browserImportFunction(n){return import(n)}window.PUBLIC_URL="/"</script>'
    b'<script defer src="/app.bundle.0123456789abcdef.js"></script><link href="/app.bundle.css" rel="stylesheet">'
    b'</head><body><div id="root"></div></body></html>'
)
CODE = b'__webpack_require__.p = "/"; console.log("app");\n' + b"// filler\n" * 200
FILES: Mapping[str, bytes] = {
    "package/LICENSE": b"MIT",
    "package/package.json": b"{}",
    "package/dist/index.html": PAGE,
    "package/dist/app-config.js": b"window.config = {qidoRoot: 'https://demo.example'}",
    "package/dist/app.bundle.0123456789abcdef.js": CODE,
    "package/dist/app.bundle.css": b"@font-face{src:url(/fedcba9876543210.woff2)}",
    "package/dist/fedcba9876543210.woff2": b"font",
    "package/dist/0123456789abcdef.wasm": b"\0asm",
    "package/dist/manifest.json": b'{"icons":[{"src":"/assets/a.png"}]}',
    "package/dist/assets/a.png": b"\x89PNG",
    "package/dist/init-service-worker.js": b"importScripts('https://foreign.example/sw.js')",
    "package/dist/sw.js": b"self",
    "package/dist/ort/ort.js": b"large",
    "package/dist/x.js.map": b"{}",
    "package/dist/dicom-microscopy-viewer/y.js": b"slides",
}


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """A member of a tarball."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def packed(
    path: Path,
    files: Mapping[str, bytes] = FILES,
    others: Iterable[tarfile.TarInfo] = (),
    version: str = "1.0.0",
) -> Release:
    """Write a tarball; gives what it is."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            each = member(name)
            each.size = len(content)
            archive.addfile(each, io.BytesIO(content))
        for each in others:
            archive.addfile(each, io.BytesIO(bytes(min(each.size, 1 << 20))))
    return Release("@ohif/app", version, hashlib.sha512(path.read_bytes()).hexdigest())

"""Which files a tokenizer is made of, and what is in them: what decides how it loads.

    files = TokenizerFiles.of("Qwen/Qwen3-0.6B")
    files.digests                     # {"tokenizer.json": "aeb1...", ...}

Cost: 2 ns a byte, 20 ms for a tokenizer.json of 11 MB. A name of the Hub takes one request, as loading does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import TokenizerError

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".npz", ".ot"}
"""Endings of files that a model may have beside its tokenizer, and that no tokenizer reads."""

_MOST_BYTES = 256 << 20
_TEMPLATES = ("additional_chat_templates", "chat_templates")


def check_exists(name: str) -> None:
    """Raise `TokenizerError` if a name can only be that of a directory, and there is none."""
    path = Path(name)
    if path.is_file():
        raise TokenizerError(f"tokenizer {name} is a file; give its directory")
    looks_local = path.is_absolute() or name.startswith(".") or name.count("/") > 1
    if looks_local and not path.is_dir():
        raise TokenizerError(f"tokenizer directory {name} does not exist; check the path")


@dataclass(frozen=True)
class TokenizerFiles:
    """The files of a tokenizer at one moment.

    name     the tokenizer, as it is given
    folder   where its files are; for a name of the Hub, the folder of one commit in the Hub's cache
    digests  file -> sha256
    """

    name: str
    folder: Path
    digests: Mapping[str, str]

    @classmethod
    def of(cls, name: str) -> TokenizerFiles | None:
        """Return the files of a tokenizer; None if they cannot be found or read, or are too large."""
        try:
            folder = Path(name) if Path(name).is_dir() else _folder_of_commit(name)
            if folder is None:
                return None
            found = [path for path in _files(folder) if path.suffix not in _WEIGHTS]
            if sum(path.stat().st_size for path in found) > _MOST_BYTES:
                return None
            hashes = {str(path.relative_to(folder)): _sha256(path) for path in sorted(found)}
            return cls(name, folder, hashes)
        except OSError:
            return None

    def about(self) -> list[object]:
        """Return all that decides how the tokenizer loads, as JSON values."""
        return [self.name, self.is_of_hub, dict(self.digests)]

    @property
    def is_of_hub(self) -> bool:
        """Whether the name is one of the Hub."""
        return self.folder != Path(self.name)

    def are_those_of(self, later: TokenizerFiles | None) -> bool:
        """Whether what was loaded between these and `later` was loaded from the files of `later`.

        Nothing may have changed. From the Hub, files of the same commit may have been fetched.
        """
        if later is None or self.folder != later.folder:
            return False
        if self.is_of_hub:
            return self.digests.items() <= later.digests.items()
        return self.digests == later.digests


def _files(folder: Path) -> list[Path]:
    folders = [folder, *(folder / name for name in _TEMPLATES)]
    return [path for each in folders if each.is_dir() for path in each.iterdir() if path.is_file()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _folder_of_commit(name: str) -> Path | None:
    """Return the folder of the commit that the Hub's client would load now; None if there is none."""
    import huggingface_hub  # noqa: PLC0415  a tenth of a second, and most tokenizers are local

    try:
        return Path(huggingface_hub.hf_hub_download(name, "tokenizer_config.json")).parent
    except Exception:  # noqa: BLE001  loading reports what is wrong
        return None

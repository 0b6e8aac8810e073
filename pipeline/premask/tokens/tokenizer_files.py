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

from .tokenizer_folder import CONFIG, files_in

_MOST_BYTES = 256 << 20


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
    def of(cls, name: str, *, only_cached: bool = False) -> TokenizerFiles | None:
        """Return the files of a tokenizer; None if they cannot be found or read, or are too large."""
        try:
            folder = Path(name) if Path(name).is_dir() else _folder_of_commit(name, only_cached=only_cached)
            if folder is None:
                return None
            found = [path for path in files_in(folder) if path.is_file()]
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


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _folder_of_commit(name: str, *, only_cached: bool) -> Path | None:
    """Return the folder of the commit that the Hub's client would load now; None if there is none."""
    import huggingface_hub  # noqa: PLC0415  a tenth of a second, and most tokenizers are local

    try:
        found = huggingface_hub.hf_hub_download(name, CONFIG, local_files_only=only_cached)
    except Exception:  # noqa: BLE001  loading reports what is wrong
        return None
    return Path(found).parent

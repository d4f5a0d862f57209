"""Make the samples of Kindle books, English and Chinese: `novel.mobi` (MOBI 6), `novel-kf8.mobi`.

Calibre writes them (`apt-get install --no-install-recommends calibre`), which is why the results are shipped:
`python tests/samples/make_books.py`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PAGE: Final = "<html><head><title>{title}</title><style>p {{ color: red }}</style></head><body>{body}</body></html>"
CHAPTERS: Final = 3
LINES: Final = 40


def page() -> str:
    """Return the novel as one page, of which Calibre makes chapters."""
    chapters = []
    for chapter in range(CHAPTERS):
        lines = "".join(f"<p>Line {line} of chapter {chapter}, 第{line}行</p>" for line in range(LINES))
        chapters.append(
            f"<h1>Chapter {chapter} 第{chapter}章</h1><p>The quick brown fox jumps.</p><p>敏捷的棕色狐狸跳了起来。</p>"
            f"{lines}<table><tr><td>left</td><td>右边</td></tr></table>"
        )
    return PAGE.format(title="The Novel 小说", body="".join(chapters))


def main() -> None:
    """Make both, by default beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=HERE)
    directory = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as home:
        source = Path(home) / "novel.html"
        source.write_text(page(), encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "HOME": home, "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8"}
        for name, kind in (("novel.mobi", "old"), ("novel-kf8.mobi", "new")):
            command = ["ebook-convert", str(source), str(directory / name), "--mobi-file-type", kind]
            command += ["--title", "The Novel 小说", "--no-inline-toc", "--mobi-toc-at-start"]
            subprocess.run(command, check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    main()

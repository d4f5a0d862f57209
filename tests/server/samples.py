"""The sample documents and what stands in them."""

from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).parent.parent / "samples"
#: Of `note.png`.
NOTE: Final = ("A note to the reader", "recognition reads it:", "这张图片里有文字", "光学识别可以读出中文和英文")
#: Of `vertical.png`, from right to left, and of `outlined.svg`.
VERTICAL: Final = ("竖排的文字从右边读起", "每一行都从上往下走", "古书和报纸常常这样排")
OUTLINED: Final = ("Letters drawn as outlines", "轮廓画成的文字")

"""Everything that can go wrong, as one tree. Standard library only; no errno, no HTTP library.

    MoonfsError                  the root: `except MoonfsError` catches all that moonfs raises on purpose
    ├── UsageError               a flag, a setting, a mount point: one sentence that says what to do
    ├── NotFound                 no such file; 404
    ├── AlreadyExists            the name is taken
    ├── AccessDenied             not allowed here
    │   ├── AuthenticationFailed     401, 403: bad or missing key
    │   ├── ReadOnly                 a sidecar, a status file
    │   │   └── Litter                   a name for desktop litter
    │   ├── BytesNotHere             an original that only the service has, and the API never gives back
    │   └── OnlyLooked               the answer to a question; nothing has failed
    ├── NotPermitted             mkdir, links, device nodes: the remote list is flat
    ├── NameTooLong              over 255 bytes
    ├── InvalidName              a name that cannot be kept (control characters, bytes that are no UTF-8)
    ├── Rejected                 400: the service does not want it
    │   ├── NoText                   nothing could be extracted
    │   └── UnsupportedType          file type refused by the service
    ├── NotSupported             an operation the API makes impossible (rename of bytes that are not here)
    ├── FileTooLarge             over 100 MB; 413
    ├── QuotaExceeded            the account's plan or balance is used up, or it has no room
    │   ├── TooManyFiles             as many files as it may hold
    │   └── TooManyBytes             as many bytes
    ├── RateLimited              429 after the retry budget
    ├── NotReady                 text is not extracted yet
    │   └── OnItsWay                 its file is not on the service yet
    ├── Overtaken                nobody wants this upload any more: its name or its bytes have changed
    ├── TimedOut                 no answer in time
    ├── Unreachable              no connection
    └── ServiceError             5xx after retries
        ├── PassingFault             a refusal that the same request does not meet a moment later
        ├── ExtractionFailed         the stored file has status `error`
        └── ProtocolError            an answer that makes no sense
            └── ForeignAnswer            not the service's own: a proxy, a sign-in page

`operations` maps each of these to an errno (the contract's table), and `next_step` says what a person can do then; a
test fails for one that is left out. What each says of the next try is its `Nature`: what is retried, and what fails for
good, follow from that. Which words of the service become which of them is the table of `refusals`.

**Threading:** exceptions are built and raised by one thread; shared instances are only read.
"""

from __future__ import annotations

import enum
import json
from typing import ClassVar, Final


class Nature(enum.Enum):
    """What an error says of the next try of the same thing."""

    FINAL = "final"
    """It fails whenever it is tried: only another name or other bytes change that."""
    PASSING = "passing"
    """It may succeed a moment later, without anybody's deed."""
    QUOTA = "quota"
    """It succeeds once somebody has made room, or has paid."""
    KEY = "key"
    """It succeeds once the key is put right."""
    OPEN = "open"
    """That cannot be told, or it was no request to the service."""


class MoonfsError(Exception):
    """The root of the tree.

    Args:
        message: one sentence a person can act on; never holds a key.
        status: the HTTP status, where an answer came.
        request_id: the service's `msh-request-id`, where an answer came.
        service_message: what the service said, word for word (bounded).
        maybe_stored: True when it is open whether the service has carried the request out (W3).
        retry_after: seconds the service asked to wait, where it did.
        unsent: True when the request was kept back here and the service has heard nothing of it.
        foreign: True when the answer had not the form of the service's own: it may be another one the next time.
        stored_as: the id under which the service keeps a refused upload all the same, as a failure; else empty.

    Attributes:
        nature: what it says of the next try.
        step: what a person can do about it, where that depends on the file: one sentence; else empty.
    """

    nature: ClassVar[Nature] = Nature.OPEN

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        service_message: str | None = None,
        maybe_stored: bool = False,
        retry_after: float | None = None,
        unsent: bool = False,
        foreign: bool = False,
        stored_as: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.request_id = request_id
        self.service_message = service_message
        self.maybe_stored = maybe_stored
        self.retry_after = retry_after
        self.unsent = unsent
        self.foreign = foreign
        self.stored_as = stored_as
        self.step = ""


class UsageError(MoonfsError):
    """A flag, a setting or a mount point that cannot work; the message says what to do."""


class NotFound(MoonfsError):
    """No such file, here or on the service (404)."""


class AlreadyExists(MoonfsError):
    """The name is taken."""


class AccessDenied(MoonfsError):
    """Not allowed."""


class AuthenticationFailed(AccessDenied):
    """The service refused the key (401, 403)."""

    nature = Nature.KEY


class ReadOnly(AccessDenied):
    """Written to something that only shows: a sidecar, a status file."""


class Litter(ReadOnly):
    """A name that a desktop gives to what it keeps for itself (N6)."""


class BytesNotHere(AccessDenied):
    """The original exists on the service only, and the API never gives originals back (R5, W5)."""


class OnlyLooked(AccessDenied):
    """The answer to who asks what may be done, or only looks: nothing has failed, so nobody is told of it later."""


class NotPermitted(MoonfsError):
    """Directories, links and device nodes: the remote list is flat (N1)."""


class NameTooLong(MoonfsError):
    """A name over 255 bytes (N7)."""

    nature = Nature.FINAL


class InvalidName(MoonfsError):
    """A name that the service could not keep as it is."""

    nature = Nature.FINAL


class Rejected(MoonfsError):
    """The service refused the request (400)."""

    nature = Nature.FINAL


class NoText(Rejected):
    """Nothing could be extracted."""


class UnsupportedType(Rejected):
    """The service refuses this file type."""


class NotSupported(MoonfsError):
    """The API makes this impossible (W9: renaming bytes that are not here)."""


class FileTooLarge(MoonfsError):
    """Over 100 MB (W7), or HTTP 413."""

    nature = Nature.FINAL


class QuotaExceeded(MoonfsError):
    """The account's plan or balance is used up, or it has no room; the client never tries it again."""

    nature = Nature.QUOTA


class TooManyFiles(QuotaExceeded):
    """The account holds as many files as it may."""


class TooManyBytes(QuotaExceeded):
    """The account's files have as many bytes as they may."""


class RateLimited(MoonfsError):
    """429 and the retry budget is spent."""

    nature = Nature.PASSING


class NotReady(MoonfsError):
    """The text is not extracted yet (R4)."""


class OnItsWay(NotReady):
    """The file of the text is not on the service yet (R4)."""


class Overtaken(MoonfsError):
    """Nobody wants this upload any more: its file was renamed or deleted, or has newer bytes."""


class TimedOut(MoonfsError):
    """No answer within the time-out or the deadline."""

    nature = Nature.PASSING


class Unreachable(MoonfsError):
    """No connection to the service."""

    nature = Nature.PASSING


class ServiceError(MoonfsError):
    """5xx after retries."""

    nature = Nature.PASSING


class PassingFault(ServiceError):
    """A refusal of the moment, by which nothing was done: the same request succeeds soon."""


class ExtractionFailed(ServiceError):
    """The service stored the file and could not extract its text (R4)."""

    nature = Nature.OPEN  # of the file nothing follows: who looks for a proof by its text may meet it, too


class ProtocolError(ServiceError):
    """An answer that makes no sense."""

    nature = Nature.OPEN


class ForeignAnswer(ProtocolError):
    """An answer that is not the service's own: a proxy, a CDN or a sign-in page stands between. It decides nothing."""

    nature = Nature.PASSING


def is_final(error: BaseException) -> bool:
    """Say whether the same upload fails whenever it is tried; anything else may succeed another time.

    What is not the service's own answer is no verdict, not even a 413, which its proxy sends too.
    """
    return isinstance(error, MoonfsError) and error.nature is Nature.FINAL and not error.foreign


def revive(kind: str, message: str) -> MoonfsError:
    """Return the error that was recorded by the name of its class and its message; an unknown name is `Rejected`."""
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, MoonfsError)):
        found = Rejected
    return found(message)


#: What the drive refuses by what it knows, without asking the service: the same call is refused the same way again.
_REFUSALS: Final = (ReadOnly, BytesNotHere, NotPermitted, NameTooLong, InvalidName, NotSupported, OnItsWay)


def is_refusal(error: MoonfsError) -> bool:
    """Say whether the drive has refused this by itself: nothing has failed, and the service was not asked."""
    told = error.unsent and (is_final(error) or isinstance(error, QuotaExceeded))  # what the service has said before
    return told or (isinstance(error, _REFUSALS) and error.status is None)


#: What a person can do, by what went wrong; the most derived class of an error decides.
NEXT_STEPS: Final[dict[type[MoonfsError], str]] = {
    MoonfsError: "Try again; if it fails once more, write a report with: moonfs doctor --bundle",
    UsageError: "Put right what the message names, then try again.",
    NotFound: "Have the drive look anew with moonfs refresh DIR, then check the name.",
    AlreadyExists: "Choose another name, or delete the file that has this one.",
    AccessDenied: "See with ls -l what may be done with the file: texts are only read, nothing is executed.",
    AuthenticationFailed: "Find out with moonfs doctor what is wrong with the key, put it right and mount again.",
    ReadOnly: "Write under another name: texts (NAME.content) and what .moonfs shows can only be read.",
    Litter: "Leave it out: what desktops keep for themselves is of no use here (-o junk says which names these are).",
    BytesNotHere: "Read NAME.content for the text, or write the whole file anew from a copy that you have.",
    OnlyLooked: "Read the text once, with cat NAME.content, and programs that only look see it too.",
    NotPermitted: "Put files into the drive itself, without folders and links (cp -L follows links).",
    NameTooLong: "Give the file a name of 255 bytes at most; a Chinese character takes three.",
    InvalidName: "Give the file a name in UTF-8 without control characters.",
    Rejected: "Put right what the service says of the file, then copy it once more.",
    NoText: "If it is a picture, put it into .moonfs/purpose/image/; otherwise copy a version with text in it.",
    UnsupportedType: "Copy it in a format that the service reads, or under the right name: a text as NAME.txt.",
    NotSupported: "Copy the file under its new name from where you have it, then delete the old one.",
    FileTooLarge: "Split the file into parts of 100 MB at most, or make it smaller.",
    QuotaExceeded: "Delete what you need no more (df -h, df -i show the room); for the plan, see the vendor's console.",
    TooManyFiles: "Delete files that you need no more (moonfs status shows how many there are); the rest then goes on.",
    TooManyBytes: "Delete files that you need no more (ls -lS DIR has the largest first); the rest then goes on.",
    RateLimited: "Wait a minute: pending uploads then go on by themselves, try anything else again.",
    NotReady: "Wait a moment, then open the text again.",
    OnItsWay: "Wait for the uploads with moonfs sync DIR, then open the text again.",
    Overtaken: "Do nothing: newer bytes of the file, or its new name, are on their way.",
    TimedOut: "Wait: pending uploads go on by themselves; try anything else again (-o timeout allows more time).",
    Unreachable: "Check the network: pending uploads then go on by themselves, try anything else again.",
    ServiceError: "Wait a few minutes: pending uploads then go on by themselves, try anything else again.",
    PassingFault: "Try again in a minute, as what is pending does by itself; the service refuses at random just now.",
    ExtractionFailed: "Delete the file and copy it once more; if that fails too, in another format, such as PDF.",
    ProtocolError: "Check the base URL with moonfs config, and whether a proxy answers in the service's place.",
    ForeignAnswer: "Check the network: a proxy or a sign-in page answers for the service. Uploads go on by themselves.",
}


def next_step(error: Exception) -> str:
    """Return what a person can do about `error` on a drive: one sentence."""
    if not isinstance(error, MoonfsError):
        return "Look with moonfs doctor at the disk and the directories of this machine."
    if error.step:
        return error.step
    return next(NEXT_STEPS[kind] for kind in type(error).__mro__ if kind in NEXT_STEPS)


#: The service's Chinese phrases in plain English (E1). LIVE are the first two. The others are DOC: the vendor's own
#: words for its messages on https://platform.kimi.com/docs/api/errors; the service sends those in English as far as is
#: known, and these where it may not. A part of another stands after it.
_TRANSLATIONS: Final = (
    ("没有解析出内容", "no text could be extracted from this file"),
    ("不支持的文件类型", "the service does not support this file type"),
    # 400
    ("内容审查拒绝", "refused by content review"),
    ("您的输入或生成内容可能包含不安全或敏感内容", "what was sent may hold unsafe or sensitive content"),
    ("请您避免输入易产生敏感内容的提示语", "avoid what may lead to sensitive content"),
    ("请求无效", "invalid request"),
    ("通常是您请求格式错误或者缺少必要参数", "usually its format is wrong or a parameter is missing"),
    ("请求中的目的（purpose）不正确", "the purpose of the request is not right"),
    ("当前只接受", "accepted are only"),
    ("上传的文件大小超过了限制", "the uploaded file is over the limit of size"),
    ("上传的文件大小为 0", "the uploaded file is empty"),
    ("上传的文件总数超限", "there are too many uploaded files"),
    ("请删除不用的早期的文件后重新上传", "delete earlier files that are not needed, then upload again"),
    ("请修改后重新请求", "correct it, then send it again"),
    ("请重新上传", "upload it again"),
    # 401, 403, 404
    ("鉴权失败", "authentication failed"),
    ("请检查 apikey 是否提供以及 apikey 是否正确", "check that there is an API key and that it is right"),
    ("请检查 apikey 是否正确", "check that the API key is right"),
    ("请修改后重试", "correct it, then try again"),
    ("访问的 API 暂未开放", "this API is not open yet"),
    ("访问其他用户信息的行为不被允许", "other users' data may not be read"),
    ("您的 IP 地址不在该组织的允许访问名单内", "your IP address is not on the organization's list"),
    ("找不到该用户", "there is no such user"),
    ("不存在此模型或者没有授权访问此模型", "there is no such model, or you may not use it"),
    # 429
    ("当前并发请求过多", "too many requests at once"),
    ("节点限流中", "the service limits its load"),
    ("建议充值升级 tier", "a top-up raises the tier"),
    ("享受更丝滑的体验", "for a smoother experience"),
    ("账户余额不足", "the account's balance is too low"),
    ("账户额度不足", "the account's quota is too low"),
    ("账户异常", "something is wrong with the account"),
    ("已停用", "suspended"),
    ("请检查您的账户余额", "check the account's balance"),
    ("请检查账户余额", "check the account's balance"),
    (
        "保证账户余额可匹配您 tokens 的消耗费用后重试",
        "try again when it covers what your tokens cost",
    ),
    ("请求触发了账户并发个数的限制", "the account's limit of requests at once is reached"),
    ("请求触发了账户 RPM 速率限制", "the account's limit of requests a minute is reached"),
    ("请求触发了账户 TPM 速率限制", "the account's limit of tokens a minute is reached"),
    ("请求触发了账户 TPD 速率限制", "the account's limit of tokens a day is reached"),
    ("请等待指定时间后重试", "try again after the time it gives"),
    # 500
    ("解析文件失败", "the file could not be read"),
    ("内部错误", "internal error"),
    ("请联系管理员", "ask the administrator"),
    # what several of them end with
    ("请检查后重试", "check it, then try again"),
    ("请稍后重试", "try again later"),
    ("请重试", "try again"),
    ("请检查", "check it"),
    ("谢谢", "thank you"),
)
_PUNCTUATION: Final = {"，": ", ", "；": "; ", "：": ": ", "、": ", ", "。": ".", "！": "!", "（": " (", "）": ")"}
_OWN_WORDS: Final = " (the service's own words)"


def plain_english(service_message: str) -> str:
    """Return what the service said with its known Chinese phrases translated (E1); what is not known stays, marked.

    >>> plain_english("上传的文件大小为 0，请重新上传")
    'the uploaded file is empty, upload it again'
    >>> plain_english("text extract error: 文件损坏")
    "text extract error: 文件损坏 (the service's own words)"
    """
    said = service_message
    for chinese, english in _TRANSLATIONS:
        said = said.replace(chinese, english)
    if any(char.isalpha() and not char.isascii() for char in said):
        return said + _OWN_WORDS
    for mark, plain in _PUNCTUATION.items():
        said = said.replace(mark, plain)
    return " ".join(said.split()) if said != service_message else said


def parse_error_body(body: bytes) -> tuple[str, str]:
    """Return (type, message) of an untrusted error body; empty strings where it is no error object.

    Takes JSON, an HTML page from a proxy, an empty or a truncated body alike.
    """
    try:
        error = json.loads(body)["error"]
        kind, message = error.get("type"), error.get("message")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    return (kind if isinstance(kind, str) else "")[:200], (message if isinstance(message, str) else "")[:2000]

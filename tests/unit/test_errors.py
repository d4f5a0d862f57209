"""The tree of errors: one root, carried facts, and error bodies of any shape."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from moonfs import errors, wire
from moonfs.errors import MoonfsError, next_step, parse_error_body, plain_english

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_one_root_and_all_its_facts(kind: type[MoonfsError]) -> None:
    """E1: each error is a MoonfsError, says why it exists, and carries status, request id and the service's words."""
    error = kind("what to do", status=400, request_id="r", service_message="s", maybe_stored=True, retry_after=2.0)
    assert isinstance(error, MoonfsError) and kind.__doc__
    assert (str(error), error.message, error.status, error.request_id) == ("what to do", "what to do", 400, "r")
    assert (error.service_message, error.maybe_stored, error.retry_after) == ("s", True, 2.0)
    assert kind("x").maybe_stored is False, "doubt is said, never assumed"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_final_follows_from_the_nature(kind: type[MoonfsError]) -> None:
    """Errors: what fails whenever it is tried is final, unless it is not the service's own answer."""
    assert errors.is_final(kind("x")) is (kind.nature is errors.Nature.FINAL)
    assert not errors.is_final(kind("x", foreign=True))


def test_natures() -> None:
    """Errors, W3: what an upload may fail with is retried, waits for room or for a key, or fails for good."""
    natures = {nature: {kind for kind in KINDS if kind.nature is nature} for nature in errors.Nature}
    assert natures[errors.Nature.QUOTA] == {errors.QuotaExceeded, errors.TooManyFiles, errors.TooManyBytes}
    assert natures[errors.Nature.KEY] == {errors.AuthenticationFailed}
    passing = {errors.RateLimited, errors.TimedOut, errors.Unreachable, errors.ServiceError, errors.PassingFault}
    assert natures[errors.Nature.PASSING] == passing | {errors.ForeignAnswer}
    refused = {errors.Rejected, errors.NoText, errors.UnsupportedType, errors.FileTooLarge}
    assert natures[errors.Nature.FINAL] == refused | {errors.InvalidName, errors.NameTooLong}


def test_the_drawing_is_the_tree() -> None:
    """The docstring draws the tree; a class that is missing there or hangs elsewhere fails."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([ │├└─]*)([A-Z]\w+)  ", line)
        if found:
            depth, name = len(found[1]), found[2]
            above = [(d, n) for d, n in above if d < depth]
            if above:
                drawn[name] = above[-1][1]
            above.append((depth, name))
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in KINDS if kind is not MoonfsError}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (wire.MSG_NO_TEXT, "text extract error: no text could be extracted from this file"),
        (wire.MSG_UNSUPPORTED, "text extract error: the service does not support this file type"),
        ("解析文件失败，请重试", "the file could not be read, try again"),
        (
            "当前并发请求过多，节点限流中，请稍后重试；建议充值升级 tier，享受更丝滑的体验",
            "too many requests at once, the service limits its load, try again later; a top-up raises the tier, for a "
            "smoother experience",
        ),
        ("文件损坏", "文件损坏 (the service's own words)"),
        ("text extract error: 文件已加密", "text extract error: 文件已加密 (the service's own words)"),
        ("鉴权失败，原因不明", "authentication failed，原因不明 (the service's own words)"),
        ("Invalid Authentication", "Invalid Authentication"),
        ("odd   spaces", "odd   spaces"),
        ("", ""),
    ],
)
def test_plain_english(said: str, shown: str) -> None:
    """E1: the service's known Chinese messages are translated; others stay, marked as its own words."""
    assert plain_english(said) == shown


#: The vendor's Chinese words for its messages (DOC: https://platform.kimi.com/docs/api/errors), as far as a request of
#: the Files API can meet them.
VENDOR = """
内容审查拒绝，您的输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，谢谢
请求无效，通常是您请求格式错误或者缺少必要参数，请检查后重试
请求中的目的（purpose）不正确，当前只接受 'file-extract'，请修改后重新请求
上传的文件大小超过了限制，请重新上传
上传的文件大小为 0，请重新上传
上传的文件总数超限，请删除不用的早期的文件后重新上传
鉴权失败，请检查 apikey 是否正确，请修改后重试
鉴权失败，请检查 apikey 是否提供以及 apikey 是否正确，请修改后重试
账户余额不足，已停用，请检查您的账户余额
账户异常，请检查您的账户余额
访问的 API 暂未开放
访问其他用户信息的行为不被允许，请检查
您的 IP 地址不在该组织的允许访问名单内
不存在此模型或者没有授权访问此模型，请检查后重试
找不到该用户，请检查后重试
当前并发请求过多，节点限流中，请稍后重试；建议充值升级 tier，享受更丝滑的体验
账户额度不足，请检查账户余额，保证账户余额可匹配您 tokens 的消耗费用后重试
请求触发了账户并发个数的限制，请等待指定时间后重试
请求触发了账户 RPM 速率限制，请等待指定时间后重试
请求触发了账户 TPM 速率限制，请等待指定时间后重试
请求触发了账户 TPD 速率限制，请等待指定时间后重试
解析文件失败，请重试
内部错误，请联系管理员
"""


@pytest.mark.parametrize("said", VENDOR.split("\n")[1:-1])
def test_the_vendors_chinese_becomes_english(said: str) -> None:
    """E1: whole sentences, none of it left, and not marked as unknown."""
    shown = plain_english(said)
    assert shown.isascii() and "own words" not in shown, shown


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_next_step(kind: type[MoonfsError]) -> None:
    """Errors: each class of its own, not by its parent; one imperative sentence that fits a line."""
    assert kind in errors.NEXT_STEPS, f"{kind.__name__} has no step in errors.NEXT_STEPS"
    step = next_step(kind("what happened"))
    assert step == errors.NEXT_STEPS[kind]
    assert re.fullmatch(r"[A-Z][a-z]+\b.{15,}", step) and len(step) <= 110, step
    assert list(errors.NEXT_STEPS.values()).count(step) == 1, "two classes that need one step are one class"


def test_a_derived_error_takes_the_nearest_step() -> None:
    """Errors: what somebody derives later is answered like its parent; what is no MoonfsError has a step too."""

    class Later(errors.NoText):
        pass

    assert next_step(Later("x")) == errors.NEXT_STEPS[errors.NoText]
    assert "doctor" in next_step(OSError(28, "No space left on device"))


@pytest.mark.parametrize("message", [value for name, value in vars(wire).items() if name.startswith("MSG_")])
def test_every_known_message_becomes_english(message: str) -> None:
    """E1: nothing that the service is known to say stays Chinese."""
    assert plain_english(message).isascii()


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (wire.dump(wire.error_body("m", "t")), "t", "m"),
        ('{"error":{"message":"不支持","type":"t"}}'.encode(), "t", "不支持"),
        (b'{"error":{"message":"m"}}', "", "m"),
        (b'{"error":{"message":1,"type":["t"]}}', "", ""),
        (b'{"error":"text"}', "", ""),
        (b'{"error":null}', "", ""),
        (b'{"error":[1]}', "", ""),
        (b"[]", "", ""),
        (b'"error"', "", ""),
        (b"1", "", ""),
        (b"null", "", ""),
        (b"", "", ""),
        (b"<html>504</html>", "", ""),
        (b'{"error":{"message":"m","ty', "", ""),
        (b"\xff\xfe\x00", "", ""),
        (b"\xef\xbb\xbf{}", "", ""),
        (b"[" * 100_000, "", ""),
        (b'{"error":' * 50_000, "", ""),
        (b"1" * 5000, "", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_error_bodies_of_any_shape(body: bytes, kind: str, message: str) -> None:
    """Error bodies are untrusted: JSON, HTML, empty, cut, deep or no text at all: never an exception."""
    assert parse_error_body(body) == (kind, message)


def test_error_bodies_are_bounded() -> None:
    """A message of a megabyte does not get into a log."""
    kind, message = parse_error_body(json.dumps({"error": {"message": "m" * 10**6, "type": "t" * 10**6}}).encode())
    assert len(kind) <= 200 and len(message) <= 2000

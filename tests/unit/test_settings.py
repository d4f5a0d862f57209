"""The table of settings: each value as it is written, and one sentence for what is wrong."""

from __future__ import annotations

from dataclasses import fields

import pytest

from moonfs import wire
from moonfs.errors import UsageError
from moonfs.settings import OPTIONS, Settings, parse_settings


def test_no_option_is_the_default() -> None:
    """Every field has a default."""
    assert parse_settings({}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("listing_ttl", "0", 0.0),
        ("listing_ttl", "2.5", 2.5),
        ("timeout", "1e2", 100.0),
        ("upload_timeout", "86400", 86400.0),
        ("content_cache", "0", 0),
        ("content_cache", "64M", 64 * 1024**2),
        ("content_cache", "64mb", 64 * 1024**2),
        ("originals_cache", "10G", 10 * 1024**3),
        ("originals_cache", "1GiB", 1024**3),
        ("originals_cache", "123", 123),
        ("originals_cache", "123B", 123),
        ("originals_cache", "5k", 5 * 1024),
        ("originals_cache", "5Ki", 5 * 1024),
        ("originals_cache", "2T", 2 * 1024**4),
        ("requests", "1", 1),
        ("requests", "64", 64),
        ("uid", "0", 0),
        ("gid", "1000", 1000),
        ("umask", "077", 0o077),
        ("umask", "22", 0o22),
        ("purpose", "batch", "batch"),
        ("sidecars", "hide", "hide"),
        ("allow_other", "yes", True),
        ("write_back", "true", True),
        ("write_back", "0", False),
        ("read_only", "On", True),
        ("debug", "no", False),
        ("temporary", "*.bak", ("*.bak",)),
        ("junk", "a*:!._*", ("a*", "!._*")),
    ],
)
def test_options(name: str, text: str, value: object) -> None:
    """Each `-o name=value`."""
    assert getattr(parse_settings({name: text}), name) == value


def test_every_field_is_an_option() -> None:
    """`Settings` says so: every field has a line in the table, in which its default stands as it is."""
    assert sorted(field.name for field in fields(Settings)) == sorted(option.name for option in OPTIONS)
    for option in OPTIONS:
        if option.shown not in ("none", "yours"):
            assert option.parse(option.shown) == getattr(Settings(), option.name), option.name


def test_a_typing_mistake_is_named() -> None:
    """L1: what was meant is said where it is near."""
    with pytest.raises(UsageError, match="did you mean listing_ttl"):
        parse_settings({"listing_tl": "3"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nonsense", ""),
        ("nonsense", "1"),
        ("", "1"),
        ("Timeout", "1"),
        ("timeout", ""),
        ("timeout", "0"),
        ("timeout", "-1"),
        ("timeout", "nan"),
        ("timeout", "inf"),
        ("timeout", "1s"),
        ("listing_ttl", "86401"),
        ("content_cache", "-1"),
        ("content_cache", "M"),
        ("content_cache", "1.5G"),
        ("content_cache", "0x10"),
        ("requests", "0"),
        ("requests", "65"),
        ("requests", "1.0"),
        ("uid", "-1"),
        ("uid", "root"),
        ("uid", str(2**32 - 1)),
        ("umask", "8"),
        ("umask", "1777"),
        ("umask", "-1"),
        ("purpose", "Image"),
        ("sidecars", ""),
        ("allow_other", "maybe"),
        ("temporary", ""),
        ("temporary", "a:"),
        ("temporary", "a/b"),
        ("junk", "!"),
        ("debug", ""),
    ],
)
def test_bad_options_are_one_sentence(name: str, text: str) -> None:
    """L1: what is wrong is named, and nothing else happens."""
    with pytest.raises(UsageError) as caught:
        parse_settings({name: text})
    assert f"-o {name}" in str(caught.value)
    with pytest.raises(UsageError, match=r"config\.toml"):
        parse_settings({name: text}, {name: "config.toml [profile.work]"})


@pytest.mark.parametrize(
    "text", ["10MG", "10KKK", "5I", "5IB", "1_0", "٣", "٣M", "+5", " 5", "5 ", "5\n", "5BB", "BK", "9" * 5000]
)
def test_sizes_that_nobody_means(text: str) -> None:
    """L1: 10MG is a typing mistake, not 10 GB."""
    with pytest.raises(UsageError):
        parse_settings({"content_cache": text})


def test_what_an_account_is_believed_to_hold() -> None:
    """A3, W7: what is documented, or what a person knows better; a drive of nothing is none."""
    assert (Settings().max_files, Settings().max_total_bytes) == (wire.MAX_FILES, wire.MAX_TOTAL_BYTES)
    chosen = parse_settings({"max_files": "5000", "max_total_bytes": "50G"})
    assert (chosen.max_files, chosen.max_total_bytes) == (5000, 50 * 1024**3)
    for name, text in (("max_files", "0"), ("max_files", "many"), ("max_total_bytes", "0"), ("max_total_bytes", "-1")):
        with pytest.raises(UsageError, match=name):
            parse_settings({name: text})

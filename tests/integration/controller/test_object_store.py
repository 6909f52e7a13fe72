"""The store itself, as a real S3 server and as a folder: what a URL is good for, what is listed, what goes."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from controller.errors import SettingsError, StoreError, StoreNotFound
from controller.object_store import ObjectStore, Place
from controller.output_retention import OutputRetention
from tests.objects import TestStore

MIB = 1_048_576


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def read(store: ObjectStore, key: str, offset: int = 0) -> tuple[int, bytes]:
    size, found = await store.open(key, offset)
    return size, b"".join([piece async for piece in found])


async def test_what_is_written_is_read_from_any_byte_on(store: TestStore) -> None:
    opened, content = store.open(), os.urandom(12 * MIB + 5)
    await opened.write("a/b/1/x", pieces(content[:MIB], content[MIB:]))
    assert await read(opened, "a/b/1/x") == (len(content), content)
    assert await read(opened, "a/b/1/x", 12 * MIB) == (len(content), content[12 * MIB :])
    assert await opened.size_of("a/b/1/x") == len(content)
    assert await opened.size_of("a/b/1/y") is None
    with pytest.raises(StoreNotFound):
        await opened.open("a/b/1/y")
    assert store.files() == {"a/b/1/x": content}


async def test_more_than_a_page_is_listed_and_deleted_below_a_prefix_alone(store: TestStore) -> None:
    opened = store.open()
    for number in range(0, 1101, 50):
        batch = range(number, min(number + 50, 1101))
        await asyncio.gather(*(opened.write(f"team/uid-1/1/{each}", pieces(b"x")) for each in batch))
    await opened.write("team/uid-10/1/x", pieces(b"x"))
    assert sum([len(page) async for page in opened.list("team/uid-1/")]) == 1101
    retention = OutputRetention(opened, 1, lambda: datetime.now(UTC))
    retention.forget("team/uid-1/")
    await retention.delete_forgotten()
    assert list(store.files()) == ["team/uid-10/1/x"]
    await opened.delete(["team/uid-1/1/0"])


async def test_what_is_older_than_it_may_become_is_deleted(store: TestStore) -> None:
    opened, now = store.open(), datetime.now(UTC)
    await opened.write("team/uid/1/x", pieces(b"x"))
    await OutputRetention(opened, 1, lambda: now + timedelta(hours=23)).sweep()
    assert list(store.files()) == ["team/uid/1/x"]
    await OutputRetention(opened, 1, lambda: now + timedelta(hours=25)).sweep()
    assert store.files() == {}


async def test_a_signed_url_is_for_one_put_of_one_key_until_its_time_is_over(s3: TestStore) -> None:
    opened = s3.open()
    key, other = (f"team/uid/1/{hashlib.sha256(word).hexdigest()}" for word in (b"hello", b"other"))
    (url,) = await opened.sign_put([key], 60)
    (short,) = await opened.sign_put([key], 1)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.put(url.replace(key, other), content=b"hello")).status_code == 403
        for method in ("GET", "DELETE", "HEAD"):
            assert (await client.request(method, url)).status_code == 403, method
        assert (await client.put(url.partition("?")[0], content=b"hello")).status_code == 403
        await asyncio.sleep(2.1)
        assert (await client.put(short, content=b"hello")).status_code == 403
        assert s3.files() == {}
        assert (await client.put(url, content=b"hello")).status_code == 200
    assert s3.files() == {key: b"hello"}


async def test_credentials_are_read_anew_and_ones_that_cannot_be_used_leave_those_before(s3: TestStore) -> None:
    assert s3.place.credentials is not None
    folder = s3.place.credentials
    opened = s3.open()
    await opened.write("a", pieces(b"x"))
    secret = folder / "aws_secret_access_key"
    right = secret.read_text()

    def replace(name: str, text: str | None) -> None:
        # As the kubelet does: the folder changes with it.
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / ".new").write_text(text)
            (folder / ".new").rename(folder / name)

    replace("aws_secret_access_key", "wrong")
    with pytest.raises(StoreError) as refused:
        await opened.write("b", pieces(b"x"))
    assert "wrong" not in str(refused.value)
    replace("aws_secret_access_key", right)
    await opened.write("b", pieces(b"x"))
    replace("no_option", "x")
    await opened.write("c", pieces(b"x"))
    assert sorted(s3.files()) == ["a", "b", "c"]
    with pytest.raises(SettingsError, match="cannot be used with these options"):
        s3.open()


async def test_a_store_that_is_down_is_told_within_seconds_and_without_a_url(s3: TestStore) -> None:
    opened = s3.open()
    s3.stop()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for call in (opened.size_of("a"), opened.open("a"), opened.delete(["a"])):
        with pytest.raises(StoreError) as failed:
            await call
        assert str(failed.value).startswith("the object store")
        assert "http" not in str(failed.value)
        assert failed.value.__cause__ is None
    assert loop.time() - begun < 40
    s3.start()


async def test_a_container_of_azure_is_signed_for_one_blob_and_says_what_kind(tmp_path: Path) -> None:
    """Offline: there is no Azure here. What a PUT needs besides its URL is told with it."""
    (tmp_path / "azure_storage_account_name").write_text("account")
    (tmp_path / "azure_storage_account_key").write_text("c2VjcmV0")
    opened = ObjectStore(Place("az://container", "prefix", credentials=tmp_path))
    (url,) = await opened.sign_put(["a/b"], 60)
    assert url.startswith("https://account.blob.core.windows.net/container/prefix/a/b?")
    assert "sp=w" in url
    assert opened.put_headers == {"x-ms-blob-type": "BlockBlob"}

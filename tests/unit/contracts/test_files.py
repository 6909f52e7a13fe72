"""Which paths a given file may have, which files go together, and with which words the others are refused."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import bounds, files
from contracts.execution import ExecutionSpec
from contracts.executor_api import ExecutionRequest, request_digest_fields

MIB = 1_048_576
REQUEST: dict[str, Any] = {"code": "x", "language": "shell", "execution_id": "exec_20260115_a1b2c3d4"}
SECRET = b"what-a-secret-holds"


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def spec(*given: dict[str, Any]) -> ExecutionSpec:
    return ExecutionSpec.model_validate({"code": "x", "language": "shell", "files": list(given)})


def request(*given: tuple[str, bytes], **fields: Any) -> ExecutionRequest:
    sent = [{"path": path, "content": encode(content)} for path, content in given]
    return ExecutionRequest.model_validate({**REQUEST, "files": sent, **fields})


@pytest.mark.parametrize(
    "path",
    ["a", "data/input.csv", ".env", ".config/x", "..a/b..", "a b", "ü/ü", "-", "a=b", "a\\b", "x/.progress.json"]
    + ["/".join("a" * 16), "é" * 127],
)
def test_paths_that_a_file_may_have(path: str) -> None:
    assert files.check_path(path) == path


@pytest.mark.parametrize(
    ("path", "says"),
    [
        *((path, files.RELATIVE_MESSAGE) for path in ("", "/", "/etc/x", "a/", "a//b", ".", "./a", "a/./b", "..")),
        *((path, files.RELATIVE_MESSAGE) for path in ("../a", "a/../b", "a/..", "/../a", "//", "a/b/../../../c")),
        *((path, files.CONTROL_MESSAGE) for path in ("a\0", "a\nb", "\x7f", "a/\x1b[2J")),
        ("é" * 128, files.LENGTH_MESSAGE),
        ("/".join("a" * 17), files.DEPTH_MESSAGE),
        (".progress.json", files.RESERVED_MESSAGE),
        (".progress.json/a", files.RESERVED_MESSAGE),
        ("\ud800", "half surrogate"),
    ],
)
def test_paths_that_are_refused(path: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        files.check_path(path)
    assert says in str(refused.value)


def test_no_path_that_is_taken_leaves_the_workspace() -> None:
    @given(st.text(st.sampled_from("./a\\~\0é"), max_size=12))
    def check(path: str) -> None:
        try:
            files.check_path(path)
        except ValueError:
            return
        parts = path.split("/")
        assert not path.startswith("/")
        assert all(part not in ("", ".", "..") and "\0" not in part for part in parts)

    check()


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["a", "b", "a"], files.TWICE_MESSAGE),
        (["a", "a/b"], files.NESTED_MESSAGE),
        (["a/b/c", "a-b", "a/b"], files.NESTED_MESSAGE),
        (["a!", "a/b", "a"], files.NESTED_MESSAGE),  # "!" is before "/"
    ],
)
def test_files_that_cannot_be_side_by_side(paths: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        files.check_together(paths)


def test_files_that_can() -> None:
    files.check_together(["a", "ab", "a.b", "b/c", "b/d", "b-c", "c/b"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"path": "../x", "inline": ""}], files.RELATIVE_MESSAGE),
        ([{"path": "x"}], "write exactly one of inline, inlineBase64, configMapKeyRef, secretKeyRef and artifactRef"),
        ([{"path": "x", "inline": "", "inlineBase64": "YQ=="}], "write exactly one of"),
        ([{"path": "x", "inline": "a", "secretKeyRef": {"name": "s", "key": "k"}}], "write exactly one of"),
        ([{"path": "x", "inlineBase64": "a"}], "inlineBase64 is base64 with its padding"),
        ([{"path": "x", "inlineBase64": "YQ==\n"}], "inlineBase64 is base64 with its padding"),
        ([{"path": "x", "inlineBase64": "YQ=é"}], "inlineBase64 is base64 with its padding"),
        ([{"path": "x", "inline": "\ud800"}], "valid string"),
        ([{"path": "x", "inline": "a"}, {"path": "x", "inline": "b"}], files.TWICE_MESSAGE),
        ([{"path": "x", "inline": "a"}, {"path": "x/y", "inline": "b"}], files.NESTED_MESSAGE),
        ([{"path": "x", "inline": "é" * (MIB // 2)}, {"path": "y", "inline": "a"}], "put large ones into ConfigMaps"),
        ([{"path": str(number), "inline": ""} for number in range(65)], "at most 64 items"),
        ([{"path": "x", "configMapKeyRef": {"name": "NO", "key": "k"}}], "should match pattern"),
    ],
)
def test_files_of_a_spec_that_are_refused(given: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spec(*given)
    assert says in str(refused.value)


def test_files_of_a_spec_at_their_bounds() -> None:
    half = "é" * (MIB // 4)
    found = spec({"path": "x", "inline": half}, {"path": "y", "inlineBase64": "A" * (MIB // 2)}).files
    assert found is not None
    assert [file.path for file in found] == ["x", "y"]
    assert len(spec(*({"path": str(number), "inline": ""} for number in range(64))).files or ()) == 64


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"files": [{"path": "/x", "content": ""}]}, files.RELATIVE_MESSAGE),
        ({"files": [{"path": "x", "content": "?"}]}, "must be base64"),
        ({"files": [{"path": "x", "content": "YQ"}]}, "must be base64"),
        ({"files": [{"path": "x", "content": encode(bytes(4 * MIB + 1))}]}, "at most 4194304 bytes are allowed"),
        ({"files": [{"path": "x", "content": "", "mode": 0o777}]}, "Extra inputs are not permitted"),
        ({"files": [{"path": "x", "content": ""}, {"path": "x/y", "content": ""}]}, files.NESTED_MESSAGE),
        ({"files": [{"path": str(number), "content": ""} for number in range(65)]}, "at most 64 items"),
        ({"files": [{"path": str(number), "content": encode(bytes(MIB))} for number in range(5)]}, "4194304 bytes"),
        (
            {"files": [{"path": "x", "content": encode(b"abc")}], "limits": {"workspace_bytes": 2}},
            "the files hold 3 bytes, and the workspace may hold 2",
        ),
    ],
)
def test_requests_that_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ExecutionRequest.model_validate({**REQUEST, **fields})
    assert says in str(refused.value)


def test_a_request_at_its_bounds_fits_one_body() -> None:
    made = request(*((str(number), bytes(MIB)) for number in range(4)))
    body = made.model_dump(mode="json") | {"code": "x" * MIB, "stdin": "x" * MIB, "event": "x" * MIB}
    assert len(json.dumps(body)) < bounds.MAX_REQUEST_BYTES
    assert made.files[3].content == bytes(MIB)


def test_a_content_goes_over_the_wire_as_it_is_and_does_not_show() -> None:
    made = request(("x", SECRET), ("y", bytes(range(256))))
    again = ExecutionRequest.model_validate(json.loads(made.model_dump_json()))
    assert [file.content for file in again.files] == [SECRET, bytes(range(256))]
    assert SECRET.decode() not in repr(made) + str(made)
    with pytest.raises(ValidationError) as refused:
        request(("x", SECRET), ("x", b""))
    assert SECRET.decode() not in str(refused.value.errors(include_input=False))


def test_another_content_is_another_request() -> None:
    one, same, other = (request_digest_fields(request(("x", content))) for content in (b"1", b"1", b"2"))
    assert one == same != other
    assert request_digest_fields(request(("y", b"1"))) != one

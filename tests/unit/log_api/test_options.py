from typing import Any

import pytest

from contracts.output_events import Position
from log_api import openapi
from log_api.errors import StatusError
from log_api.events import Cursor
from log_api.group import LOG_PATH, OUTPUTS_PATH
from log_api.options import LogOptions, parse_options
from log_api.outputs import OutputOptions, parse_output_options


def test_nothing_given() -> None:
    assert parse_options({}) == LogOptions()


def test_everything_given() -> None:
    query = {"follow": "true", "stream": "stderr", "limitBytes": "10", "stdoutOffset": "1", "stderrOffset": "2"}
    wanted = LogOptions(follow=True, stream="stderr", limit_bytes=10, start=Cursor(3, Position(1, 2)))
    assert parse_options({**query, "attempt": "3", "timeout": "5s", "pretty": "true"}) == wanted


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "٣", "9" * 30, "0x10"])
def test_a_limit_is_a_whole_number_above_zero(value: str) -> None:
    with pytest.raises(StatusError, match="limitBytes") as refused:
        parse_options({"limitBytes": value})
    assert refused.value.code == 400


def test_what_pods_have_is_answered_with_what_there_is_instead() -> None:
    for name in ("tailLines", "timestamps", "sinceSeconds", "sinceTime", "previous", "container"):
        with pytest.raises(StatusError, match=f"{name} is for pods"):
            parse_options({name: "1"})


def test_the_documents_name_each_option() -> None:
    names = named(openapi.build_v2(), LOG_PATH)
    assert names == named(openapi.build_v3(), LOG_PATH)
    for name in set(names) - {"follow", "stream"}:
        assert parse_options({name: "1"}) != LogOptions()
    with pytest.raises(StatusError, match="; there are " + ", ".join(names)):
        parse_options({"other": "1"})


def test_the_documents_name_each_option_of_outputs() -> None:
    names = named(openapi.build_v2(), OUTPUTS_PATH)
    assert names == named(openapi.build_v3(), OUTPUTS_PATH)
    assert parse_output_options(dict.fromkeys(names, "1")) == OutputOptions("1", 1)
    with pytest.raises(StatusError, match="; there are " + ", ".join(names)):
        parse_output_options({"other": "1"})


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"offset": "1"}, "write its name too"),
        ({"name": ""}, "1 to 1024 characters"),
        ({"name": "x" * 1025}, "1 to 1024 characters"),
        ({"name": "x", "offset": "-1"}, "write a whole number"),
        ({"name": "x", "offset": "9" * 19}, "write a whole number"),
    ],
)
def test_what_is_no_output_is_refused(query: dict[str, str], says: str) -> None:
    with pytest.raises(StatusError, match=says) as refused:
        parse_output_options(query)
    assert refused.value.code == 400


def test_without_a_name_they_are_listed() -> None:
    assert parse_output_options({"pretty": "true"}) is None


def named(document: dict[str, Any], path: str) -> list[str]:
    return [parameter["name"] for parameter in document["paths"][path]["get"]["parameters"]]

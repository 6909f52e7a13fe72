import pytest

from contracts.output_events import Position
from log_api import openapi
from log_api.errors import StatusError
from log_api.events import Cursor
from log_api.options import LogOptions, parse_options


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
    (path,) = openapi.build_v2()["paths"].values()
    (same,) = openapi.build_v3()["paths"].values()
    names = {parameter["name"] for parameter in path["get"]["parameters"]}
    assert names == {parameter["name"] for parameter in same["get"]["parameters"]}
    for name in names - {"follow", "stream"}:
        assert parse_options({name: "1"}) != LogOptions()
    with pytest.raises(StatusError, match="; there are " + ", ".join(openapi._PARAMETERS)):
        parse_options({"other": "1"})

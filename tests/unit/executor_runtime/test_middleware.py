from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from contracts.errors import ErrorBody
from executor_runtime.errors import Conflict, RequestError
from executor_runtime.metrics import Metrics
from executor_runtime.middleware import RequestContext
from executor_runtime.secret import Redactor, Token

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def failing_with(error: Exception) -> Application:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    return app


async def ask(
    app: Application, headers: dict[str, str], token: str | None = None, debug: bool = False
) -> httpx.Response:
    context = RequestContext(app, Token(token, None, Redactor()), Metrics(), debug, {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(context), base_url="http://executor") as client:
        return await client.get("/executions", headers=headers)


async def test_a_refusal_has_the_one_form() -> None:
    answer = await ask(failing_with(Conflict("No.", "a detail", "Do this.")), {"X-Request-ID": "r-1"})
    assert answer.status_code == 409
    assert ErrorBody.model_validate_json(answer.content) == ErrorBody(
        error_code="Executor.Conflict",
        description="No.",
        error_detail="a detail",
        solution="Do this.",
        request_id="r-1",
    )


@pytest.mark.parametrize("debug", [False, True])
async def test_a_bug_shows_its_stack_only_when_debug_is_on(debug: bool) -> None:
    answer = await ask(failing_with(ValueError("/some/host/path")), {}, debug=debug)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "Executor.InternalError")
    assert ("/some/host/path" in answer.text) is debug
    assert ("Traceback" in answer.json()["error_detail"]) is debug


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic right", "right", "Bearer right wrong"])
async def test_without_the_token_nothing_is_reached(given: str) -> None:
    answer = await ask(failing_with(RequestError("reached")), {"Authorization": given}, token="right")
    assert (answer.status_code, answer.json()["error_code"]) == (401, "Executor.Unauthorized")
    assert answer.json()["error_detail"] == ""


@pytest.mark.parametrize("given", ["Bearer right", "bearer  right "])
async def test_with_the_token_it_is(given: str) -> None:
    answer = await ask(failing_with(RequestError("reached")), {"Authorization": given}, token="right")
    assert answer.json()["description"] == "reached"

"""Files that a request brings: there before any code, in every language, and artifacts only where they are changed."""

import asyncio
import base64
import resource
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from contracts.executor_api import Language
from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor, wait_until_warm
from tests.integration.executor.test_waiting import wait_until_it_waits
from tests.integration.executor.test_warm import started
from tests.patience import wait_until

pytestmark = pytest.mark.sandbox
Start = Callable[..., RunningExecutor]
BINARY = bytes(range(256))

READ: dict[Language, str] = {
    "python": """
def handler(event):
    with open("in/a.txt") as text, open("/workspace/in/b.bin", "rb") as binary:
        print(text.read(), len(binary.read()))
    open("in/a.txt", "a").close()
""",
    "javascript": """
const fs = require('fs')
console.log(fs.readFileSync('in/a.txt', 'utf8'), fs.readFileSync('/workspace/in/b.bin').length)
fs.accessSync('in/a.txt', fs.constants.W_OK)
""",
    "shell": 'echo "$(cat in/a.txt) $(wc -c < /workspace/in/b.bin)"; test -w in/a.txt',
}
MODULES = """
const { answer } = require('/workspace/lib/answer.cjs')
import('/workspace/lib/question.js').then(({ question }) => console.log(question, answer))
"""


def give(files: dict[str, str | bytes]) -> dict[str, Any]:
    """``files`` of a request."""
    return {"files": [encode(path, content) for path, content in files.items()]}


def encode(path: str, content: str | bytes) -> dict[str, str]:
    raw = content.encode() if isinstance(content, str) else content
    return {"path": path, "content": base64.b64encode(raw).decode()}


async def run(client: httpx.AsyncClient, code: str, language: Language = "shell", **fields: Any) -> dict[str, Any]:
    answer = await client.post("/execute", json=make_request(code, language=language, **fields))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


@pytest.mark.parametrize("language", READ)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_every_language_reads_them_in_a_sandbox_that_waited_and_in_one_that_did_not(
    start: Start, language: Language, warm: bool
) -> None:
    executor = start(WARM_SANDBOXES="1" if warm else "0", WARM_JAVASCRIPT="1" if warm else "0")
    async with executor.client() as client:
        if warm:
            await wait_until_warm(client, 1)
        result = await run(client, READ[language], language, **give({"in/a.txt": "ü", "in/b.bin": BINARY}))
        assert (result["status"], result["stdout"]) == ("success", "ü 256\n"), result
        assert result["artifacts"] == []
        assert await started(client, "warm" if warm else "cold") == 1


async def test_a_node_that_waited_takes_modules_and_their_package_as_one_that_did_not(start: Start) -> None:
    given: dict[str, str | bytes] = {
        "lib/answer.cjs": "exports.answer = 42",
        "lib/question.js": "export const question = '?'",
        "package.json": '{"type": "module"}',
    }
    for warm in ("0", "1"):
        executor = start(WARM_SANDBOXES="0", WARM_JAVASCRIPT=warm)
        async with executor.client() as client:
            await run(client, "", "javascript")  # from now on one waits, where one may
            if warm == "1":
                await wait_until_it_waits(client)
            result = await run(client, MODULES, "javascript", **give(given))
            assert (result["status"], result["stdout"], result["stderr"]) == ("success", "? 42\n", "")
            launch_type = "warm" if warm == "1" else "cold"
            assert await started(client, launch_type) == (1 if warm == "1" else 2)


async def test_only_what_the_code_changes_is_an_artifact(client: httpx.AsyncClient) -> None:
    files = give({"kept.txt": "kept", "changed.txt": "before", "gone.txt": "x", "dir/deep.txt": "x"})
    code = "printf beforX > changed.txt; rm gone.txt; echo new > dir/new.txt; cat kept.txt dir/deep.txt > /dev/null"
    result = await run(client, code, **files)
    assert result["status"] == "success", result
    assert result["artifacts"] == ["changed.txt", "dir/new.txt"]
    path = f"/executions/{result['execution_id']}/artifacts/changed.txt"
    assert (await client.get(path)).content == b"beforX"


async def test_they_count_as_what_the_workspace_holds(client: httpx.AsyncClient) -> None:
    code = "head -c 300000 /dev/zero > own; sync; sleep 1"
    alone = await run(client, code, limits={"workspace_bytes": 500_000}, timeout=300)
    assert alone["status"] == "success", alone
    result = await run(
        client, code, limits={"workspace_bytes": 500_000}, timeout=300, **give({"given": bytes(400_000)})
    )
    assert result["reason"] == "DiskLimit", result
    many = give({f"d/{number}": "" for number in range(30)})
    result = await run(client, "sleep 1", limits={"workspace_entries": 20}, **many)
    assert result["reason"] == "DiskLimit", result


async def test_a_session_keeps_them_and_the_next_one_overwrites_whatever_is_there(client: httpx.AsyncClient) -> None:
    plant = "ln -s /etc/passwd a; mkfifo b; mkdir -p c/d; chmod 0 c/d c; ln -s / e; echo own > own"
    assert (await run(client, plant, session_id="given"))["status"] == "success"
    files = give(dict.fromkeys(("a", "b", "c/d", "e/f/g"), "given"))
    code = "cat a b c/d e/f/g own; test -L e || test -L a || ls -d e a"
    result = await run(client, code, session_id="given", **files)
    assert (result["status"], result["stdout"]) == ("success", "given" * 4 + "own\na\ne\n"), result
    assert result["artifacts"] == []
    result = await run(client, "cat a own", session_id="given")
    assert result["stdout"] == "givenown\n"


@pytest.mark.parametrize(
    "path", ["../x", "/tmp/x", "a/../../x", "a//x", "x/", ".", "", "x\0", ".progress.json", "a/" * 16 + "a", "é" * 128]
)
async def test_a_path_that_leads_elsewhere_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post("/execute", json=make_request(files=[encode("fine", "x"), encode(path, "hush-hush")]))
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (400, "Executor.ValidationError")
    assert body["error_detail"].startswith("files.1.path: ")
    assert "Send a list of at most 64 objects with a path relative to the workspace" in body["solution"]
    assert "hush" not in answer.text
    assert encode("", "hush-hush")["content"] not in answer.text


async def test_repeated_with_other_files_it_is_another_request(client: httpx.AsyncClient) -> None:
    request = make_request("cat a", language="shell", files=[encode("a", "1")])
    assert (await client.post("/execute", json=request)).json()["stdout"] == "1"
    assert (await client.post("/execute", json=request)).json()["stdout"] == "1"
    other = await client.post("/execute", json={**request, "files": [encode("a", "2")]})
    assert (other.status_code, other.json()["error_code"]) == (409, "Executor.Conflict")


async def test_what_they_hold_is_not_logged_and_gone_with_the_workspace(start: Start) -> None:
    executor = start(WORKSPACE_RETENTION_SECONDS="0", LOG_LEVEL="DEBUG")
    async with executor.client() as client:
        result = await run(client, "exit 3", **give({"key": "hush-hush"}))
        assert result["status"] == "failed"
        await run(client, "true")
    await asyncio.to_thread(wait_until, lambda: not list(executor.workspaces.glob("exec_*")), "workspaces stay")
    executor.terminate()
    assert "hush" not in "".join(executor.raw_log)
    assert encode("", "hush-hush")["content"] not in "".join(executor.raw_log)
    assert not list(executor.workspaces.glob("exec_*"))


async def test_where_they_cannot_be_written_nothing_runs_and_nothing_stays(start: Start) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        executor = start(WARM_SANDBOXES="1")  # with a disk that takes no more than that
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    async with executor.client() as client:
        await wait_until_warm(client, 1)
        result = await run(client, "echo ran", **give({"a": "x", "b": bytes(200_000)}))
        assert (result["status"], result["reason"], result["stdout"]) == ("error", "SandboxError", "")
        assert result["message"] == "the files cannot be put into the workspace: File too large"
        result = await run(client, "cat a", **give({"a": "x"}))
        assert (result["status"], result["stdout"]) == ("success", "x"), result
        while [path.name for path in executor.workspaces.glob("exec_*")]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

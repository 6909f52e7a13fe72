"""Which Python code is a handler, and what a plain script gets so that an executor can run it."""

import pytest

from sandbox_executor_client.program import ProgramKind, as_program

HANDLERS = [
    "def handler(event): return 1",
    "async def handler(event): return 1",
    "def handler(): return 1",
    "def handler(event, context=None): return 1",
    "def handler(*args): return 1",
    "import os\nif os.sep:\n    def handler(event): return 1\nelse:\n    def handler(event): return 2\n",
    "try:\n    import x\nexcept ImportError:\n    def handler(event): return 1\n",
    "match 1:\n    case _:\n        def handler(event): return 1\n",
]
SCRIPTS = [
    "print(1)",
    "",
    "class A:\n    def handler(self, event): print('never')\n",
    "def main():\n    def handler(event): print('never')\nmain()",
    "def handler(signum, frame): print('never')\n",
    "def handler(event, *, must): print('never')\n",
    "import logging\nhandler = logging.StreamHandler()\n",
]


def run(code: str) -> tuple[object, str]:
    """What ``handler({})`` returns, as an executor calls it, and the code that ran."""
    program = as_program(code, "python")
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(program, namespace)
    handler = namespace["handler"]
    assert callable(handler)
    return handler({}), program


@pytest.mark.parametrize("code", HANDLERS)
def test_code_that_defines_a_handler_goes_as_it_is(code: str) -> None:
    assert as_program(code, "python") == code


@pytest.mark.parametrize("code", SCRIPTS)
def test_a_script_gets_a_handler_that_does_nothing(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    value, program = run(code)
    assert value is None
    assert program.startswith(code)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "code", ["handler = lambda event: 7", "import functools\nhandler = functools.partial(max, 7, -1) or 0"]
)
def test_a_handler_from_elsewhere_is_called_if_it_can_be(code: str) -> None:
    namespace: dict[str, object] = {}
    exec(as_program(code, "python"), namespace)
    handler = namespace["handler"]
    assert callable(handler)
    assert handler(5) == 7


def test_only_a_line_at_the_end_is_added_so_line_numbers_stay() -> None:
    assert as_program("print(1)", "python").splitlines()[0] == "print(1)"
    assert len(as_program("print(1)\n", "python").splitlines()) == 2


@pytest.mark.parametrize("code", ["def broken(:", "print 1", "x = '\0'", "(" * 5000])
def test_what_is_not_python_here_goes_as_it_is(code: str) -> None:
    assert as_program(code, "python") == code


@pytest.mark.parametrize(
    ("kind", "code", "same"),
    [("handler", "print(1)", True), ("script", "def handler(event): raise ValueError", False)],
)
def test_who_says_what_it_is_has_the_last_word(kind: ProgramKind, code: str, same: bool) -> None:
    program = as_program(code, "python", kind)
    assert (program == code) is same
    if not same:
        namespace: dict[str, object] = {}
        exec(program, namespace)
        handler = namespace["handler"]
        assert callable(handler)
        assert handler({}) is None


def test_other_languages_have_no_handlers() -> None:
    assert as_program("echo 1", "shell") == "echo 1"
    assert as_program("console.log(1)", "javascript", "script") == "console.log(1)"

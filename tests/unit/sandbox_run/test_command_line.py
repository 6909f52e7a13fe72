"""Which command is meant, and one clear line for every mistake that needs neither a sandbox nor a cluster to find."""

from pathlib import Path

import pytest

from sandbox_run import __main__, cli


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    (tmp_path / "hello.py").write_text("print(1)\n")
    (tmp_path / "data.rb").write_text("puts 1\n")
    (tmp_path / "x.yaml").write_text(
        "apiVersion: sandbox-executor.dev/v1alpha1\nkind: Execution\nmetadata: {name: x, namespace: a}\n"
        "spec: {language: shell, code: 'echo 1'}\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("nope.py", "the program 'nope.py' cannot be read: No such file"),
        ("data.rb", "say which language it is, for example -l shell"),
        ("-", "standard input has no suffix"),
        ("-l ruby hello.py", "'ruby' is not one of 'python', 'javascript', 'shell'"),
        ("hello.py --event {bad", "--event is not JSON"),
        ("hello.py --timeout 0.5s", "write for example 30s"),
        ("hello.py --timeout 2h", "from 1s to 1h"),
        ("hello.py -e 1=2", "write NAME=VALUE"),
        ("hello.py --pool p", "--pool is about a cluster, and this would run on this machine: add --cluster"),
        ("hello.py --no-wait", "--no-wait is about a cluster"),
        ("hello.py -n team", "--namespace is about a cluster"),
        ("hello.py --follow --cluster --no-wait", "--follow waits for the end"),
        ("hello.py --output-dir out", "--output-dir is about a cluster"),
        ("hello.py --output-dir out --cluster --no-wait", "--output-dir waits for the end"),
        ("outputs", "Missing argument 'NAME'"),
        ("hello.py --follow -o json", "--follow prints as it comes, -o json at the end"),
        ("hello.py more.py", "unexpected extra argument (more.py)"),
        ("--bogus", "No such option '--bogus'"),
        ("run", "name one file to run"),
        ("-f x.yaml hello.py", "name one file to run"),
        ("-f nope.yaml", "nope.yaml cannot be read: No such file"),
        ("-f hello.py", "hello.py holds 1 documents; write exactly one Execution"),
        ("-f x.yaml -l shell", "leave out --language"),
        ("-f x.yaml --script", "leave out --script"),
        ("-l python - --stdin -", "standard input can be read once"),
        ("-l python - --event @-", "standard input can be read once"),
        ("-f x.yaml --cluster -n b", "the manifest is for namespace 'a', and --namespace is 'b'"),
        ("hello.py --cluster", "there is no file"),
        ("list", "set KUBECONFIG="),
        ("pools --kubeconfig nope", "there is no file nope"),
        ("logs", "Missing argument 'NAME'"),
        ("list --phase Bad", "'Bad' is not one of 'Pending'"),
        ("-n team logs x", "a command comes first: write logs before its options"),
        ("--cluster list", "a command comes first: write list before its options"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.startswith("sandbox-run: ")
    assert (printed.err.count("\n"), printed.out) == (1, "")


def test_a_broken_kubeconfig_is_told_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("just text", "a: [", "{apiVersion: v1, kind: Config}", "{current-context: x, contexts: []}"):
        (folder / "no-kubeconfig").write_text(text)
        assert cli.main(["list"]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("sandbox-run: no cluster is configured (")
        assert (printed.err.count("\n"), printed.out) == (1, "")


@pytest.mark.parametrize("words", [["./list", "-l", "nothing"], ["run", "list", "-l", "nothing"]])
def test_a_file_that_is_called_like_a_command_is_run_by_its_path(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert "'nothing' is not one of 'python'" in capsys.readouterr().err  # of run's own -l, which list has too
    assert cli.main(["list", "-l", "nothing"]) == 2
    assert "no cluster is configured" in capsys.readouterr().err


def test_without_words_it_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "sandbox-run hello.py" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    assert "describe" in capsys.readouterr().out


def test_kubectl_exn_speaks_in_its_own_name_and_is_about_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.kubectl_main(["run", "hello.py"]) == 2
    assert capsys.readouterr().err.startswith("kubectl exn: no cluster is configured")
    assert cli.kubectl_main(["hello.py"]) == 2
    assert "No such command 'hello.py'" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["click", "rich"])
def test_without_its_libraries_it_says_how_to_get_them(
    library: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "find_spec", lambda name: None if name == library else object())
    assert __main__.main() == 2
    says = f"sandbox-run: {library} is not installed; the extra has it: pip install 'sandbox-executor[cli]'\n"
    assert capsys.readouterr().err == says


def test_a_fault_of_its_own_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("sandbox_run.run_command.make_spec", broken)
    assert cli.main(["hello.py"]) == 125
    assert "a fault of its own (ZeroDivisionError: oh)" in capsys.readouterr().err
    monkeypatch.setenv("SANDBOX_RUN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["hello.py"])


def test_languages_need_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["languages", "-o", "raw"]) == 0
    assert [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["python", ".py"],
        ["javascript", ".js .cjs"],
        ["shell", ".sh .bash"],
    ]

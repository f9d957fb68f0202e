"""Where a run comes from."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runlake
from runlake import _native, _origin

Open = Callable[[], runlake.Lake]


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "main")
    git(directory, "commit", "-q", "--allow-empty", "-m", "first")
    return directory


def test_the_commit_is_that_of_git(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    inner = repository / "a" / "b"
    inner.mkdir(parents=True)
    assert _native.git(inner) == (head, None)
    git(repository, "pack-refs", "--all")
    assert _native.git(inner) == (head, None)
    git(repository, "checkout", "-q", "--detach")
    assert _native.git(inner) == (head, None)


def test_a_work_tree_and_a_new_branch_are_read(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "second")
    assert _native.git(tmp_path / "tree")[0] == git(tmp_path / "tree", "rev-parse", "HEAD")
    git(tmp_path / "tree", "pack-refs", "--all")
    assert _native.git(tmp_path / "tree")[0] == git(tmp_path / "tree", "rev-parse", "HEAD")


def test_a_repository_without_commits_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert _native.git(tmp_path) == (None, None)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://user:s3cret@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://s3cret@example.org/a@b.git", "https://example.org/a@b.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
    ],
)
def test_the_remote_is_kept_without_passwords(repository: Path, address: str, kept: str) -> None:
    git(repository, "remote", "add", "first", "https://example.org/first")
    git(repository, "remote", "add", "origin", address)
    assert _native.git(repository)[1] == kept


@pytest.mark.parametrize("content", ["", "ref:", "ref: refs/heads/\0", "not a hash", "\udcff", "gitdir:"])
def test_a_broken_repository_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(content, errors="surrogateescape")
    assert _native.git(tmp_path)[0] is None


def test_a_run_says_where_it_comes_from(store: Path, lake: Open, repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://token@example.org/a.git")
    script = repository / "train.py"
    script.write_text("import runlake; runlake.init('p', id='r')")
    subprocess.run(
        [sys.executable, str(script), "--lr", "0.1", "a b"],
        check=True,
        capture_output=True,
        env={**os.environ, "RUNLAKE_STORE": str(store), "SECRET": "s3cret"},
        cwd=store.parent,
    )
    run = lake().run("r")
    assert run.program == str(script)
    assert run.command == f"{sys.executable} {script} --lr 0.1 'a b'"
    assert run.git_commit == git(repository, "rev-parse", "HEAD")
    assert run.git_remote == "https://example.org/a.git"
    assert run.host == os.uname().nodename
    for file in store.rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes()


def test_a_worker_tells_the_command_of_its_program(store: Path, lake: Open, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import multiprocessing, runlake\n"
        "def work(): runlake.init('p', id='r').finish()\n"
        "if __name__ == '__main__':\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    worker.start()\n"
        "    worker.join()\n"
    )
    subprocess.run(
        [sys.executable, str(script), "--lr", "0.1"],
        check=True,
        capture_output=True,
        env={**os.environ, "RUNLAKE_STORE": str(store)},
    )
    run = lake().run("r")
    assert (run.program, run.command) == (str(script), f"{sys.executable} {script} --lr 0.1")


@pytest.mark.parametrize(
    "part", ["", "plain", "a b", "it's", "'", "$HOME", "--lr=0.1", "größe", "a\nb", "~", "x;y", "*"]
)
def test_the_command_line_is_quoted_as_a_shell_needs_it(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    arguments = ["python", "train.py", part, "end"]
    monkeypatch.setattr(sys, "orig_argv", arguments)
    assert _origin.attributes(runlake.Settings())["command"] == shlex.join(arguments)

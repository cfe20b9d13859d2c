"""Worker processes of a program that is a plain script."""

import subprocess
import sys

SCRIPT = """
from deepchest_cli.engines.child import CONTEXT
print("begun", __file__, flush=True)
process = CONTEXT.Process(target=print, args=("worked",))
process.start()
process.join()
print(process.exitcode, __file__, __spec__)
"""


def test_a_script_that_starts_processes_is_not_run_again_by_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [f"begun {script}", "worked", f"0 {script} None"]
    assert found.stderr == ""

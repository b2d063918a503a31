"""Qwen2.5-VL in this process, through transformers: one request at a time, on any device that torch has."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from PIL import Image

from pipeline.instruments.hardware import Precision, pick_device, pick_precision
from pipeline.instruments.vlm import Answer, EngineError, Request, RequestError

FILES = ["*.json", "*.txt", "*.jinja", "*.model", "*.safetensors"]  # of a hub repository: no pickles, no pictures


class TransformersEngine:
    """An Engine that holds the model itself. Entering it loads the model, leaving it frees the memory.

    `describe` may be called from many threads; they take turns. Sampling follows the checkpoint's generation_config
    (a repetition penalty, say) as vLLM's server does, so that at temperature 0 both write the same text.
    """

    def __init__(self, model: str, revision: str | None = None, *, device: str = "auto",
                 precision: Precision = "auto", max_pixels: int | None = None) -> None:
        """`model`: a local folder or a hub repository. `max_pixels`: bound on a frame's area after resizing.

        `revision`: commit, tag or branch of a hub repository; the attribute holds the commit once the model is loaded.
        """
        self.model, self.revision = model, revision or ""
        self._device, self._precision, self._max_pixels = device, precision, max_pixels
        self._turn = threading.Lock()
        self._net: Any = None
        self._processor: Any = None

    def __enter__(self) -> "TransformersEngine":
        """Load the model. Raises EngineError."""
        try:
            device = pick_device(self._device)
        except ValueError as error:
            raise EngineError(str(error)) from error
        folder = self._folder()
        with quiet():
            self._processor = _load_processor(folder, self._max_pixels)
            self._net = _load_net(folder, device, pick_precision(self._precision, device))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._net = self._processor = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def describe(self, request: Request) -> Answer:
        """Answer one request. Raises RequestError, EngineError."""
        with self._turn:
            if self._net is None:
                raise EngineError("the transformers engine is not open: use it in a `with` statement")
            started = time.perf_counter()
            inputs = self._read(request)
            try:
                tokens = self._write(inputs, request)
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"{self.model} ran out of memory on {self._net.device} with {len(request.images)} images: lower "
                    "max_pixels or the number of key frames, choose a smaller model, or device cpu"
                ) from error
            except RuntimeError as error:
                raise EngineError(f"{self.model} failed on {self._net.device}: {error}") from error
            ended = tokens[-1] in _ids(self._net.generation_config.eos_token_id)
            return Answer(
                text=self._processor.decode(tokens, skip_special_tokens=True).strip(),
                finish_reason="stop" if ended else "length", prompt_tokens=inputs["input_ids"].shape[1],
                output_tokens=len(tokens), latency_ms=(time.perf_counter() - started) * 1000,
            )

    def _read(self, request: Request) -> Any:
        """The request as the model's input. Raises RequestError."""
        if not request.images:
            raise RequestError("no_images", "there is no key frame to describe", "check the video's select shard")
        images = [_image(place, data) for place, data in enumerate(request.images)]
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": request.prompt}]
        try:
            with quiet():
                inputs = self._processor.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
                    return_dict=True, return_tensors="pt",
                )
        except ValueError as error:  # an aspect ratio above 200, say
            raise RequestError("bad_image", f"the processor refuses it: {error}",
                               "look at the key frames of this video") from error
        length, bound = inputs["input_ids"].shape[1], self._net.config.get_text_config().max_position_embeddings
        if length + request.max_tokens > bound:
            raise RequestError(
                "too_long", f"{length} tokens of prompt and images and {request.max_tokens} of answer exceed the "
                f"model's {bound}", "lower the number of key frames, max_pixels or max_tokens")
        return inputs.to(self._net.device)

    def _write(self, inputs: Any, request: Request) -> list[int]:
        """Tokens of the answer, the closing one included."""
        sampling = {"do_sample": True, "temperature": request.temperature} if request.temperature else {
            "do_sample": False}
        device = self._net.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(request.seed)
            written = self._net.generate(**inputs, max_new_tokens=request.max_tokens, **sampling)
        tokens: list[int] = written[0, inputs["input_ids"].shape[1]:].tolist()
        return tokens

    def _folder(self) -> Path:
        """Where the checkpoint lies; a hub repository is fetched, or found in the cache. Raises EngineError."""
        folder = Path(self.model).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise EngineError(f"{folder}: no config.json in it, so it is no checkpoint of transformers")
            return folder
        if self.model.startswith((".", "/", "~")) or self.model.count("/") != 1:
            raise EngineError(f"{self.model}: no such folder; give a folder, or a hub model such as "
                              "Qwen/Qwen2.5-VL-7B-Instruct")
        from huggingface_hub import snapshot_download

        try:
            snapshot = Path(snapshot_download(self.model, revision=self.revision or None, allow_patterns=FILES))
        except Exception as error:  # the hub's client raises errors of several libraries
            raise EngineError(
                f"{self.model} cannot be fetched: {_one_line(error)}. Check the name and the revision; without a "
                "network, download it on a connected machine (hf download) and give the folder, or copy "
                "~/.cache/huggingface") from error
        self.revision = snapshot.name
        return snapshot


def _load_processor(folder: Path, max_pixels: int | None) -> Any:
    from transformers import AutoProcessor

    try:
        processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        size = dict(processor.image_processor.size)
        if max_pixels:
            size |= {"longest_edge": max_pixels, "shortest_edge": min(size["shortest_edge"], max_pixels)}
        processor.image_processor.size = size
    except Exception as error:  # transformers raises whatever its parts raise
        raise EngineError(f"{folder}: its processor cannot be loaded: {_one_line(error)}. A checkpoint of a "
                          "vision-language model holds tokenizer, image processor and chat template") from error
    if not processor.chat_template:
        raise EngineError(f"{folder}: no chat template (chat_template.jinja); use an instruction-tuned checkpoint")
    return processor


def _load_net(folder: Path, device: torch.device, precision: str) -> Any:
    from transformers import AutoModelForImageTextToText

    load: Any = AutoModelForImageTextToText.from_pretrained
    try:
        net, report = load(folder, dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
                           local_files_only=True, output_loading_info=True)
        missing = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
        if missing:
            raise EngineError(f"{folder}: {len(missing)} weights are missing or of another shape ({missing[0]}, ...); "
                              "the download is incomplete or config.json belongs to another model")
        net = net.eval().requires_grad_(False).to(device)
    except torch.OutOfMemoryError as error:
        raise EngineError(f"{folder} does not fit into the memory of {device}: use the 3B model, an AWQ checkpoint, "
                          "vLLM with tensor_parallel_size, or device cpu") from error
    except EngineError:
        raise
    except Exception as error:  # transformers raises whatever its parts raise
        raise EngineError(f"{folder}: the model cannot be loaded: {_one_line(error)}. "
                          "It must be a vision-language checkpoint that this transformers knows") from error
    if net.generation_config.pad_token_id is None:  # else each call advises
        net.generation_config.pad_token_id = _ids(net.generation_config.eos_token_id)[0]
    return net


def _image(place: int, data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = str(error).split(" <")[0]  # without the address of a buffer
        raise RequestError("bad_image", f"key frame {place} is no readable picture: {why}",
                           "decode this video again") from error


def _ids(tokens: int | list[int] | None) -> list[int]:
    if tokens is None:
        return []
    return [tokens] if isinstance(tokens, int) else list(tokens)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split())[:300] or type(error).__name__).rstrip(".")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and advice for a while; its faults arrive as exceptions."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

"""The models' cards: what they are, what they were trained on, what they can and cannot do."""

from collections.abc import Mapping
from pathlib import Path

_CLIP = """# A small CLIP of the rendered world

An open_clip model ({size:.1f} MB, float16): image tower ModifiedResNet with one block a stage, 128 x 128 pixels (the
frame is squashed, not cut), width 24, attention pooling; text tower of 3 layers, width 64, with CLIP's own BPE
tokenizer; 256 dimensions. Load it as `local-dir:` with open_clip, or name the folder as `model` in stages.yaml.

## Data
{stories} stories of `dbvad.demo.world` with seeds from 1,000,000,000 on, 12 frames each (two thirds inside an event
where there is one), through H.264 at the quality of the rendered videos. No rendered dataset uses these seeds. Texts:
label prompts in five templates, and sentences of the stories' descriptions. Throw-away heads also asked its feature
maps what is where (poses, things held, vehicles, fire, smoke). Trained by `dbvad demo build-models` for
{core_minutes:.0f} minutes of one CPU core.

## Figures on {held_out} stories that it did not train on
{figures}

## Limits
It knows the rendered world and nothing else: its features of real video mean nothing. It knows the words of the
descriptions (places, clothes, six kinds of events); other words of the tokenizer have untrained embeddings. Use
pretrained weights (`ViT-B-16`, `openai`) for real video.
"""

_QWEN = """# A small Qwen2.5-VL of the rendered world

A Qwen2.5-VL ({size:.1f} MB, bfloat16, 3.8 million parameters): text width 256, 3 layers, 4 heads of 64; vision
depth 4, width 128, patches of 14 pixels; byte-level BPE tokenizer of 1,024 tokens, ChatML template. It loads in
transformers and in vLLM. Send key frames as images, 1 to 8 of them; a frame becomes 140 x 112 pixels and 20 tokens.

## Data
The {stories} stories that the CLIP beside it saw, with their descriptions. A description of an event is the answer
only if at least one frame shows it; otherwise the answer says what normal life can be seen. Prompts: the packaged
`neutral-v1` and `class_aware-v1`, and four short ones. The vision tower first learnt what is where in a frame (poses,
things held, vehicles, fire, smoke) and which event it shows. Trained by `dbvad demo build-models` for
{core_minutes:.0f} minutes of one CPU core.

## Figures on {held_out} stories that it did not train on
{figures}

## Limits
It writes the sentences of the rendered world's grammar, whatever it is shown and asked. Colours of clothes and outcomes
are often wrong where people are small. It is no use on real video: there, name `Qwen/Qwen2.5-VL-7B-Instruct` or another
published checkpoint.
"""


def write_cards(
    folder: Path,
    clip: Mapping[str, float],
    qwen: Mapping[str, float],
    *,
    stories: int,
    core_minutes: Mapping[str, float],
    held_out: int = 150,
) -> None:
    """Write `folder`/clip/README.md and `folder`/qwen/README.md."""
    for name, text, figures in (("clip", _CLIP, clip), ("qwen", _QWEN, qwen)):
        size = sum(f.stat().st_size for f in (folder / name).iterdir()) / 1e6
        table = "\n".join(["| what | % |", "|---|---|", *(f"| {k} | {100 * v:.1f} |" for k, v in figures.items())])
        (folder / name / "README.md").write_text(
            text.format(
                size=size, stories=f"{stories:,}", core_minutes=core_minutes[name], held_out=held_out, figures=table
            )
        )

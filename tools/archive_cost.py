"""What an archive would take: `python tools/archive_cost.py [--hours 100000] [--fps 25] ...`.

Every assumption is an option; docs/performance.md says which were measured. Prints core hours, GPU hours, bytes and
money for one pass over the archive, each with its formula.
"""

import argparse
from dataclasses import dataclass

HOUR_S = 3600.0


@dataclass(frozen=True)
class Archive:
    """hours of video; pixels of a frame; stride: every how many frames one is kept; length: minutes of a video."""

    hours: float = 100_000
    fps: float = 25
    megapixels: float = 0.0768  # 320x240
    mbit: float = 0.5  # of the videos, a second
    stride: int = 16
    length: float = 5
    described: float = 0.01  # share of the videos that are trained on, and described

    @property
    def kept(self) -> float:
        """Frames that are kept."""
        return self.hours * HOUR_S * self.fps / self.stride


@dataclass(frozen=True)
class Costs:
    """Measured: decode_s, jpeg_s, jpeg_mb. Of limits: clip_gflop, gpu_tflops. Others assumed; prices in euros."""

    decode_s: float = 1.4e-3  # CPU seconds a megapixel decoded: 1.30 s for 12,000 frames of 320x240
    jpeg_s: float = 7.5e-3  # CPU seconds a megapixel kept: scaled, as JPEG, written
    jpeg_mb: float = 0.21  # megabytes a megapixel kept
    clip_gflop: float = 35.1  # ViT-B/16, one picture of 224x224
    gpu_tflops: float = 990  # peak in bf16 of the GPU, H100
    gpu_share: float = 0.3  # of it that is reached
    describe_s: float = 0.5  # GPU seconds a description, Qwen2.5-VL-7B, 8 frames
    core_price: float = 0.04
    gpu_price: float = 3.0
    tb_month_price: float = 20.0


def plan(archive: Archive, costs: Costs) -> list[tuple[str, float, str, str]]:
    """(what, how much, unit, formula), one pass over the archive."""
    frames = archive.hours * HOUR_S * archive.fps
    decode = frames * archive.megapixels * costs.decode_s / HOUR_S
    jpeg = archive.kept * archive.megapixels * costs.jpeg_s / HOUR_S
    score = archive.kept * costs.clip_gflop / (costs.gpu_tflops * 1e3 * costs.gpu_share) / HOUR_S
    videos = archive.hours * 60 / archive.length
    describe = videos * archive.described * costs.describe_s / HOUR_S
    source = archive.hours * HOUR_S * archive.mbit / 8 / 1e6
    pictures = archive.kept * archive.megapixels * costs.jpeg_mb / 1e6
    features = archive.kept * 512 * 2 / 1e12
    money = (decode + jpeg) * costs.core_price + (score + describe) * costs.gpu_price
    return [
        ("videos", videos, "", "hours x 60 / length"),
        ("decode", decode, "core hours", "frames x megapixels x decode_s"),
        ("pictures kept", jpeg, "core hours", "frames / stride x megapixels x jpeg_s"),
        ("score", score, "GPU hours", "frames / stride x clip_gflop / (gpu_tflops x gpu_share)"),
        ("describe", describe, "GPU hours", "videos x described x describe_s"),
        ("videos to read", source, "TB", "hours x 3600 x mbit / 8"),
        ("decode shards", pictures, "TB", "frames / stride x megapixels x jpeg_mb"),
        ("features", features, "TB", "frames / stride x 512 x 2 bytes"),
        ("shards", 3 * videos, "files", "ingest, decode, score of every video"),
        ("computing", money, "euros", "core hours x core_price + GPU hours x gpu_price"),
        ("keeping features", features * costs.tb_month_price, "euros a month", "TB x tb_month_price"),
        ("keeping pictures", pictures * costs.tb_month_price, "euros a month", "TB x tb_month_price"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for group in (Archive(), Costs()):
        for name, value in vars(group).items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help="default: %(default)s")
    given = vars(parser.parse_args())
    rows = plan(Archive(**{name: given[name] for name in vars(Archive())}),
                Costs(**{name: given[name] for name in vars(Costs())}))
    for what, amount, unit, formula in rows:
        print(f"{what:18}{amount:>14,.1f} {unit:14} = {formula}")


if __name__ == "__main__":
    main()

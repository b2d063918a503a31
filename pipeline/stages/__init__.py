"""The stages of this pipeline, in order, and the stages.yaml that configures them. Imports no model library."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.engine.cluster import Needs, RayCluster
from pipeline.engine.config import Config, load
from pipeline.engine.hashing import HashCache
from pipeline.engine.stage import Stage
from pipeline.stages.dataset import Dataset
from pipeline.stages.decode import Decode, DecodeParams
from pipeline.stages.describe import Describe, DescribeParams
from pipeline.stages.embed import Embed, EmbedParams
from pipeline.stages.ingest import Ingest, IngestParams
from pipeline.stages.models import identify
from pipeline.stages.score import Score, ScoreParams
from pipeline.stages.select import Select, SelectParams

MODEL_HASHES = ".model-hashes"
ORDER = ("ingest", "decode", "score", "select", "describe", "embed")


class StagesFile(Config):
    """stages.yaml: the dataset, one section a stage, and where they run."""

    engine: Literal["local", "ray"] = "local"
    ray: RayCluster = RayCluster()
    dataset: Dataset = Dataset()
    ingest: IngestParams = IngestParams()
    decode: DecodeParams = DecodeParams()
    score: ScoreParams = ScoreParams()
    select: SelectParams = SelectParams()
    describe: DescribeParams = Field(default_factory=DescribeParams)
    embed: EmbedParams = EmbedParams()

    def needs(self) -> dict[str, Needs]:
        """What a worker of each stage needs of the node it runs on."""
        return {name: getattr(self, name) for name in ORDER}

    @model_validator(mode="before")
    @classmethod
    def _one_clip_model(cls, data: Any) -> Any:
        """embed takes score's model unless it names its own."""
        if isinstance(data, dict) and isinstance(data.get("score"), dict):
            own = data.get("embed")
            own = {} if own is None else own
            if isinstance(own, dict) and "model" not in own:
                shared = {key: data["score"][key] for key in ("model", "pretrained", "device", "precision")
                          if key in data["score"]}
                data = data | {"embed": shared | own}
        return data


def read(path: Path) -> StagesFile:
    """Read stages.yaml; paths in it are relative to its folder. Raises ConfigError."""
    found = load(path, StagesFile)
    folder = path.parent
    sections: dict[str, Config] = {
        name: section.model_copy(update={"model": local(section.model, folder),
                                         "pretrained": section.pretrained and local(section.pretrained, folder)})
        for name, section in (("score", found.score), ("embed", found.embed))}
    sections["describe"] = found.describe.model_copy(update={"model": local(found.describe.model, folder)})
    prompt = folder / found.describe.prompt
    if prompt.suffix and prompt.is_file():
        sections["describe"] = sections["describe"].model_copy(update={"prompt": str(prompt)})
    return found.model_copy(update={"dataset": found.dataset.relative_to(folder), **sections})


def local(model: str, folder: Path) -> str:
    """A model, or its weights, named by a path relative to stages.yaml as a path from here; other names stay."""
    path = folder / model.removeprefix("local-dir:")  # as open_clip spells it
    return str(path) if path.exists() else model


def build(config: StagesFile, artifacts: Path) -> list[Stage]:
    """The stages in order."""
    cache = HashCache(artifacts / MODEL_HASHES)
    stages: list[Stage] = [
        Ingest(config.ingest),
        Decode(config.decode),
        Score(config.score, config.dataset.classes, identify(config.score.model, config.score.pretrained, cache)),
        Select(config.select),
        Describe(config.describe, identify(config.describe.model, config.describe.revision, cache),
                 artifacts / "runs" / "servers"),
        Embed(config.embed, identify(config.embed.model, config.embed.pretrained, cache)),
    ]
    cache.save()
    return stages

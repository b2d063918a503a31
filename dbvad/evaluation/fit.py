"""Whether a model and features belong together: evaluation and detection ask the same question."""

from dbvad.data.dataset import Index
from dbvad.training.checkpoint import Facts


def misfit(facts: Facts, index: Index, crop: int | None, *, owner: str, remedy: str) -> str | None:
    """Why a model cannot score these features, None if it can.

    `crop`: the one asked for. `owner` of the features and `remedy`: in words, for the message.
    """
    if facts.width != index.dim or facts.feature_source != index.feature_source or (
            facts.feature_identity != index.identity if facts.feature_identity else facts.feature_model != index.model):
        return (f"the model was trained on {facts.width}-d features of {facts.feature_model} ({facts.feature_source}), "
                f"{owner} have {index.dim}-d features of {index.model} ({index.feature_source}): {remedy}")
    if crop is not None and not 0 <= crop < index.crops:
        return f"crop {crop} is asked for, the features have crops 0 to {index.crops - 1}"
    return None

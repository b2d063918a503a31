"""The frozen CLIP text tower with its inputs open: prompts can be learned in front of it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class UnsupportedTower(Exception):
    """This text tower cannot be run on a shortened prompt; the message says why."""


class TextTower(nn.Module):
    """A CLIP text encoder from token embeddings to text features, run over just the tokens that are there.

    In a causal transformer nothing after the end-of-text token reaches its feature, so the 77 positions of CLIP need
    not be computed: L tokens cost L. Parameters are frozen float32 copies; gradients flow to the input embeddings.
    """

    mask: Tensor  # (context_length, context_length), -inf above the diagonal

    def __init__(self, model: Any, token_ids: Callable[[str], list[int]]) -> None:
        """`model`: an open_clip CLIP or CustomTextCLIP. `token_ids`: a text's tokens, both end tokens included.

        Raises UnsupportedTower.
        """
        super().__init__()
        tower = getattr(model, "text", model)
        parts = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")
        if not all(hasattr(tower, part) for part in parts) or not isinstance(tower.token_embedding, nn.Embedding):
            raise UnsupportedTower(f"its text tower is a {type(tower).__name__}, not open_clip's own transformer")
        if getattr(tower, "cls_emb", None) is not None:
            raise UnsupportedTower("its text tower pools a class token that stands after the padding (CoCa)")
        if tower.attn_mask is None:
            raise UnsupportedTower("its text tower is not causal, so padding reaches the text's feature")
        pool = tower.text_pool_type if hasattr(tower, "text_pool_type") else tower.pool_type
        if pool not in ("argmax", "eos"):
            raise UnsupportedTower(f"its text tower pools {pool!r}, not the end-of-text token")
        frozen = {part: copy.deepcopy(getattr(tower, part)) for part in parts}
        self.embedding: nn.Embedding = frozen["token_embedding"]
        self.positions: nn.Parameter = frozen["positional_embedding"]
        self.transformer: nn.Module = frozen["transformer"]
        self.ln_final: nn.Module = frozen["ln_final"]
        self.projection: nn.Parameter | nn.Linear | None = frozen["text_projection"]
        self.register_buffer("mask", tower.attn_mask.clone().float(), persistent=False)
        self.float().requires_grad_(False).eval()
        self._token_ids = token_ids

    @property
    def width(self) -> int:
        """Width W of a token embedding."""
        return self.embedding.embedding_dim

    @property
    def dim(self) -> int:
        """Width D of a text feature."""
        if isinstance(self.projection, nn.Linear):
            return self.projection.out_features
        return self.width if self.projection is None else self.projection.shape[1]

    @property
    def context_length(self) -> int:
        """The most tokens that the tower reads."""
        return self.positions.shape[0]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, start and end token included, without padding. Raises ValueError if too long."""
        found = [self._token_ids(text) for text in texts]
        for text, ids in zip(texts, found, strict=True):
            if len(ids) > self.context_length:
                raise ValueError(f"prompt has {len(ids)} tokens, CLIP reads {self.context_length}: {text!r}")
        return found

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids: (...,) int -> (..., W), without positions."""
        return self.embedding(ids)

    def forward(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        """Text features of C prompts.

        embeddings: (C, L, W) token embeddings, positions not added, L <= context_length; what stands behind the
        end-of-text token is ignored. eot: (C,) int, position of that token. Returns (C, D), not normalised, as
        open_clip's `encode_text` does by default.
        """
        length = embeddings.shape[1]
        hidden = embeddings + self.positions[:length].to(embeddings.dtype)
        hidden = self.transformer(hidden, attn_mask=self.mask[:length, :length])
        pooled = self.ln_final(hidden)[torch.arange(len(hidden), device=hidden.device), eot]
        if self.projection is None:
            return pooled
        return self.projection(pooled) if isinstance(self.projection, nn.Linear) else pooled @ self.projection

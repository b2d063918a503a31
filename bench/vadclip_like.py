"""A network and losses that work as VadCLIP's do, written from its published facts; the yardstick of `bench/train.py`.

UCF-Crime's options: snippets (B, 256, 512) padded with zeros; a transformer of 2 layers with 1 head whose attention is
local (blocks of 8 snippets); two graph convolutions each over the similarity graph (row softmax over the cosines of
valid snippets, those not above 0.7 set to 0, made in a Python loop over the videos) and over the distance graph
(exp(-|i - j| / e)); QuickGELU; a classifier behind an FFN; prompts of all classes, 77 tokens each,
through the frozen text tower in every step; alignment of each snippet with each class. Losses: BCE of the mean of the
top T / 16 + 1 scores, cross-entropy of the same means over the classes, and the classes' texts kept away from normal's.
Float32, AdamW. What is not VadCLIP's: nothing is evaluated or printed in the middle of an epoch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.instruments.clip.text_tower import TextTower

SIDE = 10  # learnable tokens before and after a label's words
LENGTH = 256  # snippets of a sequence


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width))


class LocalTransformer(nn.Module):
    """Pre-norm layers whose attention stays within blocks of `window` neighbouring snippets."""

    def __init__(self, width: int, layers: int, heads: int, window: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers))
        self.attentions = nn.ModuleList(nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(layers))
        self.ffns = nn.ModuleList(feed_forward(width) for _ in range(layers))
        block = torch.arange(LENGTH) // window
        mask = torch.zeros(LENGTH, LENGTH).masked_fill(block.unsqueeze(0) != block.unsqueeze(1), float("-inf"))
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        for layer, (attention, ffn) in enumerate(zip(self.attentions, self.ffns, strict=True)):
            normed = self.norms[2 * layer](x)
            x = x + attention(normed, normed, normed, need_weights=False, attn_mask=self.mask)[0]
            x = x + ffn(self.norms[2 * layer + 1](x))
        return x


class GraphConvolution(nn.Module):
    """A H W plus a residual: a convolution over 5 snippets where the width changes."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width_in, width_out, bias=False)
        self.residual = nn.Conv1d(width_in, width_out, 5, padding=2) if width_in != width_out else None

    def forward(self, h: Tensor, adjacency: Tensor) -> Tensor:
        residual = h if self.residual is None else self.residual(h.transpose(1, 2)).transpose(1, 2)
        return adjacency @ self.weight(h) + residual


class VadclipLike(nn.Module):
    """`tower`: the frozen text tower; not a registered part, so that it is neither trained nor counted."""

    def __init__(self, tower: TextTower, labels: Sequence[str], width: int = 512, layers: int = 2, heads: int = 1,
                 window: int = 8) -> None:
        super().__init__()
        self.tower = (tower,)
        self.positions = nn.Embedding(LENGTH, width)
        self.context = nn.Embedding(tower.context_length, tower.width)
        for embedding in (self.positions, self.context):
            nn.init.normal_(embedding.weight, std=0.01)
        self.temporal = LocalTransformer(width, layers, heads, window)
        half = width // 2
        self.similar = nn.ModuleList([GraphConvolution(width, half), GraphConvolution(half, half)])
        self.near = nn.ModuleList([GraphConvolution(width, half), GraphConvolution(half, half)])
        self.linear = nn.Linear(width, width)
        self.gelu = QuickGELU()
        self.text_ffn, self.video_ffn = feed_forward(width), feed_forward(width)
        self.classifier = nn.Linear(width, 1)
        place = torch.arange(LENGTH, dtype=torch.float32)
        self.register_buffer("distances", torch.exp(-(place[:, None] - place).abs() / torch.e))
        self.tokens = tower.tokenize(labels)

    def losses(self, x: Tensor, lengths: Sequence[int], labels: Tensor) -> Tensor:
        """The sum of the three losses: x (B, 256, D), labels (B, C) one-hot with normal first."""
        h = self.encode_video(x, lengths)
        scores = self.classifier(h + self.video_ffn(h)).squeeze(-1)
        texts = self.encode_labels()
        v = F.normalize((scores.unsqueeze(1) @ h).squeeze(1), dim=-1)
        focused = texts.unsqueeze(0) + v.unsqueeze(1)
        focused = focused + self.text_ffn(focused)  # (B, C, D)
        aligned = F.normalize(h, dim=-1) @ F.normalize(focused, dim=-1).transpose(1, 2) / 0.07  # (B, T, C)
        bags, classes = [], []
        for row, length in enumerate(lengths):
            k = length // 16 + 1
            bags.append(scores[row, :length].sigmoid().topk(k).values.mean())
            classes.append(aligned[row, :length].topk(k, dim=0).values.mean(dim=0))
        unit = F.normalize(texts, dim=-1)
        return (F.binary_cross_entropy(torch.stack(bags), 1 - labels[:, 0])
                - (labels * torch.stack(classes).log_softmax(dim=-1)).sum(dim=-1).mean()
                + 0.1 * (unit[1:] @ unit[0]).abs().mean())

    def encode_video(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """(B, 256, D) -> (B, 256, D)."""
        h = self.temporal(x + self.positions.weight)
        adjacency, distances = self.similarity(h, lengths), self.distances.expand(len(x), -1, -1)
        similar, near = h, h
        for graph in self.similar:
            similar = self.gelu(graph(similar, adjacency))
        for graph in self.near:
            near = self.gelu(graph(near, distances))
        return self.linear(torch.cat([similar, near], dim=-1))

    def similarity(self, h: Tensor, lengths: Sequence[int]) -> Tensor:
        unit = F.normalize(h, dim=-1)
        cosine = unit @ unit.transpose(1, 2)
        adjacency = torch.zeros_like(cosine)
        for row, length in enumerate(lengths):
            adjacency[row, :length, :length] = F.threshold(cosine[row, :length, :length], 0.7, 0).softmax(dim=-1)
        return adjacency

    def encode_labels(self) -> Tensor:
        """(C, D'): all 77 tokens of each prompt, learnable ones before and after the words."""
        tower = self.tower[0]
        prompts, ends = self.context.weight.repeat(len(self.tokens), 1, 1), []
        for row, tokens in enumerate(self.tokens):
            words = tower.token_embedding(torch.tensor(tokens, device=prompts.device))
            end = SIDE + len(tokens) - 1 + SIDE
            prompts[row, 0], prompts[row, end] = words[0], words[-1]
            prompts[row, SIDE + 1:SIDE + len(tokens) - 1] = words[1:-1]
            ends.append(end)
        return tower(prompts, torch.tensor(ends, device=prompts.device))

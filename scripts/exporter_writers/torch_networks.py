"""Networks of plain torch, by the exporter that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_export import Input, Network, write_networks


class Recurrent(nn.Module):
    def __init__(self, core: Any) -> None:
        super().__init__()
        self.core, self.head = core, nn.Linear(16, 3)

    def forward(self, obs: Any, *state: Any) -> Any:
        out, after = self.core(obs.unsqueeze(0), state if len(state) > 1 else state[0])
        after = after if isinstance(after, tuple) else (after,)
        return (self.head(out.squeeze(0)), *after)


class Entities(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, entities: Any) -> Any:
        seen = self.embed(entities)
        return self.head((seen + self.attention(seen, seen, seen, need_weights=False)[0]).mean(1))


class Encoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, **options)

    def forward(self, entities: Any) -> Any:
        return self.head(self.layer(self.embed(entities)).mean(1))


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, entities: Any, present: Any) -> Any:
        seen = torch.relu(self.embed(entities)).masked_fill(present.unsqueeze(-1) < 0, -1e9)
        return self.head(seen.amax(1))


def networks() -> dict[str, Network]:
    mlp = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 3))
    cnn = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 5, 3))
    obs, entities, state = Input((2, 8)), Input((2, 5, 6)), Input((1, 2, 16), 1)
    return {
        "MLP": Network(mlp, {"obs": obs}, {"action": 0}),
        "CNN": Network(cnn, {"obs": Input((2, 3, 16, 16))}, {"action": 0}),
        "LSTM": Network(Recurrent(nn.LSTM(8, 16)), {"obs": obs, "h_in": state, "c_in": state}, {"action": 0, "h_out": 1, "c_out": 1}),
        "GRU": Network(Recurrent(nn.GRU(8, 16)), {"obs": obs, "h_in": state}, {"action": 0, "h_out": 1}),
        "MultiheadAttention": Network(Entities(), {"obs": entities}, {"action": 0}),
        "TransformerEncoderLayer": Network(Encoder(), {"obs": entities}, {"action": 0}),
        "TransformerEncoderLayer, norm_first, gelu": Network(Encoder(norm_first=True, activation="gelu"), {"obs": entities}, {"action": 0}),
        "entity list": Network(Pooled(), {"obs": entities, "present": Input((2, 5))}, {"action": 0}),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    return write_networks(folder, networks(), name.removeprefix("torch-"))

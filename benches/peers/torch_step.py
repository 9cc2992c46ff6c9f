"""One training step in PyTorch: what fp8lm's is held against.

    pip install torch
    python benches/peers/torch_step.py --threads 2
    cargo bench -p fp8lm-benches --bench step

Model `S` is that of the bench, in eager f32: 4 layers of width 256, 4 heads, 8 sequences of 256 bytes,
GELU, LayerNorm, AdamW. Positions are learned here and rotary there. On a GPU:

    python benches/peers/torch_step.py --model gpt-125m --device cuda --bf16 --compile
    fp8lm train --preset gpt-125m --device cuda:0 --set data.tokenizer=bytes --set data.micro_batches=1 --set run.steps=50

Prints tokens a second of the fastest and of the median step.
"""

import argparse
import contextlib
import dataclasses
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    heads: int
    context: int
    batch: int
    vocabulary: int
    tied_head: bool


SHAPES = {
    "S": Shape(4, 256, 4, 256, 8, 256, False),
    "gpt-125m": Shape(12, 768, 12, 2048, 8, 50_304, True),
}


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def attention(self, x):
        batch, context, width = x.shape
        qkv = self.qkv(x).view(batch, context, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(o.transpose(1, 2).reshape(batch, context, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.layers)))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        if shape.tied_head:
            self.head.weight = self.tokens.weight

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(positions)
        return self.head(self.norm(self.blocks(x)))


def train_step(model, optimizer, tokens, precision):
    with precision():
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="S")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="matrix products in bf16, by autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args()


def main():
    args = parse()
    shape = SHAPES[args.model]
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    model = Gpt(shape).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(shape.vocabulary, (shape.batch, shape.context + 1), device=args.device)
    called = torch.compile(model) if args.compile else model
    autocast = lambda: torch.autocast(args.device.split(":")[0], torch.bfloat16)
    precision = autocast if args.bf16 else contextlib.nullcontext
    for _ in range(args.warmup):
        train_step(called, optimizer, tokens, precision)
    seconds = []
    for _ in range(args.steps):
        start = time.perf_counter()
        train_step(called, optimizer, tokens, precision)
        if args.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)

    step = shape.batch * shape.context
    fastest, median = (step / s for s in (min(seconds), statistics.median(seconds)))
    kind = f"{'bf16' if args.bf16 else 'f32'} {'compiled' if args.compile else 'eager'}"
    where = f"{args.threads} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {args.model}, {kind}, {where}:")
    print(f"fastest: {fastest:.0f} tokens/s, median: {median:.0f} tokens/s")


if __name__ == "__main__":
    main()

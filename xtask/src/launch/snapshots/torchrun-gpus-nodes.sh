#!/bin/sh
# a: data 4 x tensor 4 x pipeline 2, 32 processes, 8 on each of 4 nodes
: "${FP8LM_TOKEN:?expected a secret of at least 16 characters, the same on every node}"
export FP8LM_TOKEN
exec torchrun --nnodes=4 \
    --nproc-per-node=8 \
    --max-restarts=10 \
    --rdzv-backend=c10d --rdzv-endpoint=n1:29400 \
    --rdzv-id=a \
    --log-dir=/shared/runs/a.logs --redirects=3 --tee=0:3 \
    --no-python \
    /opt/fp8lm/fp8lm train \
    --preset gpt-7b \
    --run /shared/runs/a \
    --restart \
    --link nccl \
    --device cuda

#!/bin/sh
# a: data 8 x tensor 1 x pipeline 1, 8 processes on one node
: "${FP8LM_TOKEN:=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}"
export FP8LM_TOKEN
exec torchrun --nnodes=1 \
    --nproc-per-node=8 \
    --max-restarts=3 \
    --standalone \
    --log-dir=/shared/runs/a.logs --redirects=3 --tee=0:3 \
    --no-python \
    /opt/fp8lm/fp8lm train \
    --preset gpt-125m \
    --run /shared/runs/a \
    --restart \
    --link nccl \
    --device cuda

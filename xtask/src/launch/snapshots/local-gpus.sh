#!/bin/sh
# a: data 4 x tensor 2 x pipeline 1, 8 processes on one node
exec /opt/fp8lm/fp8lm spawn \
    --processes 8 \
    --max-restarts 0 \
    --logs /shared/runs/a.logs -- \
    /opt/fp8lm/fp8lm train \
    --preset gpt-125m \
    --run /shared/runs/a \
    --restart \
    --link nccl \
    --device cuda

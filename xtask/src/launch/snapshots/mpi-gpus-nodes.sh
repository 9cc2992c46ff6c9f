#!/bin/sh
# a: data 16 x tensor 1 x pipeline 1, 16 processes, 8 on each of 2 nodes
: "${FP8LM_TOKEN:=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}"
export FP8LM_TOKEN
exec /opt/fp8lm/fp8lm spawn --mpirun \
    --max-restarts 3 --logs /shared/runs/a.logs -- \
    mpirun -n 16 \
    --hostfile /shared/hosts \
    --map-by ppr:8:node:oversubscribe --bind-to none \
    --output-filename /shared/runs/a.logs:nojobid \
    -x MASTER_ADDR=n1 -x MASTER_PORT=29500 -x FP8LM_TOKEN \
    /opt/fp8lm/fp8lm train \
    --preset gpt-7b \
    --run /shared/runs/a \
    --restart \
    --link nccl \
    --device cuda

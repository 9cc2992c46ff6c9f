#!/bin/sh
# a: data 2 x tensor 2 x pipeline 1, 4 processes on one node
exec /opt/fp8lm/fp8lm spawn --mpirun \
    --max-restarts 3 --logs /shared/runs/a.logs -- \
    mpirun -n 4 \
    --map-by ppr:4:node:oversubscribe --bind-to none \
    --output-filename /shared/runs/a.logs:nojobid \
    /opt/fp8lm/fp8lm train \
    --preset quickstart \
    --set run.steps=100 \
    --run /shared/runs/a \
    --restart \
    --link mpi

#!/bin/sh
# a: data 4 x tensor 2 x pipeline 1, 8 processes, 4 on each of 2 nodes
exec /opt/fp8lm/fp8lm spawn --mpirun \
    --max-restarts 3 --logs /shared/runs/a.logs -- \
    mpirun -n 8 \
    --hostfile /shared/hosts \
    --map-by ppr:4:node:oversubscribe --bind-to none \
    --output-filename /shared/runs/a.logs:nojobid \
    /opt/fp8lm/fp8lm train \
    --config /shared/config.toml \
    --run /shared/runs/a \
    --restart \
    --link mpi

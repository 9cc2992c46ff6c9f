#!/bin/sh
# a: data 2 x tensor 2 x pipeline 1, threads of one process
exec /opt/fp8lm/fp8lm spawn \
    --processes 1 \
    --max-restarts 3 \
    --logs /shared/runs/a.logs -- \
    /opt/fp8lm/fp8lm train \
    --preset quickstart \
    --run /shared/runs/a \
    --restart

#!/bin/sh
# A run on a Slurm cluster:  sh examples/slurm.sh recipe.yaml 32
#
# An array of jobs takes a slice of the units each; when all have succeeded, one more writes the manifest. Sources and
# output lie on a file system that all nodes share and that has locks. A job that fails is submitted again with this
# same command, which goes on where it stopped. With 'duplicates: drop' the jobs wait for one another, so all of them
# must be able to run at the same time. 'premask plan' tells the memory of a worker.
set -eu
export RECIPE="$1" WORLD="${2:-32}" WORKERS="${3:-8}"

ranks=$(sbatch --parsable --job-name=premask --array="0-$((WORLD - 1))" --cpus-per-task="$WORKERS" --mem-per-cpu=2G \
    --requeue --wrap='premask run "$RECIPE" --rank "$SLURM_ARRAY_TASK_ID" --world "$WORLD" --workers "$WORKERS"')
sbatch --job-name=premask-finish --dependency="afterok:$ranks" --kill-on-invalid-dep=yes --cpus-per-task=1 --mem=4G \
    --wrap='premask finish "$RECIPE"'

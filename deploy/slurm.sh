#!/usr/bin/env bash
# Workers of one study as a job array, from the checkout; options go on to `batchfront run`:
#   sbatch deploy/slurm.sh --task mine.py --n-trials 200
#SBATCH --job-name=batchfront
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
##SBATCH --gres=gpu:1
# With a GPU take --mem=8G: a CUDA process holds 2 to 4 GiB of the host.
set -euo pipefail

# The URL may hold a password: from the environment, or from a file that only you can read.
if [ -z "${BATCHFRONT_STORAGE:-}" ]; then
  file=${BATCHFRONT_STORAGE_FILE:-$HOME/.config/batchfront/storage}
  if [ ! -f "$file" ]; then
    echo "error: neither BATCHFRONT_STORAGE is set nor is there $file: write the storage's URL there" >&2
    exit 2
  fi
  if [ -n "$(find -L "$file" -perm /077)" ]; then
    echo "error: others can read $file: chmod 600 $file" >&2
    exit 2
  fi
  BATCHFRONT_STORAGE=$(<"$file")
fi
export BATCHFRONT_STORAGE

# exec: Slurm's SIGTERM, a minute before the time is up or at preemption, goes to Python itself.
cd "${SLURM_SUBMIT_DIR:-.}"
exec .venv/bin/batchfront run --checkpoint-dir "${CHECKPOINT_DIR:-runs/checkpoints}" "$@"

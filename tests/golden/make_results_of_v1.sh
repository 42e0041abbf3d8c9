#!/bin/bash
# Made tests/data/results_of_v1 with the code of commit 5aec993: `bash tests/data/make_results_of_v1.sh FOLDER`, from the
# root of that checkout. Not to be run again: the folder shows that what that code left behind stays of use.
set -eu
code=$PWD
export PYTHONPATH=$code OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 GLUE_BENCH_CACHE=$1/cache HF_HOME=$1/hf_home
mkdir -p "$1/work"; cd "$1/work"
cp -r "$code/tests/data/tiny_encoder" "$code/tests/data/tiny_rows" .
gb="python -m glue_bench"
common="encoder=custom encoder.path=tiny_encoder encoder.name=tiny data=local data.path=tiny_rows results_dir=results_of_v1
 executor=serial trainer.device=cpu trainer.max_length=64 trainer.batch_size=4 trainer.epochs=25 trainer.learning_rate=3e-3 trainer.weight_decay=0 trainer.log_every=25"
other="${common/encoder.name=tiny/encoder.name=other}"
set -x
$gb sweep "tasks=[rte,sst2]" "seeds=[1,2]" $common
$gb sweep "tasks=[rte]" "seeds=[1,2]" ${other/learning_rate=3e-3/learning_rate=4e-3}
$gb sweep "tasks=[rte]" "seeds=[1]" init=mnli $common
$gb run task=stsb seed=1 save_model=true $common
$gb run task=mrpc seed=1 $common || echo rc $?
$gb run task=stsb seed=2 ${common/learning_rate=3e-3/learning_rate=1e30} trainer.clip_norm=0 || echo rc $?
$gb sweep task=sst2 seed=1 "grid.learning_rate=[2e-3,4e-3]" ${common/trainer.learning_rate=3e-3/}
$gb run task=sst2 seed=1 selection=best $common
$gb run task=rte seed=1 selection=holdout holdout=0.25 $common
python - run task=sst2 seed=5 $(echo $common | sed "s,epochs=25,epochs=6,;s,log_every=25,log_every=2,") <<'PY' || echo rc $?
import os, signal, sys
from glue_bench import experiment
from glue_bench.cli import main
fit = experiment.fit
def stopped(*rest, on_step, **more):
    def step(report):
        on_step(report)
        if report.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
    return fit(*rest, on_step=step, **more)
experiment.fit = stopped
sys.exit(main(sys.argv[1:]))
PY
$gb sweep --plan results_of_v1/plan.jsonl "tasks=[rte,sst2]" "seeds=[1,2,3]" $common
sed -i "s#$PWD#@FOLDER@#g" results_of_v1/plan.jsonl

"""What `--help` says: the verbs, their keys and examples. Knows no parser."""

VERBS = {
    "run": "one fine-tune",
    "sweep": "tasks x seeds x encoders, and the table",
    "report": "the tables again, from what is on disk",
    "compare": "two encoders, paired by seed and by dev row",
    "predict": "a finished run on your own texts: labels and probabilities",
    "card": "a finished run as a model to share: weights, tokenizer and a model card",
    "claims": "every numeric claim of the DistilRoBERTa card, checked here",
    "submit": "the GLUE leaderboard's zip: submit build, submit check FILE.zip",
    "tasks": "the tasks: texts, labels, sizes, metrics, published numbers",
    "doctor": "whether a sweep would work here, and what to do if not",
}

KEYS = """\
keys (Hydra's grammar; every default is in conf/):
  task=NAME                       mnli qqp qnli sst2 cola stsb mrpc rte wnli
  encoder=NAME                    distilroberta roberta minilm, or custom with
                                  encoder.path=FOLDER or encoder.hub_id=ORG/NAME encoder.revision=COMMIT
  data=hub|local|sample           local needs data.path=FOLDER with <task>/<split>.parquet (.csv .tsv .jsonl)
  data.max_train_rows=N           the first N rows; also data.max_eval_rows
  recipe=NAME                     default hf_2019 roberta_paper fairseq: epochs, batch size, learning rate, ...
  selection=last|best|holdout     whose weights are scored: the last epoch's, the best one's on the dev set
                                  (optimistic), or on held-out training rows (holdout=0.1)
  trainer.KEY=VALUE               epochs updates batch_size accumulation learning_rate warmup weight_decay betas epsilon
                                  clip_norm max_length eval_batch_size device precision deterministic
                                  engine log_every snapshot_minutes
  init=mnli                       RTE, MRPC and STS-B start from the MNLI model of the same seed, which is run first
  results_dir=FOLDER              default: results
  save_model=true                 keep the weights under model/, loadable by transformers
"""

CHOICE = """\
keys (exactly one finished run that kept its weights, by save_model=true, must answer to them):
  task=NAME encoder=NAME seed=N   as many as it takes
  run_id=ID                       of the folder, or the folder itself
  results_dir=FOLDER              default: results
"""

EPILOGS = {
    "run": f"""{KEYS}
examples:
  glue-bench run task=rte encoder=minilm data=sample
  glue-bench run task=mrpc seed=3 data=local data.path=my_glue encoder=minilm trainer.epochs=5
  glue-bench run task=rte encoder=custom encoder.hub_id=google-bert/bert-base-uncased
  glue-bench run -m task=rte,mrpc seed=1,2,3
  torchrun --nproc-per-node 4 -m glue_bench run task=mnli      one run on four GPUs
""",
    "sweep": f"""{KEYS}
  tasks=[A,B] seeds=[1,2] encoders=[A,B]      task=A seed=1 encoder=A mean lists of one
  executor=local|serial|slurm     worker processes here, one after another in this process, or a Slurm job array;
  executor.KEY=VALUE              workers (runs at a time, or auto) runs_per_gpu timeout (minutes without progress)
  executor.slurm.KEY=VALUE        partition hours cpus gpus memory_gb notice options=[account=NAME]
  grid.KEY=[A,B]                  values of trainer.KEY to try, every combination; recipe=roberta_paper has a grid,
                                  and trainer.KEY=VALUE narrows it
  preset=card|sample|smoke        card: the model card's table; sample: offline in minutes; smoke: seconds

examples:
  glue-bench sweep preset=sample
  glue-bench sweep                                 the eight tasks, five seeds, distilroberta, data from the hub
  glue-bench sweep preset=card encoders=[distilroberta,roberta]
  glue-bench sweep recipe=roberta_paper encoder=roberta tasks=[rte]
  glue-bench sweep data=local data.path=my_glue encoder=minilm tasks=[cola,mrpc] seeds=[1,2,3]
  glue-bench sweep executor=slurm executor.workers=20 executor.slurm.partition=gpu
  glue-bench sweep --plan plan.jsonl               one run a line; then, in any job array, with N from 0:
  glue-bench sweep --plan plan.jsonl --index N
  glue-bench sweep tasks=[boolq] --config-dir my_conf data=local data.path=my_data

Stop it at any time: the same command runs only what is missing.
""",
    "report": """\
examples:
  glue-bench report
  glue-bench report --format markdown --out table.md
  glue-bench report --format html                 one page with plots: results/report.html
  glue-bench report --convention paper
  glue-bench report --format json --out report.json results_dir=other_results
  glue-bench report --format latex --out table.tex
  glue-bench report --check report.json      exit code 1 if a score fell significantly, or a row is gone
""",
    "compare": """\
examples:
  glue-bench compare distilroberta roberta
  glue-bench compare minilm-3 minilm --convention paper --format markdown
""",
    "predict": f"""{CHOICE}
  trainer.device=DEVICE           auto cpu cuda cuda:N mps

examples:
  glue-bench predict task=sst2 --text "A fine film."
  glue-bench predict task=rte seed=1 --text "A man sleeps." --text "A man is awake."
  glue-bench predict run_id=seed1-0123456789ab --file my.csv --out answers.csv
  cut -f 2,3 pairs.tsv | glue-bench predict task=mrpc encoder=distilroberta > answers.jsonl
""",
    "card": f"""{CHOICE}
examples:
  glue-bench card task=rte seed=1
  glue-bench card run_id=seed1-0123456789ab --out my_model
  glue-bench card task=rte seed=1 --push my-org/distilroberta-rte

Nothing leaves this machine without --push. A folder or repository with anything else in it is never overwritten.
""",
    "submit": """\
actions:
  build KEY=VALUE ...             predict the test rows with finished runs that kept their weights, and write the zip
  check FILE.zip                  list every fault with file and line; exit code 3 if there is one

keys of build:
  encoder=NAME                    whose runs; needed only where several have finished
  seed=N                          this seed for every task; without it --pick says which of the seeds
  recipe=NAME init=TASK selection=NAME trainer.KEY=VALUE
                                  where a task was run in several settings; or run_id=[ID,ID], each for its task
  data=local data.path=FOLDER     where the test rows are; without it where each run's own rows came from
  trainer.device=NAME             auto cpu cuda cuda:N mps
  results_dir=FOLDER              default: results

examples:
  glue-bench submit build encoder=distilroberta
  glue-bench submit build encoder=distilroberta seed=1 --fill wnli --out submission.zip
  glue-bench submit build --fill wnli=not_entailment data=local data.path=my_glue
  glue-bench submit check submission.zip
""",
    "claims": """\
keys:
  results_dir=FOLDER              whose finished runs the GLUE scores are checked with; default: results
  distilroberta.path=FOLDER       the model's own files, where the hub and its cache are out of reach
  roberta.path=FOLDER
  trainer.device=auto|cpu|cuda    what speed is measured on; also trainer.precision,
                                  trainer.engine=padded (transformers' own modules; default: without padding)

Without the models' files, parameters are counted from the stated architecture and speed is measured at random
weights; the rest is said not to be checkable. About two minutes on two cores; --quick seconds.

exit code: 1 if a claim is contradicted, 0 if none is; else as for every verb

examples:
  glue-bench claims
  glue-bench claims --quick --format markdown --out claims.md
  glue-bench claims distilroberta.path=my_models/distilroberta-base roberta.path=my_models/roberta-base
""",
    "doctor": """\
The words are those of `sweep`: without any, the card's table. Looked at are packages, cores and memory, the results
folder and what earlier sweeps left in it, encoders and rows (here, in the hub's cache, or on the hub), device, disk.
Nothing is downloaded or changed.

exit code: 3 if something would stop the sweep, 0 if nothing was found; else as for every verb

examples:
  glue-bench doctor
  glue-bench doctor preset=sample
  glue-bench doctor encoder=minilm data=local data.path=my_glue tasks=[rte,mrpc] trainer.device=cuda
  glue-bench doctor --format json
""",
    "tasks": """\
examples:
  glue-bench tasks
  glue-bench tasks --config-dir my_conf
""",
}

TOP_EPILOG = """\
Offline, in minutes:   glue-bench sweep preset=sample
Would it work here:    glue-bench doctor
The real table:        glue-bench sweep          (needs the Hugging Face hub or its cache; a GPU helps)
More about a verb:     glue-bench VERB --help

exit codes: 0 all well; 1 some runs failed, a score fell (report --check) or a claim is contradicted; 2 usage or
configuration; 3 data or model input, or a problem that doctor found; 4 diverged; 74 disk; 75 preempted (SIGUSR1),
run the same command again; 129, 130, 143 stopped by SIGHUP, SIGINT, SIGTERM
"""

# What the words after a verb are, where they are not the configuration.
WORDS = {
    "report": ("KEY=VALUE", "results_dir=FOLDER"),
    "compare": ("WORD", "two encoders, as the table names them; results_dir=FOLDER"),
    "predict": ("KEY=VALUE", "which run, as below"),
    "card": ("KEY=VALUE", "which run, as below"),
    "submit": ("ACTION", "build KEY=VALUE ..., or check FILE.zip"),
    "claims": ("KEY=VALUE", "as below"),
    "tasks": ("KEY=VALUE", "none for this verb"),
}

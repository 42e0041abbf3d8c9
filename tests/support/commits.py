"""The commits that conf/ pins, for hubs on loopback."""

DATA_COMMIT = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"  # nyu-mll/glue
MODEL_COMMIT = "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b"  # distilbert/distilroberta-base
ROBERTA_COMMIT = "e2da8e2f811d1448a5b465c236feacd80ffbac7b"  # FacebookAI/roberta-base

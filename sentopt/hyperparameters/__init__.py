"""Search of hyperparameters: short trainings of one recipe with other values, judged on its validation split alone."""

"""Where training examples come from: one file per kind of source, and the specification that names one."""

"""The paper's decisions, as pure functions of image size and number of examples."""

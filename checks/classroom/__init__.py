"""Many submissions: intake, sandbox, one submission, the class, notebooks, gradebook."""

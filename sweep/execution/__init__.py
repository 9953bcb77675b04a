"""Running a plan: the supervisor and its attempts. Imports no Ray."""

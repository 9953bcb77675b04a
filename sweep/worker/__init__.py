"""The code that runs in a worker process: training a pack, classifying errors, and checking the installation."""

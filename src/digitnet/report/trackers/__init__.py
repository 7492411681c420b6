"""Trackers send a run's metrics to services. One file per tracker, with a class that is a `runs.observer.Observer`."""

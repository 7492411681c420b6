"""Trackers: services that a run's figures are sent to. A file each, with a class that is a `runs.observer.Observer`."""

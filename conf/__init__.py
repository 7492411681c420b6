"""The configs, shipped as the package `digitnet.conf`: Hydra finds a config directory only in a package."""

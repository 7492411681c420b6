import logging

# Before matplotlib is imported: in a home that cannot be written to, it says twice that it keeps its cache elsewhere.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

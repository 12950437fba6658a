"""What can go wrong, said to the person running it: what happened, in which file and row, and what to do."""


class RubrikaError(Exception):
    """A failure that is explained in one sentence; the command line prints it and exits with 1."""


class ParameterError(RubrikaError):
    """A parameter that cannot have this value; the command line calls it a wrong usage and exits with 2."""


class InputError(RubrikaError):
    """A file of products that cannot be read as one."""


class IndexFolderError(RubrikaError):
    """An index folder that is missing, damaged, made by a newer version, or being changed by another process."""


class EncoderError(RubrikaError):
    """An encoder that is unknown, damaged, or cannot be learned from the products given."""


class StoppedError(RubrikaError):
    """Work that ended before its time because somebody asked for it."""


class StoreError(RubrikaError):
    """A vector store that refuses or cannot be reached."""

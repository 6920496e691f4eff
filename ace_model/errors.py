"""What a clear error is."""


class InputError(ValueError):
    """Something that a person connected, chose or typed cannot be used.

    Every error that the pack raises for a person is one, and its text is clear: it names the input, the value, and the limit
    or the way out, in two or three short sentences, and it is raised before torch would stumble over the value. The soak
    (tests/fuzz) holds every error that it meets to this.
    """


class LimitError(InputError):
    """A number beyond a widget's limits, which only a link or the API can bring."""

"""Errors of ours as ComfyUI shows them: by their plain name, the text once."""

import logging
import traceback

import pytest
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import BadInputError, WeightsNotFoundError
from midframe.nodes import _video_host
from midframe.nodes._errors import said_plainly

ERROR = WeightsNotFoundError("There are no weights.", "none in /models", "Get them.")


def as_comfyui_does(function):
    """Run a function, and log what it raises as ComfyUI's executor does."""
    try:
        function()
    except Exception as error:  # noqa: BLE001
        logging.error(f"!!! Exception during processing !!! {error}")
        logging.error(traceback.format_exc())


@said_plainly()
def fail():
    raise WeightsNotFoundError(*ERROR.args)


def test_the_text_is_logged_once_and_without_a_traceback(caplog):
    for _ in range(2):
        caplog.clear()
        as_comfyui_does(fail)
        assert caplog.messages == [f"!!! Exception during processing !!! {ERROR}"]


def test_the_next_traceback_of_somebody_else_is_logged(caplog):
    root = logging.getLogger()
    for waiting in list(root.filters):  # for the traceback of an error of another test, which nobody logged
        root.removeFilter(waiting)
    with pytest.raises(WeightsNotFoundError):
        fail()  # of which nobody logs a traceback
    as_comfyui_does(lambda: 1 / 0)
    as_comfyui_does(
        lambda: (_ for _ in ()).throw(WeightsNotFoundError("Other weights.", "none", "Get them."))
    )
    assert caplog.text.count("Traceback") == 2
    as_comfyui_does(fail)
    assert caplog.text.count("Traceback") == 2
    assert not root.filters, "nothing stays once it has done its work"


def test_every_function_that_comfyui_calls_says_errors_plainly():
    for name, node in NODE_CLASS_MAPPINGS.items():
        assert hasattr(getattr(node, node.FUNCTION), "__wrapped__") or name == "MidframeClearCache", name
    for name in ("save_to", "get_components", "get_stream_source", "as_trimmed", "get_frame_count"):
        assert hasattr(getattr(_video_host.MadeVideo, name), "__wrapped__"), name


@pytest.mark.parametrize("name", ["MidframeRIFE", "MidframeModelLoader", "MidframeStates"])
def test_the_kind_of_an_error_has_no_module(name):
    node = NODE_CLASS_MAPPINGS[name]()
    call = getattr(node, node.FUNCTION)
    given = {
        "MidframeRIFE": (None, "default"),
        "MidframeModelLoader": (7,),
        "MidframeStates": ("one, two", True),
    }
    with pytest.raises(BadInputError) as caught:
        call(*given[name])
    assert type(caught.value).__module__ == "builtins"
    assert type(caught.value).__name__ == "BadInputError"

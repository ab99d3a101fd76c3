"""The part of libaravis-0.8 (LGPL-2.1+) that Kensa calls, with its errors as exceptions. Debian: libaravis-0.8-0."""

import ctypes
import functools
from collections.abc import Callable
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from agent.cameras import CameraLostError

LIBRARY = "libaravis-0.8.so.0"
BUFFER_SUCCESS = 0
BUFFER_STATUS = {-1: "unknown", 1: "cleared", 2: "timeout", 3: "missing packets", 4: "wrong packet id", 5: "size mismatch",
                 6: "filling", 7: "aborted", 8: "payload not supported"}  # fmt: skip


class _Error(ctypes.Structure):
    """GError."""

    _fields_ = [("domain", c_uint32), ("code", c_int), ("message", c_char_p)]


_FAILING: dict[str, tuple[Any, list[Any]]] = {  # those whose last argument is a GError**
    "arv_camera_new": (c_void_p, [c_char_p]),
    "arv_camera_create_stream": (c_void_p, [c_void_p, c_void_p, c_void_p]),
    "arv_camera_execute_command": (None, [c_void_p, c_char_p]),
    "arv_camera_get_payload": (c_uint, [c_void_p]),
    "arv_camera_get_string": (c_char_p, [c_void_p, c_char_p]),
    "arv_camera_get_integer": (c_int64, [c_void_p, c_char_p]),
    "arv_camera_get_float": (c_double, [c_void_p, c_char_p]),
    "arv_camera_get_boolean": (c_bool, [c_void_p, c_char_p]),
    "arv_camera_set_string": (None, [c_void_p, c_char_p, c_char_p]),
    "arv_camera_set_integer": (None, [c_void_p, c_char_p, c_int64]),
    "arv_camera_set_float": (None, [c_void_p, c_char_p, c_double]),
    "arv_camera_set_boolean": (None, [c_void_p, c_char_p, c_int]),
    "arv_camera_is_feature_available": (c_bool, [c_void_p, c_char_p]),
    "arv_camera_set_trigger": (None, [c_void_p, c_char_p]),
    "arv_camera_clear_triggers": (None, [c_void_p]),
    "arv_camera_set_acquisition_mode": (None, [c_void_p, c_int]),
    "arv_camera_set_exposure_time": (None, [c_void_p, c_double]),
    "arv_camera_get_exposure_time": (c_double, [c_void_p]),
    "arv_camera_set_gain": (None, [c_void_p, c_double]),
    "arv_camera_get_gain": (c_double, [c_void_p]),
    "arv_camera_software_trigger": (None, [c_void_p]),
    "arv_camera_start_acquisition": (None, [c_void_p]),
    "arv_camera_stop_acquisition": (None, [c_void_p]),
}
_PLAIN: dict[str, tuple[Any, list[Any]]] = {
    "arv_update_device_list": (None, []),
    "arv_get_n_devices": (c_uint, []),
    "arv_get_device_id": (c_char_p, [c_uint]),
    "arv_get_device_serial_nbr": (c_char_p, [c_uint]),
    "arv_get_device_model": (c_char_p, [c_uint]),
    "arv_buffer_new_allocate": (c_void_p, [c_size_t]),
    "arv_buffer_get_status": (c_int, [c_void_p]),
    "arv_buffer_get_image_data": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "arv_buffer_get_image_width": (c_int, [c_void_p]),
    "arv_buffer_get_image_height": (c_int, [c_void_p]),
    "arv_buffer_get_image_pixel_format": (c_uint32, [c_void_p]),
    "arv_buffer_get_image_padding": (None, [c_void_p, POINTER(c_int), POINTER(c_int)]),
    "arv_buffer_get_frame_id": (c_uint64, [c_void_p]),
    "arv_buffer_get_timestamp": (c_uint64, [c_void_p]),
    "arv_stream_push_buffer": (None, [c_void_p, c_void_p]),
    "arv_stream_timeout_pop_buffer": (c_void_p, [c_void_p, c_uint64]),
    "arv_stream_try_pop_buffer": (c_void_p, [c_void_p]),
    "arv_stream_get_statistics": (None, [c_void_p, POINTER(c_uint64), POINTER(c_uint64), POINTER(c_uint64)]),
    "g_object_unref": (None, [c_void_p]),
    "g_error_free": (None, [c_void_p]),
}


class Aravis:
    """The library's functions as attributes without their prefix: `aravis.camera_software_trigger(camera)`.

    Each raises CameraLostError with the library's words. Calls may be made from several threads, of one camera from one.
    """

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(LIBRARY)
            gobject = ctypes.CDLL("libgobject-2.0.so.0")
        except OSError as e:
            raise CameraLostError(f"{e}: GigE Vision and USB3 Vision need Aravis 0.8 (Debian: libaravis-0.8-0)") from e
        for name, (result, arguments) in _PLAIN.items():
            of = library if name.startswith("arv_") else gobject
            setattr(self, name.removeprefix("arv_"), self._declared(of, name, result, arguments))
        for name, (result, arguments) in _FAILING.items():
            function = self._declared(library, name, result, [*arguments, POINTER(POINTER(_Error))])
            setattr(self, name.removeprefix("arv_"), self._raising(function))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(f"arv_{name} is not among the functions declared in {__name__}")

    @staticmethod
    def _declared(library: ctypes.CDLL, name: str, result: Any, arguments: list[Any]) -> Callable[..., Any]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        called: Callable[..., Any] = function
        return called

    def _raising(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            error = POINTER(_Error)()  # NULL: the library would take anything else for an earlier error
            result = function(*arguments, byref(error))
            if error:
                message = error.contents.message.decode(errors="replace")
                self.g_error_free(error)
                raise CameraLostError(message)
            return result

        return call


@functools.cache
def aravis() -> Aravis:
    """The library, loaded when the first camera needs it. Raises CameraLostError where it is not installed."""
    return Aravis()

"""Industrial cameras that speak GenICam, GigE Vision or USB3 Vision, by Aravis: no vendor's software is needed.

A camera is found by its serial number or id, wherever it is plugged in. Its settings are written and read back each time it is
opened: one that was without power comes back with others. Torn frames are faults.
"""

import ctypes
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_int, c_size_t, c_uint64
from typing import Annotated, Any, Literal

from msgspec import Meta
from numpy.typing import NDArray

from agent.cameras import CameraLostError
from agent.cameras._aravis import BUFFER_STATUS, BUFFER_SUCCESS, Aravis, aravis
from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._pixels import array_of, bytes_of
from agent.cameras._source import Exposes, Frame
from agent.inspection import Fault

log = logging.getLogger(__name__)

_BUFFERS = 8
_CONTINUOUS = 0  # ARV_ACQUISITION_MODE_CONTINUOUS
_STEP = 0.05
_TRIGGER = "FrameStart"
_OVERRULED = "another setting does that, one that comes after it, exposure_us or gain"
_Value = bool | int | float | str
_looking_round = threading.Lock()
# Pixel Format Naming Convention: code of a buffer, and the layout it means here.
_FORMATS = {
    "Mono8": (0x01080001, "mono8"),
    "Mono10": (0x01100003, "mono16"),
    "Mono12": (0x01100005, "mono16"),
    "Mono16": (0x01100007, "mono16"),
    "BayerGR8": (0x01080008, "bayer_gr8"),
    "BayerRG8": (0x01080009, "bayer_rg8"),
    "BayerGB8": (0x0108000A, "bayer_gb8"),
    "BayerBG8": (0x0108000B, "bayer_bg8"),
    "RGB8": (0x02180014, "rgb8"),
    "BGR8": (0x02180015, "bgr8"),
}
PixelFormat = Literal[
    "Mono8", "Mono10", "Mono12", "Mono16", "BayerGR8", "BayerRG8", "BayerGB8", "BayerBG8", "RGB8", "BGR8"
]  # fmt: skip


class Config(LiveConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """camera: serial number or id, as `arv-tool-0.8` lists them. trigger: `software`, `free` for a camera that exposes all the
    time, or the camera's input that its cable is on, such as `Line1`. fire_within_ms: of `software`, latest that the camera is
    told after the part was triggered; later it would expose another place of the belt, and the part is a fault.
    exposure_us, gain: None leaves what the camera has. Mono10 and Mono12 are 16-bit images: the bundle's white_level must be
    1023 or 4095. features: others by their GenICam name, in order, `TriggerActivation` for instance; a selector is one of them.
    """

    camera: Annotated[str, Meta(min_length=1)]
    trigger: Annotated[str, Meta(min_length=1)] = "software"
    fire_within_ms: Annotated[float, Meta(gt=0, le=60_000)] = 100.0
    pixel_format: PixelFormat = "Mono8"
    exposure_us: Annotated[float, Meta(gt=0)] | None = None
    gain: float | None = None
    features: dict[str, bool | int | float | str] = {}  # noqa: RUF012 - msgspec copies it

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exposes is Exposes.CABLED and (word := self.trigger.lower()) in ("software", "free"):
            raise ValueError(f"trigger {self.trigger!r} would be an input of the camera that a cable is on: write {word}")
        if self.exposes is Exposes.TOLD and self.delay_ms < 0:
            raise ValueError(f"delay_ms {self.delay_ms:g} is for a camera with a cable: one told by software exposes afterwards")
        for name, (wanted, key) in self._settled.items():
            if (asked := self.features.get(name, wanted)) != wanted:
                raise ValueError(f"features: {name} {asked!r} contradicts `{key}`, which makes it {wanted!r}: change `{key}`")

    @property
    def _settled(self) -> dict[str, tuple[str, str]]:
        """Features that keys of their own decide, and these keys. Behind a selector another trigger may be meant."""
        settled = {"PixelFormat": (str(self.pixel_format), "pixel_format")}
        if self.features.get("TriggerSelector", _TRIGGER) == _TRIGGER:
            settled["TriggerMode"] = ("Off" if self.exposes is Exposes.FREE else "On", "trigger")
            if self.exposes is not Exposes.FREE:
                settled["TriggerSource"] = (self.source, "trigger")
        return settled

    @property
    def source(self) -> str:
        """Of the trigger, by its GenICam name."""
        return "Software" if self.exposes is Exposes.TOLD else self.trigger

    @property
    def exposes(self) -> Exposes:
        return {"software": Exposes.TOLD, "free": Exposes.FREE}.get(self.trigger, Exposes.CABLED)

    def open(self) -> LiveCamera:
        return LiveCamera(self.camera, lambda: _opened(self), self, self.exposes, self.fire_within_ms)


class GenicamSource:
    """A camera that acquires."""

    def __init__(self, library: Aravis, camera: int, stream: int, config: Config) -> None:
        self._library = library
        self._camera = camera
        self._stream = stream
        self._code, self._layout = _FORMATS[config.pixel_format]
        self._format = config.pixel_format

    def fire(self) -> None:
        while buffer := self._library.stream_try_pop_buffer(self._stream):  # of an earlier trigger that was given up
            self._library.stream_push_buffer(self._stream, buffer)
        self._library.camera_software_trigger(self._camera)

    def look(self) -> None:
        self._library.camera_get_payload(self._camera)

    def next_frame(self, timeout_s: float) -> Frame | None:
        buffer = self._library.stream_timeout_pop_buffer(self._stream, round(timeout_s * 1e6))
        if not buffer:
            return None
        arrived_ns = time.monotonic_ns()
        try:
            stamps = (self._library.buffer_get_frame_id(buffer), self._library.buffer_get_timestamp(buffer))
            status = self._library.buffer_get_status(buffer)
            if status != BUFFER_SUCCESS:
                return Frame(Fault(f"torn frame: {BUFFER_STATUS.get(status, status)}"), self._layout, arrived_ns, stamps)
            return Frame(self._image(buffer), self._layout, arrived_ns, stamps)
        finally:
            self._library.stream_push_buffer(self._stream, buffer)

    def _image(self, buffer: int) -> NDArray[Any] | Fault:
        """A copy: the buffer goes back to the camera. Raises CameraLostError for another format: it is to be set anew."""
        width, height = self._library.buffer_get_image_width(buffer), self._library.buffer_get_image_height(buffer)
        code = self._library.buffer_get_image_pixel_format(buffer)
        size, padding = c_size_t(), c_int()
        start = self._library.buffer_get_image_data(buffer, byref(size))
        self._library.buffer_get_image_padding(buffer, byref(padding), byref(c_int()))
        expected = bytes_of(self._layout, width, height, padding.value)
        if code != self._code:
            found = f"a frame in pixel format {code:#010x}, expected {self._format} ({self._code:#010x})"
            raise CameraLostError(f"{found}: does another program set this camera?")
        if not start or size.value < expected:
            return Fault(f"torn frame: {size.value} bytes for {width}x{height} {self._format}")
        return array_of(ctypes.string_at(start, expected), self._layout, width, height, padding.value)


@contextmanager
def _opened(config: Config) -> Iterator[GenicamSource]:
    library = aravis()
    camera = library.camera_new(_id_of(library, config.camera).encode())
    if not camera:
        raise CameraLostError(f"{config.camera} cannot be opened")
    try:
        _apply(library, camera, config)
        stream = library.camera_create_stream(camera, None, None)
        if not stream:
            raise CameraLostError("it gives no stream: does another program use it?")
        try:
            payload = library.camera_get_payload(camera)
            if not payload:
                raise CameraLostError("it says that its images have 0 bytes")
            for _ in range(_BUFFERS):
                library.stream_push_buffer(stream, library.buffer_new_allocate(payload))
            library.camera_start_acquisition(camera)
            yield GenicamSource(library, camera, stream, config)
            library.camera_stop_acquisition(camera)  # not of a lost one: it would not hear, and that takes 2.5 s to find out
        finally:
            _log_losses(library, stream, config)
            library.g_object_unref(stream)
    finally:
        library.g_object_unref(camera)


def _id_of(library: Aravis, wanted: str) -> str:
    """Of the camera with this serial number or id, among those that answer now. Raises CameraLostError when none does."""
    with _looking_round:
        library.update_device_list()
        there = range(library.get_n_devices())
        ids: list[str] = [library.get_device_id(k).decode() for k in there]
        serials = [(library.get_device_serial_nbr(k) or b"").decode() for k in there]
    for name, serial in zip(ids, serials, strict=True):
        if wanted in (name, serial):
            return name
    raise CameraLostError(f"no camera with serial number or id {wanted}, there are: {', '.join(ids) or 'none'}")


def _apply(library: Aravis, camera: int, config: Config) -> None:
    """All settings, each written, and read back once all are. Raises CameraLostError where the camera does not take one.

    The trigger comes before the features: Aravis sets selector, mode and edge with it, and switches the frame rate off.
    """
    library.camera_clear_triggers(camera)
    library.camera_set_acquisition_mode(camera, _CONTINUOUS)
    _set(library, camera, "PixelFormat", config.pixel_format)
    if config.exposes is not Exposes.FREE:
        library.camera_set_trigger(camera, config.source.encode())
    selects = "TriggerSelector" in config.features
    own = library.camera_get_string(camera, b"TriggerSelector").decode() if selects else ""
    for name, value in config.features.items():
        _set(library, camera, name, value)
    for what, wanted in (("exposure_time", config.exposure_us), ("gain", config.gain)):
        if wanted is not None:
            automatic = {"exposure_time": "ExposureAuto", "gain": "GainAuto"}[what]
            if library.camera_is_feature_available(camera, automatic.encode()):
                _set(library, camera, automatic, "Off")
            getattr(library, f"camera_set_{what}")(camera, wanted)
            _verify(what, wanted, getattr(library, f"camera_get_{what}")(camera))
    if selects:
        _set(library, camera, "TriggerSelector", own)
    for name, value in {"PixelFormat": config.pixel_format, **config.features}.items():
        if name.endswith("Selector"):
            _set(library, camera, name, value)  # those behind it are of what it selects
        else:
            _verify(name, value, _get(library, camera, name, value), _OVERRULED)
    if selects:
        _set(library, camera, "TriggerSelector", own)  # of the trigger that Kensa tells, or waits for
    if config.exposes is not Exposes.FREE:
        for name, value in (("TriggerSource", config.source), ("TriggerMode", "On")):
            _verify(name, value, _get(library, camera, name, value), "look at `trigger` and at `features`")


def _set(library: Aravis, camera: int, name: str, value: _Value) -> None:
    content = value.encode() if isinstance(value, str) else value
    getattr(library, f"camera_set_{_kind(library, camera, name, value)}")(camera, name.encode(), content)
    _verify(name, value, _get(library, camera, name, value))


def _get(library: Aravis, camera: int, name: str, like: _Value) -> _Value:
    found = getattr(library, f"camera_get_{_kind(library, camera, name, like)}")(camera, name.encode())
    return found.decode() if isinstance(found, bytes) else found


def _kind(library: Aravis, camera: int, name: str, value: _Value) -> str:
    """Of a feature that takes such a value; 10 stands for 10.0, too."""
    kind = {bool: "boolean", int: "integer", float: "float", str: "string"}[type(value)]
    if kind == "integer":
        with suppress(CameraLostError):  # it is no number with decimals
            library.camera_get_float(camera, name.encode())
            return "float"
    return kind


def _verify(name: str, wanted: _Value, found: _Value, remedy: str = "which values does this camera allow?") -> None:
    """A camera rounds numbers to its own steps; more than that is another setting."""
    is_measure = isinstance(wanted, float) or isinstance(found, float)
    close = math.isclose(wanted, found, rel_tol=_STEP) if is_measure else wanted == found  # type: ignore[arg-type]
    if not close:
        raise CameraLostError(f"{name} is {found} after it was set to {wanted}: {remedy}")


def _log_losses(library: Aravis, stream: int, config: Config) -> None:
    whole, torn, without_buffer = c_uint64(), c_uint64(), c_uint64()
    library.stream_get_statistics(stream, byref(whole), byref(torn), byref(without_buffer))
    numbers = (config.camera, whole.value, torn.value, without_buffer.value)
    log.info("camera %s gave %d whole and %d torn frames, %d found no buffer", *numbers)

"""A real RTSP stream for tests: GStreamer's server with a moving picture, run by the system's Python.

Debian: gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions first

_STREAM = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=20/1 ! "
    "videoconvert ! video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0 )"
)


def main() -> None:
    """Serves rtsp://127.0.0.1:PORT/line until it is killed; says so on standard output."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory(launch=_STREAM, shared=True)
    server.get_mount_points().add_factory("/line", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {sys.argv[1]} is taken")
    print("serving", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()

"""The device: cameras, inference, decision, reject gate and events. Never imports torch.

Nor does it tell anybody outside of itself: openvino, when it is imported, would fork the process to call an analytics server,
and the copy holds its locks, sockets and cameras until that has answered or three seconds have gone by; onnxruntime (from 1.31)
would call its maker's from a thread of its own.
"""

import os
import sys

# Not to be found: openvino takes its own stub then.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

"""What `kensa doctor` says of the machine, for the page: in a process of its own, since it loads runtimes to look at them."""

import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

_WITHIN_S = 60.0
_FRESH_S = 60.0


class Checkup:
    """Asked by many browsers, run once a minute at most. Looks at the machine only: the line's devices are in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_at_a_time = asyncio.Lock()
        self._found: list[dict[str, Any]] = []
        self._found_s = -_FRESH_S

    async def findings(self) -> list[dict[str, Any]]:
        """Name, health (ok, warn, fail), found, remedy. A doctor that does not answer is a finding too."""
        async with self._one_at_a_time:
            if time.monotonic() - self._found_s >= _FRESH_S:
                self._found = await self._look()
                self._found_s = time.monotonic()
        return self._found

    async def _look(self) -> list[dict[str, Any]]:
        program = importlib.util.find_spec("kensa")
        command = (sys.executable, str(program.origin if program else ""), "doctor", "--json")
        pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, cwd=self._folder, stdout=pipe, stderr=none)
        try:
            out, _ = await asyncio.wait_for(process.communicate(), _WITHIN_S)
            return [msgspec.json.decode(line, type=dict[str, Any]) for line in out.splitlines()]
        except (asyncio.TimeoutError, msgspec.DecodeError) as e:
            return [
                {"name": "doctor", "health": "warn", "found": f"gave no answer: {type(e).__name__}", "remedy": "run kensa doctor"}
            ]
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

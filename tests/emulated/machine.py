"""Runs bochs on a boot image until the tests inside have spoken, and repeats what they said.

Debian's bochs is built with its debugger, which wants a terminal and the word to go on.

usage: machine.py FOLDER SECONDS
"""

import os
import pty
import select
import signal
import sys
import time

CONFIGURATION = """
megs: 256
cpu: model=corei7_skylake_x, count=1, ips=50000000
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
boot: cdrom
ata0-master: type=cdrom, path={folder}/boot.iso, status=inserted
com1: enabled=1, mode=file, dev={folder}/serial
display_library: term
clock: sync=none, time0=1000000
log: {folder}/bochs.log
panic: action=fatal
"""

END = b"emulated kernel tests: "


def serial(folder):
    try:
        with open(f"{folder}/serial", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def run(folder, seconds):
    with open(f"{folder}/bochsrc", "w") as file:
        file.write(CONFIGURATION.format(folder=folder))
    if os.path.exists(f"{folder}/serial"):
        os.unlink(f"{folder}/serial")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("bochs", ["bochs", "-q", "-f", f"{folder}/bochsrc"])
    end, screen, shown, is_going = time.monotonic() + seconds, b"", 0, False
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            screen = (screen + data)[-4096:]
            if not is_going and b"bochs:1>" in screen:
                os.write(terminal, b"c\n")
                is_going = True
        lines = serial(folder)
        whole = lines.rfind(b"\n") + 1
        sys.stdout.write(lines[shown:whole].decode(errors="replace"))
        sys.stdout.flush()
        shown = max(shown, whole)
        if END in lines[:whole]:
            break
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if END + b"passed" in serial(folder):
        return 0
    print("the emulated machine did not pass the tests; see", folder, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], float(sys.argv[2])))

"""A store whose last disk is small enough to be filled."""

import contextlib
import os
import subprocess

import s3_server
from faults import KIB, MIB

SMALL = 192 * MIB


class SmallDisk(s3_server.Store):
    """Its last disk has a small file system of its own, where that may be
    mounted."""

    mounted = False

    def directories(self):
        own = super().directories()
        self.small = self.path / "small"
        self.small.mkdir()

        if os.geteuid() == 0:
            self.mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=755",
                 "none", self.small], stderr=subprocess.DEVNULL
            ).returncode == 0

        own.remove(self.disks[-1])
        self.disks[-1] = self.small / "disk"
        return [*own, self.disks[-1]]

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", self.small], check=True)
            self.mounted = False
        super().remove()

    def fill(self):
        """To the last byte; returns what is to be removed."""

        filler = self.small / "filler"

        with open(filler, "wb", buffering=0) as f:
            for size in (64 * KIB, 1):
                with contextlib.suppress(OSError):
                    while f.write(bytes(size)):
                        pass

        return filler

"""The lease of a site: who may drive its instances, and until when.

A holder renews its lease long before it ends, and counts the time that it has by its own clock from *before* it
asked: so it stops acting a margin before the database gives the lease to anybody else, whatever the answer's
way back took. What it has written carries its token (see :class:`~modelyard.control.ports.Fence`), so that even
a process that was frozen in between writes nothing once another one drives the site.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.control.ports import Fence, Holder, LeaseLost, Premises, Sites
from modelyard.domain.errors import ModelyardError

log = logging.getLogger(__name__)

# All in seconds.
TTL = 5.0
RENEW_EVERY = 1.2
# The holder stops so long before others may begin: what it has under way ends in this time.
MARGIN = 1.0


def since_boot() -> float:
    """Seconds that never jump and go on while the machine sleeps, as other machines' clocks do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One site's lease, as one process that wants it sees it."""

    def __init__(
        self,
        sites: Sites,
        premises: Premises,
        me: Holder,
        *,
        ttl: float = TTL,
        renew_every: float = RENEW_EVERY,
        margin: float = MARGIN,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        self._sites = sites
        self._premises = premises
        self._me = me
        self._ttl = ttl
        self._renew_every = renew_every
        self._margin = margin
        self._clock = clock
        self._fence: Fence | None = None
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds for which it surely is ours; 0 when it is not. Without end where nobody else can take it."""
        if self._fence is None:
            return 0.0
        return max(self._until - self._clock(), 0.0) if self._sites.shared else float("inf")

    def check(self) -> None:
        """Raises LeaseLost unless it surely is ours at this moment."""
        if not self.left:
            raise LeaseLost(f"This process no longer drives the site {self._premises.id}. Nothing was done.")

    async def take(self, *, even_if_down: bool) -> Fence | None:
        """Ours from now on, or None: another process holds it, or (unless ``even_if_down``) the site was taken
        down on purpose. A holder that has died on this machine is not waited for.

        Raises:
            Unavailable: the database fails.
        """
        over = 0
        if self._sites.shared:
            site = await self._sites.get_site(self._premises.id)
            if site is not None and site.holder is not None and self._has_died(site.holder):
                over = site.token
        asked = self._clock()
        self._fence = await self._sites.take_site(
            self._premises, self._me, self._ttl, over=over, even_if_down=even_if_down
        )
        self._until = asked + self._ttl - self._margin
        return self._fence

    async def keep(self) -> None:
        """Renew it for as long as it is ours; returns when it is no longer."""
        if not self._sites.shared:
            # Nobody can take it: an idle machine is not woken for nothing.
            await asyncio.get_running_loop().create_future()
        while (fence := self._fence) is not None:
            await asyncio.sleep(min(self._renew_every, self.left))
            if not self.left:
                break
            await self._renew(fence)
        self._fence = None

    async def give_back(self, *, down: bool) -> None:
        """Let another process have it at once; ``down``: none is to take it by itself."""
        fence, self._fence = self._fence, None
        if fence is not None:
            await self._sites.release_site(fence, down=down)

    async def _renew(self, fence: Fence) -> None:
        asked = self._clock()
        try:
            async with asyncio.timeout(self.left):
                await self._sites.renew_site(fence, self._ttl)
        except LeaseLost:
            log.error("Another control process has taken the site %s over", fence.site)
            self._fence = None
        except (ModelyardError, TimeoutError) as error:
            log.warning("The lease of the site %s was not renewed: %s", fence.site, error or "no answer")
        else:
            self._until = asked + self._ttl - self._margin

    def _has_died(self, holder: Holder) -> bool:
        return holder.machine == self._me.machine and start_ticks(holder.pid) != holder.ticks


# ------------------------------------------------------------------------------------------- who and where


def myself() -> Holder:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # A container sees other processes than its host.
    view = Path("/proc/self/ns/pid").readlink()
    return Holder(machine=f"{machine_id()} {boot} {view}", pid=os.getpid(), ticks=ticks)


def premises(home: Path, url: str) -> Premises:
    """The site that ``home`` on this machine is. Many machines have homes of the same path."""
    machine = machine_id()
    digest = hashlib.sha256(f"{machine}\0".encode() + os.fsencode(home)).hexdigest()
    return Premises(id=digest[:16], machine=machine, home=str(home), url=url)


def machine_id() -> str:
    """The same for as long as this machine is installed (machine-id(5)); its name where there is no id."""
    try:
        return Path("/etc/machine-id").read_text().strip() or os.uname().nodename
    except OSError:
        return os.uname().nodename


def start_ticks(pid: int) -> int | None:
    """When a process started (proc_pid_stat(5)); None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] not in "ZX" else None

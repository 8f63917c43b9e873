"""How long `tokenbeat check` takes with a large config, in which many profiles share a schedule or none do."""

import json
import os
import subprocess
import time
from pathlib import Path

from bench_parts import CLIENT, pinned, quantile
from harness import Session, expect

MONTHLY = {"period": "month", "requests": 1_000_000_000}
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri"]
RUNS = 3


def window(number: int) -> dict:
    """On weekdays, at times of its own for each of a thousand numbers."""
    from_ = f"{6 + number % 6:02}:{number % 60:02}"
    return {"days": WEEKDAYS, "from": from_, "to": f"{14 + number // 60 % 9:02}:{7 * number % 60:02}"}


BY_INTERVAL = "1,000 profiles, every 5 minutes"
BY_CRON = "1,000 profiles, every minute by `cron` in a window, and a budget for the month"
# What is checked: profiles, targets, the schedule of a profile by its number, and the budget of all.
CONFIGS = {
    "50 profiles x 20 targets": (50, 20, lambda _: {"every": "5m"}, None),
    BY_INTERVAL: (1000, 1, lambda _: {"every": "5m"}, None),
    "the same, each with an interval and a window of its own, and a budget for the month": (
        1000, 1, lambda number: {"every": f"{60 + number}s", "windows": [window(number)]}, MONTHLY,
    ),
    BY_CRON: (
        1000, 1, lambda _: {"cron": "* * * * *", "timezone": "Europe/Berlin", "windows": [window(0)]}, MONTHLY,
    ),
}  # fmt: skip


def check(t: Session, binary: Path, what: str) -> dict:
    profiles, targets, schedule, budget = CONFIGS[what]
    target = {"api": "openai-chat", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    names = [f"target-{number}" for number in range(targets)]
    workload = {"prompts": ["Name three rivers."], "output_tokens": 16}

    def profile(number: int) -> dict:
        stages = [{"name": "load", "for": "10s", "rate": 1}]
        return {"targets": names, "schedule": schedule(number), "load": stages, "seed": 7, "workload": workload}

    config = {
        "agent": {"id": "bench", "location": "here", **({"budget": budget} if budget else {})},
        "targets": dict.fromkeys(names, target),
        "profiles": {f"profile-{number}": profile(number) for number in range(profiles)},
    }
    path = t.home / "check.yaml"
    path.write_text(json.dumps(config))
    took, cpu, peak = [], [], 0
    for _ in range(RUNS):
        start = time.monotonic()
        child = subprocess.Popen(
            list(map(str, pinned(CLIENT, binary, "check", "--config.file", path))), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took.append(time.monotonic() - start)
        expect(child.returncode == 0, f"check failed: {child.returncode}")
        cpu.append(usage.ru_utime + usage.ru_stime)
        peak = max(peak, usage.ru_maxrss)
    return {"what": what, "seconds": quantile(took, 0.5), "cpu_seconds": quantile(cpu, 0.5), "peak_mib": peak / 1024}

"""The figures of the suite `bench` as tables."""

import math


def rounded(value):
    """Figures with three significant digits, at any depth."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def plain(figures: dict) -> str:
    lines = [f"machine: {figures['machine']}"]
    for title, rows in sections(figures):
        if rows:
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            lines += ["", title, *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)]
    return "\n".join(lines)


def markdown(figures: dict) -> str:
    lines: list[str] = []
    for title, rows in sections(figures):
        if rows:
            head, *body = ["| " + " | ".join(row) + " |" for row in rows]
            lines += ["", title, "", head, "| --- " * len(rows[0]) + "|", *body]
    return "\n".join(lines)


def sections(figures: dict):
    """As docs/performance.md has them: each table below its heading, in the same order."""
    yield "## Cost", costs(figures["cost"])
    yield "## Memory", memories(figures["cost"])
    yield "## Accuracy at a stated load", errors(figures["accuracy"])
    yield "## Dispatch", dispatches(figures["dispatch"])
    yield "## The simulator", servers(figures["server"])
    yield "### Streams", scaled(figures["scale"])
    yield "### Profiles and targets", shared(figures["shared"])
    yield "### Series", series(figures["series"])
    yield "### The check of a config", checked(figures["check"])


def servers(rows: list[dict]) -> list[list[str]]:
    table = [["load", "chunks", "of its core", "per chunk", "late p50 / p99 / max", "within 0.2 ms"]]
    for row in rows:
        table.append([
            row["what"], f"{row['per_second']:,.0f} chunks/s", f"{row['core']:.0%}", f"{row['us']:.1f} us",
            " / ".join(f"{row[f'late_{key}_ms']:.3f}" for key in ("p50", "p99", "max")) + " ms",
            "yes" if row["within_bound"] else "no",
        ])  # fmt: skip
    return table if rows else []


def costs(rows: list[dict]) -> list[list[str]]:
    table = [["case", "tokenbeat", "wrk", "ratio", "rate", "of its core", "server late p99"]]
    for row in rows:
        per = f"us/{row['unit']}"
        late = f"{row['server_late_p99_ms']:.2f} ms" if "server_late_p99_ms" in row else ""
        table.append([
            row["what"], f"{row['tokenbeat_us']:.2f} {per}", f"{row['wrk_us']:.2f} {per}",
            f"{row['tokenbeat_us'] / row['wrk_us']:.1f}", f"{row['per_second']:,.0f} {row['unit']}s/s",
            f"{row['core']:.0%}", late,
        ])  # fmt: skip
    return table if rows else []


def memories(rows: list[dict]) -> list[list[str]]:
    rows = [row for row in rows if "idle_core" in row]
    table = [["streams", "idle, of a core", "idle: resident (anonymous)", "loaded", "anonymous per stream"]]
    for row in rows:
        table.append([
            f"{row['streams']:,}", f"{row['idle_core']:.2%}",
            f"{row['idle_resident_mib']:.1f} MiB ({row['idle_anonymous_mib']:.1f})",
            f"{row['resident_mib']:.1f} MiB ({row['anonymous_mib']:.1f})",
            f"{row['anonymous_kib_per_stream']:.1f} KiB",
        ])  # fmt: skip
    return table if rows else []


def errors(rows: list[dict]) -> list[list[str]]:
    table = [
        ["streams", "chunk every", "protocol", "neighbour", "time to first token", "arrival of the first token", "chunk gap",
         "tokens", "read lag p99", "compared"]
    ]  # fmt: skip
    for row in rows:
        table.append([
            f"{row['streams']:,}", f"{row['pace_ms']} ms", protocol(row), neighbour(row),
            *(triple(row[name]) for name in ("ttft", "arrival", "gap")), str(row["token_error"]),
            read_lag(row), f"{row['requests']:,} requests, {row['gaps']:,} gaps",
        ])  # fmt: skip
    return table if rows else []


def neighbour(row: dict) -> str:
    if not row["busy"]:
        return "none"
    return "busy, realtime" if row["realtime"] else "busy"


def read_lag(row: dict) -> str:
    """The upper bound of the bucket of its 99th percentile."""
    most = row["read_lag_p99_ms"]
    if math.isnan(most):
        return "none"
    return f"up to {most:g} ms" if math.isfinite(most) else "over all buckets"


def protocol(row: dict) -> str:
    """With the number of connections, where they are shared."""
    count = row["connections"]
    few = f" ({count} connection{'' if count == 1 else 's'})" if count < row["streams"] else ""
    return row["protocol"] + few


def scaled(rows: list[dict]) -> list[list[str]]:
    table = [
        ["streams", "chunk every", "chunks", "per chunk", "of its core", "anonymous per stream", "resident",
         "time to first token", "arrival of the first token", "chunk gap", "tokens", "read lag p99", "server late p99",
         "compared"]
    ]  # fmt: skip
    for row in rows:
        table.append([
            f"{row['streams']:,}", f"{row['pace_ms']} ms", f"{row['per_second']:,.0f} chunks/s",
            f"{row['tokenbeat_us']:.2f} us", f"{row['core']:.0%}", f"{row['anonymous_kib_per_stream']:.1f} KiB",
            f"{row['resident_mib']:.0f} MiB", *(triple(row[name]) for name in ("ttft", "arrival", "gap")),
            str(row["token_error"]), read_lag(row), f"{row['server_late_p99_ms']:.2f} ms",
            f"{row['requests']:,} requests, {row['gaps']:,} gaps",
        ])  # fmt: skip
    return table if rows else []


def shared(rows: list[dict]) -> list[list[str]]:
    table = [
        ["profiles x targets", "streams of each pair", "chunks", "per chunk", "of its core", "idle: anonymous",
         "loaded: anonymous", "arrival of the first token", "chunk gap", "compared"]
    ]  # fmt: skip
    for row in rows:
        pairs = row["profiles"] * row["targets"]
        table.append([
            f"{row['profiles']} x {row['targets']}", f"{row['streams'] // pairs}", f"{row['per_second']:,.0f} chunks/s",
            f"{row['tokenbeat_us']:.2f} us", f"{row['core']:.0%}", f"{row['idle_anonymous_mib']:.1f} MiB",
            f"{row['anonymous_mib']:.1f} MiB", *(triple(row[name]) for name in ("arrival", "gap")),
            f"{row['requests']:,} requests, {row['gaps']:,} gaps",
        ])  # fmt: skip
    return table if rows else []


def series(rows: list[dict]) -> list[list[str]]:
    table = [
        ["profiles x targets", "series", "anonymous", "text", "its time (of a processor)", "its memory", "protobuf",
         "its time (of a processor)", "its memory"]
    ]  # fmt: skip
    for row in rows:
        scrapes: list[str] = []
        for of in (row["text"], row["protobuf"]):
            scrapes += [f"{of['mb']:.1f} MB", f"{of['ms']:.0f} ms ({of['cpu_ms']:.0f} ms)", f"+{of['more_mib']:.1f} MiB"]
        table.append([row["what"], f"{row['series']:,}", f"{row['anonymous_mib']:.1f} MiB", *scrapes])
    return table if rows else []


def checked(rows: list[dict]) -> list[list[str]]:
    table = [["config", "time", "of a processor", "memory at most"]]
    for row in rows:
        cells = f"{row['seconds']:.2f} s", f"{row['cpu_seconds']:.2f} s", f"{row['peak_mib']:.0f} MiB"
        table.append([row["what"], *cells])
    return table if rows else []


def triple(of: dict[str, float]) -> str:
    return " / ".join(f"{of[key]:.2f}" for key in ("p50", "p99", "max")) if of else "none"


def dispatches(rows: list[dict]) -> list[list[str]]:
    table = [["case", "sent", "lag p50 / p99 / max", "error of the rate", "gaps", "degraded"]]
    for row in rows:
        rate = f"{row['rate_error']:+.3%}" if row.get("rate_error") is not None else ""
        gaps = "" if row.get("ks") is None else f"{row['ks']:.4f}"
        table.append([
            row["what"], f"{row['sent']:,}",
            f"{row['lag_p50_ms']:.3f} / {row['lag_p99_ms']:.3f} / {row['lag_max_ms']:.3f} ms", rate, gaps,
            row["degraded"] or "no",
        ])  # fmt: skip
    return table if rows else []

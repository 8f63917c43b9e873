"""The figures of the suite `bench` as tables."""


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
            lines += ["", f"{title}:", "", head, "| --- " * len(rows[0]) + "|", *body]
    return "\n".join(lines)


def sections(figures: dict):
    yield "The simulator itself", servers(figures["server"])
    yield "Cost", costs(figures["cost"])
    yield "Memory, and what it uses when idle", memories(figures["cost"])
    yield "Error against the server's record, in ms (p50 / p99 / max)", errors(figures["accuracy"])
    yield "Dispatch", dispatches(figures["dispatch"])


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
            f"{row['streams']:,}", f"{row['pace_ms']} ms", row["protocol"], "busy" if row["busy"] else "none",
            *(triple(row[name]) for name in ("ttft", "arrival", "gap")), str(row["token_error"]),
            f"up to {row['read_lag_p99_ms']:g} ms", f"{row['requests']:,} requests, {row['gaps']:,} gaps",
        ])  # fmt: skip
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

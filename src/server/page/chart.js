"use strict";
// The charts of one pair: what the API knows of its history, with what happened shaded behind it.
(() => {
  const section = document.getElementById("charts");
  if (!section || typeof uPlot === "undefined") return;
  const plots = document.getElementById("plots");
  const said = document.getElementById("charts-said");
  const back = document.getElementById("back");
  const buttons = [...section.querySelectorAll("[data-hours]")];
  const facts = () => JSON.parse(document.getElementById("facts").textContent);
  const pair = facts();
  const names = new URLSearchParams({ profile: pair.profile, target: pair.target });
  const links = new URLSearchParams(location.search);
  const REASONS = ["--p95", "--bad", "--warn", "--p50", "--p99", "--good", "--dim"];

  // What is shown: so many hours up to now, or a zoomed span in seconds since the epoch.
  const known = (hours) => buttons.some((button) => button.dataset.hours === hours);
  let hours = known(links.get("hours")) ? links.get("hours") : buttons[0].dataset.hours;
  let zoomed = null;
  let shaded = [];
  let charts = [];
  let asked = 0;
  let first = null; // Where the history begins.

  // What light-dark() comes to is known only where it is used as a color.
  const probe = document.createElement("i");
  probe.hidden = true;
  section.append(probe);
  const shade = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };

  const digits = (value) => {
    const size = Math.abs(value);
    return String(Number(value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.1 ? 2 : 4)));
  };
  const seconds = (value) => value == null ? "–" : value >= 0.9995 ? `${digits(value)} s` : `${digits(value * 1e3)} ms`;
  const plain = (unit) => (value) => value == null ? "–" : `${digits(value)}${unit}`;
  const two = (number) => String(number).padStart(2, "0");
  const clock = (at, long) => {
    const date = new Date(at * 1e3);
    return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}${long ? `:${two(date.getUTCSeconds())}` : ""}`;
  };
  const day = (at) => new Date(at * 1e3).toISOString().slice(5, 10);
  const ticks = (_, splits, __, ___, step) => splits.map((at, n) => {
    if (step >= 86400) return day(at);
    const next = n === 0 || day(at) !== day(splits[n - 1]);
    const time = clock(at, step < 60);
    return next && zoomWidth() > 86400 ? `${time}\n${day(at)}` : time;
  });

  // Series of a chart: label, color, value of a point, how a value reads, and how it is drawn.
  const time = (label, tone, key, quantile) =>
    ({ label, tone, of: (point) => point[key]?.[quantile] ?? null, read: seconds, gaps: true });
  const rate = (label, tone, of, read) => ({ label, tone, of, read, steps: true });
  const each = (take, per = 1) => (point) => per * (take(point) ?? 0) / point.seconds;
  const sum = (requests) => Object.values(requests).reduce((all, n) => all + n, 0);
  const CHARTS = [
    { title: "Time to first token", unit: "seconds", only: true, quantity: "time_to_first_token",
      series: ["p50", "p95", "p99"].map((q) => time(q, `--${q}`, "time_to_first_token_seconds", q)) },
    { title: "Duration, from send to end", unit: "seconds", quantity: "request_duration",
      series: ["p50", "p95", "p99"].map((q) => time(q, `--${q}`, "request_duration_seconds", q)) },
    { title: "Longest gap and time per token", unit: "seconds", only: true,
      series: [time("gap p50", "--p50", "longest_chunk_gap_seconds", "p50"),
        time("gap p95", "--p95", "longest_chunk_gap_seconds", "p95"),
        time("token p50", "--good", "time_per_output_token_seconds", "p50")] },
    { title: "Pace of an answer", unit: "tokens/s", quantity: "output_pace",
      series: [{ label: "median", tone: "--p50", of: (point) => point.output_pace_tokens_per_second,
        read: plain(" tokens/s"), gaps: true }] },
    { title: "Requests: offered and achieved", unit: "/s",
      series: [rate("offered", "--dim", each((point) => point.offered), plain("/s")),
        rate("ok", "--good", each((point) => point.requests.ok), plain("/s"))] },
    { title: "In flight", unit: "requests",
      series: [rate("mean, by Little's law", "--p50", (point) => point.in_flight, plain(""))] },
    { title: "Tokens", unit: "tokens/s",
      series: [rate("input", "--p95", each((point) => point.input_tokens), plain("/s")),
        rate("output", "--p50", each((point) => point.output_tokens), plain("/s"))] },
    { title: "Failures by reason", unit: "/min", stacked: true },
    { title: "Cost", unit: "per hour", priced: true,
      series: [rate("cost", "--warn", each((point) => point.cost, 3600), plain("/h"))] },
  ];

  // What is drawn behind and before the lines.
  const at = (instant) => Date.parse(instant) / 1e3;
  const behind = (chart) => (plot) => {
    const { ctx, bbox } = plot;
    const x = (value) => Math.min(Math.max(plot.valToPos(value, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.save();
    for (const event of shaded) {
      const [from, until] = [x(event.from), x(event.until)];
      if (event.instant) {
        if (event.from < plot.scales.x.min || event.from > plot.scales.x.max) continue;
        ctx.fillStyle = shade("--p50");
        ctx.fillRect(from, bbox.top, Math.max(1, devicePixelRatio), bbox.height);
      } else if (until > from) {
        ctx.fillStyle = shade(event.tone);
        const low = event.tone === "--run-band" ? bbox.height - 4 * devicePixelRatio : 0;
        ctx.fillRect(from, bbox.top + low, Math.max(1, until - from), bbox.height - low);
      }
    }
    const y = (value) => plot.valToPos(value, "y", true);
    const usual = facts().baselines.find((baseline) => baseline.quantity === chart.quantity);
    if (usual) {
      const top = Math.max(y(usual.high), bbox.top);
      const bottom = Math.min(y(usual.low), bbox.top + bbox.height);
      ctx.fillStyle = shade("--usual");
      if (bottom > top) ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
      line(ctx, bbox, y(usual.typical), shade("--good"));
    }
    for (const bound of bounds(chart)) line(ctx, bbox, y(bound), shade("--bad"));
    ctx.restore();
  };
  function line(ctx, bbox, y, stroke) {
    if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
    ctx.strokeStyle = stroke;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.setLineDash([]);
  }
  // A bound that grows with the prompt, or belongs to one step, is no line.
  const bounds = (chart) => facts().objectives
    .filter((slo) => slo.metric === chart.quantity && !slo.step && slo.below_per_input_token == null)
    .map((slo) => slo.below ?? slo.above).filter((bound) => bound != null);

  const now = () => Date.now() / 1e3;
  const zoomWidth = () => { const [from, to] = span(); return to - from; };
  function span() {
    if (zoomed) return zoomed;
    const from = hours === "all" ? 0 : now() - Number(hours) * 3600;
    // The shortest range and the whole history begin with what there is, but span two minutes.
    if (hours !== "all" && hours !== buttons[0].dataset.hours) return [from, now()];
    return [Math.min(Math.max(from, first ?? 0), now() - 120), now()];
  }

  // One line of x for all charts. Where nothing happened, times have a gap and rates are zero.
  function rows(points) {
    const all = [];
    points.forEach((point, n) => {
      const start = at(point.start);
      all.push({ x: start, point });
      const end = start + point.seconds;
      const next = points[n + 1] ? at(points[n + 1].start) : Infinity;
      if (next - end > 1) {
        all.push({ x: end, point: null, last: next === Infinity ? point : null });
        if (next < Infinity && next - end > 2) all.push({ x: next - 1, point: null });
      }
    });
    return all;
  }

  function values(chart, all) {
    const x = all.map((row) => row.x);
    if (!chart.stacked) {
      return [x, ...chart.series.map((series) =>
        all.map(({ point, last }) => point ? series.of(point) : series.gaps ? null : last ? series.of(last) : 0))];
    }
    // The lowest part is the last series: each is drawn from zero, and the next ones over it.
    const reasons = chart.series.map((series) => series.reason);
    const counts = reasons.map((reason) =>
      all.map(({ point, last }) => 60 * ((point ?? last)?.requests[reason] ?? 0) / ((point ?? last)?.seconds ?? 1)));
    chart.raw = counts;
    return [x, ...counts.map((_, n) => x.map((__, i) => counts.slice(n).reduce((total, of) => total + of[i], 0)))];
  }

  function top(chart, most) {
    const usual = facts().baselines.find((baseline) => baseline.quantity === chart.quantity);
    let highest = Math.max(most ?? 0, usual?.high ?? 0);
    // A bound far away would press the lines flat.
    for (const bound of bounds(chart)) if (bound <= 3 * highest || !highest) highest = Math.max(highest, bound);
    return highest > 0 ? highest * 1.08 : 1;
  }

  function options(chart) {
    const axis = { stroke: shade("--dim"), grid: { stroke: shade("--line"), width: 1 }, ticks: { show: false },
      font: "12px system-ui, sans-serif" };
    const read = (n) => (plot, value, series, i) =>
      i == null ? "–" : chart.series[n].read(chart.stacked ? chart.raw[n][i] : value);
    return {
      width: Math.max(plots.clientWidth, 200), height: 190,
      cursor: { y: false, sync: { key: "pair", filters: { sub: followed } }, drag: { x: true, y: false, setScale: false }, points: { size: 6 },
        bind: { dblclick: () => () => { zoom(null); return null; } } },
      legend: { live: true },
      scales: { x: { time: true, range: () => span() }, y: { range: (_, __, most) => [0, top(chart, most)] } },
      axes: [{ ...axis, values: ticks, space: 60, size: () => zoomWidth() > 86400 ? 44 : 28 },
        { ...axis, size: 64, values: (_, splits) => splits.map((value) =>
          chart.unit === "seconds" ? seconds(value) : digits(value)) }],
      series: [{ label: "UTC", value: (_, x) => x == null ? "–" : `${day(x)} ${clock(x, true)}` },
        ...chart.series.map((series, n) => ({
          label: series.label, stroke: shade(series.tone), width: 2, value: read(n),
          fill: chart.stacked ? shade(series.tone) : undefined,
          paths: series.steps || chart.stacked ? uPlot.paths.stepped({ align: 1 }) : undefined,
          points: { show: !!series.gaps, size: 4, filter: lonely },
        }))],
      hooks: { drawClear: [behind(chart)], setSelect: [selected] },
    };
  }

  // The charts share a cursor; what is dragged across one of them is a matter of all, but not to be done by each.
  const followed = (type) => ["mousemove", "mouseleave", "mouseenter"].includes(type);

  // A value without neighbours has no line to be seen by.
  function lonely(plot, index, show, gaps) {
    const data = plot.data[index];
    const alone = [];
    for (let i = 0; i < data.length; i++) {
      if (data[i] != null && data[i - 1] == null && data[i + 1] == null) alone.push(i);
    }
    return alone;
  }

  function selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [from, until] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (until - from >= 5 && !(zoomed && Math.abs(zoomed[0] - from) < 1)) zoom([from, until]);
  }

  function zoom(to) {
    if (!to && !zoomed) return;
    zoomed = to;
    back.hidden = !to;
    redraw();
    load();
  }

  function redraw() {
    for (const { plot } of charts) plot.batch(() => plot.setScale("x", { min: span()[0], max: span()[1] }));
  }

  function build(points, all) {
    charts.forEach(({ plot }) => plot.destroy());
    plots.replaceChildren();
    charts = wanted(points).map((chart) => {
      const figure = document.createElement("figure");
      const title = document.createElement("figcaption");
      title.textContent = `${chart.title}${chart.unit === "seconds" ? "" : `, ${chart.unit}`}`;
      figure.append(title);
      plots.append(figure);
      const plot = new uPlot(options(chart), values(chart, all), figure);
      const wrap = plot.root.querySelector(".u-wrap");
      wrap.setAttribute("role", "img");
      return { chart, plot, wrap };
    });
    resize();
  }

  function wanted(points) {
    const reasons = [...new Set(points.flatMap((point) => Object.keys(point.requests)))].filter((it) => it !== "ok").sort();
    return CHARTS.filter((chart) => (!chart.only || pair.streamed)
      && (!chart.priced || points.some((point) => point.cost != null)))
      .map((chart) => chart.stacked ? { ...chart, series: (reasons.length ? reasons : ["none"]).map((reason, n) => ({
        label: reason.replaceAll("_", " "), reason, tone: REASONS[n % REASONS.length], read: plain("/min") })) } : chart);
  }
  const shape = (list) => JSON.stringify(list.map((chart) => [chart.title, chart.series.map((series) => series.label)]));

  function draw(points) {
    const all = rows(points);
    first = zoomed ? first : all[0]?.x ?? null;
    section.hidden = false;
    if (!charts.length || shape(wanted(points)) !== shape(charts.map(({ chart }) => chart))) build(points, all);
    for (const { chart, plot, wrap } of charts) {
      plot.batch(() => {
        plot.setData(values(chart, all), false);
        plot.setScale("x", { min: span()[0], max: span()[1] });
      });
      wrap.setAttribute("aria-label", `${chart.title}: ${chart.series.map((series, n) => {
        const data = chart.stacked ? chart.raw[n] : plot.data[n + 1];
        const last = data.findLast((value) => value != null);
        return `${series.label} ${last == null ? "nothing" : series.read(last)} at last`;
      }).join(", ")}`);
    }
  }

  async function json(path, query) {
    const answer = await fetch(`${path}?${query}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  async function load() {
    const turn = ++asked;
    const [from, to] = hours === "all" && !zoomed ? [0, now()] : span();
    // A little more than is seen, so that lines go on to the edges.
    const around = (to - from) * 0.02;
    const query = new URLSearchParams(names);
    query.set("from", String(Math.max(0, Math.floor(from - around))));
    query.set("to", String(Math.ceil(to)));
    query.set("step", "60");
    try {
      const [history, { events, truncated }] = await Promise.all([json("api/v1/history", query), happened(from, to)]);
      if (turn !== asked) return;
      shaded = events;
      draw(history.points);
      list(events);
      const notes = [
        !history.points.length && "nothing was measured in this range",
        history.points.length && history.source === "memory" && "without a state file: the last 10 minutes only",
        (history.truncated || truncated) && "older runs or points are left out",
      ];
      said.textContent = notes.filter(Boolean).join("; ");
    } catch (error) {
      if (turn === asked) said.textContent = String(error.message).trim();
    }
  }

  // What happened meanwhile; a server that does not keep it knows the last runs and faults.
  async function happened(from, to) {
    const query = new URLSearchParams(names);
    query.set("from", String(Math.floor(from)));
    query.set("to", String(Math.ceil(to)));
    const tone = (kind) => kind === "run" ? "--run-band" : kind === "fault" ? "--band" : "--incident";
    // A treatment that is not worse is no incident: a line says when the verdict came.
    const calm = (event) => event.kind === "comparison" && event.state !== "worse";
    const title = (event) => [event.title, event.detail].filter(Boolean).join(": ");
    try {
      const { events, truncated } = await json("api/v1/timeline", query);
      return { truncated, events: events.map((event) => ({ from: at(event.start), until: event.end ? at(event.end) : now(),
        instant: event.start === event.end || calm(event), tone: tone(event.kind), run: event.kind === "run",
        title: title(event) })) };
    } catch {
      const { faults, runs, regressions } = facts();
      return { truncated: false, events: [
        ...runs.map((run) => ({ from: at(run.started), until: at(run.ended), tone: "--run-band", run: true })),
        ...faults.map((it) => ({ from: at(it.from), until: Math.min(at(it.until), now()), tone: "--band", title: it.what })),
        ...regressions.map((it) => ({ from: at(it.since), until: now(), tone: "--incident",
          title: `regression: ${it.quantity.replaceAll("_", " ")} × ${digits(it.ratio)}` })),
      ] };
    }
  }

  function list(events) {
    const told = events.filter((event) => !event.run).sort((a, b) => b.from - a.from).slice(0, 50);
    const box = document.getElementById("events");
    box.hidden = !told.length;
    box.querySelector("ul").replaceChildren(...told.map((event) => {
      const item = document.createElement("li");
      const until = event.instant ? "" : ` to ${clock(event.until, true)}`;
      item.textContent = `${day(event.from)} ${clock(event.from, true)}${until}: ${event.title}`;
      return item;
    }));
  }

  function choose(wanted) {
    hours = wanted;
    zoomed = null;
    back.hidden = true;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.hours === hours));
  }
  for (const button of buttons) {
    button.addEventListener("click", () => {
      choose(button.dataset.hours);
      links.set("hours", hours);
      history.replaceState(null, "", `?${links}`);
      load();
    });
  }
  back.addEventListener("click", () => zoom(null));

  // The capacity search: what each load gave.
  let capacity = null;
  let searched = "";
  function drawCapacity() {
    const box = document.getElementById("capacity-plot");
    const { search } = facts();
    if (!box || !search) return;
    if (JSON.stringify(search) === searched) return;
    searched = JSON.stringify(search);
    const curve = [...search.curve].sort((a, b) => a.load - b.load);
    const unit = search.unit.replaceAll("_", " ");
    box.hidden = false;
    capacity?.destroy();
    box.replaceChildren();
    const figure = document.createElement("figure");
    const title = document.createElement("figcaption");
    title.textContent = `Throughput and TTFT against load, ${unit}`;
    figure.append(title);
    box.append(figure);
    const axis = { stroke: shade("--dim"), grid: { stroke: shade("--line"), width: 1 }, ticks: { show: false },
      font: "12px system-ui, sans-serif" };
    const mark = (load, tone) => (plot) => {
      if (load == null) return;
      const x = plot.valToPos(load, "x", true);
      plot.ctx.fillStyle = shade(tone);
      plot.ctx.fillRect(x, plot.bbox.top, devicePixelRatio, plot.bbox.height);
    };
    capacity = new uPlot({
      width: Math.max(box.clientWidth, 200), height: 220,
      scales: { x: { time: false }, y: { range: (_, __, most) => [0, (most || 1) * 1.1] },
        t: { range: (_, __, most) => [0, (most || 1) * 1.1] } },
      cursor: { drag: { setScale: false } },
      axes: [{ ...axis }, { ...axis, size: 56 },
        { ...axis, scale: "t", side: 1, size: 64, grid: { show: false }, values: (_, all) => all.map(seconds) }],
      series: [{ label: unit, value: (_, x) => x == null ? "–" : digits(x) },
        { label: "requests/s", stroke: shade("--good"), width: 2, points: { show: true, size: 6 }, value: (_, v) => plain("/s")(v) },
        { label: "TTFT p95", scale: "t", stroke: shade("--p95"), width: 2, points: { show: true, size: 6 }, value: (_, v) => seconds(v) }],
      hooks: { drawClear: [mark(search.capacity?.load, "--good"), mark(search.missed_at, "--bad")] },
    }, [curve.map((it) => it.load), curve.map((it) => it.requests_per_second),
      curve.map((it) => it.time_to_first_token_p95_seconds)], figure);
    const wrap = capacity.root.querySelector(".u-wrap");
    wrap.setAttribute("role", "img");
    wrap.setAttribute("aria-label", `${title.textContent}: ${search.summary}; the table has the numbers`);
  }

  function resize() {
    for (const { plot } of charts) {
      const width = plot.root.parentElement.clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: plot.height });
    }
    const width = capacity?.root.parentElement.clientWidth;
    if (width && width !== capacity.width) capacity.setSize({ width, height: capacity.height });
  }
  new ResizeObserver(resize).observe(plots);

  // Other colors: everything is drawn anew.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    charts.forEach(({ plot }) => plot.destroy());
    charts = [];
    searched = "";
    load();
    drawCapacity();
  });

  choose(hours);
  section.hidden = false;
  load();
  drawCapacity();
  document.addEventListener("live", drawCapacity);
  let beat = 0;
  setInterval(() => {
    beat += 1;
    // Long ranges move slowly, and are more work to read.
    const every = zoomWidth() > 7200 ? 6 : 1;
    if (!document.hidden && beat % every === 0) load();
  }, 5000);
})();

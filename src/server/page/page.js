"use strict";
// Fetches the page again and puts in what has changed, part by part, so that a selection, the focus and what was
// scrolled stay as they are.
document.documentElement.classList.add("live");

async function refresh() {
  const began = performance.now();
  if (!document.hidden && !document.querySelector("[data-still]")) await look();
  // A page that takes long to make is asked for seldom.
  setTimeout(refresh, Math.min(Math.max(2000, 10 * (performance.now() - began)), 30000));
}
setTimeout(refresh, 2000);

async function look() {
  try {
    const answer = await fetch(location.href.split("#")[0], { headers: { Accept: "text/html" } });
    const missing = answer.status === 404;
    if (missing && !document.getElementById("missing")) return location.reload(); // It is no longer in the config.
    if (!answer.ok && !missing) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.body.classList.remove("stale");
    update(fresh);
  } catch {
    document.body.classList.add("stale"); // The numbers are old: the daemon does not answer.
  }
}

function update(fresh) {
  const selection = getSelection();
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(part.id);
    if (!shown) return location.reload(); // The parts are other ones: another config.
    const busy = !selection.isCollapsed && selection.containsNode(shown, true);
    const active = document.activeElement;
    const boxes = [...shown.querySelectorAll(".scroll")];
    // A click on a cell gives the focus to the region that its table scrolls in, which is no reason to wait.
    const focused = boxes.indexOf(active);
    if (busy || (focused < 0 && shown.contains(active)) || shown.innerHTML === part.innerHTML) continue;
    const scrolled = boxes.map((box) => box.scrollLeft);
    shown.replaceWith(document.adoptNode(part));
    const anew = part.querySelectorAll(".scroll");
    anew.forEach((box, n) => { if (scrolled[n]) box.scrollLeft = scrolled[n]; });
    if (focused >= 0) anew[focused]?.focus({ preventScroll: true });
  }
  document.dispatchEvent(new Event("live"));
}

// A filter is applied when it is chosen; without this script there is the button.
document.querySelector("form.filter")?.addEventListener("change", (event) => {
  if (event.target.matches("select, [type=checkbox]")) event.currentTarget.requestSubmit();
});
// What is not filled in is not part of the link.
document.querySelector("form.filter")?.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

// Starts a run, and says what came of it.
document.getElementById("run")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const [button, said] = [form.querySelector("button"), form.querySelector("output")];
  button.disabled = true;
  said.className = "small dim";
  said.textContent = "asking for a run …";
  try {
    const answer = await fetch(form.action, { method: "POST" });
    const text = await answer.text();
    said.className = answer.ok ? "small good" : "small bad";
    said.textContent = answer.headers.get("content-type")?.startsWith("application/json")
      ? told(JSON.parse(text).runs) : text.trim();
  } catch {
    said.className = "small bad";
    said.textContent = "the agent does not answer";
  }
  button.disabled = false;
});

function told(runs) {
  const one = (run) => {
    const why = run.held_back?.message ?? run.reason?.replaceAll("_", " ");
    return `${run.target}: ${run.state}${run.id ? ` as ${run.id}` : ""}${why ? `, ${why}` : ""}`;
  };
  return runs.map(one).join("; ");
}

// Copies what stands beside the button.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard; // Only where the page came from a secure origin.
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  });
}

"use strict";
// Fetches the page again and puts in what has changed, part by part, so that a selection, the focus and what was
// scrolled stay as they are.
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.body.classList.remove("stale");
    update(fresh);
  } catch {
    document.body.classList.add("stale"); // The numbers are old: the daemon does not answer.
  }
}, 2000);

function update(fresh) {
  const selection = getSelection();
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(part.id);
    if (!shown) return location.reload(); // The parts are other ones: another config.
    const busy = !selection.isCollapsed && selection.containsNode(shown, true);
    if (busy || shown.contains(document.activeElement) || shown.innerHTML === part.innerHTML) continue;
    const scrolled = shown.querySelector(".scroll")?.scrollLeft;
    shown.replaceWith(document.adoptNode(part));
    if (scrolled) part.querySelector(".scroll").scrollLeft = scrolled;
  }
}

// A browser that does what its caller asks for: Chromium by playwright-core, and axe. It listens on a port of 127.0.0.1;
// each POST of `{ "do": NAME, ... }` is one of the functions below, and its answer `{ "ok": VALUE }` or `{ "error": TEXT }`.
// Usage: node browser.mjs PORT CHROMIUM

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [port, executablePath] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const complaints = [];
const history = [];
let page;

const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

async function open({ url, scheme = "light", phone = false }) {
  await page?.context().close();
  const context = await browser.newContext({ colorScheme: scheme, viewport: phone ? PHONE : WIDE });
  page = await context.newPage();
  page.setDefaultTimeout(10000);
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (asked.pathname === "/api/v1/history") history.push(Object.fromEntries(asked.searchParams));
  });
  const answer = await page.goto(url);
  return answer.status();
}

const actions = {
  open,
  text: ({ of }) => page.locator(of).first().innerText(),
  texts: ({ of }) => page.locator(of).allInnerTexts(),
  count: ({ of }) => page.locator(of).count(),
  attribute: ({ of, name }) => page.locator(of).first().getAttribute(name),
  wait: ({ of }) => page.locator(of).first().waitFor(),
  gone: ({ of }) => page.locator(of).first().waitFor({ state: "hidden" }),
  click: ({ of }) => page.locator(of).first().click(),
  choose: ({ of, value }) => page.locator(of).first().selectOption(value),
  url: () => page.url(),
  // A mark that a reload would remove.
  mark: () => page.evaluate(() => { window.marked = true; }),
  marked: () => page.evaluate(() => window.marked === true),
  // Waits until the text of an element is another one.
  changes: ({ of, from }) => page.waitForFunction(
    ([selector, before]) => { const now = document.querySelector(selector)?.innerText; return now && now !== before && now; },
    [of, from], { polling: 200 }).then((handle) => handle.jsonValue()),
  // Drags across the middle of an element, from one share of its width to another.
  async drag({ of, from, to }) {
    const element = page.locator(of).first();
    await element.scrollIntoViewIfNeeded();
    const box = await element.boundingBox();
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + from * box.width, y);
    await page.mouse.down();
    for (let part = 1; part <= 8; part++) {
      await page.mouse.move(box.x + (from + (to - from) * (part / 8)) * box.width, y);
    }
    await page.mouse.up();
  },
  async hover({ of, at }) {
    const element = page.locator(of).first();
    await element.scrollIntoViewIfNeeded();
    const box = await element.boundingBox();
    await page.mouse.move(box.x + at * box.width, box.y + box.height / 2);
  },
  async twice({ of }) {
    // Scrolls, and tries again if the element is drawn anew meanwhile.
    await page.locator(of).first().dblclick();
  },
  // What of the history was asked for since the last such call: the queries of the API.
  history: () => history.splice(0),
  // Shares of the canvases of the charts that are not empty.
  drawn: () => page.evaluate(() => [...document.querySelectorAll("#plots canvas")].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, n) => n % 4 === 3 && value > 0);
  })),
  // How much wider than the window the page is, in pixels.
  overflow: () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
  async axe() {
    // Through the debugger: the page admits no script but its own.
    await page.evaluate(axe);
    const { violations, passes } = await page.evaluate(() => window.axe.run(document));
    if (passes.length < 10) throw new Error(`axe looked at ${passes.length} rules only`);
    return violations.map((it) => `${it.id}: ${it.help}: ${it.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")} (${it.nodes.length})`);
  },
  picture: ({ path, whole = false }) => page.screenshot({ path, fullPage: whole }).then(() => true),
  complaints: () => complaints.splice(0),
};

createServer(async (request, response) => {
  let answer;
  try {
    let text = "";
    for await (const part of request) text += part;
    const { do: name, ...args } = JSON.parse(text || '{"do":"complaints"}');
    answer = { ok: (await actions[name](args)) ?? null };
  } catch (error) {
    answer = { error: String(error?.message ?? error).slice(0, 2000) };
  }
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(answer));
}).listen(Number(port), "127.0.0.1");

process.on("SIGTERM", () => browser.close().finally(() => process.exit(0)));

// Looks at a page of `limbeck report`, `limbeck history page` or a comparison in headless
// Chromium: screenshots at three widths, light and dark; axe-core's WCAG 2.1 A
// and AA rules;
// no request to anywhere; no horizontal scrolling; the filter works; a PDF as it is printed.
//
//   npm install --prefix scripts/page_check
//   node scripts/page_check/check_page.mjs PAGE.html OUTPUT_DIR
//
// CHROMIUM names the browser's program (default: chromium on the path). Ends with 1 where
// something is wrong.

import { execSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [page_file, output] = process.argv.slice(2);
if (!page_file || !output) {
  console.error("usage: check_page.mjs PAGE.html OUTPUT_DIR");
  process.exit(2);
}
mkdirSync(output, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.CHROMIUM ?? execSync("command -v chromium").toString().trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let faults = 0;
const fault = (text) => {
  faults += 1;
  console.log(`FAULT ${text}`);
};

for (const colorScheme of ["light", "dark"]) {
  for (const width of [360, 768, 1280]) {
    const name = `${colorScheme} ${width}`;
    // The page's own policy forbids foreign scripts, axe-core too.
    const context = await browser.newContext({
      colorScheme,
      viewport: { width, height: 900 },
      bypassCSP: true,
    });
    const page = await context.newPage();
    page.on("request", (request) => {
      if (!request.url().startsWith("file:")) fault(`${name}: asks for ${request.url()}`);
    });
    page.on("pageerror", (error) => fault(`${name}: ${error.message}`));
    await page.goto(pathToFileURL(resolve(page_file)).href);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) fault(`${name}: ${wide} pixels wider than the window`);
    await page.screenshot({ path: join(output, `${colorScheme}-${width}.png`), fullPage: true });
    // What is folded must be right too.
    await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
    const opened = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (opened > 0) fault(`${name}: ${opened} pixels too wide with all unfolded`);
    // The rules do not hang on the width: the narrowest and, for both schemes, the middle one.
    if (width === 1280 || (width === 768 && colorScheme === "light")) {
      await context.close();
      console.log(`${name}: looked at`);
      continue;
    }
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
    for (const { id, help, nodes } of violations) {
      fault(`${name}: ${id}: ${help}, ${nodes.length} places, first ${nodes[0].html.slice(0, 160)}`);
      if (process.env.VERBOSE) console.log(nodes[0].failureSummary);
    }
    console.log(`${name}: ${violations.length} rules broken`);
    await context.close();
  }
}

{
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") fault(`console: ${message.text()}`);
  });
  await page.goto(pathToFileURL(resolve(page_file)).href);
  const filter = page.locator(".filter");
  if (await filter.count()) {
    const before = await page.locator(".sample:visible").count();
    await page.fill(".filter [name=search]", "no such words in any sample");
    if (await page.locator(".sample:visible").count()) fault("the search hides nothing");
    await page.fill(".filter [name=search]", "");
    await page.selectOption(".filter [name=verdict]", "correct");
    const right = await page.locator(".sample:visible").count();
    const all = await page.locator(".sample[data-verdict=correct]").count();
    if (right !== all) fault(`the filter shows ${right} of ${all} right samples`);
    console.log(`filter: ${before} samples, ${right} right`);
  }
  await page.emulateMedia({ media: "print" });
  await page.pdf({ path: join(output, "print.pdf"), format: "A4" });
  await context.close();
}
await browser.close();
console.log(faults ? `${faults} faults` : "no faults");
process.exit(faults ? 1 : 0);

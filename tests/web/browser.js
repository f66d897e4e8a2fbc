// A Chromium that a test program drives over standard input and output: a command is a line of JSON,
// {"do": NAME, ...}, and so is its answer, {"value": ...} or {"error": TEXT}. Started as
//
//   node browser.js DIRECTORY PROGRAM
//
// with the directory that has playwright-core and axe-core in node_modules, and Chromium's path. It ends when
// standard input does.

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const [folder, program] = process.argv.slice(2);
const {chromium} = require(path.join(folder, "node_modules", "playwright-core"));
const axeSource = fs.readFileSync(path.join(folder, "node_modules", "axe-core", "axe.min.js"), "utf8");

// What a page must not do, as it happens; and every address that it asked.
const watchPolicy = `
  window.policyViolations = [];
  document.addEventListener("securitypolicyviolation", (e) => window.policyViolations.push(e.violatedDirective + " " + e.blockedURI));`;

let browser, page, devtools, context, seen;

// Over the debugging protocol itself: the page's policy forbids to evaluate strings, as it should.
async function evaluate(expression) {
  const {result, exceptionDetails} = await devtools.send("Runtime.evaluate",
    {expression, awaitPromise: true, returnByValue: true, allowUnsafeEvalBlockedByCSP: true});
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
  return result.value;
}

const commands = {
  async open({url, width, height, scheme, touch}) {
    await context?.close();
    seen = {console: [], requests: []};
    context = await browser.newContext({
      viewport: {width, height}, colorScheme: scheme, hasTouch: touch, isMobile: touch, deviceScaleFactor: touch ? 2 : 1,
    });
    await context.addInitScript(watchPolicy);
    page = await context.newPage();
    page.on("console", (m) => ["error", "warning"].includes(m.type()) && seen.console.push(`${m.type()}: ${m.text()}`));
    page.on("pageerror", (e) => seen.console.push(`exception: ${e.message}`));
    page.on("request", (r) => seen.requests.push(r.url()));
    devtools = await context.newCDPSession(page);
    const answer = await page.goto(url, {waitUntil: "domcontentloaded"});
    return {status: answer.status(), headers: answer.headers()};
  },
  eval: ({expression}) => evaluate(expression),
  press: ({key}) => page.keyboard.press(key),
  type: ({text}) => page.keyboard.type(text),
  click: ({selector}) => page.click(selector, {timeout: 5000}),
  resize: ({width, height}) => page.setViewportSize({width, height}),
  screenshot: ({file, whole}) => page.screenshot({path: file, fullPage: whole, animations: "disabled"}).then(() => null),
  seen: async () => ({...seen, policy: await evaluate("window.policyViolations")}),
  // Violations of WCAG 2 A and AA and of axe's best practices.
  async axe() {
    await evaluate(axeSource + "\n;null");
    const results = await evaluate("axe.run(document).then((r) => r.violations)");
    return results.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => `${n.html} ${n.failureSummary}`)}));
  },
};

async function main() {
  browser = await chromium.launch({executablePath: program, args: ["--no-sandbox", "--no-proxy-server", "--disable-gpu"]});
  const lines = readline.createInterface({input: process.stdin});
  for await (const line of lines) {
    const command = JSON.parse(line);
    let answer;
    try {
      answer = {value: (await commands[command.do](command)) ?? null};
    } catch (error) {
      answer = {error: String(error.stack || error)};
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await browser.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

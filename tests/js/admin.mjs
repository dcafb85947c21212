// A person at the admin, in a real browser: signs in, sets everything up by the forms, watches a run grow, cancels one.
// The only other actors are a channel that sends signed webhooks and a runner that speaks the runner's API.
//
// A run is paused, resumed, woken, answered and tried again by its buttons, and its journal says so.
//
// node admin.mjs EDGE LOGIN_LINK ; NODE_MODULES: where playwright-core is; CHROMIUM: the browser

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_MODULES}/`);
const { chromium } = require("playwright-core");
const [edge, link] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

try {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(15_000);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
  // The browser logs an answer of 400 as an error; the one form that is sent wrong on purpose gets one.
  const refused = (message) => message.text().includes("status of 400") && message.location().url.endsWith("/agents/new");
  page.on("console", (message) => message.type() === "error" && !refused(message) && wrong.push(`console: ${message.text()}`));
  page.on("dialog", (dialog) => wrong.push(`dialog: ${dialog.message()}`) && dialog.dismiss());

  await signIn(page);
  const agent = await createAgent(page);
  const { secret, hook } = await connectWebhook(page);
  await listen(page, agent);
  const token = await makeRunnerToken(page);
  const world = { page, secret, hook, token };
  await watchARun(world);
  await cancelARun(world);
  await decideAboutARun(world);
  await tryAgain(world);
  await readOnAPhone(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/admin/login");
  assert.deepEqual(wrong, []);
} finally {
  await browser.close();
}

async function signIn(page) {
  await page.goto(link);
  await page.waitForURL("**/admin/runs");
  await page.getByText("No run yet.").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
}

async function createAgent(page) {
  await page.getByRole("link", { name: "Create an agent" }).click();
  await page.getByLabel("Name", { exact: true }).fill("Ada");
  await page.getByLabel("Handle").fill("ada");
  await page.getByLabel("Model").fill("no slash");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("alert").getByText("A model is written").waitFor();
  assert.equal(await page.getByLabel("Handle").inputValue(), "ada", "what was typed is kept");
  await page.getByLabel("Model").fill("scripted/demo");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByText("Now say what it listens to").waitFor();
  return page.url().split("?")[0];
}

async function connectWebhook(page) {
  await page.getByRole("navigation", { name: "Main" }).getByText("Integrations").click();
  await page.getByRole("link", { name: "Webhook" }).click();
  await page.getByLabel("Name", { exact: true }).fill("ci");
  await page.getByText("HMAC-SHA256 of the body").click();
  await page.getByLabel("Header", { exact: true }).fill("x-signature");
  await page.getByLabel("Header that names the event").fill("x-id");
  const secret = await page.getByLabel("Signing secret").inputValue();
  assert.ok(secret.length >= 32, "a secret is made up");
  await page.getByRole("button", { name: "Connect" }).click();
  await page.getByText("now the other").waitFor();
  assert.ok(!(await page.content()).includes(secret), "a stored secret is not shown");
  const shown = await page.locator("#webhook-url").textContent();
  return { secret, hook: edge + new URL(shown).pathname };
}

async function listen(page, agent) {
  await page.goto(agent);
  await page.getByLabel("To", { exact: true }).selectOption("any");
  await page.getByRole("button", { name: "Add" }).click();
  await page.getByText("ci: everything").waitFor();
}

async function makeRunnerToken(page) {
  await page.goto(`${edge}/admin/runners`);
  await page.getByLabel("Name of its machine").fill("laptop");
  await page.getByRole("button", { name: "Make a token" }).click();
  const command = await page.locator("#runner-command").textContent();
  return command.split("--token ")[1];
}

async function watchARun({ page, secret, hook, token }) {
  await page.goto(`${edge}/admin/runs`);
  await page.evaluate(() => (window.stayed = true));
  const run = await say(hook, secret, "e1", "<script>alert(1)</script> the build is red");
  // The list finds the run by itself.
  await page.getByRole("link", { name: "the build is red" }).waitFor();
  assert.ok(await page.evaluate(() => window.stayed), "the page was not loaded again");

  await page.getByRole("link", { name: "the build is red" }).click();
  await page.getByText("Waits for a runner.").waitFor();
  await page.evaluate(() => (window.stayed = true));
  await poll(token, []);
  await page.getByText("Runner laptop-1 took it.").waitFor();
  await page.getByText("Ada is thinking.").waitFor();

  await append(token, run, 2, [answer([text("I look at the log."), call("t1", { command: "cat build.log" })], "tool_use")]);
  await page.getByText("I look at the log.").waitFor();
  await page.getByText("Input").click();
  await append(token, run, 3, [{ type: "tool_started", call: "t1", class: "at_most_once" }]);
  await page.getByText("Running bash.").waitFor();
  const log = Array.from({ length: 60 }, (_, line) => `line ${line}`).join("\n");
  await append(token, run, 4, [{ type: "tool_finished", call: "t1", text: log, took_ms: 1200 }]);
  await page.getByText("line 59").first().waitFor();
  assert.ok(await page.locator("details.input").evaluate((input) => input.open), "what was unfolded stays so");
  assert.ok(await page.getByText("line 30", { exact: false }).isHidden(), "a long output is folded");
  await page.getByText("Show all: 60 lines").click();
  await page.getByText("line 30").waitFor();

  const reply = "The **disk** is full. <b onclick=alert(1)>[Really](javascript:alert(1))";
  await append(token, run, 5, [answer([text(reply)], "end_turn"), { type: "completed", reply }]);
  await page.getByText("Ada replied").waitFor();
  await page.getByRole("heading", { name: "What was sent" }).waitFor();
  assert.equal(await page.getByText("The disk is full. <b onclick").count(), 1, "the reply is shown once, what is HTML as it was written");
  assert.equal(await page.locator(".markdown strong").textContent(), "disk");
  assert.equal(await page.locator(".markdown a, .markdown b").count(), 0);
  assert.equal(await page.getByText("Cancel the run").count(), 0);
  assert.ok(await page.evaluate(() => window.stayed), "the page was not loaded again");
  const entries = await page.locator("#timeline > li").evaluateAll((list) => list.map((entry) => entry.id));
  await page.reload();
  const again = await page.locator("#timeline > li").evaluateAll((list) => list.map((entry) => entry.id));
  assert.deepEqual(entries, again, "what grew is what is rendered whole");
}

async function cancelARun({ page, secret, hook, token }) {
  const run = await say(hook, secret, "e2", "and now?");
  await poll(token, []);
  await page.goto(`${edge}/admin/runs/${run}`);
  await page.getByText("Cancel the run").click();
  await page.getByRole("button", { name: "Yes, cancel it" }).click();
  await page.getByText("asked to stop it").waitFor();
  const heard = await poll(token, [{ run, epoch: 1 }]);
  assert.equal(heard.signals[0].type, "cancel");
  await append(token, run, 2, [{ type: "cancelled", by: heard.signals[0].by }]);
  await page.getByText("It was stopped.").waitFor();
  await page.goto(`${edge}/admin/runs?phase=cancelled`);
  await page.getByRole("link", { name: "and now?" }).waitFor();
}

// Each button is pressed on a page that stays open: what follows comes to it by itself.
async function decideAboutARun({ page, secret, hook, token }) {
  const run = await say(hook, secret, "e3", "publish it");
  const until = Date.now() + 3_600_000;
  const press = (name) => page.getByRole("button", { name, exact: true }).click();
  await poll(token, []);
  await page.goto(`${edge}/admin/runs/${run}`);
  await press("Pause");
  await page.getByText("asked to pause it").waitFor();
  await press("Don't pause");
  await press("Pause");
  const told = await poll(token, [{ run, epoch: 1 }]);
  assert.deepEqual(told.signals.map((signal) => signal.type), ["pause"], "the one that was taken back is gone");
  await append(token, run, 2, [{ type: "paused", by: told.signals[0].by, until }]);
  await press("Resume");
  await page.getByText("let it go on").waitFor();

  await poll(token, []);
  await append(token, run, 5, [{ type: "parked", until, reason: "the model's limit is reached" }], 2);
  await press("Wake it now");
  await page.getByText("Waits for a runner.").waitFor();

  await poll(token, []);
  const question = { call: "t1", text: "Was it published?\n```\n./publish\n```", options: ["done", "run", "skip"] };
  await append(token, run, 8, [{ type: "asked", question, until }], 3);
  await page.locator("form.answer pre").getByText("./publish").waitFor();
  await page.getByLabel("A word to the agent").fill("I looked.");
  await press("It was done");
  await page.getByText("Waits for a runner.").waitFor();
  const { leases } = await poll(token, []);
  const [{ id, type, ...decision }] = leases[0].signals;
  assert.deepEqual([type, decision.choice, decision.text], ["answer", "done", "I looked."]);
  const answered = { type: "answered", signal: id, choice: decision.choice, by: decision.by, text: decision.text };
  await append(token, run, 11, [answered, { type: "completed", reply: "It is out." }], 4);
  await page.getByText("The work is done.").waitFor();
  const journal = await page.evaluate(async (run) => (await fetch(`/api/v1/runs/${run}/events`)).json(), run);
  assert.equal(
    journal.items.map((event) => event.type).join(" "),
    "opened leased paused resumed leased parked resumed leased asked resumed leased answered completed",
  );
}

// What failed is tried again from the page that showed it fail; where that would change nothing, there is no button.
async function tryAgain({ page, secret, hook, token }) {
  const run = await say(hook, secret, "e4", "deploy it");
  await poll(token, []);
  await page.goto(`${edge}/admin/runs/${run}`);
  await append(token, run, 2, [{ type: "failed", code: "model_key_refused", message: "the key was refused" }]);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("let it go on").waitFor();
  await poll(token, []);
  await append(token, run, 5, [{ type: "failed", code: "turn_limit", message: "stopped after 50 turns" }], 2);
  await page.getByText("stopped after 50 turns").waitFor();
  assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 0);
  const journal = await page.evaluate(async (run) => (await fetch(`/api/v1/runs/${run}/events`)).json(), run);
  assert.equal(journal.items.map((event) => event.type).join(" "), "opened leased failed resumed leased failed");
}

// Every page fits a phone, in both colours, and each link of the navigation leads somewhere.
async function readOnAPhone(page) {
  await page.setViewportSize({ width: 375, height: 800 });
  const visited = new Set();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const name of ["Runs", "Deliveries", "Effects", "Agents", "Integrations", "Runners"]) {
      await page.getByRole("navigation", { name: "Main" }).getByText(name, { exact: true }).click();
      await page.getByRole("heading", { level: 1, name }).waitFor();
      await fits(page);
      const first = page.locator("main a.row, main .choices a").first();
      if (await first.count()) {
        await first.click();
        await page.locator(".back").waitFor();
        await fits(page);
        visited.add(new URL(page.url()).pathname.split("/")[2]);
      }
    }
  }
  assert.deepEqual([...visited].sort(), ["agents", "deliveries", "effects", "integrations", "runs"]);
}

async function fits(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(over <= 0, `${page.url()} is ${over} px too wide`);
}

async function say(hook, secret, id, text) {
  const body = JSON.stringify({ text, conversation: id, actor: "ci" });
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const headers = { "content-type": "application/json", "x-id": id, "x-signature": signature };
  const received = await (await fetch(hook, { method: "POST", headers, body })).json();
  assert.equal(received.verdict, "accepted", JSON.stringify(received));
  return received.runs[0];
}

async function runner(token, path, body) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
  const response = await fetch(`${edge}/runner/v1${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
}

function poll(token, held) {
  return runner(token, "/poll", { runner: "laptop-1", room: 1, held, wait_ms: 0 });
}

function append(token, run, expected_seq, events, epoch = 1) {
  return runner(token, `/runs/${run}/events`, { epoch, expected_seq, events });
}

function answer(blocks, stop) {
  const usage = { input: 100, output: 20, cache_read: 0, cache_write: 0 };
  return { type: "model_answered", model: "demo", blocks, stop, usage, cost: 500, first_byte_ms: 3, took_ms: 9 };
}

function text(text) {
  return { type: "text", text };
}

function call(id, input) {
  return { type: "tool_call", id, name: "bash", input };
}
